"""Normal and stable numbers in the shape of a pytree, from one lane's draws."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import PyTree

from sde_sgd._core.random import Draws, slots_for_normals


def _dtype(leaf: Any) -> Any:
    """Return the dtype to draw in: half-precision params take float32 draws, rounded."""
    return jnp.promote_types(leaf.dtype, jnp.float32)


def slots_for_normal_like(tree: PyTree) -> int:
    """Return how many slots `normal_like` takes."""
    return sum(slots_for_normals(leaf.size, _dtype(leaf)) for leaf in jax.tree.leaves(tree))


slots_for_stable_like = slots_for_normal_like


def normal_like(draws: Draws, tree: PyTree, slot: Any = 0) -> PyTree:
    """Return independent standard normals of the structure, shapes and dtypes of ``tree``."""
    return _like(draws.normals, tree, slot)


def stable_like(draws: Draws, tree: PyTree, alpha: Any, slot: Any = 0) -> PyTree:
    """Return independent symmetric alpha-stable numbers of the structure, shapes and dtypes of ``tree``."""
    return _like(lambda count, at, dtype: draws.stable(count, alpha, at, dtype), tree, slot)


def _like(draw: Callable[[int, Any, Any], Array], tree: PyTree, slot: Any) -> PyTree:
    leaves, structure = jax.tree.flatten(tree)
    numbers, used = [], 0
    for leaf in leaves:
        values = draw(leaf.size, slot + used, _dtype(leaf))
        numbers.append(values.reshape(leaf.shape).astype(leaf.dtype))
        used += slots_for_normals(leaf.size, _dtype(leaf))
    return jax.tree.unflatten(structure, numbers)
