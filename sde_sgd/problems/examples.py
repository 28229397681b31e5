"""A function of every example, with the memory of some of them at a time."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

# What the numbers between input and output of the examples at hand may take for one lane, in bytes. A function of the
# problem alone, so that the bits of a lane do not depend on the machine: a tile of 16 lanes stays below 256 MiB.
_LANE_BYTES = 2**24


def mapped(function: Callable[[PyTree, PyTree], Any], params: PyTree, data: PyTree) -> Any:
    """Return ``function(params, example)`` for every example, stacked.

    Where the numbers in between would take too much memory for all examples at once, they come in chunks of equal
    length; differentiated, a chunk is computed again.
    """
    count = jax.tree.leaves(data)[0].shape[0]
    rows = rows_at_once(function, params, data)
    each = jax.vmap(function, in_axes=(None, 0))
    if rows == count:
        return each(params, data)
    starts = chunk_starts(count, rows)
    _, values = jax.lax.scan(
        lambda _, start: ((), jax.checkpoint(lambda p, d: each(p, slice_of(d, start, rows)))(params, data)), (), starts
    )
    overlap = len(starts) * rows - count
    return jax.tree.map(lambda leaf: jnp.concatenate([
        leaf[:-1].reshape(-1, *leaf.shape[2:]), leaf[-1, overlap:]]), values)


def chunk_starts(count: int, rows: int) -> Array:
    """Return where the chunks begin; the last one ends with the data and may overlap the one before."""
    return jnp.minimum(jnp.arange(-(-count // rows)) * rows, count - rows)


def slice_of(data: PyTree, start: Any, rows: int) -> PyTree:
    """Return ``rows`` consecutive examples."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, rows), data)


def rows_at_once(function: Callable[[PyTree, PyTree], Any], params: PyTree, data: PyTree) -> int:
    """Return how many examples are taken at a time: all of them, or the length of equal chunks."""
    count = jax.tree.leaves(data)[0].shape[0]
    if count == 1:
        return 1
    leaves, structure = jax.tree.flatten((params, data))
    shapes = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    most = max(_LANE_BYTES // max(_bytes_per_example(function, structure, shapes), 1), 1)
    return count if count <= most else math.ceil(count / math.ceil(count / most))


@functools.lru_cache(maxsize=256)
def _bytes_per_example(function: Callable[[PyTree, PyTree], Any], structure: Any, leaves: tuple) -> int:
    """Return the size of all numbers computed on the way from an example to its value."""
    arrays = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in leaves]
    params, data = jax.tree.unflatten(structure, arrays)
    example = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), data)
    return _bytes(jax.make_jaxpr(function)(params, example).jaxpr)


def _bytes(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        inner = [_bytes(one) for one in _inner(tuple(equation.params.values()))]
        total += sum(inner) or sum(_size(variable.aval) for variable in equation.outvars)
    return total


def _inner(values: Any) -> list[Any]:
    """Return the jaxprs among the parameters of an equation: the bodies of calls, loops and branches."""
    if isinstance(values, tuple | list):
        return [one for value in values for one in _inner(value)]
    jaxpr = getattr(values, "jaxpr", values)
    return [jaxpr] if hasattr(jaxpr, "eqns") else []


def _size(aval: Any) -> int:
    return math.prod(aval.shape) * getattr(aval.dtype, "itemsize", 8) if hasattr(aval, "shape") else 0
