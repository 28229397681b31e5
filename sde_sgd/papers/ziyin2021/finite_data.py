"""Linear regression on a data set of our own, and the stationary loss of SGD on it."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from sde_sgd.analysis import Measured
from sde_sgd.noise import WithReplacement
from sde_sgd.papers.ziyin2021.size import Size
from sde_sgd.problems import Problem, least_squares
from sde_sgd.processes import SGD
from sde_sgd.run import Moments, simulate


def regression(
    num: int, dim: int, label_noise: float, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """Return isotropic Gaussian features and the noisy answers of a random teacher, in float64."""
    features = rng.normal(size=(num, dim))
    return features, features @ rng.normal(size=dim) / np.sqrt(dim) + label_noise * rng.normal(size=num)


def minimal_loss(features: Float[np.ndarray, "n d"], targets: Float[np.ndarray, " n"]) -> float:
    """Return the loss at the minimum."""
    return float(np.mean((features @ np.linalg.lstsq(features, targets, rcond=None)[0] - targets) ** 2)) / 2


def excess_loss(
    features: Float[np.ndarray, "n d"], targets: Float[np.ndarray, " n"], rate: float, batch: int, size: Size, key: Any,
    *, length: int = 1,
) -> tuple[Measured, float]:
    """Return the stationary Tr A Sigma, twice the excess of the loss, and the loss at the minimum.

    ``length`` multiplies the number of steps, of the burn-in too.
    """
    problem, minimal = least_squares(features, targets), minimal_loss(features, targets)
    num_steps = length * size.num_data_steps
    found = simulate(problem, SGD(rate, WithReplacement(batch)), num_seeds=size.num_seeds, num_steps=num_steps,
                     params=problem.minimum,
                     record={"loss": Moments(Problem.loss, every=num_steps // 100, burn_in=num_steps // 4)}, key=key,
                     progress=False)
    return Measured(2 * (found.loss_mean.item() - minimal), 2 * found.loss_mean_stderr.item()), minimal


def seed_of(key: Any) -> int:
    """Return a seed for NumPy, a function of the key."""
    return int(np.asarray(jax.random.key_data(key))[-1])


def stderr_of(samples: np.ndarray) -> float:
    """Return the standard error of the mean of independent samples."""
    return float(samples.std(ddof=1) / np.sqrt(len(samples)))
