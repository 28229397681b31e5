"""Escape with momentum, through a level of the loss, by jumps, and by noise that grows with the loss."""

import numpy as np
import pytest
from scipy import integrate, linalg, stats

from sde_sgd import theory


def double_well(x):
    return (x**2 - 1) ** 2


# Simulated rates at barrier 6 T over the law of spatial diffusion and over the turnover, by friction; errors of 2.2 %.
MOMENTUM = {0.03: (0.143, 0.833), 0.1: (0.370, 0.864), 0.3: (0.713, 0.914), 1: (0.927, 0.935), 3: (0.919, 0.919),
            10: (0.934, 0.934)}


@pytest.mark.parametrize("friction", MOMENTUM)
def test_the_turnover(friction):
    spatial, turnover = MOMENTUM[friction]
    langer = theory.langer_time(double_well, 1 / 6, friction, -1.0, 0.0)
    bridged = theory.melnikov_meshkov_time(double_well, 1 / 6, friction, -1.0, 0.0)
    assert langer.value / bridged.value == pytest.approx(spatial / turnover, rel=2e-3)
    assert langer.valid == (friction > 0.2) and bridged.valid
    # Against the simulated rates themselves.
    simulated = langer.value / spatial
    if friction >= 1:
        assert langer.value / 0.941 == pytest.approx(simulated, rel=0.08)
    else:
        assert bridged.value == pytest.approx(simulated, rel=0.2)


def test_limits_of_the_friction():
    overdamped = theory.kramers_time(double_well, 0.1, -1.0, 0.0).value
    assert theory.langer_time(double_well, 0.1, 1e4, -1.0, 0.0).value / 1e4 == pytest.approx(overdamped, rel=1e-6)
    low = theory.energy_diffusion_time(double_well, 0.1, 1e-5, -1.0, 0.0)
    assert theory.melnikov_meshkov_time(double_well, 0.1, 1e-5, -1.0, 0.0).value / low.value == pytest.approx(2, rel=0.02)
    assert low.valid and not theory.energy_diffusion_time(double_well, 0.1, 1.0, -1.0, 0.0).valid
    action = 0.1 / 1e-5 * 2 * np.pi / np.sqrt(8) * np.exp(10) / low.value
    assert action == pytest.approx(8 / 3, rel=1e-9)


def test_the_depopulation_factor_by_adaptive_quadrature():
    delta = 0.7
    ratio = theory.langer_time(double_well, 1.0, delta * 3 / 8, -1.0, 0.0).value / theory.melnikov_meshkov_time(
        double_well, 1.0, delta * 3 / 8, -1.0, 0.0).value

    def upsilon(d):
        integrand = lambda l: np.log(-np.expm1(-d * (l**2 + 0.25))) / (l**2 + 0.25)  # noqa: E731, E741
        return np.exp(2 * integrate.quad(integrand, 0, np.inf)[0] / (2 * np.pi))

    assert ratio == pytest.approx(upsilon(delta) ** 2 / upsilon(2 * delta), rel=1e-7)


def test_langer_in_many_dimensions():
    def gate(w):
        return (w[0] ** 2 - 1) ** 2 + (1 + 3 * (1 - w[0] ** 2)) * w[1] ** 2

    time = theory.langer_time(gate, 0.1, 0.8, [-1, 0], [0, 0]).value
    hessian = np.diag([-4.0, 8.0])
    linear = np.block([[np.zeros((2, 2)), np.eye(2)], [-hessian, -0.8 * np.eye(2)]])
    growth = np.max(np.linalg.eigvals(linear).real)
    assert time == pytest.approx(2 * np.pi / growth * np.sqrt(32 / 16) * np.exp(10), rel=1e-9)


def test_heavy_ball_is_kinetic_langevin():
    kinetic = theory.heavy_ball_equivalent(1e-4, 0.995, 4.0)
    # One step in each notation: v / sqrt(eta) is the velocity; its noise has variance 2 gamma T dt.
    assert kinetic.time_per_step == pytest.approx(1e-2)
    assert 1 - kinetic.friction * kinetic.time_per_step == pytest.approx(0.995)
    assert 2 * kinetic.friction * kinetic.temperature * kinetic.time_per_step == pytest.approx(1e-4 * 4.0)
    # The stationary variance of the position about a curvature h is T / h to leading order.
    exact = theory.sgd_stationary_covariance([[2.0]], [[4.0]], 1e-4, 0.995)[0, 0]
    assert kinetic.temperature / 2.0 == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize(("barrier", "ratio"), [(6, 1.116), (10, 1.061), (15, 1.037)])
def test_a_level_of_the_loss(barrier, ratio):
    level = theory.level_escape_time(lambda x: 4 * x**2, 1 / barrier, 0.0, 0.5)
    exact = theory.mean_first_passage_time(lambda x: 4 * x**2, 1 / barrier, 0.0, 0.5)
    assert exact / level.value == pytest.approx(ratio, abs=6e-4)
    assert theory.level_escape_time(lambda x: 4 * x**2, 1 / barrier, 0.1, -0.5).value == pytest.approx(level.value)


@pytest.mark.parametrize(("learning_rate", "law", "measured"), [(0.001, 1.336, 1.312), (0.005, 1.711, 1.638),
                                                                 (0.01, 1.901, 1.774)])
def test_a_level_seen_once_per_step(learning_rate, law, measured):
    def quadratic(x):
        return 4 * x**2

    sde = theory.level_escape_time(quadratic, 0.1, 0.0, 0.5)
    sgd = theory.level_escape_time(quadratic, 0.1, 0.0, 0.5, learning_rate=learning_rate)
    assert sgd.value / sde.value == pytest.approx(law, abs=6e-4)
    noise = theory.gaussian_noise((0.2 / learning_rate) ** 0.5)
    chain = theory.SGDChain(quadratic, learning_rate, noise).mean_first_passage_time(0.0, 0.5)
    assert chain / theory.mean_first_passage_time(quadratic, 0.1, 0.0, 0.5) == pytest.approx(measured, abs=6e-4)


