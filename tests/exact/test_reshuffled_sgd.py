"""The modified loss of reshuffled SGD on a network, over every order of its batches: orders 2, 2 and 3, no sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sde_sgd.papers.smith2020 import shuffling

RATES = (0.01, 0.005, 0.0025)


@pytest.fixture(scope="module")
def problem():
    with jax.enable_x64(True):
        yield shuffling.setting(48, 5, jax.random.key(3))


def test_the_mean_iterate_follows_the_modified_loss_to_third_order(problem):
    """Without a correction, and (the teeth) with that of full gradients alone, the order is two."""
    found = np.array([shuffling.distances(*problem, rate, 3) for rate in RATES])
    slopes = np.log2(found[:-1] / found[1:])
    for slope, order in zip(slopes[-1], (2, 2, 3), strict=True):
        assert slope == pytest.approx(order, abs=0.12)
    assert np.all(found[:, 2] < 0.2 * found[:, 1])


def test_the_penalty_of_the_batches_has_its_mean_over_partitions(problem):
    found = shuffling._partitions(*problem, 16, jax.random.key(0))
    assert abs(found.mean - found.exact) < 5 * found.stderr < 0.1 * found.exact
    # Teeth: the factor of batches drawn with replacement is refused.
    full = float(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(problem[0].gradient(problem[1]))))
    with_replacement = full + (found.exact - full) * 47 / 32
    assert abs(found.mean - with_replacement) > 5 * found.stderr
