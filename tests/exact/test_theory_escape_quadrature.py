"""Exact passage times and stationary laws on a line: tables, adaptive quadrature and finite differences as judges."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, linalg

from sde_sgd import theory

BARRIERS = (3, 4, 6, 8, 10, 15, 20)
TARGETS = (0.0, 0.5, 0.8, 1.0)
# Mean times of the double well from -1, one row per barrier, one column per target.
TIMES = {
    3: (12.69835, 24.38976, 26.08811, 26.64009),
    4: (33.94574, 65.92498, 68.63034, 69.26364),
    6: (241.9520, 477.6350, 484.6466, 485.4435),
    8: (1749.191, 3480.215, 3499.057, 3500.035),
    10: (12762.68, 25473.95, 25525.90, 25527.09),
    15: (1.865101e6, 3.729498e6, 3.730202e6, 3.730203e6),
    20: (2.748305e8, 5.496510e8, 5.496611e8, 5.496611e8),
}


def double_well(x):
    return (x**2 - 1) ** 2


def equal_depths(x):
    """Minima of equal depth at -1 and 1, the left one flatter; saddle at 0.2256."""
    return (x**2 - 1) ** 2 * np.exp(np.tanh(x))


@pytest.mark.parametrize("barrier", BARRIERS)
def test_mean_times_of_the_double_well(barrier):
    times = [theory.mean_first_passage_time(double_well, 1 / barrier, -1.0, target) for target in TARGETS]
    np.testing.assert_allclose(times, TIMES[barrier], rtol=1e-6)
    mirrored = theory.mean_first_passage_time(double_well, 1 / barrier, 1.0, -0.8)
    assert mirrored == pytest.approx(times[2], rel=1e-8)


def test_the_double_integral_of_adaptive_quadrature():
    potential, temperature = lambda x: x**4 / 4 + 0.3 * x - np.cos(2 * x), 0.7

    def inner(y):
        return integrate.quad(lambda z: np.exp((potential(y) - potential(z)) / temperature), -8, y, epsabs=0,
                              limit=200)[0]

    expected = integrate.quad(inner, -1.2, 0.9, epsabs=0)[0] / temperature
    computed = theory.mean_first_passage_time(potential, temperature, -1.2, 0.9)
    assert computed == pytest.approx(expected, rel=1e-8)


def test_barriers_of_hundreds_of_temperatures_do_not_overflow():
    kramers = 2 * np.pi / np.sqrt(32) * np.exp(600)
    time = theory.mean_first_passage_time(double_well, 1 / 600, -1.0, 1.0)
    assert time / kramers == pytest.approx(1 + 0.375 / 600, abs=1e-5)
    with pytest.raises(OverflowError, match="beyond float64"):
        theory.mean_first_passage_time(double_well, 1 / 800, -1.0, 1.0)


@pytest.mark.parametrize(("barrier", "variation"), [(3, 0.9665), (4, 0.9850), (6, 0.9975), (8, 0.9996), (10, 0.9999)])
def test_the_time_becomes_exponential(barrier, variation):
    mean, square, cube = theory.first_passage_moments(double_well, 1 / barrier, -1.0, 1.0, order=3)
    deviation = np.sqrt(square - mean**2)
    assert deviation / mean == pytest.approx(variation, abs=6e-5)
    skewness = (cube - 3 * square * mean + 2 * mean**3) / deviation**3
    assert skewness == pytest.approx(2, abs=1e-3)


def test_moments_of_brownian_motion_between_a_wall_and_a_target():
    # dX = sqrt(2 D) dW from the wall at 0 to 1: E tau = 1 / (2 D), E tau^2 = 5 / (12 D^2).
    moments = theory.first_passage_moments(lambda x: 0 * x, 2.0, 0.0, 1.0, order=2, reflecting=0.0)
    np.testing.assert_allclose(moments, [0.25, 5 / 48], rtol=1e-10)


def test_a_constant_force_needs_no_other_confinement():
    assert theory.mean_first_passage_time(lambda x: -2 * x, 0.3, 0.0, 1.0) == pytest.approx(0.5, rel=1e-9)


def test_exit_from_an_interval():
    # A constant slope: the martingales exp(X / T) and X + t settle both.
    probability = theory.exit_probability(lambda x: x, 0.4, 0.3, -1.0, 1.0)
    expected = (np.exp(0.3 / 0.4) - np.exp(-1 / 0.4)) / (np.exp(1 / 0.4) - np.exp(-1 / 0.4))
    assert probability == pytest.approx(expected, rel=1e-9)
    time = theory.mean_exit_time(lambda x: x, 0.4, 0.3, -1.0, 1.0)
    assert time == pytest.approx(0.3 - (2 * expected - 1), rel=1e-9)


def test_a_far_left_end_turns_two_sided_exit_into_passage():
    time = theory.mean_exit_time(double_well, 1 / 20, -1.0, -2.2, 0.8)
    assert time == pytest.approx(TIMES[20][2], rel=1e-6)
    assert theory.exit_probability(double_well, 1 / 20, -1.0, -2.2, 0.8) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("width", "epsilon", "time", "share"), [(0.05, 0.01, 3.765e7, 0.976)])
def test_ito_noise_that_follows_the_curvature(width, epsilon, time, share):
    def diffusion(x):
        return epsilon * (6 - 2 * jnp.tanh((x + 0.5) / width))

    exact = theory.mean_first_passage_time(double_well, diffusion, -1.0, 1.0)
    assert exact == pytest.approx(time, rel=1e-3)
    action = integrate.quad(lambda x: (4 * x**3 - 4 * x) / float(diffusion(x)), -1, 0, points=[-0.5], epsabs=0)[0]
    assert 2 * np.pi / 8 * np.exp(action) / exact == pytest.approx(share, abs=1e-3)  # the prefactor of Ito: H_a
    assert 2 * np.pi / 4 * np.exp(action) / exact == pytest.approx(2 * share, abs=2e-3)  # |H_b| is twice too long


@pytest.mark.parametrize(("temperature", "ratio"), [(0.1, 1.014), (0.05, 1.008)])
def test_noise_proportional_to_the_loss(temperature, ratio):
    def loss(x):
        return 0.05 + (x**2 - 1) ** 2 / 8

    exact = theory.mean_first_passage_time(loss, lambda x: temperature * loss(x), -1.0, 1.0)
    power_law = 2 * np.pi / np.sqrt(0.5) * (0.175 / 0.05) ** (0.5 + 1 / temperature)
    assert power_law / exact == pytest.approx(ratio, abs=0.002)


def test_quadratic_noise_gives_a_power_law_density():
    # D = (eta / 2)(g0 + g1 x^2) / B about a minimum of curvature H.
    eta, batch, g0, g1, curvature = 0.1, 4, 1.0, 0.5, 1.0
    points = np.array([-3.0, 0.0, 0.5, 2.0])
    density = theory.stationary_density(lambda x: curvature * x**2 / 2,
                                        lambda x: eta / 2 * (g0 + g1 * x**2) / batch, points)
    exponent = -1 - batch * curvature / (eta * g1)
    np.testing.assert_allclose(density / density[1], (1 + g1 / g0 * points**2) ** exponent, rtol=1e-8)
    without_ito = (1 + g1 / g0 * points**2) ** (exponent + 1)
    assert np.max(np.abs(density / density[1] / without_ito - 1)) > 0.1


@pytest.mark.parametrize(("temperature", "ratio"), [(0.3, 2.0336), (0.1, 2.1149), (0.05, 2.1292), (0.02, 2.1369)])
def test_the_flatter_of_two_minima_of_equal_depth_holds_more(temperature, ratio):
    flat, sharp = theory.occupation(equal_depths, temperature, [0.22560])
    assert flat / sharp == pytest.approx(ratio, abs=6e-5)
    assert flat + sharp == pytest.approx(1)


def _gap_by_finite_differences(potential, temperature, left, right, size):
    """The second eigenvalue of the reversible chain on a grid, rates exp of half the potential difference."""
    x = np.linspace(left, right, size)
    u = potential(x) / temperature
    rate = temperature / (x[1] - x[0]) ** 2
    up, down = rate * np.exp((u[:-1] - u[1:]) / 2), rate * np.exp((u[1:] - u[:-1]) / 2)
    diagonal = np.concatenate([up, [0]]) + np.concatenate([[0], down])
    return linalg.eigh_tridiagonal(diagonal, -np.sqrt(up * down), select="i", select_range=(1, 1))[0][0]


def test_the_rate_of_relaxation():
    gap = theory.relaxation_rate(equal_depths, 0.3, 0.2256)
    assert gap == pytest.approx(_gap_by_finite_differences(equal_depths, 0.3, -2.6, 2.2, 2000), rel=1e-4)
    assert theory.relaxation_rate(equal_depths, 0.1, 0.2256) == pytest.approx(2.8842e-5, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((double_well, -0.1, -1.0, 1.0), "temperature must be finite and positive"),
        ((double_well, 0.1, -1.0, -1.0), "target must differ from start"),
        ((double_well, 0.1, np.nan, 1.0), "start holds NaN"),
        ((lambda x: x, 0.1, 0.0, 1.0), "does not confine"),
        ((double_well, lambda x: 0.1 * (x + 0.5), -1.0, 1.0), "temperature must be positive wherever"),
        ((lambda x: np.where(x < 0, 0.0, 1.0) + double_well(x), 0.1, -1.0, 1.0), "potential jumps"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        theory.mean_first_passage_time(*arguments)


def test_bad_walls_boundaries_and_functions():
    with pytest.raises(ValueError, match="reflecting must not lie between"):
        theory.mean_first_passage_time(double_well, 0.1, -1.0, 1.0, reflecting=0.0)
    with pytest.raises(ValueError, match="start must lie between"):
        theory.exit_probability(double_well, 0.1, 1.0, -1.0, 1.0)
    with pytest.raises(ValueError, match="boundaries must ascend"):
        theory.occupation(double_well, 0.1, [0.5, 0.0])
    with pytest.raises(TypeError, match="potential must be callable"):
        theory.mean_first_passage_time(3.0, 0.1, -1.0, 1.0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="element by element"):
        theory.mean_first_passage_time(lambda x: np.ones(3), 0.1, -1.0, 1.0)
