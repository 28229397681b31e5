"""Tail exponents, Lyapunov exponents and Student laws against closed forms, direct integration and enumeration."""

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import comb, gammaln

from sde_sgd import theory

KESTEN = {(1.0, 1): 1.0908, (1.0, 2): 2.0, (1.0, 3): 2.7807, (1.0, 4): 3.5047, (1.0, 10): 7.5128, (1.0, 20): 14.020,
          (0.5, 1): 2.904, (0.5, 4): 9.978, (0.2, 1): 8.303, (1.5, 4): 1.520, (1.5, 1): 0.4774}


@pytest.mark.parametrize(("rate", "batch_size"), KESTEN)
def test_the_exponent_solves_the_equation_by_direct_integration(rate, batch_size):
    exponent = theory.tail_exponent(rate / 1.7, batch_size, feature_variance=1.7)
    assert exponent == pytest.approx(KESTEN[rate, batch_size], rel=5e-4)

    def integrand(s):
        return abs(1 - rate * s / batch_size) ** exponent * stats.chi2.pdf(s, batch_size)

    pole = batch_size / rate
    moment = quad(integrand, 0, pole, limit=200)[0] + quad(integrand, pole, pole + 400, limit=400)[0]
    assert moment == pytest.approx(1, abs=2e-6)


@pytest.mark.parametrize(("dim", "batch_size"), [(1, 3), (2, 1), (2, 7), (3, 1), (10, 4), (100, 10)])
def test_the_exponent_is_two_where_the_mean_square_diverges(dim, batch_size):
    threshold = 2 * batch_size / (dim + batch_size + 1)
    assert theory.tail_exponent(threshold, batch_size, dim=dim) == pytest.approx(2, abs=1e-9)


@pytest.mark.parametrize(("dim", "batch_size"), [(1, 2), (3, 2), (8, 5)])
def test_the_exponent_is_four_where_the_fourth_moment_diverges(dim, batch_size):
    """E m^4 in closed form, from the moments of chi-square laws."""
    def moment(rate):
        s = [np.exp(k * np.log(2 / batch_size) + gammaln(batch_size / 2 + k) - gammaln(batch_size / 2))
             for k in range(5)]
        r = [1, dim - 1, (dim - 1) * (dim + 1)]
        total = 0.0  # ((1 - l s)^2 + l^2 s r / B)^2
        for power, coefficient in enumerate([1, -4, 6, -4, 1]):
            total += coefficient * rate**power * s[power]
        for power, coefficient in enumerate([1, -2, 1]):
            total += 2 * coefficient * rate ** (power + 2) * s[power + 1] * r[1] / batch_size
        return total + rate**4 * s[2] * r[2] / batch_size**2

    exponent = 4.0
    low, high = 1e-3, 2 * batch_size / (dim + batch_size + 1)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if moment(middle) < 1 else (low, middle)
    assert theory.tail_exponent(low, batch_size, dim=dim) == pytest.approx(exponent, rel=1e-8)


@pytest.mark.parametrize(("batch_size", "limit"), [(1, 2.4212), (2, 2.6845), (10, 2.4285), (100, 2.0422)])
def test_almost_sure_threshold(batch_size, limit):
    threshold = theory.max_almost_sure_learning_rate(batch_size, feature_variance=0.5)
    assert threshold * 0.5 == pytest.approx(limit, abs=5e-5)
    assert theory.tail_exponent(0.999 * threshold, batch_size, feature_variance=0.5) < 0.1
    with pytest.raises(ValueError, match=f"learning_rate must be below {threshold:.6g}"):
        theory.tail_exponent(1.001 * threshold, batch_size, feature_variance=0.5)


def test_small_learning_rates():
    """ln x = 1 + 1/x: a single batch of huge features makes the tail."""
    root = brentq(lambda x: np.log(x) - 1 - 1 / x, 3, 4)
    assert root / 2 == pytest.approx(1.7956, abs=1e-4)
    assert theory.tail_exponent(1e-3, 1) * 1e-3 == pytest.approx(root / 2, rel=1e-3)
    assert theory.tail_exponent(1e-3, 3, dim=2) * 1e-3 == pytest.approx(3 * root / 2, rel=2e-3)
    assert theory.tail_exponent(1e-2, 50) > theory.tail_exponent(1e-2, 10) > theory.tail_exponent(1e-2, 1, dim=3)


