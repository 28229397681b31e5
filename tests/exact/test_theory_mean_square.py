"""SGD on finite data in mean square: limit covariance, escape, alignment, against d^2 x d^2 matrices and enumeration."""

import itertools

import numpy as np
import pytest

from sde_sgd import theory
from sde_sgd.theory import mean_square, moment_maps


def _data(num_examples=12, dim=4, seed=0, label_noise=1.0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num_examples, dim))
    return features, features @ rng.normal(size=dim) + label_noise * rng.normal(size=num_examples)


def _regression(*args, **options):
    return theory.least_squares(*_data(*args, **options))


def _dense(problem):
    """The same examples, matrix by matrix."""
    return theory.affine_gradients(problem.hessians, problem.offsets, problem.loss_constant)


def _limit(problem, eta, batch_size, replacement, momentum):
    """Return the covariance of (w, trace) by one dense solve, from the law of the random matrix of a step alone."""
    n, dim, h = problem.num_examples, problem.dim, problem.hessian
    factor = 1 / batch_size if replacement else (n - batch_size) / (batch_size * (n - 1))
    one = np.eye(dim)
    mean = np.block([[one - eta * h, -eta * momentum * one], [h, momentum * one]])
    kick = np.vstack([-eta * one, one])
    random = [np.hstack([kick @ d, 0 * kick]) for d in problem.hessians - h]
    fluctuation = np.mean([np.kron(a, a) for a in random], axis=0)
    minimum = np.linalg.solve(h, problem.offset)
    gradients = np.einsum("nij,j->ni", problem.hessians, minimum) - problem.offsets
    noise = factor * kick @ (gradients.T @ gradients / n) @ kick.T
    size = 2 * dim
    joint = np.linalg.solve(np.eye(size**2) - np.kron(mean, mean) - factor * fluctuation, noise.ravel())
    return joint.reshape(size, size)[:dim, :dim]


def test_features_and_matrices_describe_the_same_problem():
    problem = _regression()
    dense = _dense(problem)
    for name in ("num_examples", "dim", "hessian", "offset", "gradients", "loss_constant"):
        np.testing.assert_allclose(getattr(problem, name), getattr(dense, name), rtol=1e-14, atol=1e-15)
    moment = np.cov(np.random.default_rng(1).normal(size=(5, 9)))
    np.testing.assert_allclose(problem.gradient_moment(moment), dense.gradient_moment(moment), rtol=1e-13)
    basis = np.linalg.qr(np.random.default_rng(2).normal(size=(4, 2)))[0]
    np.testing.assert_allclose(problem.restricted(basis).gradients, dense.restricted(basis).gradients, atol=1e-14)
    with pytest.raises(ValueError, match="read-only"):
        problem.features[0] = 0.0


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.95])
def test_the_limit_covariance_solves_its_linear_system(fraction, replacement, momentum):
    problem = _regression()
    options = dict(momentum=momentum, replacement=replacement)
    eta = fraction * theory.max_mean_square_learning_rate(problem, 3, **options)
    covariance = theory.sgd_limit_covariance(problem, eta, 3, **options)
    exact = _limit(problem, eta, 3, replacement, momentum)
    np.testing.assert_allclose(covariance, exact, rtol=1e-10, atol=1e-12 * np.max(exact))
    np.testing.assert_allclose(theory.sgd_limit_covariance(_dense(problem), eta, 3, **options), covariance, rtol=1e-10)
    assert np.linalg.eigvalsh(covariance)[0] > 0


def test_the_limit_is_where_the_recursion_ends():
    problem = _regression()
    covariance = theory.sgd_limit_covariance(problem, 0.1, 2, momentum=0.5, replacement=False)
    end = theory.sgd_moments(problem, 0.1, 2, 100_000, start=np.ones(4), momentum=0.5, replacement=False)
    np.testing.assert_allclose(end.covariance, covariance, rtol=1e-10)
    np.testing.assert_allclose(end.mean, np.linalg.solve(problem.hessian, problem.offset), rtol=1e-10)


