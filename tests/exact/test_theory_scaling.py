"""Scaling rules against the exact variance recursion, and laws of adaptive methods against exact one-step averages."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from sde_sgd import theory

CORRECTED = {1: 0.05405, 2: 0.10526, 8: 0.36364, 16: 0.61538, 32: 0.94118, 64: 1.2800, 128: 1.5610, 1024: 1.9321}
LINEAR = {1: 0.9189, 2: 0.9444, 8: 1.1333, 16: 1.5455, 32: 5.667, 64: np.inf}


def test_where_linear_scaling_breaks_and_what_replaces_it():
    reference = theory.label_noise_fluctuation(0.2, 4)
    assert reference == pytest.approx(0.0294118, abs=1e-7)
    for batch_size, share in LINEAR.items():
        rate = theory.linear_scaling(0.2, 4, batch_size)
        assert theory.label_noise_fluctuation(rate, batch_size) / reference == pytest.approx(share, rel=2e-4)
    for batch_size, expected in CORRECTED.items():
        rate = theory.constant_fluctuation_learning_rate(reference, batch_size)
        assert rate == pytest.approx(expected, rel=2e-4)
        assert theory.label_noise_fluctuation(rate, batch_size) == pytest.approx(reference, rel=1e-12)
    assert theory.constant_fluctuation_learning_rate(reference, 10**9) == pytest.approx(2, rel=1e-6)


@pytest.mark.parametrize(("rate", "batch_size", "a", "momentum"), [(0.3, 3, 1.0, 0.0), (0.1, 2, 2.0, 0.5), (0.2, 40, 0.7, 0.9)])
def test_the_fluctuation_is_the_fixed_point_of_the_second_moments(rate, batch_size, a, momentum):
    """E of (w^2, w m, m^2) for heavy ball with a random curvature s of mean a and variance 2 a^2/B."""
    square = a**2 * (1 + 2 / batch_size)
    b = momentum
    # m' = b m + s w + noise, w' = w - rate m', in the basis (w w, w m, m m).
    trace = np.array([square, 2 * b * a, b**2])  # of m'^2
    mixed = np.array([a, b, 0.0])  # of w m'
    recursion = np.array([[1.0, 0, 0] - 2 * rate * mixed + rate**2 * trace, mixed - rate * trace, trace])
    noise = a / batch_size * np.array([rate**2, -rate, 1.0])
    exact = np.linalg.solve(np.eye(3) - recursion, noise)[0]
    assert theory.label_noise_fluctuation(rate, batch_size, feature_variance=a, momentum=b) == pytest.approx(exact)
    back = theory.constant_fluctuation_learning_rate(exact, batch_size, feature_variance=a, momentum=b)
    assert back == pytest.approx(rate)


def test_square_root_scaling():
    base = theory.AdaptiveHyperparameters(1e-3, 0.9, 0.99, 1e-8)
    np.testing.assert_allclose(theory.square_root_scaling(base, 64, 256), (2e-3, 0.6, 0.96, 5e-9))
    there = theory.square_root_scaling(base, 64, 256)
    np.testing.assert_allclose(theory.square_root_scaling(there, 256, 64), base)
    assert theory.square_root_scaling(base._replace(b1=0.0), 64, 256).b1 == 0.0
    with pytest.raises(ValueError, match=r"b1 must be at least 1 - batch_size/new_batch_size = 0\.9375"):
        theory.square_root_scaling(base, 64, 1024)
    variances = [theory.rmsprop_stationary_variance(0.7, 2.0, rate, batch)
                 for rate, batch in ((0.01, 4), (0.02, 16), (0.04, 16))]
    assert variances[1] == pytest.approx(variances[0]) and variances[2] == pytest.approx(2 * variances[0])


def test_the_sign_of_a_gaussian_gradient():
    for gradient, scale in ((0.7, 1.3), (-2.0, 0.5), (0.0, 1.0)):
        mean = 1 - 2 * stats.norm(gradient, scale).cdf(0)
        assert theory.sign_sgd_drift(gradient, scale) == pytest.approx(mean, abs=1e-12)
    with pytest.raises(ValueError, match="noise_scale"):
        theory.sign_sgd_drift(1.0, 0.0)


def test_the_variance_of_sign_sgd_is_that_of_its_equation():
    """The stationary density of dX = -erf dt + sqrt(eta (1 - erf^2)) dW by quadrature, as eta tends to 0."""
    curvature, scale, rate = 1.5, 2.0, 0.002

    def log_density(x):
        drift = quad(lambda y: _ratio(y, curvature, scale), 0, x, epsabs=1e-12)[0]
        return 2 / rate * drift - np.log(1 - theory.sign_sgd_drift(curvature * x, scale) ** 2)

    def _ratio(y, curvature, scale):
        mean = float(theory.sign_sgd_drift(curvature * y, scale))
        return -mean / (1 - mean**2)

    x = np.linspace(-0.25, 0.25, 201)
    density = np.exp([log_density(point) for point in x])
    variance = np.sum(density * x**2) / np.sum(density)
    assert theory.sign_sgd_stationary_variance(curvature, scale, rate) == pytest.approx(variance, rel=0.01)
    assert theory.sign_sgd_stationary_variance(curvature, 2 * scale, rate) == pytest.approx(
        2 * theory.sign_sgd_stationary_variance(curvature, scale, rate))


@pytest.mark.parametrize("rate", [0.05, 0.4, 1.2])
def test_the_step_feeds_sgd_with_its_gradient_and_the_sde_not(rate):
    """On a quadratic with constant noise <w, grad f> is larger by 1 + G/N, at every learning rate."""
    rng = np.random.default_rng(3)
    hessian, root = np.diag([0.2, 0.7, 1.5]), rng.normal(size=(3, 3))
    noise = root @ root.T
    sgd = theory.sgd_stationary_covariance(hessian, noise, rate)
    sde = theory.ou_stationary_covariance(hessian, noise, rate)
    signal = np.trace(hessian @ sgd @ hessian)
    found = theory.noise_to_signal(signal, np.trace(noise))
    assert np.trace(hessian @ sgd) / np.trace(hessian @ sde) == pytest.approx(found.energy_ratio, rel=1e-10)
    assert found.ratio == pytest.approx(np.trace(noise) / signal)
    assert found.sde_can_hold == (found.energy_ratio <= 2)


def test_a_batch_can_grow_by_a_factor_of_the_noise():
    found = theory.noise_to_signal(2.0, 6.0, closeness=2.0)
    assert (found.ratio, found.energy_ratio, found.sde_can_hold, found.largest_scaling) == (3.0, 4 / 3, True, 16.0)
    assert theory.noise_to_signal(0.0, 1.0).largest_scaling == np.inf
    for arguments, error in (((-1.0, 1.0), ValueError), ((1.0, 0.0), ValueError), (("1", 1.0), TypeError)):
        with pytest.raises(error):
            theory.noise_to_signal(*arguments)
    with pytest.raises(ValueError, match="closeness must be above 1"):
        theory.noise_to_signal(1.0, 1.0, closeness=1.0)
