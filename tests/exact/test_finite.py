"""Whether a pytree is finite: every number counts, wherever it lies and however it is looked at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sde_sgd._core import tree

SHAPES = [(), (1,), (63,), (64,), (65,), (79,), (256,), (8, 9), (65, 64), (3, 40, 41)]


@pytest.mark.parametrize("shape", SHAPES)
def test_one_bad_number_anywhere_is_found(shape):
    """Several lanes side by side, one bad number each, and one lane without."""
    size = int(np.prod(shape))
    places = np.unique(np.linspace(0, size - 1, 40).astype(int))
    lanes = np.ones((len(places) + 1, size), np.float32)
    lanes[np.arange(len(places)), places] = np.resize([np.nan, np.inf, -np.inf], len(places))
    found = jax.jit(jax.vmap(tree.all_finite))(jnp.asarray(lanes.reshape(-1, *shape)))
    np.testing.assert_array_equal(found, [False] * len(places) + [True])


def test_every_leaf_counts():
    good, bad = jnp.ones(70), jnp.ones(70).at[69].set(jnp.nan)
    assert bool(tree.all_finite({"a": good, "b": jnp.float32(1)}))
    assert not bool(tree.all_finite({"a": good, "b": bad})) and not bool(tree.all_finite({"a": bad, "b": good}))
    assert not bool(tree.all_finite({"a": good, "b": jnp.float32(np.inf)}))
