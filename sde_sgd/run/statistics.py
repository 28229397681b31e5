"""What a run may keep: the two kinds of statistics, and how a quantity is evaluated.

There are two kinds. A *record* is evaluated at the record times and handed to the host at once. An *accumulator*
stays with its lane, is updated as the lane moves and is read at the end. The memory of neither grows with the number
of steps, except that of `Snapshots`, which is what is asked for there.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from sde_sgd._core import checks
from sde_sgd._core.functions import parameters, unwrapped
from sde_sgd._core.random import Draws
from sde_sgd.problems.problem import Problem

Quantity = Callable[..., Any]


def evaluate(function: Quantity, problem: Problem, state: Any, draws: Draws) -> dict[str, Array]:
    """Return the named arrays of a recorded quantity, as floating-point numbers.

    ``function(problem, params)`` may also ask for ``state=``, the whole state of the process, or ``key=``, a typed key
    that is a function of the run's key, the lane and the step.
    """
    asked = parameters(function)
    extra: dict[str, Any] = {}
    if "state" in asked:
        extra["state"] = state
    if "key" in asked:
        extra["key"] = draws.jax_key()
    value = unwrapped(function)(problem, state.params, **extra)
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
    def variables(self, name: str) -> tuple[str, ...]:
        """Return the names of the variables that one of the quantity's arrays gives."""

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
    def variables(self, name: str) -> tuple[str, ...]:
        """Return the names of the variables that one of the quantity's arrays gives."""

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


def trailing(name: str, ndim: int) -> tuple[str, ...]:
    """Return the names of a quantity's own dims."""
    return tuple(f"{name}_dim_{axis}" for axis in range(ndim))


def joined(name: str, part: str) -> str:
    """Return the name of one array of a quantity that is a pytree."""
    return f"{name}.{part}" if part else name


def moment_names(name: str) -> tuple[str, ...]:
    """Return the names of a mean and a variance with their standard errors."""
    return tuple(f"{name}_{estimate}" for estimate in ("mean", "mean_stderr", "variance", "variance_stderr"))


def check_function(function: Any) -> None:
    """Raise unless a recorded quantity can be called."""
    if not callable(function):
        raise TypeError(f"a recorded quantity must be a function of (problem, params), got {function!r}.")


def check_cadence(every: Any, burn_in: Any) -> None:
    """Raise unless the cadence of an accumulator is a positive int or None and its burn-in is not negative."""
    if every is not None:
        checks.integer("every", every)
    checks.integer("burn_in", burn_in, minimum=0)
