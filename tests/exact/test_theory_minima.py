"""Noise at a minimum of any model: the general formula on regression, and measured on a flax network."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import sde_sgd as ss
from sde_sgd import theory

A, U = np.diag([1.0, 0.5]), np.array([1.0, -1.0])


def test_the_three_cases():
    h, w = np.diag([1.0, 0.5]), np.array([0.3, -0.2])
    np.testing.assert_allclose(theory.minimum_noise_covariance(h, 0.2, 4), 2 * 0.2 * h / 4, rtol=1e-14)
    decayed = theory.minimum_noise_covariance(h, 0.2, 4, gradient=-0.1 * w)
    np.testing.assert_allclose(decayed, (0.4 * h - 0.01 * np.outer(w, w)) / 4, rtol=1e-14)
    sigma = np.array([[0.2, 0.05], [0.05, 0.1]])
    interpolating = theory.minimum_noise_covariance(h, 0.0, 4, covariance=sigma)
    np.testing.assert_allclose(interpolating, (np.trace(h @ sigma) * np.eye(2) - h @ sigma) @ h / 4, rtol=1e-14)
    assert not np.any(theory.minimum_noise_covariance(h, 0.0, 4))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_fluctuation_in_the_commuting_cases(momentum):
    h, rate, s, loss = np.diag([2.0, 0.3, 0.0]), 0.2, 6, 0.4
    plain = theory.minimum_covariance(h, loss, rate, s, momentum=momentum)
    inner = np.linalg.inv(2 * np.eye(3) - rate * h / (1 + momentum))
    np.testing.assert_allclose(plain, 2 * loss / (s * (1 - momentum)) * rate * inner * np.diag([1, 1, 0]), rtol=1e-12)
    gamma, w = 0.1, np.array([0.0, 1.5, 0.0])  # an eigenvector, so that everything commutes
    decayed = theory.minimum_covariance(h, loss, rate, s, weight_decay=gamma, minimum=w, momentum=momentum)
    k = h + gamma * np.eye(3)
    noise = 2 * loss * h - gamma**2 * np.outer(w, w)
    expected = rate / (s * (1 - momentum)) * noise @ np.linalg.inv(k) @ np.linalg.inv(
        2 * np.eye(3) - rate * k / (1 + momentum))
    np.testing.assert_allclose(decayed, expected, rtol=1e-12, atol=1e-16)
    assert not np.any(theory.minimum_covariance(h, 0.0, rate, s, momentum=momentum))


def test_a_matrix_rate_at_a_degenerate_minimum():
    rng = np.random.default_rng(0)
    root, shape = rng.normal(size=(4, 2)), rng.normal(size=(4, 4))
    h, rate = root @ root.T, 0.02 * (shape @ shape.T + np.eye(4))
    covariance = theory.minimum_covariance(h, 0.3, rate, 5)
    pinv = np.linalg.pinv(root)  # r = root' w follows a recursion of its own
    inner = theory.sgd_stationary_covariance(np.eye(2), 0.6 * np.eye(2) / 5, root.T @ rate @ root)
    np.testing.assert_allclose(covariance, pinv.T @ inner @ pinv, rtol=1e-9, atol=1e-14)


def test_it_is_the_leading_order_of_the_exact_result():
    """With 2 L_0 = sigma^2 the general formula is label noise's, up to a relative O(1/S)."""
    features, errors = np.diag([1.0, 0.5, 0.2]), []
    for s in (100, 1000):
        exact = theory.label_noise_covariance(features, 0.7, 0.3, s)
        general = theory.minimum_covariance(features, 0.7**2 / 2, 0.3, s)
        errors.append(np.max(np.abs(np.diag(general) / np.diag(exact) - 1)))
    assert errors[0] < 0.01 and errors[1] == pytest.approx(errors[0] / 10, rel=0.05)


