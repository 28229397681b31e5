"""Floor 3: one update rule per file, discrete or continuous in time."""

from sde_sgd.processes.adaptive import AdamSDE, RMSpropSDE
from sde_sgd.processes.base import AbstractDiffusion, AbstractProcess
from sde_sgd.processes.from_optax import from_optax
from sde_sgd.processes.gradient_flow import GradientFlow
from sde_sgd.processes.homogenized import HomogenizedSGD
from sde_sgd.processes.langevin import KineticLangevin, Langevin
from sde_sgd.processes.levy import LevyLangevin
from sde_sgd.processes.modified_equation import SME
from sde_sgd.processes.momentum_modified_equation import MomentumSME
from sde_sgd.processes.ornstein_uhlenbeck import OrnsteinUhlenbeck
from sde_sgd.processes.schedules import halving_schedule, halving_sgd
from sde_sgd.processes.sgd import SGD
from sde_sgd.processes.svag import SVAG

__all__ = [
    "SGD",
    "SME",
    "SVAG",
    "AbstractDiffusion",
    "AbstractProcess",
    "AdamSDE",
    "GradientFlow",
    "HomogenizedSGD",
    "KineticLangevin",
    "Langevin",
    "LevyLangevin",
    "MomentumSME",
    "OrnsteinUhlenbeck",
    "RMSpropSDE",
    "from_optax",
    "halving_schedule",
    "halving_sgd",
]