def test_the_exit_through_a_level_is_the_cheapest_point():
    hessian, noise = np.array([[3.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.4], [-0.4, 2.0]])
    inverse = np.linalg.inv(linalg.solve_continuous_lyapunov(hessian, 2 * noise))
    angles = np.linspace(0, np.pi, 20001)
    points = np.stack([np.cos(angles), np.sin(angles)])
    points *= np.sqrt(2 * 0.7 / np.einsum("in,ij,jn->n", points, hessian, points))
    action = np.einsum("in,ij,jn->n", points, inverse, points) / 2
    computed = theory.level_action(hessian, noise, 0.7)
    assert computed.action == pytest.approx(np.min(action), rel=1e-6)
    best = points[:, np.argmin(action)]
    assert abs(computed.direction @ best) / np.linalg.norm(best) == pytest.approx(1, abs=1e-6)


def test_noise_aligned_with_the_hessian_leaves_along_its_stiffest_axis():
    hessian = np.diag([4.0, 1.0])
    aligned = theory.level_action(hessian, hessian, 1.0)
    assert aligned.action == pytest.approx(1 / 4)
    np.testing.assert_allclose(np.abs(aligned.direction), [1, 0], atol=1e-12)
    assert theory.level_action(hessian, np.eye(2), 1.0).action == pytest.approx(1)


def test_the_loss_grows_faster_with_aligned_noise():
    # dX = -H X dt + Sigma^(1/2) dW, Sigma = eta C; trace 2, time 0.01.
    hessian = np.diag([10.0, 0.1])
    aligned, isotropic = 2 * hessian / np.trace(hessian), np.eye(2)
    for noise, loss in ((aligned, 0.08975), (isotropic, 0.04582)):
        computed = theory.loss_growth(hessian, noise / 1e-3, 1e-3, 10, continuous=True)
        assert computed == pytest.approx(loss, rel=1e-3)
        recursion = np.zeros((2, 2))
        for _ in range(10):
            contraction = np.eye(2) - 1e-3 * hessian
            recursion = contraction @ recursion @ contraction + 1e-3 * noise
        assert theory.loss_growth(hessian, noise / 1e-3, 1e-3, 10) == pytest.approx(np.trace(hessian @ recursion) / 2)


def test_excess_loss_in_ten_dimensions():
    loss = theory.loss_growth(np.eye(10), 2 * 0.05 / 0.1 * np.eye(10), 0.1, 10_000)
    assert loss == pytest.approx(0.26316, abs=1e-5)
    assert theory.loss_growth(np.eye(10), np.eye(10), 0.1, 10_000, continuous=True) == pytest.approx(0.25)


@pytest.mark.parametrize(("stability", "time"), [(1.2, 168.5), (1.5, 712.8), (1.8, 4673)])
def test_levy_jumps(stability, time):
    exit_time = theory.levy_exit_time(0.03, stability, 1.0, 2.0)
    assert exit_time.value == pytest.approx(time, rel=1e-3) and exit_time.valid
    # The rate of jumps beyond either end, from the tails of the stable law itself.
    tails = stats.levy_stable(stability, 0.0).sf([100.0, 200.0])
    assert np.sum(tails) * theory.levy_exit_time(1.0, stability, 100.0, 200.0).value == pytest.approx(1, rel=0.02)
    assert not theory.levy_exit_time(0.3, stability, 1.0, 2.0).valid


def test_noise_proportional_to_the_loss():
    def loss(x):
        return 0.05 + (x**2 - 1) ** 2 / 8

    law = theory.power_law_escape_time(0.05, 0.175, 1.0, -0.5, learning_rate=0.1, batch_size=2)
    exact = theory.mean_first_passage_time(loss, lambda x: 0.05 * loss(x), -1.0, 1.0)
    assert law.value / exact == pytest.approx(1.008, abs=0.002)
    wider = theory.power_law_escape_time(0.05, 0.175, np.eye(3), np.diag([1.0, -0.5, 1.0]), 0.1, 2)
    assert wider.value == pytest.approx(law.value * (0.175 / 0.05) ** -1)
    assert not theory.power_law_escape_time(0.05, 0.175, 1.0, -0.5, 1.0, 1).valid
    assert "critical number" in theory.power_law_escape_time(0.05, 0.175, np.eye(5), np.diag([-1.0, 1, 1, 1, 1]), 1, 1).reason


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.langer_time(double_well, 0.1, 0.0, -1.0, 0.0), "friction must be finite and positive"),
        (lambda: theory.melnikov_meshkov_time(lambda x: 4 * x**2 / (1 + x**2) ** 2 * (x > -9), 0.1, 1.0, 0.0, 1.0), "reach"),
        (lambda: theory.level_escape_time(double_well, 0.1, -1.0, 0.5), "exit_point must lie on the slope"),
        (lambda: theory.levy_exit_time(0.1, 2.0, 1.0, 1.0), "stability must be below 2"),
        (lambda: theory.power_law_escape_time(0.2, 0.1, 1.0, -1.0, 0.1, 1), "saddle_loss must be above"),
        (lambda: theory.power_law_escape_time(0.1, 0.2, 1.0, 1.0, 0.1, 1), "one negative eigenvalue"),
        (lambda: theory.level_action(np.eye(2), np.zeros((2, 2)), 1.0), "noise_covariance must not be zero"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
