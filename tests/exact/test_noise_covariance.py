"""The covariance of one minibatch gradient is exactly phi * Sigma: by enumeration, and against explicit roots."""

import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import sde_sgd as ss
from sde_sgd._core.random import DYNAMICS, Draws, lane_key
from sde_sgd.noise.minibatch import EpochPosition

NUM_EXAMPLES = 6
BATCHES = (1, 2, 3, 5, 6)


def draws(lane=0, step=0):
    return Draws(lane_key(jax.random.key(3), jnp.uint32(lane), purpose=DYNAMICS), jnp.uint32(step))


@pytest.fixture
def problem(x64):
    rng = np.random.default_rng(0)
    return ss.problems.least_squares(rng.normal(size=(NUM_EXAMPLES, 3)), rng.normal(size=NUM_EXAMPLES))


def single_example_covariance(problem, params):
    gradients = np.asarray(jax.vmap(lambda g: ravel_pytree(g)[0])(problem.example_gradients(params)))
    centred = gradients - gradients.mean(axis=0)
    return centred.T @ centred / len(gradients)


def enumerated(problem, params, batches):
    """Return mean and covariance of the minibatch gradient over equally likely batches."""
    batches = jnp.asarray(list(batches), jnp.int32)
    weights = jnp.full(batches.shape[1], 1.0 / batches.shape[1])
    gradients = np.asarray(jax.vmap(lambda rows: problem.gradient(params, ss.Batch(rows, weights)))(batches))
    mean = gradients.mean(axis=0)
    return mean, (gradients - mean).T @ (gradients - mean) / len(gradients)


@pytest.mark.parametrize("batch_size", BATCHES)
@pytest.mark.parametrize("scheme", ["with", "without"])
def test_every_batch_enumerated_gives_phi_sigma(problem, scheme, batch_size):
    params = jnp.asarray([0.3, -1.0, 0.7])
    rows = range(NUM_EXAMPLES)
    if scheme == "with":
        noise, batches = ss.WithReplacement(batch_size), itertools.product(rows, repeat=batch_size)
    else:
        noise, batches = ss.WithoutReplacement(batch_size), itertools.combinations(rows, batch_size)
    mean, covariance = enumerated(problem, params, batches)
    sigma = single_example_covariance(problem, params)
    np.testing.assert_allclose(mean, problem.gradient(params), atol=1e-12)
    np.testing.assert_allclose(covariance, float(noise.factor(problem)) * sigma, atol=1e-12)
    wrong = sigma * NUM_EXAMPLES / (NUM_EXAMPLES - 1)  # the 1/(N-1) normalisation
    if batch_size < NUM_EXAMPLES:
        assert np.abs(covariance - float(noise.factor(problem)) * wrong).max() > 1e-3


@pytest.mark.parametrize("batch_size", (2, 4))
def test_epoch_shuffle_over_all_orders_gives_phi_sigma_at_every_phase(problem, batch_size):
    """The batches of an epoch are slices of a permutation: enumerate all 6! and look at each phase apart."""
    params = jnp.asarray([0.3, -1.0, 0.7])
    sigma = single_example_covariance(problem, params)
    orders = np.asarray(list(itertools.permutations(range(NUM_EXAMPLES))))
    for start in range(0, NUM_EXAMPLES, batch_size):
        rows = orders[:, start : start + batch_size]
        count = rows.shape[1]  # the last batch may be short
        _, covariance = enumerated(problem, params, rows)
        factor = ss.WithoutReplacement(count).factor(problem)
        np.testing.assert_allclose(covariance, float(factor) * sigma, atol=1e-12)


@pytest.mark.parametrize("batch_size", (1, 2, 4, 6))
def test_epoch_shuffle_takes_slices_of_a_permutation(problem, batch_size):
    params = jnp.zeros(3)
    noise, sampler = ss.EpochShuffle(batch_size), ss.EpochShuffle(batch_size).init()
    for epoch in range(3):
        seen = []
        for batch in range(math.ceil(NUM_EXAMPLES / batch_size)):
            assert int(sampler.batch) == batch
            weights, sampler = noise.sample(problem, params, sampler, draws(step=10 * epoch + batch))
            used = np.asarray(weights.indices)[np.asarray(weights.weights) > 0]
            np.testing.assert_allclose(np.sum(weights.weights), 1.0)
            seen.extend(used)
        assert sorted(seen) == list(range(NUM_EXAMPLES))
    assert isinstance(sampler, EpochPosition)