def test_sgd_and_its_sde_disagree_both_ways():
    assert theory.tail_exponent(0.1, 1) > 17.2 and theory.sde_tail_exponent(0.1, 1) == pytest.approx(11)
    assert theory.tail_exponent(1.0, 1) < 1.1 and theory.sde_tail_exponent(1.0, 1) == pytest.approx(2)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_the_exponent_of_the_sde_is_where_its_moment_stops_decaying(dim):
    """The generator applied to |x|^alpha far out, by finite differences."""
    rate, batch_size = 0.4, 3
    alpha = theory.sde_tail_exponent(rate / 2.0, batch_size, feature_variance=2.0, dim=dim)
    x = np.zeros(dim)
    x[0] = 1.0

    def power(y):
        return np.sum(y**2) ** (alpha / 2)

    step, eye = 1e-4, np.eye(dim)
    drift = -np.array([(power(x + step * e) - power(x - step * e)) / (2 * step) for e in eye]) @ x
    second = [(power(x + step * e) - 2 * power(x) + power(x - step * e)) / step**2 for e in eye]
    diffusion = rate / batch_size / 2 * (np.sum(second) + second[0])  # |x|^2 I + x x^T, off-diagonals vanish here
    assert drift + diffusion == pytest.approx(0, abs=1e-4)
    assert alpha * (1 - 0.01) != pytest.approx(alpha)


def test_no_stationary_law_of_the_sde_beyond_its_threshold():
    with pytest.raises(ValueError, match=r"2 B / \(a \(d - 3\)\) = 1, got 1\.0"):
        theory.sde_tail_exponent(1.0, 3, dim=9)


def test_finite_data_tend_to_the_stream():
    rng = np.random.default_rng(0)
    found = [theory.empirical_tail_exponent(rng.normal(size=3000) ** 2, 0.5) for _ in range(40)]
    assert np.median(found) == pytest.approx(2.92, abs=0.15)
    assert np.sqrt(3000) * np.std(found) == pytest.approx(12, abs=4)


@pytest.mark.parametrize(("batch_size", "replacement"), [(1, True), (2, True), (3, True), (2, False)])
def test_exponent_of_finite_data_by_enumeration(batch_size, replacement):
    curvatures = np.array([0.3, 0.9, 1.1, 6.0])
    exponent = theory.empirical_tail_exponent(curvatures, 0.7, batch_size, replacement=replacement)
    batches = itertools.product(curvatures, repeat=batch_size) if replacement else (
        itertools.permutations(curvatures, batch_size))
    sizes = [abs(1 - 0.7 * np.mean(batch)) for batch in batches]
    assert np.mean(np.power(sizes, exponent)) == pytest.approx(1, rel=1e-9)
    assert exponent > 0


def test_bounded_support_has_no_tail():
    assert theory.empirical_tail_exponent([0.5, 1.0, 3.9], 0.5) == np.inf
    with pytest.raises(ValueError, match="learning_rate must be such that"):
        theory.empirical_tail_exponent([3.0, 10.0], 1.0)


def test_batches_are_enumerated():
    values, probabilities = theory.batch_curvatures(np.arange(5.0), 3)
    assert len(values) == comb(7, 3) and probabilities.sum() == pytest.approx(1)
    assert probabilities @ values == pytest.approx(2)
    assert probabilities @ (values - 2) ** 2 == pytest.approx(2 / 3)
    values, probabilities = theory.batch_curvatures(np.arange(5.0), 3, replacement=False)
    assert probabilities @ (values - 2) ** 2 == pytest.approx(theory.sampling_factor(5, 3, replacement=False) * 2)
    with pytest.raises(ValueError, match="more than 500000"):
        theory.batch_curvatures(np.arange(50.0), 10)
    with pytest.raises(ValueError, match="There are 5 examples"):
        theory.batch_curvatures(np.arange(5.0), 6, replacement=False)


# --- local maxima ----------------------------------------------------------------------------------------------------


def test_lyapunov_exponents_at_a_maximum():
    expected = {0.05: 0.001124, 0.5: -0.127446, 1.3: -0.158041, 1.5: 0.140706}
    for rate, exponent in expected.items():
        assert theory.lyapunov_exponent([1.0, -1.1], rate) == pytest.approx(exponent, abs=6e-7)
    assert theory.lyapunov_exponent([1.0, -1.1], 1.0) == -np.inf


