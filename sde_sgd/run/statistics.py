"""What a run keeps: snapshots, moments over seeds or over time, histograms. All but snapshots need constant memory.

There are two kinds. A *record* is evaluated at the record times and handed to the host at once. An *accumulator*
stays with its lane, is updated as the lane moves and is read at the end. The memory of neither grows with the number
of steps, except that of `Snapshots`, which is what is asked for there.
"""

import abc
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from sde_sgd._core import checks
from sde_sgd._core.random import Draws
from sde_sgd.problems.problem import Problem

Quantity = Callable[..., Any]


def evaluate(function: Quantity, problem: Problem, state: Any, draws: Draws) -> dict[str, Array]:
    """Return the named arrays of a recorded quantity, as floating-point numbers.

    ``function(problem, params)`` may also ask for ``state=``, the whole state of the process, or ``key=``, a typed key
    that is a function of the run's key, the lane and the step.
    """
    asked = inspect.signature(function).parameters
    extra: dict[str, Any] = {}
    if "state" in asked:
        extra["state"] = state
    if "key" in asked:
        extra["key"] = draws.jax_key()
    value = function(problem, state.params, **extra)
    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(value):
        leaf = jnp.asarray(leaf)
        dtype = leaf.dtype if jnp.issubdtype(leaf.dtype, jnp.floating) else jnp.result_type(float)
        named[jax.tree_util.keystr(path, simple=True, separator=".")] = leaf.astype(dtype)
    return named


class AbstractRecord(eqx.Module):
    """A quantity evaluated at the record times."""

    function: eqx.AbstractVar[Quantity]

    @abc.abstractmethod
    def gather(self, num_cells: int, num_seeds: int, num_records: int, example: np.ndarray) -> "Gatherer":
        """Return the host-side store of one of the quantity's arrays."""


class AbstractAccumulator(eqx.Module):
    """A quantity reduced along each lane while it moves."""

    function: eqx.AbstractVar[Quantity]
    every: eqx.AbstractVar[int | None]
    burn_in: eqx.AbstractVar[int]

    @abc.abstractmethod
    def init(self, value: Array) -> PyTree:
        """Return the empty accumulator for values like ``value``."""

    @abc.abstractmethod
    def update(self, accumulator: PyTree, value: Array) -> PyTree:
        """Return the accumulator with one more value."""

    @abc.abstractmethod
    def result(self, name: str, accumulator: Any) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Return named estimates with dims; the accumulator's leaves come with leading axes (cell, seed)."""

    @abc.abstractmethod
    def check(self, shape: tuple[int, ...]) -> None:
        """Raise if values of this shape cannot be accumulated."""

    @abc.abstractmethod
    def coordinates(self, name: str) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Return the coordinates of the dims that `result` uses."""


class Gatherer(abc.ABC):
    """Receives the values of one array, tile by tile, and turns them into variables."""

    @abc.abstractmethod
    def add(self, cells: np.ndarray, seeds: np.ndarray, records: slice, values: np.ndarray) -> None:
        """Take values of shape (lanes, records, ...) of the given cells and seeds."""

    @abc.abstractmethod
    def result(self, name: str) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Return named arrays with their dims after the cell axis."""


def _trailing(name: str, ndim: int) -> tuple[str, ...]:
    return tuple(f"{name}_dim_{axis}" for axis in range(ndim))


class Snapshots(AbstractRecord):
    """The value of a quantity for every seed at every record time.

    Parameters
    ----------
    function
        ``function(problem, params)`` returns an array or a pytree of arrays; see `simulate` for what else it may take.
        A plain function given as a recorded quantity means this.
    """

    function: Quantity = eqx.field(static=True)

    def __check_init__(self):
        check_function(self.function)

    def gather(self, num_cells: int, num_seeds: int, num_records: int, example: np.ndarray) -> Gatherer:
        """Return an array over (cell, seed, record)."""
        return _SnapshotGatherer(np.full((num_cells, num_seeds, num_records, *example.shape), np.nan, example.dtype))


class _SnapshotGatherer(Gatherer):
    def __init__(self, values: np.ndarray):
        self.values = values

    def add(self, cells: np.ndarray, seeds: np.ndarray, records: slice, values: np.ndarray) -> None:
        self.values[cells, seeds, records] = values

    def result(self, name: str) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        return {name: (("seed", "record", *_trailing(name, self.values.ndim - 3)), self.values)}


class EnsembleMoments(AbstractRecord):
    """Mean and variance over the seeds at every record time, with standard errors; no seed is kept.

    Gives ``<name>_mean``, ``<name>_mean_stderr``, ``<name>_variance`` and ``<name>_variance_stderr``. A seed that
    diverged makes the moments of its cell NaN from then on: the moments of the survivors are not those of the process.

    Parameters
    ----------
    function
        As for `Snapshots`.
    """

    function: Quantity = eqx.field(static=True)

    def __check_init__(self):
        check_function(self.function)

    def gather(self, num_cells: int, num_seeds: int, num_records: int, example: np.ndarray) -> Gatherer:
        """Return running moments over (cell, record)."""
        return _MomentGatherer((num_cells, num_records, *example.shape))