def test_where_the_general_formula_has_the_other_sign():
    """Gaussian regression with weight decay: exact noise is larger by 2 A q q' A / S, a rank-one term."""
    gamma, s = 0.2, 4
    k = A + gamma * np.eye(2)
    minimum = np.linalg.solve(k, A @ U)
    q = minimum - U
    general = theory.minimum_noise_covariance(A, q @ A @ q / 2, s, gradient=-gamma * minimum)
    exact = theory.online_noise_covariance(A, q) / s
    np.testing.assert_allclose(exact - general, 2 * A @ np.outer(q, q) @ A / s, atol=1e-15)
    assert general[0, 1] == pytest.approx(0.00595, abs=5.1e-6)
    # in one dimension it vanishes, and truth does not
    assert not np.any(theory.minimum_covariance([[1.0]], 1 / 72, 0.3, s, weight_decay=0.2, minimum=[5 / 6]))
    assert theory.online_regression([[1.0]], 0.3, s, weight_decay=0.2, teacher=[1.0]).covariance > 0


def test_regression_at_its_minimum():
    """N = 2000, D = 5, sigma = 0.5: 2 L H / S within finite-N noise, the bare Hessian off by a factor."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2000, 5))
    problem = theory.least_squares(features, features @ rng.normal(size=5) + 0.5 * rng.normal(size=2000))
    minimum = np.linalg.solve(problem.hessian, problem.offset)
    noise = problem.noise_covariance(minimum)
    loss = np.mean((features @ minimum - problem.targets) ** 2) / 2
    assert np.linalg.norm(noise - theory.minimum_noise_covariance(problem.hessian, loss, 1)) < 0.1 * np.linalg.norm(noise)
    assert np.linalg.norm(noise - problem.hessian) > 2 * np.linalg.norm(noise)


class Student(nn.Module):
    @nn.compact
    def __call__(self, batch):
        return nn.Dense(1, name="out")(jnp.tanh(nn.Dense(4, name="hidden")(batch)))[..., 0]


def _trained(sigma, num_examples=4000):
    """Return a tanh student at a minimum on its noisy tanh teacher, by Newton from there: noise, Hessian, loss."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(num_examples, 4))
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    teacher = {"hidden": {"kernel": 1.5 * rotation, "bias": 0.3 * rng.normal(size=4)},
               "out": {"kernel": np.array([[1.0], [-1.2], [0.8], [1.5]]), "bias": np.zeros(1)}}
    labels = np.asarray(Student().apply({"params": teacher}, inputs)) + sigma * rng.normal(size=num_examples)
    problem = ss.problems.from_flax(Student(), jnp.asarray(inputs), jnp.asarray(labels),
                                    lambda prediction, label: 0.5 * (prediction - label) ** 2)
    params, unravel = ravel_pytree(jax.tree.map(jnp.asarray, teacher))
    gradient, hessian = (jax.jit(derivative(lambda w: problem.loss(unravel(w)))) for derivative in (jax.grad, jax.hessian))
    for _ in range(8):
        params = params - jnp.linalg.solve(hessian(params), gradient(params))
    curvature = np.asarray(hessian(params))
    assert np.linalg.norm(gradient(params)) < 1e-10 and np.linalg.eigvalsh(curvature)[0] > 0
    noise = np.asarray(ss.curvature.noise_covariance(problem, unravel(params)))
    return noise, (curvature + curvature.T) / 2, float(problem.loss(unravel(params)))


def test_the_noise_of_a_flax_network_at_its_minimum(x64):
    traces, losses = [], []
    for sigma in (0.05, 0.2, 0.5):
        noise, hessian, loss = _trained(sigma)
        predicted = theory.minimum_noise_covariance(hessian, loss, 1)
        assert np.trace(noise) / np.trace(predicted) == pytest.approx(1.0, abs=0.05)
        assert np.linalg.norm(noise - predicted) < 0.1 * np.linalg.norm(noise)
        assert np.linalg.norm(noise - hessian) > 2 * np.linalg.norm(noise)  # C = H / S misses the factor 2 L
        traces.append(np.log(np.trace(noise)))
        losses.append(np.log(loss))
    assert np.polyfit(losses, traces, 1)[0] == pytest.approx(1.0, abs=0.02)


