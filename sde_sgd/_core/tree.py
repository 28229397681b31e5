"""Pytree arithmetic that keeps every leaf's dtype."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


def axpy(scale: Any, direction: PyTree, base: PyTree) -> PyTree:
    """Return ``base + scale * direction`` leaf by leaf, each in the dtype of ``base``."""
    return jax.tree.map(lambda d, b: b + jnp.asarray(scale, b.dtype) * d.astype(b.dtype), direction, base)


def scale(factor: Any, tree: PyTree) -> PyTree:
    """Return ``factor * tree`` leaf by leaf, each in its own dtype."""
    return jax.tree.map(lambda leaf: jnp.asarray(factor, leaf.dtype) * leaf, tree)


def zeros_like(tree: PyTree) -> PyTree:
    """Return zeros of the same structure, shapes and dtypes."""
    return jax.tree.map(jnp.zeros_like, tree)


def squared_norm(tree: PyTree) -> Float[Array, ""]:
    """Return the sum of squares over all leaves."""
    return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree))  # pyright: ignore[reportReturnType]


def size(tree: PyTree) -> int:
    """Return the number of scalars in the tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def num_bytes(tree: PyTree) -> int:
    """Return the bytes that the arrays of the tree take, or those of their shapes would."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def all_finite(tree: PyTree) -> Array:
    """Return whether every number of the tree is finite."""
    checks = [_finite(leaf) for leaf in jax.tree.leaves(tree)]
    result = checks[0]
    for check in checks[1:]:
        result = result & check
    return result


_VECTOR = 16


def _finite(leaf: Array) -> Array:
    """Return whether an array is finite.

    A CPU reduces the innermost axis one number at a time, and the others in whole vectors: a large matrix goes first
    along its columns, and a long vector in rows of a register's length. The barrier keeps XLA from joining the two.
    """
    each = jnp.isfinite(leaf)
    if jax.default_backend() != "cpu":
        return jnp.all(each)
    if leaf.ndim == 1 and leaf.size >= 4 * _VECTOR:
        whole = leaf.size - leaf.size % _VECTOR
        rows = each[:whole].reshape(-1, _VECTOR)
        return jnp.all(jax.lax.optimization_barrier(jnp.all(rows, axis=0))) & jnp.all(each[whole:])
    if leaf.ndim > 1 and leaf.size > 4096:
        each = jax.lax.optimization_barrier(jnp.all(each, axis=0))
    return jnp.all(each)


def select(condition: Array, if_true: PyTree, if_false: PyTree) -> PyTree:
    """Return ``if_true`` where the scalar ``condition`` holds, leaf by leaf, else ``if_false``."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)


def dot(first: PyTree, second: PyTree) -> Float[Array, ""]:
    """Return the sum of products over all leaves."""
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), first, second)
    return sum(jax.tree.leaves(products))  # pyright: ignore[reportReturnType]