class _MomentGatherer(Gatherer):
    """Power sums about the mean of the first tile seen, in float64: additive, and stable since the shift is close."""

    def __init__(self, shape: tuple[int, ...]):
        self.count = np.zeros(shape[:2], np.int64)
        self.shift = np.zeros(shape)
        self.sums = np.zeros((4, *shape))

    def add(self, cells: np.ndarray, seeds: np.ndarray, records: slice, values: np.ndarray) -> None:
        for cell in np.unique(cells):
            lanes = values[cells == cell].astype(np.float64)
            if self.count[cell, records.start] == 0:
                self.shift[cell, records] = lanes.mean(axis=0)
            deviation = lanes - self.shift[cell, records]
            for power in range(4):
                self.sums[power, cell, records] += np.sum(deviation ** (power + 1), axis=0)
            self.count[cell, records] += len(lanes)

    def result(self, name: str) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        count = self.count.reshape(self.count.shape + (1,) * (self.shift.ndim - 2))
        mean, variance, variance_stderr = _sample_moments(count, *self.sums)
        dims = ("record", *_trailing(name, self.shift.ndim - 2))
        return {
            f"{name}_mean": (dims, self.shift + mean),
            f"{name}_mean_stderr": (dims, np.sqrt(variance / count)),
            f"{name}_variance": (dims, variance),
            f"{name}_variance_stderr": (dims, variance_stderr),
        }


def _sample_moments(count: Any, sum1: Any, sum2: Any, sum3: Any, sum4: Any) -> tuple[Any, Any, Any]:
    """Return the mean, the unbiased variance and its standard error from four power sums."""
    mean = sum1 / count
    second = np.maximum(sum2 / count - mean**2, 0.0)
    fourth = sum4 / count - 4 * mean * sum3 / count + 6 * mean**2 * sum2 / count - 3 * mean**4
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.where(count > 1, second * count / (count - 1), np.nan)
        # Var(s^2) = (mu4 - sigma^4 (n-3)/(n-1)) / n
        spread = np.maximum(fourth - second**2 * (count - 3) / (count - 1), 0.0)
        variance_stderr = np.where(count > 1, np.sqrt(spread / count), np.nan)
    return mean, variance, variance_stderr


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

    function: Quantity = eqx.field(static=True)
    every: int | None = eqx.field(static=True, default=None)
    burn_in: int = eqx.field(static=True, default=0)

    def __check_init__(self):
        check_function(self.function)
        check_cadence(self.every, self.burn_in)

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
        mean, mean_lost = _compensated(accumulator.mean, accumulator.mean_lost, before / count.astype(value.dtype))
        squares, squares_lost = _compensated(accumulator.squares, accumulator.squares_lost, before * (value - mean))
        return RunningMoments(count, mean, mean_lost, squares, squares_lost)

    def result(self, name: str, accumulator: RunningMoments) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Return the pooled moments and their standard errors."""
        lane_mean = accumulator.mean.astype(np.float64) + accumulator.mean_lost
        squares = accumulator.squares.astype(np.float64) + accumulator.squares_lost
        count = accumulator.count.reshape(accumulator.count.shape + (1,) * (lane_mean.ndim - 2)).astype(np.float64)
        num_seeds = lane_mean.shape[1]
        mean = lane_mean.mean(axis=1)
        # Second moment of each lane about the pooled mean: its average over lanes is the variance.
        about_mean = squares / count + (lane_mean - mean[:, None]) ** 2
        dims = _trailing(name, lane_mean.ndim - 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            stderr = [_stderr_over_seeds(values, num_seeds) for values in (lane_mean, about_mean)]
        return {
            f"{name}_mean": (dims, mean),
            f"{name}_mean_stderr": (dims, stderr[0]),
            f"{name}_variance": (dims, about_mean.mean(axis=1)),
            f"{name}_variance_stderr": (dims, stderr[1]),
        }


def _compensated(total: Array, lost: Array, addend: Array) -> tuple[Array, Array]:
    """Add to a running sum and keep what the addition rounded away (Kahan-Neumaier)."""
    exact = addend + lost
    new = total + exact
    return new, exact - (new - total)


def _stderr_over_seeds(values: np.ndarray, num_seeds: int) -> np.ndarray:
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

    function: Quantity = eqx.field(static=True)
    edges: tuple[float, ...] = eqx.field(static=True, converter=lambda edges: tuple(float(edge) for edge in edges))
    every: int | None = eqx.field(static=True, default=None)
    burn_in: int = eqx.field(static=True, default=0)

    def __check_init__(self):
        check_function(self.function)
        check_cadence(self.every, self.burn_in)
        if len(self.edges) < 2 or not np.all(np.diff(self.edges) > 0):
            raise ValueError(f"edges must be at least two increasing numbers, got {self.edges}.")

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

    def result(self, name: str, accumulator: np.ndarray) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Return the pooled density, its standard error and the shares outside."""
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = accumulator / accumulator.sum(axis=-1, keepdims=True)
        inner = shares[..., 1:-1] / np.diff(self.edges)
        bins = (f"{name}_bin",)
        return {
            f"{name}_density": (bins, inner.mean(axis=1)),
            f"{name}_density_stderr": (bins, _stderr_over_seeds(inner, shares.shape[1])),
            f"{name}_outside": ((f"{name}_side",), shares[..., [0, -1]].mean(axis=1)),
        }


def check_function(function: Any) -> None:
    """Raise unless a recorded quantity can be called."""
    if not callable(function):
        raise TypeError(f"a recorded quantity must be a function of (problem, params), got {function!r}.")


def check_cadence(every: Any, burn_in: Any) -> None:
    """Raise unless the cadence of an accumulator is a positive int or None and its burn-in is not negative."""
    if every is not None:
        checks.integer("every", every)
    checks.integer("burn_in", burn_in, minimum=0)