@pytest.mark.parametrize("order", [1, 2])
def test_the_limits_of_the_sdes(order):
    problem = _regression()
    covariance = theory.sme_limit_covariance(problem, 0.2, 3, order=order, replacement=False)
    end = theory.sme_moments(problem, 0.2, 3, 100_000, order=order, start=np.ones(4), replacement=False)
    np.testing.assert_allclose(end.covariance, covariance, rtol=1e-9, atol=1e-12)
    drift = problem.hessian + (0.1 * problem.hessian @ problem.hessian if order == 2 else 0.0)
    noise = problem.noise_covariance(np.linalg.solve(problem.hessian, problem.offset))
    noise = noise + np.mean([d @ covariance @ d for d in problem.hessians - problem.hessian], axis=0)
    right = 0.2 * theory.sampling_factor(12, 3, replacement=False) * noise
    np.testing.assert_allclose(drift @ covariance + covariance @ drift, right, atol=1e-12)
    assert np.trace(covariance) < 0.95 * np.trace(theory.sgd_limit_covariance(problem, 0.2, 3, replacement=False))


def test_where_the_sdes_limits_end():
    """One parameter: order 1 at 2 h / (phi Var h), order 2 at 2 h / (phi Var h - h^2), or never."""
    curvatures = np.array([0.2, 1.0, 3.0])
    problem = theory.affine_gradients(curvatures[:, None, None], [[1.0], [0.0], [-1.0]])
    mean, variance = curvatures.mean(), curvatures.var()
    for order, threshold in ((1, 2 * mean / variance), (2, np.inf)):
        for eta in (0.99, 1.01):
            if eta < threshold / (2 * mean / variance):
                theory.sme_limit_covariance(problem, eta * 2 * mean / variance, 1, order=order)
            else:
                with pytest.raises(ValueError, match=f"mean-square threshold {threshold:.6g}"):
                    theory.sme_limit_covariance(problem, eta * threshold, 1, order=order)


def test_the_limit_by_enumeration_of_all_batches():
    """Stationarity of mean and second moment under the average over every batch, nothing of the theory used."""
    problem = _regression(6, 2)
    features, targets = problem.features, problem.targets
    covariance = theory.sgd_limit_covariance(problem, 0.2, 2, replacement=False)
    minimum = np.linalg.lstsq(features, targets)[0]
    after = []
    for batch in itertools.combinations(range(6), 2):
        x, residual = features[list(batch)], features[list(batch)] @ minimum - targets[list(batch)]
        step, kick = np.eye(2) - 0.2 * x.T @ x / 2, -0.2 * x.T @ residual / 2
        after.append(step @ covariance @ step.T + np.outer(kick, kick))
    np.testing.assert_allclose(np.mean(after, axis=0), covariance, rtol=1e-11)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_lanczos_and_conjugate_gradients_find_what_dense_algebra_finds(momentum, monkeypatch):
    problem = _regression(40, 14, seed=3)
    found = []
    for dense in (0, 20):
        monkeypatch.setattr(mean_square, "_DENSE", dense)
        threshold = theory.max_mean_square_learning_rate(problem, 2, momentum=momentum)
        escape = theory.escape_direction(problem, 1.1 * threshold, 2)
        found.append((threshold, escape.growth, escape.second_moment))
    for lanczos, dense in zip(*found, strict=True):
        np.testing.assert_allclose(lanczos, dense, rtol=1e-9, atol=1e-9)
    if not momentum:
        eta = 0.6 * threshold
        covariance = theory.sgd_limit_covariance(problem, eta, 2)
        exact = _limit_without_momentum(problem, eta, 0.5)
        np.testing.assert_allclose(covariance, exact, rtol=1e-10, atol=1e-12 * np.max(exact))


