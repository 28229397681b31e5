"""Stability thresholds against the spectral radius of the second-moment recursion, written with Kronecker products."""

import numpy as np
import pytest
from scipy.optimize import brentq

from sde_sgd import theory


def _regression(num_examples=12, dim=4, seed=0):
    rng = np.random.default_rng(seed)
    return theory.least_squares(rng.normal(size=(num_examples, dim)), rng.normal(size=num_examples))


def _indefinite(num_examples=8, dim=3, seed=1):
    """Examples of either sign of curvature about a positive definite mean."""
    rng = np.random.default_rng(seed)
    spread = rng.normal(size=(num_examples, dim, dim))
    hessians = np.diag([0.8, 1.0, 2.0]) + spread + spread.transpose(0, 2, 1)
    hessians += np.diag([0.8, 1.0, 2.0]) - hessians.mean(axis=0)
    return theory.affine_gradients(hessians, np.zeros((num_examples, dim)))


def _spectral_radius(problem, eta, batch_size, replacement, momentum=0.0):
    """The largest eigenvalue of S -> E[A S A'], A the random matrix of one heavy-ball step on (w, trace)."""
    n, dim = problem.num_examples, problem.dim
    factor = 1 / batch_size if replacement else (n - batch_size) / (batch_size * (n - 1))
    one = np.eye(dim)

    mean = np.block([[one - eta * problem.hessian, -eta * momentum * one], [problem.hessian, momentum * one]])
    deviations = [np.block([[-eta * d, 0 * d], [d, 0 * d]]) for d in problem.hessians - problem.hessian]
    recursion = np.kron(mean, mean) + factor * np.mean([np.kron(a, a) for a in deviations], axis=0)
    if not momentum:
        keep = np.kron(np.arange(2 * dim) < dim, np.arange(2 * dim) < dim)
        recursion = recursion[np.ix_(keep, keep)]
    return np.max(np.abs(np.linalg.eigvals(recursion)))


CASES = [(1, True), (3, True), (12, True), (1, False), (3, False), (11, False)]


@pytest.mark.parametrize(("batch_size", "replacement"), CASES)
def test_mean_square_threshold_is_the_spectral_root(batch_size, replacement):
    problem = _regression()
    threshold = theory.max_mean_square_learning_rate(problem, batch_size, replacement=replacement)
    limit = theory.max_stable_learning_rate(problem.hessian)
    root = brentq(lambda eta: _spectral_radius(problem, eta, batch_size, replacement) - 1, 0.02 * limit, 1.2 * limit,
                  xtol=1e-13, rtol=1e-12)
    assert threshold == pytest.approx(root, rel=1e-9)
    assert threshold < limit


@pytest.mark.parametrize("momentum", [0.5, 0.9])
@pytest.mark.parametrize(("batch_size", "replacement"), CASES)
def test_momentum_has_a_closed_threshold_too(batch_size, replacement, momentum):
    problem = _regression(dim=3)
    threshold = theory.max_mean_square_learning_rate(problem, batch_size, momentum=momentum, replacement=replacement)
    root = brentq(lambda eta: _spectral_radius(problem, eta, batch_size, replacement, momentum) - 1, 0.5 * threshold,
                  1.5 * threshold, xtol=1e-13, rtol=1e-12)
    assert threshold == pytest.approx(root, rel=1e-9)
    assert threshold < theory.max_stable_learning_rate(problem.hessian, momentum)


def test_the_full_batch_has_the_threshold_of_the_full_gradient():
    problem = _regression()
    threshold = theory.max_mean_square_learning_rate(problem, 12, replacement=False)
    assert threshold == pytest.approx(theory.max_stable_learning_rate(problem.hessian), rel=1e-12)
    with_momentum = theory.max_mean_square_learning_rate(problem, 12, momentum=0.9, replacement=False)
    assert with_momentum == pytest.approx(theory.max_stable_learning_rate(problem.hessian, 0.9), rel=1e-12)


def test_examples_of_negative_curvature_are_covered():
    problem = _indefinite()
    threshold = theory.max_mean_square_learning_rate(problem, 2)
    root = brentq(lambda eta: _spectral_radius(problem, eta, 2, True) - 1, 0.2 * threshold, 2 * threshold, xtol=1e-14)
    assert threshold == pytest.approx(root, rel=1e-9)


def test_one_parameter_has_a_closed_threshold():
    curvatures = np.array([0.2, 1.0, 3.0])
    problem = theory.affine_gradients(curvatures[:, None, None], np.zeros((3, 1)))
    mean, square = curvatures.mean(), np.mean(curvatures**2)
    assert theory.max_mean_square_learning_rate(problem, 1) == pytest.approx(2 * mean / square, rel=1e-13)


@pytest.mark.parametrize("seed", range(5))
def test_necessary_bounds_hold(seed):
    problem = _regression(seed=seed)
    values, vectors = np.linalg.eigh(problem.hessian)
    top, along = values[-1], vectors[:, -1]
    projected = np.einsum("i,nij,j->n", along, problem.hessians, along)
    for batch_size in (1, 3):
        factor = theory.sampling_factor(12, batch_size, replacement=False)
        threshold = theory.max_mean_square_learning_rate(problem, batch_size, replacement=False)
        assert threshold <= 2 * top / (top**2 + factor * np.mean((projected - top) ** 2))
        norms = (1 - factor) * np.sum(values**2) + factor * np.mean(np.sum(problem.hessians**2, axis=(1, 2)))
        assert threshold <= 2 * np.sum(values) / norms


