"""A function of every example, with the memory of some of them at a time."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

# What the numbers between input and output of the examples at hand may take, in bytes, for all lanes that move at once.
# It is shared out by the problem alone, so that the bits of a lane do not depend on the free memory.
_BYTES = 2**28


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
    size = bytes_per_example(function, params, data)
    most = max(_BYTES // lanes_together(size) // max(size, 1), 1)
    return count if count <= most else math.ceil(count / math.ceil(count / most))


def lanes_together(size: int) -> int:
    """Return how many lanes of a network share a tile on a CPU, by the bytes that one example of it takes.

    Lanes side by side share the overhead of a step, which small networks feel; the activations of large ones leave the
    cache, and a convolution whose kernel differs from lane to lane is slow.
    """
    return 8 if size <= 2**13 else 4 if size <= 2**16 else 1


def bytes_per_example(function: Callable[[PyTree, PyTree], Any], params: PyTree, data: PyTree) -> int:
    """Return the size of all numbers computed on the way from an example to its value, found by tracing."""
    leaves, structure = jax.tree.flatten((params, data))
    return _traced_bytes(function, structure, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves))


@functools.lru_cache(maxsize=256)
def _traced_bytes(function: Callable[[PyTree, PyTree], Any], structure: Any, leaves: tuple) -> int:
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
