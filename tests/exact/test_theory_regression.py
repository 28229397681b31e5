"""SGD on linear regression with fresh Gaussian data: closed forms against the recursion of all second moments."""

import numpy as np
import pytest
from scipy.optimize import brentq

from sde_sgd import theory

RNG = np.random.default_rng(7)


def _random_covariance(dim, seed):
    root = np.random.default_rng(seed).normal(size=(dim, dim))
    return root @ root.T / dim + 0.2 * np.eye(dim)


class Recursion:
    """One step on E[y y'], y = (1, w - w*, trace), from E[W M W] of a Wishart matrix W alone."""

    def __init__(self, features, rate, batch_size, sigma=0.0, decay=None, teacher=None, momentum=0.0):
        dim = len(features)
        decay = np.zeros((dim, dim)) if decay is None else decay
        self.features, self.batch_size, self.sigma, self.dim = features, batch_size, sigma, dim
        self.rate = rate * np.eye(dim) if np.ndim(rate) == 0 else rate
        curvature = features + decay
        self.q = np.zeros(dim) if teacher is None else -np.linalg.solve(curvature, decay @ teacher)
        one = np.eye(1 + 2 * dim)
        trace = momentum * one[1 + dim:] + curvature @ one[1:1 + dim]
        self.mean = np.vstack([one[:1], one[1:1 + dim] - self.rate @ trace, trace])
        self.kick = np.vstack([np.zeros((1, dim)), -self.rate, np.eye(dim)])

    def __call__(self, z):
        a = self.features
        residual = np.hstack([self.q[:, None], np.eye(self.dim)])  # of (1, w - w*) gives w - u
        moment = residual @ z[:1 + self.dim, :1 + self.dim] @ residual.T
        noise = (a @ moment @ a + np.sum(a * moment) * a + self.sigma**2 * z[0, 0] * a) / self.batch_size
        return self.mean @ z @ self.mean.T + self.kick @ noise @ self.kick.T

    def matrix(self):
        size = 1 + 2 * self.dim
        images = [self(unit.reshape(size, size)).ravel() for unit in np.eye(size**2)]
        return np.stack(images, axis=1)

    def stationary(self):
        """Return the covariance of w - w* and the mean noise, by one dense solve."""
        size = 1 + 2 * self.dim
        rest = np.arange(1, size**2)
        matrix = self.matrix()
        z = np.ones(size**2)
        z[rest] = np.linalg.solve(np.eye(size**2 - 1) - matrix[np.ix_(rest, rest)], matrix[rest, 0])
        return z.reshape(size, size)[1:1 + self.dim, 1:1 + self.dim]

    def radius(self):
        """Return the growth of the second moment when nothing but the distance from the minimum matters."""
        size = 1 + 2 * self.dim
        inner = np.array([i * size + j for i in range(1, size) for j in range(1, size)])
        return np.max(np.abs(np.linalg.eigvals(self.matrix()[np.ix_(inner, inner)])))


# eigenvalues, learning rate, momentum, batch size, covariance, training loss
LABEL_NOISE = [
    ([1.0], 0.5, 0.0, 4, [0.10000], 0.55000),
    ([1.5], 1.0, 0.0, 40, [0.05882], 0.54412),
    ([1.0, 0.5], 1.5, 0.0, 50, [0.06908, 0.02629], 0.54111),
    ([1.0, 0.5], 0.6, 0.5, 5, [0.23464, 0.18994], 0.66480),
    ([1.0, 0.5, 0.25], 0.4, 0.9, 16, [0.22130, 0.19251, 0.18075], 0.68137),
    ([1.0], 0.3, 0.9, 8, [0.34337], 0.67169),
]


