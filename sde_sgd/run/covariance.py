"""The covariance matrix of a vector over time and seeds, in constant memory."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sde_sgd._core.functions import as_pytree
from sde_sgd.run.accumulators import compensated, stderr_over_seeds
from sde_sgd.run.statistics import AbstractAccumulator, Quantity, check_cadence, check_function, trailing


class RunningCovariance(NamedTuple):
    """Count, mean and sum of products of deviations, the last two with the rounding they lost."""

    count: Array
    mean: Array
    mean_lost: Array
    products: Array
    products_lost: Array


class Covariance(AbstractAccumulator):
    r"""Mean and covariance matrix of a vector over time, pooled over the seeds, with a standard error on every entry.

    Gives ``<name>_mean`` and ``<name>_covariance``, each with its ``_stderr``. With n lanes of means :math:`m_l` and
    covariances in time :math:`C_l`,

    .. math:: \hat\Sigma = \frac1n \sum_l C_l + \frac{1}{n-1} \sum_l (m_l - \bar m)(m_l - \bar m)^\top,

    unbiased at stationarity however few and however correlated the looks of a lane are. The standard errors come from
    the lanes alone and need at least two seeds; ``analysis.confidence_interval`` turns them into intervals. They are
    finite only where the fourth moment of the quantity is: beyond the mean-square threshold of the fourth moment
    (``theory.max_moment_learning_rate``) an estimated variance has no error bar.

    Parameters
    ----------
    function
        As for `Snapshots`; returns a vector or a pytree of vectors, each with a covariance of its own. The whole of a
        pytree is the vector ``jax.flatten_util.ravel_pytree(params)[0]``.
    every
        Steps between two values; by default those between two records. It must divide them.
    burn_in
        Steps left out at the start.

    Notes
    -----
    Holds d^2 numbers for every lane.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> problem = ss.problems.quadratic(jnp.eye(2), jnp.array([[1.0, 1.0], [-1.0, -1.0]]))
    >>> ds = ss.simulate(problem, ss.SGD(0.5, ss.WithReplacement(1)), num_seeds=400, num_steps=40,
    ...                  record={"w": ss.Covariance(lambda problem, w: w, every=1, burn_in=10)}, key=jax.random.key(0))
    >>> ds.w_covariance.values.round(2)
    array([[0.33, 0.33],
           [0.33, 0.33]])
    """

    function: Quantity = eqx.field(converter=as_pytree)
    every: int | None = eqx.field(static=True, default=None)
    burn_in: int = eqx.field(static=True, default=0)

    def __check_init__(self):
        check_function(self.function)
        check_cadence(self.every, self.burn_in)

    def variables(self, name: str) -> tuple[str, ...]:
        """Return the names of mean and covariance and of their standard errors."""
        return tuple(f"{name}_{estimate}" for estimate in ("mean", "mean_stderr", "covariance", "covariance_stderr"))

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise unless the value is a vector."""
        if len(shape) != 1:
            raise ValueError(f"a Covariance needs a vector, got shape {shape}. Return a raveled array, or use Moments "
                             "for a scalar.")

    def coordinates(self, name: str) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Return none: the dims are those of the quantity."""
        return {}

    def init(self, value: Array) -> RunningCovariance:
        """Return zero counts and sums."""
        zero, square = jnp.zeros_like(value), jnp.zeros((value.size, value.size), value.dtype)
        return RunningCovariance(jnp.zeros((), jnp.uint32), zero, zero, square, square)

    def update(self, accumulator: RunningCovariance, value: Array) -> RunningCovariance:
        """Return the moments with one more value, by Welford's rule with compensated sums."""
        count = accumulator.count + jnp.uint32(1)
        share = 1 / count.astype(value.dtype)
        before = value - accumulator.mean
        mean, mean_lost = compensated(accumulator.mean, accumulator.mean_lost, before * share)
        added = jnp.outer(before, before) * (1 - share)
        products, products_lost = compensated(accumulator.products, accumulator.products_lost, added)
        return RunningCovariance(count, mean, mean_lost, products, products_lost)

    def result(self, name: str, accumulator: Any) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Return the pooled mean and covariance and their standard errors."""
        lane_mean = accumulator.mean.astype(np.float64) + accumulator.mean_lost
        products = accumulator.products.astype(np.float64) + accumulator.products_lost
        num_seeds, mean = lane_mean.shape[1], lane_mean.mean(axis=1)
        away = lane_mean - mean[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            within = products / accumulator.count.astype(np.float64)[..., None, None]
            between = away[..., :, None] * away[..., None, :] * num_seeds / np.float64(num_seeds - 1)
            stderr = [stderr_over_seeds(values, num_seeds) for values in (lane_mean, within + between)]
        estimates = (mean, stderr[0], (within + between).mean(axis=1), stderr[1])
        dims = (trailing(name, 1),) * 2 + (trailing(name, 2),) * 2
        return {key: pair for key, pair in zip(self.variables(name), zip(dims, estimates, strict=True), strict=True)}
