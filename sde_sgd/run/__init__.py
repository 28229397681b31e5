"""Floor 5: many lanes. The only room with loops, vmap, jit and sharding."""

from sde_sgd.run.accumulators import Histogram, Moments
from sde_sgd.run.adaptive_multilevel import AdaptiveMultilevel
from sde_sgd.run.covariance import Covariance
from sde_sgd.run.first_passage import first_passage
from sde_sgd.run.fixed_effort import FixedEffort
from sde_sgd.run.records import EnsembleMoments, Snapshots
from sde_sgd.run.simulate import simulate
from sde_sgd.run.splitting import splitting
from sde_sgd.run.sweep import sweep

__all__ = [
    "AdaptiveMultilevel",
    "Covariance",
    "EnsembleMoments",
    "FixedEffort",
    "Histogram",
    "Moments",
    "Snapshots",
    "first_passage",
    "simulate",
    "splitting",
    "sweep",
]
