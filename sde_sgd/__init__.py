"""SGD beside its continuous-time models: one problem, many lanes, and the theory next to every measurement."""

from sde_sgd import analysis, curvature, noise, plotting, problems, processes, results, run, theory
from sde_sgd._core.random import Draws
from sde_sgd.configure import configure
from sde_sgd.minimum import quadratic_model, stationary_covariance
from sde_sgd.noise import EpochShuffle, Gaussian, Isotropic, WithoutReplacement, WithReplacement
from sde_sgd.problems import Batch, Problem
from sde_sgd.processes import (
    SGD,
    SME,
    SVAG,
    GradientFlow,
    KineticLangevin,
    Langevin,
    MomentumSME,
    OrnsteinUhlenbeck,
    from_optax,
)
from sde_sgd.run import EnsembleMoments, Histogram, Moments, Snapshots, simulate, sweep

__all__ = [
    "SGD",
    "SME",
    "SVAG",
    "Batch",
    "Draws",
    "EnsembleMoments",
    "EpochShuffle",
    "Gaussian",
    "GradientFlow",
    "Histogram",
    "Isotropic",
    "KineticLangevin",
    "Langevin",
    "Moments",
    "MomentumSME",
    "OrnsteinUhlenbeck",
    "Problem",
    "Snapshots",
    "WithReplacement",
    "WithoutReplacement",
    "analysis",
    "configure",
    "curvature",
    "from_optax",
    "noise",
    "plotting",
    "problems",
    "processes",
    "quadratic_model",
    "results",
    "run",
    "simulate",
    "stationary_covariance",
    "sweep",
    "theory",
]