BAD_CALLS = {
    "indefinite": (lambda: theory.minimum_noise_covariance(np.diag([1.0, -1.0]), 0.1, 4), "hessian must be positive"),
    "loss": (lambda: theory.minimum_noise_covariance(A, -0.1, 4), "loss must be .* not negative"),
    "batch size": (lambda: theory.minimum_covariance(A, 0.1, 0.1, 0), "batch_size must be at least 1"),
    "minimum": (lambda: theory.minimum_covariance(A, 0.1, 0.1, 4, weight_decay=0.1), "minimum is missing"),
    "saddle": (lambda: theory.minimum_covariance(A, 0.1, 0.1, 4, weight_decay=-0.7, minimum=U), "negative eigenvalue"),
    "no covariance": (lambda: theory.minimum_covariance(A, 1e-6, 0.1, 4, weight_decay=0.5, minimum=U), "too small"),
    "threshold": (lambda: theory.minimum_covariance(A, 0.1, 2.5, 4), "below 2 .1 . momentum. / lambda_max = 2, got 2.5"),
    "depth": (lambda: theory.krylov_minimum(lambda v: v, np.ones((3, 1)), 0), "depth must be at least 1"),
    "product": (lambda: theory.krylov_minimum(lambda v: v[:2], np.ones((3, 1)), 2), "hessian_product must return shape"),
    "no noise": (lambda: theory.krylov_minimum(lambda v: v, np.zeros((3, 1)), 2), "noise_factor is zero"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_input_is_named(case):
    call, message = BAD_CALLS[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_minimum_seen_from_its_noise():
    """Every law of the ladder on the projected problem, against the full one; the residual is the true one."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(120, 120)))[0]
    hessian, factor, eta = basis * np.geomspace(0.1, 1.0, 120) @ basis.T, rng.normal(size=(120, 3)), 0.5
    noise, errors = factor @ factor.T, []
    for depth in (4, 8, 36):
        reduced = theory.krylov_minimum(lambda v: hessian @ v, factor, depth)
        np.testing.assert_allclose(reduced.basis.T @ reduced.basis, np.eye(3 * depth), atol=1e-12)
        small = theory.sgd_stationary_covariance(reduced.hessian, reduced.noise_covariance, eta)
        lifted = reduced.basis @ small @ reduced.basis.T
        product = hessian @ lifted
        residual = product + product.T - eta * product @ hessian - eta * noise
        assert reduced.residual(small, eta) == pytest.approx(
            np.linalg.norm(residual) / np.linalg.norm(eta * noise), rel=1e-2)
        np.testing.assert_allclose(reduced.diagonal(small), np.diag(lifted), rtol=1e-12)
        errors.append(reduced.residual(small, eta))
    assert errors[0] > 10 * errors[1] and errors[2] < 1e-11
    for law, options in ((theory.sgd_stationary_covariance, {"momentum": 0.9}), (theory.ou_stationary_covariance, {}),
                         (theory.sme2_corrected_stationary_covariance, {})):
        full = law(hessian, noise, eta, **options)
        lifted = reduced.basis @ law(reduced.hessian, reduced.noise_covariance, eta, **options) @ reduced.basis.T
        np.testing.assert_allclose(lifted, full, rtol=1e-9, atol=1e-9 * np.max(full))


def test_the_span_closes_where_the_noise_reaches_no_further():
    hessian = np.diag([1.0, 1.0, 2.0, 3.0])
    reduced = theory.krylov_minimum(lambda v: hessian @ v, np.array([[1.0], [1.0], [1.0], [0.0]]), 10)
    assert reduced.basis.shape == (4, 2)
    np.testing.assert_allclose(np.linalg.eigvalsh(reduced.hessian), [1.0, 2.0], rtol=1e-12)
