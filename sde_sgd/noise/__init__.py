"""Floor 2: how a gradient is perturbed."""

from sde_sgd.noise.augmented import Augmented
from sde_sgd.noise.base import AbstractGaussianNoise, AbstractMinibatch, AbstractNoise
from sde_sgd.noise.gaussian import Gaussian
from sde_sgd.noise.isotropic import Isotropic
from sde_sgd.noise.minibatch import EpochShuffle, WithoutReplacement, WithReplacement
from sde_sgd.noise.stable import Stable
from sde_sgd.noise.transforms import composed, flips, fresh_labels, rotations, shifts

__all__ = [
    "AbstractGaussianNoise",
    "AbstractMinibatch",
    "AbstractNoise",
    "Augmented",
    "EpochShuffle",
    "Gaussian",
    "Isotropic",
    "Stable",
    "WithReplacement",
    "WithoutReplacement",
    "composed",
    "flips",
    "fresh_labels",
    "rotations",
    "shifts",
]