@pytest.mark.parametrize("replacement", [True, False])
def test_gaussian_weights_have_the_covariance_of_the_batch_weights(problem, replacement):
    """The weights are A xi with A A^T = phi/N (I - 11^T/N): then Cov(gradient) = phi Sigma for any gradients."""
    params = jnp.asarray([0.3, -1.0, 0.7])
    noise = ss.Gaussian(2, replacement=replacement)
    phi = 1 / 2 if replacement else (6 - 2) / (2 * 5)
    assert float(noise.factor(problem)) == pytest.approx(phi, rel=1e-12)
    weights = noise.centred_weights(problem, params, draws(), 0)
    normals = draws().normals(NUM_EXAMPLES, 0, jnp.float64)
    root = np.sqrt(phi / NUM_EXAMPLES) * (np.eye(NUM_EXAMPLES) - 1 / NUM_EXAMPLES)
    np.testing.assert_allclose(weights, root @ np.asarray(normals), atol=1e-14)
    gradients = np.asarray(problem.example_gradients(params))
    mixing = gradients.T @ root
    np.testing.assert_allclose(mixing @ mixing.T, phi * single_example_covariance(problem, params), atol=1e-12)


def explicit_fluctuation(problem, params, noise):
    """Build Sigma^(1/2) xi by hand: the matrix of centred example gradients times the same normals."""
    gradients = jax.vmap(lambda g: ravel_pytree(g)[0])(problem.example_gradients(params))
    centred = gradients - jnp.mean(gradients, axis=0)
    normals = draws().normals(problem.num_examples, 0, gradients.dtype)
    return jnp.sqrt(noise.factor(problem) / problem.num_examples) * (normals @ centred)


def test_weighted_gradient_equals_the_explicit_root_on_regression(problem):
    params = jnp.asarray([0.3, -1.0, 0.7])
    noise = ss.Gaussian(3)
    np.testing.assert_allclose(
        noise.fluctuation(problem, params, draws(), 0), explicit_fluctuation(problem, params, noise), atol=1e-13
    )
    both = noise.scaled_gradient(problem, params, draws(), 0, 4.0)
    expected = problem.gradient(params) + 4.0 * explicit_fluctuation(problem, params, noise)
    np.testing.assert_allclose(both, expected, atol=1e-12)


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(jnp.tanh(nn.Dense(5)(x)))


def test_weighted_gradient_equals_the_explicit_root_on_a_flax_network():
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(20, 4)).astype(np.float32)
    labels = rng.integers(0, 3, size=20)
    network = ss.problems.from_flax(Network(), inputs, labels, optax.softmax_cross_entropy_with_integer_labels)
    params = network.init(jax.random.key(0))
    noise = ss.Gaussian(4)
    weighted, _ = ravel_pytree(noise.fluctuation(network, params, draws(), 0))
    explicit = explicit_fluctuation(network, params, noise)
    np.testing.assert_allclose(weighted, explicit, atol=2e-6 * float(jnp.abs(explicit).max()) + 1e-7)
    uncentred = jnp.sqrt(noise.factor(network) / 20) * (
        draws().normals(20, 0) @ jax.vmap(lambda g: ravel_pytree(g)[0])(network.example_gradients(params))
    )
    assert jnp.abs(weighted - uncentred).max() > 1e-3  # the centring matters


def test_isotropic_noise_has_the_trace_of_the_minibatch(problem):
    params = jnp.asarray([0.3, -1.0, 0.7])
    noise = ss.Isotropic(2)
    sigma = single_example_covariance(problem, params)
    np.testing.assert_allclose(ss.curvature.noise_covariance(problem, params), sigma, atol=1e-13)
    np.testing.assert_allclose(ss.curvature.noise_trace(problem, params), np.trace(sigma), rtol=1e-12)
    normals = draws().normals(3, 0, jnp.float64)
    fluctuation = noise.fluctuation(problem, params, draws(), 0)
    np.testing.assert_allclose(fluctuation, np.sqrt(np.trace(sigma) / 2 / 3) * normals, rtol=1e-12)