def _limit_without_momentum(problem, eta, factor):
    h, one = problem.hessian, np.eye(problem.dim)
    step = one - eta * h
    deviations = problem.hessians - h
    fluctuation = np.einsum("nij,nkl->ikjl", deviations, deviations).reshape(problem.dim**2, -1) / problem.num_examples
    noise = eta**2 * factor * problem.noise_covariance(np.linalg.solve(h, problem.offset))
    system = np.eye(problem.dim**2) - np.kron(step, step) - eta**2 * factor * fluctuation
    return np.linalg.solve(system, noise.ravel()).reshape(h.shape)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_large_problems_are_stepped_one_by_one(momentum, monkeypatch):
    problem, dense = _regression(), _dense(_regression())
    run = dict(start=np.ones(4), start_covariance=np.eye(4), momentum=momentum, replacement=False)
    stored = theory.sgd_moments(problem, 0.1, 3, 40, record_every=8, **run)
    monkeypatch.setattr(moment_maps, "_MAX_COORDINATES", 5)
    for each in (problem, dense):
        stepped = theory.sgd_moments(each, 0.1, 3, 40, record_every=8, **run)
        for name in ("steps", "mean", "second", "loss"):
            np.testing.assert_allclose(getattr(stepped, name), getattr(stored, name), rtol=1e-11)
    last = theory.sgd_moments(problem, 0.1, 3, 40, **run)
    np.testing.assert_allclose(last.second, stored.second[-1], rtol=1e-11)
    with pytest.raises(OverflowError, match="mean-square stability"):
        theory.sgd_moments(problem, 1e6, 3, 100, **run)


def test_a_hundred_parameters_are_no_obstacle():
    problem = _regression(150, 60, seed=5)
    threshold = theory.max_mean_square_learning_rate(problem, 10)
    covariance = theory.sgd_limit_covariance(problem, 0.5 * threshold, 10)
    run = dict(start=np.linalg.solve(problem.hessian, problem.offset), start_covariance=covariance)
    later = theory.sgd_moments(problem, 0.5 * threshold, 10, 5, **run)
    np.testing.assert_allclose(later.covariance, covariance, rtol=1e-9, atol=1e-12 * np.max(covariance))


def test_interpolation_has_no_noise_and_no_fluctuation():
    problem = _regression(20, 40, label_noise=1.0)
    minimum = np.linalg.lstsq(problem.features, problem.targets)[0]
    assert np.max(np.abs(problem.noise_covariance(minimum))) < 1e-20
    threshold = theory.max_mean_square_learning_rate(problem, 4)
    covariance = theory.sgd_limit_covariance(problem, 0.5 * threshold, 4)
    assert np.max(np.abs(covariance)) < 1e-20


# Sizes, batch size and fraction of the threshold of the note's table; data of our own.
LARGE = [(200, 50, 5, 0.5), (400, 50, 50, 0.7), (100, 50, 1, 0.5)]


@pytest.mark.parametrize(("num_examples", "dim", "batch_size", "fraction"), LARGE)
def test_high_dimension_needs_two_summaries_of_the_data(num_examples, dim, batch_size, fraction):
    problem = _regression(num_examples, dim, seed=11)
    sample = problem.hessian
    limit = theory.max_high_dimensional_learning_rate(sample, batch_size)
    assert sum(1 / (2 / (limit * a) - 1 + 1 / batch_size) for a in np.linalg.eigvalsh(sample)) == pytest.approx(
        batch_size, rel=1e-10)
    exact_limit = theory.max_mean_square_learning_rate(problem, batch_size)
    assert exact_limit < limit < 1.1 * exact_limit
    eta = fraction * limit
    minimum = np.linalg.solve(sample, problem.offset)
    residual = np.mean((problem.features @ minimum - problem.targets) ** 2)
    covariance = theory.high_dimensional_covariance(sample, residual, eta, batch_size)
    inner = np.linalg.inv(2 * np.eye(dim) - eta * (1 - 1 / batch_size) * sample)
    tau = eta * np.trace(inner @ sample)
    np.testing.assert_allclose(covariance, eta * residual / batch_size / (1 - tau / batch_size) * inner, rtol=1e-10,
                               atol=1e-12)
    exact = theory.sgd_limit_covariance(problem, eta, batch_size)
    assert np.sum(sample * covariance) == pytest.approx(np.sum(sample * exact), rel=0.07)
    # noise and fluctuation belong together: the stationary equation closes
    noise = theory.minimum_noise_covariance(sample, residual / 2, batch_size, covariance=covariance)
    np.testing.assert_allclose(theory.sgd_stationary_covariance(sample, noise, eta), covariance, rtol=1e-9, atol=1e-13)