def test_flat_directions_are_left_out():
    """Fewer examples than parameters: the threshold is that of the space which the features span."""
    rng = np.random.default_rng(4)
    features = rng.normal(size=(3, 5))
    span, _ = np.linalg.qr(features.T)
    wide = theory.least_squares(features, np.zeros(3))
    narrow = theory.least_squares(features @ span, np.zeros(3))
    threshold = theory.max_mean_square_learning_rate(wide, 1)
    assert threshold == pytest.approx(theory.max_mean_square_learning_rate(narrow, 1), rel=1e-9)
    assert theory.mean_square_growth(wide, 0.9 * threshold, 1) == pytest.approx(1.0, abs=1e-9)
    assert theory.mean_square_growth(narrow, 0.9 * threshold, 1) < 1 - 1e-4
    assert theory.mean_square_growth(wide, 1.1 * threshold, 1) > 1.01


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize(("batch_size", "replacement"), [(1, True), (3, False)])
def test_growth_is_the_spectral_radius(batch_size, replacement, momentum):
    problem = _regression()
    for eta in (0.05, 0.2, 0.8):
        growth = theory.mean_square_growth(problem, eta, batch_size, momentum=momentum, replacement=replacement)
        assert growth == pytest.approx(_spectral_radius(problem, eta, batch_size, replacement, momentum), rel=1e-9)


def test_below_the_threshold_the_second_moment_tends_to_the_limit_covariance():
    """vec S = eta p (2C - eta D)^+ vec(Sigma) of Mulayoff and Michaeli, where the first-order SDE is far off."""
    problem, batch_size = _regression(), 3
    factor = theory.sampling_factor(12, batch_size, replacement=False)
    threshold = theory.max_mean_square_learning_rate(problem, batch_size, replacement=False)
    eta, h = threshold / 2, problem.hessian
    minimum = np.linalg.solve(h, problem.offset)
    twice_c = np.kron(h, np.eye(4)) + np.kron(np.eye(4), h)
    d = (1 - factor) * np.kron(h, h) + factor * np.mean([np.kron(a, a) for a in problem.hessians], axis=0)
    noise = factor * problem.noise_covariance(minimum)
    expected = eta * np.linalg.solve(twice_c - eta * d, noise.ravel()).reshape(4, 4)
    start = dict(start=minimum, replacement=False)
    limit = theory.sgd_moments(problem, eta, batch_size, 100_000, **start)
    np.testing.assert_allclose(limit.covariance, expected, rtol=1e-9)
    frozen = theory.ou_stationary_covariance(h, noise, eta)
    assert np.linalg.norm(frozen - expected) > 0.1 * np.linalg.norm(expected)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_gradient_descent_is_stable_up_to_its_threshold(momentum):
    problem = _regression()
    threshold = theory.max_stable_learning_rate(problem.hessian, momentum)
    sharpness = np.linalg.eigvalsh(problem.hessian)[-1]
    assert threshold == pytest.approx(2 * (1 + momentum) / sharpness, rel=1e-13)
    options = dict(momentum=momentum, replacement=False)
    assert theory.mean_square_growth(problem, 0.999 * threshold, 12, **options) < 1
    assert theory.mean_square_growth(problem, 1.001 * threshold, 12, **options) > 1


def test_no_curvature_no_threshold():
    assert theory.max_stable_learning_rate(np.zeros((2, 2))) == np.inf
    assert theory.max_mean_square_learning_rate(theory.least_squares(np.zeros((3, 2)), np.ones(3)), 1) == np.inf


def test_teeth_another_factor_is_not_the_spectral_root():
    problem = _regression()
    radius = _spectral_radius(problem, theory.max_mean_square_learning_rate(problem, 3, replacement=False), 3, False)
    assert abs(radius - 1) < 1e-9
    wrong = [theory.max_mean_square_learning_rate(problem, 2, replacement=False),
             theory.max_mean_square_learning_rate(problem, 3, replacement=True),
             theory.max_stable_learning_rate(problem.hessian)]
    for threshold in wrong:
        assert abs(_spectral_radius(problem, threshold, 3, False) - 1) > 1e-3


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"hessian must be positive semi-definite.*saddle"):
        theory.max_stable_learning_rate(np.diag([1.0, -0.5]))
    with pytest.raises(ValueError, match="momentum must lie in"):
        theory.max_stable_learning_rate(np.eye(2), momentum=1.0)
    with pytest.raises(ValueError, match=r"problem\.hessians must be positive semi-definite"):
        theory.max_mean_square_learning_rate(theory.affine_gradients(-np.eye(2)[None], np.zeros((1, 2))), 1)
    flat_on_average = [np.diag([1.0, 1.0]), np.diag([1.0, -1.0])]
    with pytest.raises(ValueError, match="flat on average"):
        theory.max_mean_square_learning_rate(theory.affine_gradients(flat_on_average, np.zeros((2, 2))), 1)
    with pytest.raises(ValueError, match=r"batch_size must be in 1\.\.12, got 13"):
        theory.max_mean_square_learning_rate(_regression(), 13, replacement=False)
    with pytest.raises(ValueError, match="dim 44"):
        theory.mean_square_growth(theory.least_squares(np.ones((2, 44)), np.ones(2)), 0.1, 1)
    with pytest.raises(ValueError, match="momentum must lie in"):
        theory.max_mean_square_learning_rate(_regression(), 1, momentum=1.0)
    with pytest.raises(TypeError, match="problem must be an AffineGradients"):
        theory.mean_square_growth(np.eye(2), 0.1, 1)
    with pytest.raises(ValueError, match="learning_rate must be finite and positive"):
        theory.mean_square_growth(_regression(), 0.0, 1)
