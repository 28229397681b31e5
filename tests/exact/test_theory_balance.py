"""Law of balance, noise equilibrium and resetting: exact identities, Fokker-Planck equations, direct integration."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

from sde_sgd import theory

# T: mean and variance for k = sigma = 1.
MOMENTS = {0.005: (0.9949, 0.01015), 0.01: (0.98959, 0.02062), 0.02: (0.97828, 0.04263), 0.05: (0.93763, 0.1198),
           0.1: (0.84494, 0.25127), 0.2: (0.58091, 0.3721)}


@pytest.mark.parametrize("temperature", MOMENTS)
def test_moments_of_the_balanced_product(temperature):
    law = theory.balanced_product_law(theory.gaussian_product_moments(1.0, 1.0), temperature)
    np.testing.assert_allclose((law.mean, law.variance), MOMENTS[temperature], rtol=3e-4)


@pytest.mark.parametrize(("signal", "noise", "share"), [(1.0, 1.0, 0.1), (0.3, 2.0, 0.3), (2.0, 0.5, 0.6), (1.0, 3.0, 0.9)])
def test_the_law_is_normalised_and_its_mode_is_its_maximum(signal, noise, share):
    moments = theory.gaussian_product_moments(signal, noise)
    law = theory.balanced_product_law(moments, share * theory.critical_temperature(moments))

    def in_logs(power):
        return quad(lambda s: float(law.density(np.exp(s))) * np.exp((1 + power) * s), -400, 80, limit=2000,
                    points=[-20, np.log(law.mean), 10])[0]

    assert in_logs(0) == pytest.approx(1, abs=1e-6)
    assert in_logs(1) == pytest.approx(law.mean, rel=1e-6)
    assert in_logs(2) - law.mean**2 == pytest.approx(law.variance, rel=1e-4)
    assert float(law.density(-1.0)) == 0.0
    if share < 1 / 3:
        best = minimize_scalar(lambda v: -law.density(v), bounds=(1e-3, 3 * law.mean), method="bounded",
                               options={"xatol": 1e-9})
        assert law.mode == pytest.approx(best.x, abs=1e-5)
    else:
        assert law.mode == 0.0 and law.density(1e-9) > law.density(1e-6) > law.density(1e-3)


def test_the_law_solves_the_fokker_planck_equation_of_the_two_parameters():
    """u = w, both moved by the same noise: dv = -8 v (b1 v - b2) dt + 4 T g dt + ... written out from du and dw."""
    moments = theory.gaussian_product_moments(0.7, 1.3)
    heat = 0.4 * theory.critical_temperature(moments)
    law = theory.balanced_product_law(moments, heat)
    v, step = np.linspace(0.05, 3, 60), 1e-5
    # du = -2 w (b1 v - b2) dt + 2 w sqrt(T g) dW and dw likewise; v = u w, u^2 = w^2 = v.
    drift = -4 * v * (moments.mean_square * v - moments.mean_product) + 4 * heat * moments.noise(v) * v

    def spread(v):
        return 16 * heat * v**2 * moments.noise(v) * law.density(v)

    current = drift * law.density(v) - (spread(v + step) - spread(v - step)) / (4 * step)
    np.testing.assert_allclose(current / np.max(np.abs(drift * law.density(v))), 0, atol=1e-8)


def test_features_of_one_size_have_a_gamma_law():
    """The limit of the general law as the features approach one size."""
    signal, noise, heat = 1.0, 2.0, 0.1
    gamma = theory.balanced_gamma_law(signal, noise, heat)
    assert gamma.mean == pytest.approx(signal - heat * noise**2)
    nearly = theory.ProductMoments(1e-7, 0.0, noise**2, 1.0, signal)
    law = theory.balanced_product_law(nearly, heat)
    np.testing.assert_allclose((law.mean, law.variance), (gamma.mean, gamma.variance), rtol=1e-4)
    with pytest.raises(ValueError, match="balanced_gamma_law"):
        theory.balanced_product_law(theory.product_moments([1.0, 1.0], [-1.0, 3.0]), 0.01)


def test_temperatures_beyond_the_critical_one_are_refused():
    moments = theory.gaussian_product_moments(1.0, 1.0)
    assert theory.critical_temperature(moments) == pytest.approx(1 / 3)
    assert theory.critical_temperature(moments, 0.4) == pytest.approx(0.2)
    assert theory.critical_temperature(moments, order=2) == pytest.approx(1 / 4)
    with pytest.raises(ValueError, match=r"temperature must be below the critical one, 0\.333"):
        theory.balanced_product_law(moments, 0.34)
    with pytest.raises(ValueError, match=r"temperature must be below the critical one, 0\.04"):
        theory.balanced_gamma_law(1.0, 5.0, 0.05)
    with pytest.raises(ValueError, match="sign of the targets"):
        theory.critical_temperature(theory.gaussian_product_moments(-1.0, 1.0))


def test_moments_of_data_tend_to_those_of_the_law():
    rng = np.random.default_rng(0)
    x = rng.normal(size=400_000)
    found = theory.product_moments(x, 0.5 * x + 2 * rng.normal(size=x.size))
    np.testing.assert_allclose(found, theory.gaussian_product_moments(0.5, 2.0), rtol=0.03)


def test_the_collapse_of_discrete_sgd_is_another():
    """At k = sigma = 1, where the SDE collapses beyond T = 1/3, the Lyapunov exponent at v = 0 stays positive."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=200_000)
    for signal, rates, collapses in ((1.0, (0.3, 0.5, 1.0, 2.0), False), (0.1, (0.15,), True)):
        y = signal * x + rng.normal(size=x.size)
        signs = {theory.lyapunov_exponent(-2 * x * y, rate) < 0 for rate in rates}
        assert signs == {collapses}