@pytest.mark.parametrize(("eigenvalues", "rate", "momentum", "batch_size", "covariance", "loss"), LABEL_NOISE)
def test_the_table_of_label_noise(eigenvalues, rate, momentum, batch_size, covariance, loss):
    features = np.diag(eigenvalues)
    state = theory.online_regression(features, rate, batch_size, label_noise=1.0, momentum=momentum)
    np.testing.assert_allclose(np.diag(state.covariance), covariance, atol=5.1e-6)
    assert state.training_loss == pytest.approx(loss, abs=5.1e-6)
    assert state.test_loss == pytest.approx(state.training_loss - 0.5, rel=1e-12)
    exact = Recursion(features, rate, batch_size, sigma=1.0, momentum=momentum).stationary()
    np.testing.assert_allclose(state.covariance, exact, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(
        theory.label_noise_covariance(features, 1.0, rate, batch_size, momentum), state.covariance)
    # noise as a function of the fluctuation, and the stationary equation that ties the two
    noise = features @ exact @ features + (np.sum(features * exact) + 1.0) * features
    np.testing.assert_allclose(state.noise_covariance, noise / batch_size, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        theory.sgd_stationary_covariance(features, state.noise_covariance, rate, momentum), state.covariance, rtol=1e-10)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_a_matrix_rate_that_does_not_commute_with_the_features(momentum):
    features, rate = _random_covariance(3, 0), 0.1 * _random_covariance(3, 1)
    state = theory.online_regression(features, rate, 6, label_noise=0.8, momentum=momentum)
    exact = Recursion(features, rate, 6, sigma=0.8, momentum=momentum).stationary()
    np.testing.assert_allclose(state.covariance, exact, rtol=1e-10, atol=1e-13)


def test_the_small_rate_limit_is_isotropic():
    features = _random_covariance(3, 0)
    covariance = theory.label_noise_covariance(features, 0.7, 1e-5, 4, 0.5)
    np.testing.assert_allclose(covariance, 1e-5 * 0.49 / (2 * 4 * 0.5) * np.eye(3), rtol=1e-4, atol=1e-10)


# batch size: exact, Hessian noise, OU, first-order SDE, second-order SDE, as functions of lambda a = l
@pytest.mark.parametrize("product", [0.1, 0.7, 1.2])
@pytest.mark.parametrize("batch_size", [4, 10])
def test_the_models_to_compare_with(product, batch_size):
    a, sigma, s = 2.5, 0.6, batch_size
    rate, frozen, unit = product / a, [[sigma**2 * a / batch_size]], product / a * sigma**2
    assert theory.label_noise_covariance([[a]], sigma, rate, s).item() == pytest.approx(
        unit / (s * (2 - (1 + 2 / s) * product)), rel=1e-12)
    assert theory.sgd_stationary_covariance([[a]], frozen, rate).item() == pytest.approx(unit / (s * (2 - product)), rel=1e-12)
    assert theory.ou_stationary_covariance([[a]], frozen, rate).item() == pytest.approx(unit / (2 * s), rel=1e-12)
    first, second = (theory.label_noise_sme_covariance([[a]], sigma, rate, s, order=order).item() for order in (1, 2))
    assert first == pytest.approx(unit / (2 * (s - product)), rel=1e-12)
    assert second == pytest.approx(unit / (s * (2 + product) - 2 * product), rel=1e-12)


def test_the_sde_in_several_dimensions():
    features, rate, s = np.diag([1.0, 0.5, 0.1]), 0.9, 3
    inner = np.linalg.inv(2 * np.eye(3) - rate * features / s)
    tau = np.trace(rate * features @ inner)
    expected = rate / s / (1 - tau / s) * inner
    np.testing.assert_allclose(theory.label_noise_sme_covariance(features, 1.0, rate, s, order=1), expected, rtol=1e-12)
    # the second-order one solves A S + S A = eta C(S) with its own drift
    covariance = theory.label_noise_sme_covariance(features, 1.0, rate, s, order=2)
    drift = rate * features + (rate * features) @ (rate * features) / 2
    noise = features @ covariance @ features + (np.sum(features * covariance) + 1) * features
    np.testing.assert_allclose(drift @ covariance + covariance @ drift, rate**2 * noise / s, atol=1e-14)


def test_where_the_sdes_lose_their_variance():
    """First order at l = S; second order at l = 2 for S = 1, never for more: far beyond SGD's own 2S/(S+2)."""
    for order, threshold in ((1, 1.0), (2, 2.0)):
        theory.label_noise_sme_covariance([[1.0]], 1.0, 0.999 * threshold, 1, order=order)
        with pytest.raises(ValueError, match="the SDE's second moment is infinite"):
            theory.label_noise_sme_covariance([[1.0]], 1.0, 1.001 * threshold, 1, order=order)
    assert theory.label_noise_sme_covariance([[1.0]], 1.0, 1e4, 2, order=2).item() == pytest.approx(0.5 * 1e4 / 2)


INPUT_NOISE = [
    (np.diag([0.2, 0.7]), [1.0, -1.0], 0.4, 0.0, 4, [0.03951, 0.03951], 0.27658, 0.12859),
    (0.5 * np.eye(2), [1.0, 2.0], 0.3, 0.5, 8, [0.07112, 0.06546], 0.75274, None),
]


@pytest.mark.parametrize(("blur", "teacher", "rate", "momentum", "batch_size", "diagonal", "loss", "clean"), INPUT_NOISE)
def test_the_cases_of_input_noise(blur, teacher, rate, momentum, batch_size, diagonal, loss, clean):
    state = theory.input_noise_regression(np.diag([1.0, 0.5]), blur, teacher, rate, batch_size, momentum=momentum)
    np.testing.assert_allclose(np.diag(state.covariance), diagonal, atol=5.1e-6)
    assert state.training_loss == pytest.approx(loss, abs=5.1e-6)
    if clean is not None:
        assert state.test_loss == pytest.approx(clean, abs=5.1e-6)


def test_input_noise_that_does_not_commute_with_the_features():
    features, blur, teacher = _random_covariance(3, 0), 0.3 * _random_covariance(3, 2), np.array([1.0, -0.5, 0.3])
    state = theory.input_noise_regression(features, blur, teacher, 0.2, 5, label_noise=0.4, momentum=0.3)
    seen = features + blur
    minimum = np.linalg.solve(seen, features @ teacher)
    # the residual at the minimum: its variance straight from the joint law of (clean input, noise)
    residual = (minimum - teacher) @ features @ (minimum - teacher) + minimum @ blur @ minimum + 0.16
    exact = Recursion(seen, 0.2, 5, sigma=np.sqrt(residual), momentum=0.3).stationary()
    np.testing.assert_allclose(state.mean, minimum, rtol=1e-13)
    np.testing.assert_allclose(state.covariance, exact, rtol=1e-10, atol=1e-13)
    q = minimum - teacher
    assert state.test_loss == pytest.approx(np.sum(features * (exact + np.outer(q, q))) / 2, rel=1e-12)


A2, U2 = np.diag([1.0, 0.5]), np.array([1.0, -1.0])


def test_weight_decay_without_label_noise():
    state = theory.online_regression(A2, 0.5, 4, weight_decay=0.2, teacher=U2)
    assert state.test_loss == pytest.approx(0.0403463, abs=5.1e-8)
    np.testing.assert_allclose(state.covariance, [[0.008719, -0.00210], [-0.00210, 0.006758]], atol=5.1e-6)
    np.testing.assert_allclose(state.noise_covariance, [[0.029297, -0.006215], [-0.006215, 0.015611]], atol=5.1e-7)


@pytest.mark.parametrize(("rate", "momentum", "batch_size", "loss"), [(0.3, 0.5, 4, 0.07155), (0.2, 0.9, 8, 0.07876)])
def test_weight_decay_with_momentum(rate, momentum, batch_size, loss):
    state = theory.online_regression(A2, rate, batch_size, weight_decay=0.3, teacher=U2, momentum=momentum)
    assert state.test_loss == pytest.approx(loss, abs=5.1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("decay", [-0.05, 0.3])
def test_weight_decay_with_everything_at_once(decay, momentum):
    features, teacher = _random_covariance(3, 4), np.array([1.0, -0.5, 0.3])
    matrix = decay * features @ features  # commutes, not a multiple of the identity
    state = theory.online_regression(features, 0.2, 5, label_noise=0.3, weight_decay=matrix, teacher=teacher,
                                     momentum=momentum)
    recursion = Recursion(features, 0.2, 5, sigma=0.3, decay=matrix, teacher=teacher, momentum=momentum)
    exact, q = recursion.stationary(), recursion.q
    np.testing.assert_allclose(state.covariance, exact, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(state.mean, teacher + q, rtol=1e-13)
    moment = exact + np.outer(q, q)
    ridge = np.sum(matrix * (exact + np.outer(teacher + q, teacher + q))) / 2
    assert state.test_loss == pytest.approx(np.sum(features * moment) / 2, rel=1e-10)
    assert state.training_loss == pytest.approx(np.sum(features * moment) / 2 + 0.045 + ridge, rel=1e-10)


def test_the_published_formula_holds_for_a_teacher_along_one_eigenvector():
    """Its diagonal always, its off-diagonal entries only there: the rank-one noise has + A q q' A."""
    a, gamma, rate, s = np.array([1.0, 0.5]), 0.2, 0.5, 4
    k = a + gamma
    g = 2 - rate * (k + a**2 / (s * k))
    for teacher in ([1.0, 0.0], [1.0, -1.0]):
        u2 = np.square(teacher)
        c = np.sum(a * gamma**2 / k**2 * u2)
        share = 1 - rate / s * np.sum(a**2 / (k * g))
        kappa = np.sum(a**2 / (k * g)) / share
        r = np.sum(a**3 / k**3 * gamma**2 * u2 / g) / share
        loss = rate / (2 * s) * (c * kappa + r) + c / 2
        diagonal = rate / s * (c * (1 + rate * kappa / s) * a + a**2 / k**2 * gamma**2 * u2 + rate * r / s * a) / (k * g)
        state = theory.online_regression(np.diag(a), rate, s, weight_decay=gamma, teacher=teacher)
        assert state.test_loss == pytest.approx(loss, rel=1e-12)
        np.testing.assert_allclose(np.diag(state.covariance), diagonal, rtol=1e-12)


CURVE = {-0.3: 0.68433, -0.2: 0.14286, -0.1: 0.02180, 0.0: 0.0, 0.1: 0.01108, 0.2: 0.03431, 0.3: 0.06190, 0.5: 0.11905,
         1.0: 0.25, 2.0: 0.66667}


@pytest.mark.parametrize("gamma", CURVE)
def test_the_curve_of_the_test_loss_over_weight_decay(gamma):
    state = theory.online_regression([[1.0]], 0.5, 1, weight_decay=gamma, teacher=[1.0])
    assert state.test_loss == pytest.approx(CURVE[gamma], abs=5.1e-6)


# learning rate, batch size, stable interval, optimum, its loss
BEST = [
    (0.5, 1, (-0.4142, 2.4142), 0.0, 0.0),
    (1.7, 10, (-0.7939, -0.0296), -0.0516, 0.01964),
    (1.9, 10, (-0.7512, -0.1962), -0.2674, 0.45328),
    (2.1, 10, (-0.6874, -0.3602), -0.4377, 3.4356),
    (1.35, 4, (-0.4799, -0.0386), -0.0670, 0.11246),
    (0.69, 1, (0.1324, 0.7661), 0.2494, 0.67910),
]


@pytest.mark.parametrize(("rate", "batch_size", "stable", "decay", "loss"), BEST)
def test_the_best_weight_decay_may_be_negative(rate, batch_size, stable, decay, loss):
    best = theory.optimal_weight_decay([[1.0]], [1.0], rate, batch_size)
    np.testing.assert_allclose(best.stable, stable, atol=5.1e-5)
    radius = np.sqrt(1 - 2 * rate**2 / batch_size)
    np.testing.assert_allclose(best.stable, [(1 - radius) / rate - 1, (1 + radius) / rate - 1], rtol=1e-9)
    assert best.weight_decay == pytest.approx(decay, abs=5.1e-5)
    assert best.test_loss == pytest.approx(loss, abs=5.1e-6 if loss < 1 else 5.1e-5)
    for edge, inside in zip(best.stable, (1, -1), strict=True):
        for sign in (1, -1):
            state = theory.online_regression([[1.0]], rate, batch_size, weight_decay=edge + sign * inside * 1e-6,
                                             teacher=[1.0])
            assert np.isfinite(state.test_loss) == (sign == 1) == (state.reason == "")


def test_the_best_weight_decay_in_several_dimensions_is_a_minimum():
    options = dict(label_noise=0.3, momentum=0.4)
    best = theory.optimal_weight_decay(A2, U2, 0.4, 3, **options)
    losses = [theory.online_regression(A2, 0.4, 3, weight_decay=gamma, teacher=U2, **options).test_loss
              for gamma in np.linspace(*best.stable, 400)[1:-1]]
    assert best.weight_decay > 0 and best.test_loss <= min(losses)
    with pytest.raises(ValueError, match="too large for any weight decay"):
        theory.optimal_weight_decay([[1.0]], [1.0], 1.01 * np.sqrt(0.5), 1)


THRESHOLDS = {
    0.0: [0.6667, 1.0, 1.4286, 1.6667, 1.8182, 1.9231, 1.9608],
    0.5: [0.4286, 0.75, 1.3636, 1.875, 2.3077, 2.6786, 2.8302],
    0.9: [0.0974, 0.19, 0.4419, 0.7917, 1.3103, 2.1591, 2.7536],
}


@pytest.mark.parametrize("momentum", THRESHOLDS)
def test_the_table_of_thresholds(momentum):
    found = [theory.max_online_learning_rate([[1.0]], s, momentum=momentum) for s in (1, 2, 5, 10, 20, 50, 100)]
    np.testing.assert_allclose(found, THRESHOLDS[momentum], atol=5.1e-5)
    closed = [2 * (1 - momentum) / ((1 - momentum) / (1 + momentum) + 2 / s) for s in (1, 2, 5, 10, 20, 50, 100)]
    np.testing.assert_allclose(found, closed, rtol=1e-12)


def test_thresholds_in_two_dimensions():
    found = [theory.max_online_learning_rate(A2, s) for s in (1, 2, 10, 50)]
    np.testing.assert_allclose(found, [0.609612, 0.946803, 1.655327, 1.922367], atol=5.1e-7)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("batch_size", [1, 2, 10, 50])
@pytest.mark.parametrize("dim", [1, 2, 4])
def test_the_threshold_is_where_the_recursion_ceases_to_contract(dim, batch_size, momentum):
    features, shape = _random_covariance(dim, dim), _random_covariance(dim, 9)
    threshold = theory.max_online_learning_rate(features, batch_size, momentum=momentum, preconditioner=shape)
    root = brentq(lambda rate: Recursion(features, rate * shape, batch_size, momentum=momentum).radius() - 1,
                  0.9 * threshold, 1.1 * threshold, xtol=1e-13) if dim < 4 else None
    if root is None:
        # one evaluation on either side: the slope there is of order one
        radii = [Recursion(features, rate * threshold * shape, batch_size, momentum=momentum).radius()
                 for rate in (1 - 1e-7, 1 + 1e-7)]
        assert radii[0] < 1 < radii[1]
    else:
        assert threshold == pytest.approx(root, rel=1e-8)


# batch size: thresholds of variance, fourth moment, stationary law
MOMENTS = {1: (0.6667, 0.3835, 2.4212), 2: (1.0, 0.6265, 2.6845), 4: (1.3333, 0.9261, 2.6630), 8: (1.6, 1.2340, 2.4926),
           10: (1.6667, 1.3264, 2.4285), 16: (1.7778, 1.5018, 2.2993), 50: (1.9231, 1.7948, 2.0911),
           100: (1.9608, 1.8895, 2.0422)}


@pytest.mark.parametrize("batch_size", MOMENTS)
def test_the_table_of_other_moments(batch_size):
    found = [theory.max_moment_learning_rate(1.0, batch_size, moment) for moment in (2, 4, 0)]
    np.testing.assert_allclose(found, MOMENTS[batch_size], atol=5.1e-5)
    assert found[0] == pytest.approx(theory.max_online_learning_rate([[1.0]], batch_size), rel=1e-9)
    s, rate = batch_size, found[1]
    second, third, fourth = 1 + 2 / s, (1 + 2 / s) * (1 + 4 / s), (1 + 2 / s) * (1 + 4 / s) * (1 + 6 / s)
    assert 1 - 4 * rate + 6 * rate**2 * second - 4 * rate**3 * third + rate**4 * fourth == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(("rate", "momentum"), [(0.5, 0.0), (0.3, 0.5)])
def test_damped_newton(rate, momentum):
    features, s = np.diag([1.0, 0.2, 0.05]), 8
    covariance = theory.label_noise_covariance(features, 1.0, rate * np.linalg.inv(features), s, momentum)
    np.testing.assert_allclose(np.diag(covariance), [0.05, 0.25, 1.0], rtol=1e-12)
    g = 2 * (1 - momentum) - ((1 - momentum) / (1 + momentum) + 1 / s) * rate
    np.testing.assert_allclose(covariance, rate / (g * s - 3 * rate) * np.linalg.inv(features), rtol=1e-12, atol=1e-16)
    limit = theory.max_online_learning_rate(features, s, momentum=momentum, preconditioner=np.linalg.inv(features))
    slope = (1 - momentum) / (1 + momentum) + 1 / s
    assert limit == pytest.approx(2 * (1 - momentum) * s / (3 + slope * s), rel=1e-12)


def _natural_gradient(dim, batch_size, momentum, rate=0.1, steps=200_000):
    """The recursion of (w, trace) second moments, each step preconditioned by the noise at that moment."""
    start = theory.natural_gradient_covariance(np.eye(dim), rate, batch_size, momentum)[0, 0]
    position, cross, trace = 1.2 * start, 0.0, 0.0
    for _ in range(steps):
        step = rate / (position * (1 + dim))
        # whitened: trace' = mu trace + W w, w' = w - step trace', E[W M W] = M + (M + Tr M)/S
        noise = position * (1 + dim) / batch_size
        new_cross = momentum * cross + position
        new_trace = momentum**2 * trace + 2 * momentum * cross + position + noise
        moved = (position - 2 * step * new_cross + step**2 * new_trace, new_cross - step * new_trace, new_trace)
        if abs(moved[0] - position) < 1e-15 * position and abs(moved[1] - cross) < 1e-15 * position:
            break
        position, cross, trace = moved
    return position / start


@pytest.mark.parametrize(("dim", "batch_size", "momentum"), [(8, 2, 0.0), (8, 4, 0.0), (20, 4, 0.5)])
def test_natural_gradient_settles_at_its_fixed_point(dim, batch_size, momentum):
    assert _natural_gradient(dim, batch_size, momentum) == pytest.approx(1.0, abs=1e-10)
    # which sits exactly on the mean-square threshold of its own rate
    c = theory.natural_gradient_covariance(np.eye(dim), 0.1, batch_size, momentum)[0, 0]
    limit = theory.max_online_learning_rate(np.eye(dim), batch_size, momentum=momentum)
    assert 0.1 / (c * (1 + dim)) == pytest.approx(limit, rel=1e-12)


def test_natural_gradient_need_not_settle():
    assert abs(_natural_gradient(2, 8, 0.0, steps=2000) - 1) > 0.05


def test_beyond_the_threshold_moments_are_infinite_and_say_why():
    state = theory.online_regression(A2, 1.7, 10, label_noise=1.0)
    assert np.isinf(state.training_loss) and np.isinf(state.test_loss)
    assert np.all(np.isinf(state.covariance)) and np.all(np.isinf(state.noise_covariance))
    assert "below the mean-square threshold 1.65533, got 1.7" in state.reason
    with pytest.raises(ValueError, match=r"below the mean-square threshold 1\.65533, got 1\.7"):
        theory.label_noise_covariance(A2, 1.0, 1.7, 10)
    with pytest.raises(ValueError, match=r"below 0\.82766\d* times the matrix"):
        theory.label_noise_covariance(A2, 1.0, 2 * np.eye(2), 10)
    negative = theory.online_regression(A2, 0.1, 10, weight_decay=-0.7, teacher=U2)
    assert np.isinf(negative.test_loss) and "the mean itself diverges" in negative.reason
    blurred = theory.input_noise_regression(A2, np.eye(2), U2, 3.0, 10)
    assert np.isinf(blurred.test_loss) and "mean-square" in blurred.reason


def test_teeth_slips_are_told_apart():
    """Momentum's factors, the fourth moment of the features and the batch size each change the answer visibly."""
    features, exact = np.diag([1.0, 0.5]), Recursion(np.diag([1.0, 0.5]), 0.6, 5, sigma=1.0, momentum=0.5).stationary()
    wrong = {
        "frozen noise": theory.sgd_stationary_covariance(features, features / 5, 0.6, 0.5),
        "rate over 1 - mu": theory.label_noise_covariance(features, 1.0, 1.2, 5),
        "batch size": theory.label_noise_covariance(features, 1.0, 0.6, 6, 0.5),
        "variance for deviation": theory.label_noise_covariance(features, np.sqrt(2), 0.6, 5, 0.5) / np.sqrt(2),
        "data drawn again": theory.high_dimensional_covariance(features, 1.0, 1.2, 5),
    }
    for covariance in wrong.values():
        assert np.max(np.abs(np.diag(covariance) / np.diag(exact) - 1)) > 0.01


BAD_CALLS = {
    "singular": (lambda: theory.label_noise_covariance(np.diag([1.0, 0.0]), 1.0, 0.1, 4),
                 "feature_covariance must be positive definite"),
    "indefinite": (lambda: theory.online_regression(np.diag([1.0, -1.0]), 0.1, 4), "positive semi-definite"),
    "label noise": (lambda: theory.label_noise_covariance([[1.0]], -1.0, 0.1, 4), "label_noise must be .* got -1.0"),
    "batch size": (lambda: theory.label_noise_covariance([[1.0]], 1.0, 0.1, 0), "batch_size must be at least 1, got 0"),
    "momentum": (lambda: theory.label_noise_covariance([[1.0]], 1.0, 0.1, 4, 1.0), "momentum must lie in"),
    "learning rate": (lambda: theory.label_noise_covariance([[1.0]], 1.0, 0.0, 4), "learning_rate must be .* got 0.0"),
    "teacher": (lambda: theory.online_regression([[1.0]], 0.1, 4, teacher=[1.0, 2.0]), "teacher must have shape"),
    "commuting": (lambda: theory.online_regression(A2, 0.1, 4, weight_decay=_random_covariance(2, 0)),
                  "weight_decay must commute with feature_covariance"),
    "flat": (lambda: theory.online_regression(A2, 0.1, 4, weight_decay=-0.5), "weight_decay makes .* singular"),
    "input noise": (lambda: theory.input_noise_regression(A2, -A2, U2, 0.1, 4), "input_noise_covariance .* semi-definite"),
    "order": (lambda: theory.label_noise_sme_covariance(A2, 1.0, 0.1, 4, order=3), "order must be one of 1, 2"),
    "moment": (lambda: theory.max_moment_learning_rate(1.0, 4, -1.0), "moment must be finite and not negative"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_input_is_named(case):
    call, message = BAD_CALLS[case]
    with pytest.raises(ValueError, match=message):
        call()
