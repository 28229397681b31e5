"""The standard errors and intervals of curvature estimates hold the exact value as often as they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import sde_sgd as ss
from sde_sgd import curvature

ALPHA = 1e-5
NUM_TRIALS = 1000


@pytest.fixture(scope="module")
def case():
    """Return logistic regression away from its minimum, with its dense matrices."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 24)) * np.linspace(0.2, 2, 24)
    problem = ss.problems.logistic_regression(features.astype(np.float32), rng.integers(0, 2, 60))
    params = jnp.asarray(rng.normal(size=24) / 3, jnp.float32)
    hessian = np.asarray(curvature.dense_matrix(problem, params), np.float64)
    noise = np.asarray(curvature.noise_covariance(problem, params), np.float64)
    return problem, params, hessian, noise, np.asarray(problem.gradient(params), np.float64)


def trials(function):
    keys = jax.random.split(jax.random.key(7), NUM_TRIALS)
    return [np.asarray(part, np.float64) for part in jax.jit(jax.vmap(function))(keys)]


def misses(estimate, exact, num_probes, stretch=1.0):
    value, stderr = estimate
    return np.mean(np.abs(value - exact) > stretch * stats.t.ppf(0.975, num_probes - 1) * stderr)


def allowed(share):
    """Return the largest share of misses among the trials that a true share does not refute."""
    return stats.binom.isf(ALPHA, NUM_TRIALS, share) / NUM_TRIALS


def unbiased(values, exact):
    return abs(values.mean() - exact) < 5 * values.std() / NUM_TRIALS**0.5


@pytest.mark.parametrize("rank", [0, 5])
def test_trace(case, rank):
    problem, params, hessian, *_ = case
    estimate = trials(lambda key: curvature.trace(problem, params, key=key, rank=rank))
    assert unbiased(estimate[0], np.trace(hessian))
    assert misses(estimate, np.trace(hessian), 20) < allowed(0.06)
    assert misses(estimate, np.trace(hessian), 20, stretch=20**-0.5) > allowed(0.06)  # teeth
    assert misses(estimate, np.trace(hessian), 20, stretch=1.5) < 0.05 * 0.5


def test_spectral_density(case):
    problem, params, hessian, *_ = case
    values, width = np.linalg.eigvalsh(hessian), 0.05
    exact = np.mean(np.exp(-((0.1 - values) ** 2) / 2 / width**2)) / width / (2 * np.pi) ** 0.5

    def density(key):
        spectrum = curvature.spectral_density(problem, params, key=key, num_steps=24)
        value, stderr = spectrum.density(jnp.array([0.1]), width)
        return value[0], stderr[0]

    estimate = trials(density)
    assert unbiased(estimate[0], exact)
    assert misses(estimate, exact, 8) < allowed(0.07)
    assert misses(estimate, exact, 8, stretch=8**-0.5) > allowed(0.07)


def test_critical_batch_size(case):
    """The samples are skewed: the docstring admits to one miss in ten."""
    problem, params, hessian, noise, gradient = case
    exact = np.sum(hessian * noise) / (gradient @ hessian @ gradient)
    estimate = trials(lambda key: curvature.critical_batch_size(problem, params, key=key, num_probes=32))
    assert unbiased(estimate[0], exact)
    assert misses(estimate, exact, 32) < allowed(0.1)
    assert misses(estimate, exact, 32, stretch=0.5) > allowed(0.1)


def test_noise_alignment(case):
    problem, params, hessian, noise, _ = case
    exact = np.sum(hessian * noise) / np.linalg.norm(hessian) / np.linalg.norm(noise)
    estimate = trials(lambda key: curvature.noise_alignment(problem, params, key=key))
    assert abs(estimate[0].mean() - exact) < 0.2 * estimate[0].std()  # the jackknife leaves a small bias
    assert misses(estimate, exact, 32) < allowed(0.07)
    assert misses(estimate, exact, 32, stretch=0.5) > allowed(0.07)


@pytest.mark.parametrize("batch_size", [2, 30])
def test_sampled_noise_scale_also_where_the_gradient_is_lost_in_the_noise(case, batch_size):
    problem, params, _, noise, gradient = case
    exact = np.trace(noise) / (gradient @ gradient)
    _, low, high = trials(lambda key: curvature.sampled_noise_scale(
        problem, params, key=key, batch_size=batch_size, num_pairs=24))
    assert 1 - np.mean((low <= exact) & (exact <= high)) < allowed(0.06)
    assert (np.mean(np.isinf(high)) > 0.5) == (batch_size == 2)
    assert np.isfinite(high).all() or batch_size == 2
    plain = np.mean((low <= 1.3 * exact) & (1.3 * exact <= high))  # teeth: a wrong value is held less often
    assert batch_size == 2 or 1 - plain > allowed(0.06)
