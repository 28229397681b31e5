"""Accumulators: moments and histograms over time, in constant memory, pooled over the seeds."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sde_sgd._core.functions import as_pytree
from sde_sgd.run.statistics import (
    AbstractAccumulator,
    Quantity,
    check_cadence,
    check_function,
    moment_names,
    trailing,
)


class RunningMoments(NamedTuple):
    """Count, mean and sum of squared deviations, the last two with the rounding they lost."""

    count: Array
    mean: Array
    mean_lost: Array
    squares: Array
    squares_lost: Array


class Moments(AbstractAccumulator):
    """Mean and variance over time, pooled over the seeds, with standard errors from the spread between seeds.

    Gives ``<name>_mean``, ``<name>_mean_stderr``, ``<name>_variance`` and ``<name>_variance_stderr``. Values along one
    lane are correlated; lanes are not, so the standard errors come from the lanes alone and need at least two seeds.

    Parameters
    ----------
    function
        As for `Snapshots`.
    every
        Steps between two values; by default those between two records. It must divide them.
    burn_in
        Steps left out at the start.
    """

    function: Quantity = eqx.field(converter=as_pytree)
    every: int | None = eqx.field(static=True, default=None)
    burn_in: int = eqx.field(static=True, default=0)

    def __check_init__(self):
        check_function(self.function)
        check_cadence(self.every, self.burn_in)

    def variables(self, name: str) -> tuple[str, ...]:
        """Return the names of the moments and their standard errors."""
        return moment_names(name)

    def check(self, shape: tuple[int, ...]) -> None:
        """Accept values of any shape."""

    def coordinates(self, name: str) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Return none: the dims are those of the quantity."""
        return {}

    def init(self, value: Array) -> RunningMoments:
        """Return zero counts and sums."""
        zero = jnp.zeros_like(value)
        return RunningMoments(jnp.zeros((), jnp.uint32), zero, zero, zero, zero)

    def update(self, accumulator: RunningMoments, value: Array) -> RunningMoments:
        """Return the moments with one more value, by Welford's rule with compensated sums."""
        count = accumulator.count + jnp.uint32(1)
        before = value - accumulator.mean
        mean, mean_lost = compensated(accumulator.mean, accumulator.mean_lost, before / count.astype(value.dtype))
        squares, squares_lost = compensated(accumulator.squares, accumulator.squares_lost, before * (value - mean))
        return RunningMoments(count, mean, mean_lost, squares, squares_lost)

    def result(self, name: str, accumulator: Any) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Return the pooled moments and their standard errors."""
        lane_mean = accumulator.mean.astype(np.float64) + accumulator.mean_lost
        squares = accumulator.squares.astype(np.float64) + accumulator.squares_lost
        count = accumulator.count.reshape(accumulator.count.shape + (1,) * (lane_mean.ndim - 2)).astype(np.float64)
        num_seeds = lane_mean.shape[1]
        mean = lane_mean.mean(axis=1)
        # Second moment of each lane about the pooled mean: its average over lanes is the variance.
        about_mean = squares / count + (lane_mean - mean[:, None]) ** 2
        dims = trailing(name, lane_mean.ndim - 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            stderr = [stderr_over_seeds(values, num_seeds) for values in (lane_mean, about_mean)]
        estimates = (mean, stderr[0], about_mean.mean(axis=1), stderr[1])
        return {key: (dims, values) for key, values in zip(moment_names(name), estimates, strict=True)}


def compensated(total: Array, lost: Array, addend: Array) -> tuple[Array, Array]:
    """Add to a running sum and keep what the addition rounded away (Kahan-Neumaier)."""
    exact = addend + lost
    new = total + exact
    return new, exact - (new - total)


def stderr_over_seeds(values: np.ndarray, num_seeds: int) -> np.ndarray:
    """Return the standard error of the mean over the second axis; NaN for a single seed."""
    if num_seeds < 2:
        return np.full(values.mean(axis=1).shape, np.nan)
    return values.std(axis=1, ddof=1) / np.sqrt(num_seeds)


class Histogram(AbstractAccumulator):
    """Distribution of a scalar over time and seeds, with standard errors from the spread between seeds.

    Gives ``<name>_density`` and ``<name>_density_stderr`` over the bins (probability per unit of the quantity) and
    ``<name>_outside``, the shares below the first and above the last edge.

    Parameters
    ----------
    function
        ``function(problem, params)`` returns a scalar.
    edges
        Increasing bin edges.
    every, burn_in
        As for `Moments`.
    """

    function: Quantity = eqx.field(converter=as_pytree)
    edges: tuple[float, ...] = eqx.field(static=True, converter=lambda edges: tuple(float(edge) for edge in edges))
    every: int | None = eqx.field(static=True, default=None)
    burn_in: int = eqx.field(static=True, default=0)

    def __check_init__(self):
        check_function(self.function)
        check_cadence(self.every, self.burn_in)
        if len(self.edges) < 2 or not np.all(np.diff(self.edges) > 0):
            raise ValueError(f"edges must be at least two increasing numbers, got {self.edges}.")

    def variables(self, name: str) -> tuple[str, ...]:
        """Return the names of the density, its standard error and the shares outside."""
        return f"{name}_density", f"{name}_density_stderr", f"{name}_outside"

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise unless the value is a scalar."""
        if shape != ():
            raise ValueError(f"a Histogram needs a scalar, got shape {shape}. Record one component at a time.")

    def coordinates(self, name: str) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Return the centres and widths of the bins, and the names of the two sides."""
        edges = np.asarray(self.edges)
        bins = (f"{name}_bin",)
        return {
            f"{name}_bin": (bins, (edges[1:] + edges[:-1]) / 2),
            f"{name}_bin_width": (bins, np.diff(edges)),
            f"{name}_side": ((f"{name}_side",), np.asarray(["below", "above"])),
        }

    def init(self, value: Array) -> Array:
        """Return zero counts of the bins and of the two sides."""
        return jnp.zeros((len(self.edges) + 1,), jnp.uint32)

    def update(self, accumulator: Array, value: Array) -> Array:
        """Return the counts with one more value."""
        bin_index = jnp.sum(value >= jnp.asarray(self.edges, value.dtype), dtype=jnp.int32)
        return accumulator + (jnp.arange(len(self.edges) + 1, dtype=jnp.int32) == bin_index).astype(jnp.uint32)

    def result(self, name: str, accumulator: Any) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Return the pooled density, its standard error and the shares outside."""
        with np.errstate(invalid="ignore", divide="ignore"):
            counts = np.asarray(accumulator)
            shares = counts / counts.sum(axis=-1, keepdims=True)
        inner = shares[..., 1:-1] / np.diff(self.edges)
        bins = (f"{name}_bin",)
        return {
            f"{name}_density": (bins, inner.mean(axis=1)),
            f"{name}_density_stderr": (bins, stderr_over_seeds(inner, len(shares[0]))),
            f"{name}_outside": ((f"{name}_side",), shares[..., [0, -1]].mean(axis=1)),
        }