def test_one_step_contracts_the_imbalance_exactly():
    rng = np.random.default_rng(2)
    for _ in range(50):
        u, w, h, rate = *rng.normal(size=2), 5 * rng.normal(), rng.uniform(0.01, 1)
        after = (u - rate * h * w) ** 2 - (w - rate * h * u) ** 2
        assert after == pytest.approx(float(theory.balance_contraction(rate, h)) * (u**2 - w**2), abs=1e-13)
        charge = theory.charge_change(rate, np.diag([1.0, -1.0]), [h * w, h * u])
        assert after == pytest.approx(u**2 - w**2 + charge, abs=1e-13)


# --- noise equilibrium -----------------------------------------------------------------------------------------------


def _covariance(rng, dim):
    root = rng.normal(size=(dim, dim))
    return root @ root.T + 0.1 * np.eye(dim)


@pytest.mark.parametrize(("inputs", "outputs", "hidden"), [(3, 2, 1), (5, 4, 3)])
def test_the_equilibrium_is_one_for_all_starts(inputs, outputs, hidden):
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(hidden, inputs)), rng.normal(size=(outputs, hidden))
    laws = _covariance(rng, inputs), _covariance(rng, outputs)
    here = theory.noise_equilibrium(theory.TwoLayerWeights(first, second), *laws)
    np.testing.assert_allclose(theory.noise_imbalance(here, *laws), 0, atol=1e-10)
    np.testing.assert_allclose(here.second_layer @ here.first_layer, second @ first, atol=1e-10)
    mix = rng.normal(size=(hidden, hidden))
    there = theory.noise_equilibrium(theory.TwoLayerWeights(mix @ first, second @ np.linalg.inv(mix)), *laws)
    np.testing.assert_allclose(there.second_layer @ there.second_layer.T, here.second_layer @ here.second_layer.T,
                               atol=1e-9)
    assert np.abs(theory.noise_imbalance(theory.TwoLayerWeights(first, second), *laws)).max() > 0.1