def test_high_dimension_overparametrised():
    problem = _regression(50, 100, seed=2)
    limit = theory.max_high_dimensional_learning_rate(problem.hessian, 10)
    assert 0.75 < theory.max_mean_square_learning_rate(problem, 10) / limit < 1
    assert not np.any(theory.high_dimensional_covariance(problem.hessian, 0.0, 0.5 * limit, 10))
    with pytest.raises(ValueError, match="mean-square threshold"):
        theory.high_dimensional_covariance(problem.hessian, 0.0, 1.01 * limit, 10)


@pytest.mark.parametrize("replacement", [True, False])
def test_the_escape_direction_dominates_in_the_long_run(replacement):
    problem = _regression(seed=4)
    eta = 1.3 * theory.max_mean_square_learning_rate(problem, 2, replacement=replacement)
    escape = theory.escape_direction(problem, eta, 2, replacement=replacement)
    assert escape.growth == pytest.approx(theory.mean_square_growth(problem, eta, 2, replacement=replacement), rel=1e-10)
    minimum = np.linalg.solve(problem.hessian, problem.offset)
    late = theory.sgd_moments(problem, eta, 2, 400, start=minimum, start_covariance=np.eye(4), replacement=replacement)
    np.testing.assert_allclose(late.covariance / np.trace(late.covariance), escape.second_moment, atol=1e-9)
    # gradient descent at its own edge leaves along the sharpest direction alone
    values, vectors = np.linalg.eigh(problem.hessian)
    alone = theory.escape_direction(problem, 2.1 / values[-1], 12, replacement=False)
    np.testing.assert_allclose(alone.second_moment, np.outer(vectors[:, -1], vectors[:, -1]), atol=1e-9)
    assert escape.second_moment @ vectors[:, -1] @ vectors[:, -1] < 0.999


def test_escape_shares_on_gaussian_features():
    """The numbers of the note, at its threshold 0.313738."""
    features = np.diag([2.0, 0.5, 0.1, 0.1, 0.1, 0.1])
    eta = theory.max_online_learning_rate(features, 1)
    assert eta == pytest.approx(0.313738, abs=5e-7)
    escape = theory.online_escape_direction(features, eta, 1)
    shares = np.diag(escape.second_moment) / escape.second_moment[0, 0]
    assert escape.growth == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(shares[:3], [1, 0.442, 0.385], atol=5.1e-4)


@pytest.mark.parametrize("eta", [0.05, 0.2, 0.7])
def test_the_online_escape_direction_is_an_eigenmatrix(eta):
    root = np.random.default_rng(0).normal(size=(3, 3))
    a = root @ root.T
    growth, m = theory.online_escape_direction(a, eta, 4)
    step = np.eye(3) - eta * a
    image = step @ m @ step + eta**2 / 4 * (a @ m @ a + np.sum(a * m) * a)
    np.testing.assert_allclose(image, growth * m, atol=1e-12 * growth)
    assert np.trace(m) == pytest.approx(1.0) and np.linalg.eigvalsh(m)[0] > 0


