"""A bare potential as a problem of one example, for Langevin dynamics and first tests of escape."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from sde_sgd._core import checks
from sde_sgd.problems.problem import Problem


@dataclasses.dataclass(frozen=True)
class _Landscape:
    function: Callable[[PyTree], Array]

    def __call__(self, params: PyTree, example: Array) -> Array:
        return self.function(params)


@dataclasses.dataclass(frozen=True, eq=False)
class Constant:
    """Start every seed at the same params. Compared by value, so that equal problems share their compiled programs."""

    params: PyTree

    def __post_init__(self):
        object.__setattr__(self, "params", jax.tree.map(jnp.asarray, self.params))

    def __call__(self, key: Array) -> PyTree:
        """Return the params; the key is not used."""
        return self.params

    @functools.cached_property
    def _value(self) -> tuple[Any, ...]:
        leaves, structure = jax.tree.flatten(self.params)
        return structure, *((leaf.shape, str(leaf.dtype), np.asarray(leaf).tobytes()) for leaf in leaves)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


def potential(function: Callable[[PyTree], Any], *, start: Any, minimum: Any = None, saddle: Any = None) -> Problem:
    """Make a problem of one example from a bare potential U(params).

    Parameters
    ----------
    function
        ``U(params) -> scalar``. Pass the same function object again to reuse compiled programs.
    start
        Where every seed starts: a number, an array or a pytree of floating-point arrays.
    minimum, saddle
        Facts about U, where they are known: the minimum of the basin and the saddle over which it is left. Of the
        structure of ``start``, to whose dtype they are converted.

    Returns
    -------
    Problem
        With the facts, and ``function`` as its ``potential``.

    Raises
    ------
    TypeError, ValueError
        If ``function`` cannot be called, does not return a scalar, ``start`` is not floating-point, or a fact has other
        shapes than ``start``.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> well = ss.problems.potential(lambda w: (w**2 - 1) ** 2, start=-1.0)
    >>> float(well.gradient(0.5))
    -1.5
    """
    if not callable(function):
        raise TypeError(f"function must be callable, got {function!r} of type {type(function).__name__}.")
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf) if hasattr(leaf, "dtype") else jnp.asarray(leaf, jnp.float32),
                          start)
    checks.floating_params(params)
    return Problem(example_loss=_Landscape(function), data=jnp.zeros((1,), jnp.float32), init=Constant(params),
                   minimum=_fact("minimum", minimum, params), saddle=_fact("saddle", saddle, params),
                   potential=function)


def _fact(name: str, value: Any, params: PyTree) -> PyTree:
    """Return ``value`` in the dtypes of ``params``; raise if its shapes are others."""
    if value is None:
        return None
    shapes, wanted = (jax.tree.map(jnp.shape, tree) for tree in (value, params))
    if shapes != wanted:
        raise ValueError(f"{name} must have the shapes of start, {wanted}, got {shapes}.")
    return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), value, params)