def test_the_imbalance_is_the_mean_charge_of_single_examples():
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=(2, 3)), rng.normal(size=(2, 2))
    inputs, noise = rng.normal(size=(40, 3)), rng.normal(size=(30, 2))
    total = np.zeros((2, 2))
    for x in inputs:
        for r in noise:
            gradient = np.outer(r, x)
            new_first, new_second = first - 0.1 * second.T @ gradient, second - 0.1 * gradient @ first.T
            total += new_first @ new_first.T - new_second.T @ new_second - first @ first.T + second.T @ second
    law = theory.noise_imbalance(theory.TwoLayerWeights(first, second), inputs.T @ inputs / 40, noise.T @ noise / 30)
    np.testing.assert_allclose(total / 1200, 0.01 * law, atol=1e-12)


@pytest.mark.parametrize(("inputs", "outputs", "law", "ratio"), [(3, 2, np.eye(3), 2 / 3), (2, 2, np.eye(2), 1.0)])
def test_rank_one_ratios(inputs, outputs, law, ratio):
    weights = theory.TwoLayerWeights(np.eye(1, inputs), 6**0.5 * np.eye(outputs, 1))
    first, second = theory.noise_equilibrium(weights, law, np.eye(outputs))
    assert np.sum(second**2) / np.sum(first**2) == pytest.approx(ratio)


def test_more_hidden_units_than_rank_are_refused():
    with pytest.raises(ValueError, match="no more hidden units"):
        theory.noise_equilibrium(theory.TwoLayerWeights(np.ones((3, 2)), np.ones((2, 3))), np.eye(2), np.eye(2))


# --- resetting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("velocity", [-20.0, -1.0, 0.0, 0.3, 0.9])
def test_the_optimal_resetting_rate_is_the_minimum(velocity):
    def time(log_rate):
        return np.log(theory.resetting_first_passage_time(np.exp(log_rate), distance=1.5, diffusion=0.7,
                                                          velocity=velocity))

    best = theory.optimal_resetting_rate(distance=1.5, diffusion=0.7, velocity=velocity)
    found = minimize_scalar(time, bounds=(np.log(best) - 3, np.log(best) + 3), method="bounded", options={"xatol": 1e-9})
    assert np.log(best) == pytest.approx(found.x, abs=1e-4)
    assert time(np.log(best)) <= found.fun + 1e-12


def test_resetting_helps_below_a_peclet_number_of_one_only():
    assert theory.optimal_resetting_rate(distance=2.0, diffusion=1.0, velocity=1.0) == 0.0
    assert theory.optimal_resetting_rate(distance=2.0, diffusion=1.0, velocity=0.99) > 0
    assert theory.resetting_first_passage_time(0.0, distance=2.0, diffusion=1.0, velocity=0.5) == 4.0
    assert theory.resetting_first_passage_time(0.0, distance=2.0, diffusion=1.0) == np.inf
    assert theory.resetting_first_passage_time(1e-9, distance=2.0, diffusion=1.0, velocity=0.5) == pytest.approx(4.0)


def test_resetting_against_the_backward_equation():
    """D T'' + v T' + r (T(0) - T) = -1, T(L) = 0, bounded to the left: the closed form at another start."""
    rate, diffusion, velocity, length = 0.8, 0.6, -0.4, 1.3
    time = theory.resetting_first_passage_time(rate, distance=length, diffusion=diffusion, velocity=velocity)
    growth = (-velocity + np.sqrt(velocity**2 + 4 * diffusion * rate)) / (2 * diffusion)

    def of(x):
        return (1 / rate + time) * (1 - np.exp(growth * (x - length)))

    assert of(0.0) == pytest.approx(time)
    x, step = 0.4, 1e-4
    second = (of(x + step) - 2 * of(x) + of(x - step)) / step**2
    slope = (of(x + step) - of(x - step)) / (2 * step)
    assert diffusion * second + velocity * slope + rate * (time - of(x)) == pytest.approx(-1, abs=1e-5)
