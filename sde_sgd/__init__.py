"""SGD beside its continuous-time models: one problem, many lanes, and the theory next to every measurement."""

from sde_sgd import analysis, curvature, noise, plotting, problems, processes, results, run, theory
from sde_sgd._core.random import Draws
from sde_sgd.configure import configure
from sde_sgd.minimum import quadratic_model, stationary_covariance
from sde_sgd.noise import EpochShuffle, Gaussian, Isotropic, Stable, WithoutReplacement, WithReplacement
from sde_sgd.problems import Batch, Problem
from sde_sgd.processes import (
    SGD,
    SME,
    SVAG,
    GradientFlow,
    KineticLangevin,
    Langevin,
    LevyLangevin,
    MomentumSME,
    OrnsteinUhlenbeck,
    from_optax,
)
from sde_sgd.run import (
    AdaptiveMultilevel,
    EnsembleMoments,
    FixedEffort,
    Histogram,
    Moments,
    Snapshots,
    first_passage,
    simulate,
    splitting,
    sweep,
)

__all__ = [
    "SGD",
    "SME",
    "SVAG",
    "AdaptiveMultilevel",
    "Batch",
    "Draws",
    "EnsembleMoments",
    "EpochShuffle",
    "FixedEffort",
    "Gaussian",
    "GradientFlow",
    "Histogram",
    "Isotropic",
    "KineticLangevin",
    "Langevin",
    "LevyLangevin",
    "Moments",
    "MomentumSME",
    "OrnsteinUhlenbeck",
    "Problem",
    "Snapshots",
    "Stable",
    "WithReplacement",
    "WithoutReplacement",
    "analysis",
    "configure",
    "curvature",
    "first_passage",
    "from_optax",
    "noise",
    "plotting",
    "problems",
    "processes",
    "quadratic_model",
    "results",
    "run",
    "simulate",
    "splitting",
    "stationary_covariance",
    "sweep",
    "theory",
]
