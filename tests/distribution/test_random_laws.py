"""The laws of drawn numbers, at fixed keys: alpha 1e-5 for tests of fit, five standard errors for averages."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sde_sgd._core import permutation
from sde_sgd._core.permutation import permuted
from sde_sgd._core.random import Draws, lane_key

ALPHA = 1e-5
SIGMAS = 5.0


def sample(draw, num_steps, num_lanes, lane_of=lambda lane: lane, step_of=lambda step: step):
    """``draw(draws)`` at each step of each lane, in the order step, lane, ..."""

    @jax.jit  # all are arguments, because XLA would evaluate draws from constants while it compiles, and slowly
    def all_draws(root, steps, lanes):
        keys = lane_key(root, lane_of(lanes))
        return jax.vmap(lambda step: jax.vmap(lambda key: draw(Draws(key, step_of(step))))(keys))(steps)

    steps, lanes = np.arange(num_steps, dtype=np.uint32), np.arange(num_lanes, dtype=np.uint32)
    return np.asarray(all_draws(jax.random.key(2024), steps, lanes))


def uniformity(codes, cells):
    """The p-value of the chi-square test that all ``cells`` codes are equally likely."""
    return scipy.stats.chisquare(np.bincount(codes.ravel(), minlength=cells)).pvalue


# Bits, uniforms, integers


def test_bytes_are_uniform():
    words = sample(lambda d: d.bits(4), 64, 1024)
    for byte in range(4):
        for word in range(4):
            assert uniformity(words[..., word] >> np.uint32(8 * byte) & np.uint32(255), 256) > ALPHA


def test_uniforms_are_uniform():
    assert scipy.stats.kstest(sample(lambda d: d.uniforms(5), 50, 1000).ravel(), "uniform").pvalue > ALPHA


@pytest.mark.parametrize("maximum", [7, 1000])
def test_indices_are_uniform(maximum):
    assert uniformity(sample(lambda d: d.indices(8, maximum), 64, 1024), maximum) > ALPHA


def test_indices_favour_no_third_of_a_large_range():
    third = 2**29
    indices = sample(lambda d: d.indices(8, 3 * third), 16, 1024)
    assert uniformity(indices // third, 3) > ALPHA
    remainders = sample(lambda d: d.bits(8) % np.uint32(3 * third), 16, 1024)
    assert uniformity(remainders // np.uint32(third), 3) < ALPHA  # teeth


# Normals


def fit(x):
    return scipy.stats.kstest(x.ravel(), "norm").pvalue


def test_normals_are_normal():
    x = sample(lambda d: d.normals(4), 50, 1000)
    assert fit(x) > ALPHA
    assert fit(1.05 * x) < ALPHA and fit(x + 0.02) < ALPHA  # teeth


def test_normals_are_normal_in_float64(x64):
    assert fit(sample(lambda d: d.normals(4, dtype=jnp.float64), 50, 1000)) > ALPHA


def largest_correlation(x):
    """The largest z-score among correlations of a table (step, lane) with its shifts, as numbers and as squares."""
    scores = []
    for table in (x, (x**2 - 1) / np.sqrt(2)):
        for step, lane in ((1, 0), (2, 0), (3, 0), (0, 1), (0, 2), (1, 1), (x.shape[0] // 2, 0), (0, x.shape[1] // 2)):
            products = table[step:, lane:] * table[: table.shape[0] - step, : table.shape[1] - lane]
            scores.append(np.sum(products, dtype=np.float64) / np.sqrt(products.size))
    return np.max(np.abs(scores))


def test_steps_lanes_and_slots_are_uncorrelated():
    assert largest_correlation(sample(lambda d: d.normals(1)[0], 2048, 512)) < SIGMAS
    assert largest_correlation(sample(lambda d: d.normals(1, slot=7)[0], 512, 2048)) < SIGMAS
    slots = sample(lambda d: d.normals(512), 1, 2048)[0]
    assert largest_correlation(slots) < SIGMAS


@pytest.mark.parametrize("shared", ["lane_of", "step_of"])
def test_teeth_a_shared_address_correlates(shared):
    assert largest_correlation(sample(lambda d: d.normals(1)[0], 256, 256, **{shared: lambda n: n // 2})) > SIGMAS


# Stable numbers


def stable_scores(x, alpha):
    """z-scores of E cos kX against exp(-|k|**alpha), and of the mass beyond some large |x|."""
    scores = []
    for k in (0.1, 0.5, 1.0, 2.0):
        cosine = np.cos(np.float64(k) * x)
        scores.append((cosine.mean() - np.exp(-(k**alpha))) / (cosine.std() / np.sqrt(x.size)))
    beyond = scipy.stats.levy_stable.isf(1e-3, alpha, 0.0)
    excess = np.mean(np.abs(x) > beyond) - 2e-3
    return np.abs([*scores, excess / np.sqrt(2e-3 / x.size)])


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5, 2.0])
def test_stable_numbers_have_their_characteristic_function_and_tail(alpha):
    x = sample(lambda d: d.stable(4, alpha), 100, 1000).astype(np.float64).ravel()
    assert np.all(stable_scores(x, alpha) < SIGMAS)
    assert np.any(stable_scores(x / np.sqrt(2), alpha) > SIGMAS)  # teeth: variance 1 at alpha 2


# Permutations


def permutation_codes(index, num, num_keys):
    """The images of ``index`` under many permutations, read as one number in base ``num``."""

    @jax.jit
    def images(root, keys):
        return jax.vmap(lambda a, b: permuted(np.asarray(index, np.int32), num, a, b))(*lane_key(root, keys))

    keys = np.arange(num_keys, dtype=np.uint32)
    return np.asarray(images(jax.random.key(7), keys), np.int64) @ num ** np.arange(len(index))


def tuple_uniformity(num, num_keys):
    """The p-value that the first three (two) images are a uniform triple (pair) of different elements."""
    size = min(num, 3)
    possible = np.array(list(itertools.permutations(range(num), size))) @ num ** np.arange(size)
    return uniformity(np.searchsorted(np.sort(possible), permutation_codes(range(size), num, num_keys)), len(possible))


@pytest.mark.parametrize("num", [2, 3, 5, 7, 8, 12])
def test_pairs_and_triples_of_a_permutation_are_uniform(num, monkeypatch):
    assert tuple_uniformity(num, 2**20) > ALPHA
    monkeypatch.setattr(permutation, "ROUNDS", 5)
    assert tuple_uniformity(num, 2**17) < ALPHA  # teeth


@pytest.mark.parametrize("place", [0, 57, 99])
def test_each_place_of_a_permutation_is_uniform(place):
    assert uniformity(permutation_codes([place], 100, 2**20), 100) > ALPHA