def test_windows_of_convergence():
    assert theory.convergent_learning_rates([1.0, -1.1]) == [pytest.approx((1 / 11, 1.3946202), rel=1e-7)]
    assert theory.convergent_learning_rates([1.0, -2.0]) == [pytest.approx((0.5, (1 + 17**0.5) / 4), rel=1e-12)]
    assert theory.convergent_learning_rates([-1.0, -0.1]) == []
    assert theory.convergent_learning_rates([2.0]) == [pytest.approx((0.0, 1.0))]
    assert theory.convergent_learning_rates([1.0, -2.0], 2, replacement=False) == []  # gradient descent leaves


@pytest.mark.parametrize("curvatures", [[1.0, 3.0, 0.1], [1.0, 2.0, -9.0], [1.0, 200.0], [0.7, -0.2, 0.1, 3.0]])
def test_windows_are_where_the_exponent_is_negative(curvatures):
    windows = theory.convergent_learning_rates(curvatures)
    rates = np.geomspace(1e-3, 30, 4000)
    exponents = np.mean(np.log(np.abs(1 - rates[:, None] * curvatures)), axis=1)
    inside = np.any([(low < rates) & (rates < high) for low, high in windows], axis=0)
    np.testing.assert_array_equal(inside, exponents < 0)


def test_runs_go_where_the_exponent_says():
    """Captured by the maximum inside the window only, though the mean square grows at every learning rate."""
    rng = np.random.default_rng(1)
    shares = {}
    for rate in (0.2, 0.4, 0.9, 1.2, 1.35):
        signs = rng.integers(0, 2, (400, 1000))
        logs = np.sum(np.log(np.abs(1 - rate * np.where(signs, 1.0, -2.0))), axis=0)
        shares[rate] = np.mean(logs < 0)
        assert np.mean((1 - rate * np.array([1.0, -2.0])) ** 2) > 1
    assert shares[0.9] > 0.99 and shares[1.2] > 0.98 and shares[0.2] < 0.01 and shares[1.35] < 0.05


# --- Student laws ----------------------------------------------------------------------------------------------------


def test_student_laws_solve_their_fokker_planck_equations():
    """No current: -a w p = d/dw (eta C p) / 2."""
    rate, a, batch_size, sigma = 0.3, 1.7, 2, 0.6
    numbers = {"label_noise": sigma, "feature_variance": a}
    w = np.linspace(-2, 2, 41)
    for law, strength in ((theory.sde_student_law(rate, batch_size, **numbers), 2),
                          (theory.decoupled_student_law(rate, batch_size, **numbers), 1)):
        density = stats.t(law.degrees_of_freedom, scale=law.scale).pdf
        noise = rate * a / batch_size * (strength * a * w**2 + sigma**2)
        slope = (density(w + 1e-5) - density(w - 1e-5)) / 2e-5
        current = a * w * density(w) + (rate * a / batch_size * strength * 2 * a * w * density(w) + noise * slope) / 2
        np.testing.assert_allclose(current, 0, atol=1e-8)
    exact = theory.sde_student_law(rate, batch_size, **numbers)
    assert exact.variance == pytest.approx(rate * sigma**2 / (2 * (batch_size - rate * a)))
    assert exact.degrees_of_freedom == pytest.approx(theory.sde_tail_exponent(rate, batch_size, feature_variance=a))


def test_the_matched_law_has_the_variance_of_sgd():
    rate, a, batch_size, sigma = 0.8, 1.2, 6, 0.6
    law = theory.matched_student_law(rate, batch_size, label_noise=sigma, feature_variance=a)
    assert law.variance == pytest.approx(rate * sigma**2 / (batch_size * (2 - (1 + 2 / batch_size) * rate * a)))
    assert theory.matched_student_law(1.0, 2, label_noise=1.0).variance == np.inf
    with pytest.raises(ValueError, match="below 2 / feature_variance"):
        theory.matched_student_law(2.0, 2, label_noise=1.0)


@pytest.mark.parametrize(("name", "value"), [("learning_rate", 0.0), ("batch_size", 0), ("feature_variance", -1.0)])
def test_bad_numbers_are_refused(name, value):
    arguments = {"learning_rate": 0.1, "batch_size": 2, "feature_variance": 1.0, name: value}
    for call in (theory.tail_exponent, theory.sde_tail_exponent):
        with pytest.raises(ValueError, match=name):
            call(**arguments)
