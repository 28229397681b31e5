"""Reshuffled SGD has the variance of its phase; records at the ends of epochs show next to nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sde_sgd as ss
from sde_sgd import theory

THRESHOLD, RATE, BATCH, CURVATURE, NUM_SEEDS = 5.0, 0.1, 3, 0.4, 4096


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_the_variance_of_every_phase(momentum):
    offsets = np.random.default_rng(0).normal(size=24)
    offsets -= offsets.mean()
    problem = ss.problems.quadratic(jnp.asarray([[CURVATURE]]), jnp.asarray(offsets, jnp.float32)[:, None])
    noise = theory.sampling_factor(24, BATCH, replacement=False) * np.mean(offsets**2)
    expected = theory.epoch_phase_variance(CURVATURE, noise, RATE, 8, momentum=momentum)

    def scores(scheme):
        ds = ss.simulate(problem, ss.SGD(RATE, scheme, momentum=momentum), num_seeds=NUM_SEEDS, num_steps=8 * 20,
                         record_every=1, record={"w": lambda problem, w: w[0]}, key=jax.random.key(0))
        squares = ds.w.values[:, -8:].astype(np.float64) ** 2
        return np.abs(squares.mean(axis=0) - expected) / (squares.std(axis=0) / NUM_SEEDS**0.5)

    assert scores(ss.EpochShuffle(BATCH)).max() < THRESHOLD
    assert scores(ss.WithoutReplacement(BATCH)).min() > THRESHOLD  # teeth: independent batches have none of it
    assert expected[-1] < 0.2 * expected.max()