def _gaussian_average(function, root):
    """Integrate exactly over x ~ N(0, root root') what is polynomial of degree up to 8."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    grid = itertools.product(zip(nodes, weights / np.sqrt(2 * np.pi), strict=True), repeat=2)
    return sum(w1 * w2 * function(root @ np.array([z1, z2])) for (z1, w1), (z2, w2) in grid)


def test_alignment_identities_on_gaussian_features():
    root, e, sigma = np.array([[1.2, 0.0], [0.5, 0.6]]), np.array([0.7, -0.4]), 0.3
    a = root @ root.T
    noise = _gaussian_average(lambda x: ((x @ e) ** 2 + sigma**2) * np.outer(x, x), root) - np.outer(a @ e, a @ e)
    np.testing.assert_allclose(theory.online_noise_covariance(a, e, sigma), noise, rtol=1e-12)
    clean, loss = theory.online_noise_covariance(a, e), e @ a @ e / 2
    mu = 1 + e @ a @ a @ a @ e / (2 * loss * np.sum(a**2))
    assert theory.loss_alignment(a, clean, loss) == pytest.approx(mu, rel=1e-12)
    for v in ([1.0, 0.0], [0.3, -2.0], e):
        v = np.asarray(v)
        g = 1 + (v @ a @ e) ** 2 / (2 * loss * (v @ a @ v))
        assert theory.directional_alignment(a, clean, loss, v) == pytest.approx(g, rel=1e-12)
        assert 1 <= g <= 2
    assert theory.directional_alignment(a, clean, loss, e) == pytest.approx(2.0, rel=1e-12)


def test_alignment_tells_the_loss_after_one_step():
    problem, w, eta, batch_size = _regression(seed=6), np.array([0.5, -1.0, 0.3, 0.2]), 0.1, 3
    h, noise = problem.hessian, problem.noise_covariance(w)
    gradient = h @ w - problem.offset
    moments = theory.sgd_moments(problem, eta, batch_size, 1, start=w, record_every=1)
    mu = theory.loss_alignment(h, noise, moments.loss[0])
    expected = moments.loss[0] - eta * gradient @ gradient + eta**2 / 2 * gradient @ h @ gradient
    expected += eta**2 / batch_size * mu * moments.loss[0] * np.sum(h**2)
    assert moments.loss[1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_stable_minima_obey_the_frobenius_bound(batch_size):
    features = np.diag([2.0, 0.5, 0.1, 0.1])
    eta = theory.max_online_learning_rate(features, batch_size)
    assert np.linalg.norm(features) < theory.max_stable_hessian_norm(eta, batch_size)


def test_teeth_wrong_operators_are_told_apart():
    problem, eta = _regression(), 0.1
    exact = _limit(problem, eta, 3, False, 0.0)
    noise = problem.noise_covariance(np.linalg.solve(problem.hessian, problem.offset))
    wrong = {
        "replacement": theory.sgd_limit_covariance(problem, eta, 3),
        "batch size": theory.sgd_limit_covariance(problem, eta, 2, replacement=False),
        "frozen noise": theory.sgd_stationary_covariance(
            problem.hessian, theory.sampling_factor(12, 3, replacement=False) * noise, eta),
        "momentum": theory.sgd_limit_covariance(problem, eta / 2, 3, momentum=0.5, replacement=False),
    }
    for covariance in wrong.values():
        assert np.max(np.abs(covariance - exact)) > 1e-3 * np.max(np.abs(exact))


BAD_CALLS = {
    "beyond": (lambda: theory.sgd_limit_covariance(_regression(), 5.0, 1), "below the mean-square threshold 0.*got 5.0"),
    "batch size": (lambda: theory.sgd_limit_covariance(_regression(), 0.1, 13, replacement=False), "1..12, got 13"),
    "momentum": (lambda: theory.sgd_limit_covariance(_regression(), 0.1, 2, momentum=-0.1), "momentum must lie in"),
    "saddle": (lambda: theory.sgd_limit_covariance(theory.affine_gradients(-np.eye(2)[None], np.zeros((1, 2))), 0.1, 1),
               "at a saddle no learning rate is stable"),
    "flat noise": (lambda: theory.sgd_limit_covariance(
        theory.affine_gradients([np.diag([1.0, 0.0])] * 2, [[0.0, 1.0], [0.0, -1.0]]), 0.1, 1), "adds up for ever"),
    "no curvature": (lambda: theory.escape_direction(theory.least_squares(np.zeros((3, 2)), np.ones(3)), 0.1, 1),
                     "nothing escapes"),
    "loss": (lambda: theory.loss_alignment(np.eye(2), np.eye(2), 0.0), "loss must be .* positive"),
    "no hessian": (lambda: theory.loss_alignment(np.zeros((2, 2)), np.eye(2), 1.0), "hessian is zero"),
    "direction": (lambda: theory.directional_alignment(np.diag([1.0, 0.0]), np.eye(2), 1.0, [0.0, 1.0]),
                  "direction must have positive curvature"),
    "sample": (lambda: theory.high_dimensional_covariance(-np.eye(2), 1.0, 0.1, 1), "sample_covariance .* semi-definite"),
    "residual": (lambda: theory.high_dimensional_covariance(np.eye(2), -1.0, 0.1, 1), "mean_square_residual must be"),
    "alignment": (lambda: theory.max_stable_hessian_norm(0.1, 4, 0.0), "alignment must be"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_input_is_named(case):
    call, message = BAD_CALLS[case]
    with pytest.raises(ValueError, match=message):
        call()
