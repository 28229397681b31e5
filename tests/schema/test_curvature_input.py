"""Bad input to curvature raises before anything is compiled, and says what to do."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sde_sgd as ss
from sde_sgd import curvature

KEY = jax.random.key(0)
PROBLEM = ss.problems.linear_regression(num_examples=8, dim=3, key=KEY)
HUGE = ss.problems.potential(lambda w: jnp.sum(w**2), start=jnp.zeros(10_001))
W = jnp.ones(3)


def network():
    return ss.problems.from_flax(nn.Dense(2), jnp.ones((4, 3)), jnp.ones((4, 2)), lambda f, y: jnp.sum((f - y) ** 2))


CASES = {
    "more parameters than a dense matrix can take": (
        lambda: curvature.dense_matrix(HUGE, jnp.zeros(10_001)), ValueError, "10001.*top_eigenpairs, trace"),
    "the same for the noise": (
        lambda: curvature.noise_covariance(HUGE, jnp.zeros(10_001)), ValueError, "NoiseCovariance"),
    "params of another shape": (lambda: curvature.trace(PROBLEM, jnp.ones(4), key=KEY), ValueError, r"\(3,\), got \(4,"),
    "an ensemble without vmap": (
        lambda: curvature.top_eigenvalue(PROBLEM, jnp.ones((5, 3)), key=KEY), ValueError, "jax.vmap"),
    "params of another structure": (
        lambda: curvature.gradient_noise_scale(PROBLEM, {"w": W}), ValueError, "params must have"),
    "integer params": (
        lambda: curvature.top_eigenvalue(PROBLEM, jnp.ones(3, int), key=KEY), TypeError, "floating-point"),
    "no key": (lambda: curvature.top_eigenvalue(PROBLEM, W, key=None), TypeError, "key is missing"),
    "a class for an operator": (
        lambda: curvature.trace(PROBLEM, W, key=KEY, operator=curvature.Hessian), TypeError, r"Hessian\(\)"),
    "no split of the loss": (
        lambda: curvature.trace(PROBLEM, W, key=KEY, operator=curvature.GaussNewton()), TypeError, "from_flax.*Hessian"),
    "the same inside": (
        lambda: curvature.trace(PROBLEM, W, key=KEY, operator=curvature.Adaptive(curvature.GaussNewton())), TypeError,
        "from_flax"),
    "too many eigenvalues": (lambda: curvature.top_eigenpairs(PROBLEM, W, 4, key=KEY), ValueError, "1..3, got 4"),
    "no steps": (lambda: curvature.top_eigenvalue(PROBLEM, W, key=KEY, num_steps=0), ValueError, "num_steps"),
    "one probe": (lambda: curvature.trace(PROBLEM, W, key=KEY, num_probes=1), ValueError, "standard error needs two"),
    "one probe of the density": (
        lambda: curvature.spectral_density(PROBLEM, W, key=KEY, num_probes=1), ValueError, "num_probes"),
    "no chunk": (lambda: curvature.Hessian(chunk_size=0), ValueError, "chunk_size"),
    "a batch beyond the data": (
        lambda: curvature.sampled_noise_scale(PROBLEM, W, key=KEY, batch_size=9), ValueError, "1..8, got 9"),
    "certainty": (
        lambda: curvature.sampled_noise_scale(PROBLEM, W, key=KEY, batch_size=2, confidence=1.0), ValueError,
        "confidence"),
    "no classifier": (lambda: curvature.fisher_trace(PROBLEM, W), TypeError, "empirical_fisher_trace"),
    "no class indices": (
        lambda: curvature.fisher_trace(network(), network().init(KEY)), ValueError, "GaussNewton"),
    "no region": (lambda: curvature.worst_case_sharpness(PROBLEM, W, 0.05), TypeError, "Ball"),
    "a negative radius": (lambda: curvature.Ball(-1.0), ValueError, "radius"),
    "a zero epsilon": (lambda: curvature.keskar_sharpness(PROBLEM, W, 0.0), ValueError, "epsilon"),
    "a key without a subspace": (lambda: curvature.keskar_sharpness(PROBLEM, W, key=KEY), ValueError, "subspace_dim"),
    "a subspace without a key": (
        lambda: curvature.keskar_sharpness(PROBLEM, W, subspace_dim=2), TypeError, "key is missing"),
    "a subspace beyond the space": (
        lambda: curvature.keskar_sharpness(PROBLEM, W, subspace_dim=4, key=KEY), ValueError, "1..3, got 4"),
    "params that are not finite": (
        lambda: curvature.keskar_sharpness(PROBLEM, W.at[0].set(jnp.nan)), ValueError, "loss at params is nan"),
    "a negative size": (lambda: curvature.average_sharpness(PROBLEM, W, -0.1, key=KEY), ValueError, "size"),
    "no path": (lambda: curvature.interpolate(PROBLEM, W, W, [[0.0]]), ValueError, "positions"),
    "solutions of two problems": (lambda: curvature.interpolate(PROBLEM, W, jnp.ones(2)), ValueError, "params must"),
    "a list of problems": (lambda: curvature.interpolate([PROBLEM], W, W), TypeError, "dict"),
    "no filters": (lambda: curvature.filter_normalised_direction(W, key=KEY), ValueError, "no kernel"),
    "two points": (lambda: curvature.principal_plane(jnp.ones((2, 5))), ValueError, "three points"),
    "subspaces of two dimensions": (
        lambda: curvature.subspace_overlap(jnp.eye(3)[:2], jnp.eye(3)[:1]), ValueError, "same shapes"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name):
    call, error, message = CASES[name]
    with pytest.raises(error, match=message):
        call()


def test_recorded_in_a_run_and_in_both_precisions(precision):
    del precision
    net = ss.problems.from_flax(nn.Dense(2), np.eye(3, dtype=np.float32), np.ones((3, 2), np.float32),
                                lambda f, y: jnp.sum((f - y) ** 2))
    ds = ss.simulate(net, ss.SGD(0.1, ss.WithReplacement(2)), num_seeds=2, num_steps=2, record_every=1, key=KEY,
                     record={"sharpness": lambda p, w: curvature.top_eigenvalue(p, w, key=jax.random.key(1))})
    exact = np.linalg.eigvalsh(np.asarray(curvature.dense_matrix(net, net.init(KEY))))[-1]
    np.testing.assert_allclose(ds.sharpness, exact, rtol=1e-4)
    assert curvature.trace(net, net.init(KEY), key=KEY).value.dtype == np.float32
