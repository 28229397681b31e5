"""The reproduction of Dai and Zhu (2018): its claims say what they are, its estimators are right, its figure is drawn."""

import dataclasses

import jax
import numpy as np
import pytest
import xarray

from sde_sgd import papers
from sde_sgd.analysis import Verdict
from sde_sgd.papers.dai_zhu2018 import escape_law, logistic, mori2022, preference, trade_off, xie2021
from sde_sgd.papers.dai_zhu2018.measured import Times, slope

PAPER = papers.load("dai-zhu2018")


def times(*means, error=0.01):
    mean = np.array(means)
    return Times(mean, error * mean, (1 - 2 * error) * mean, (1 + 2 * error) * mean)


def test_the_title_says_that_the_theorems_were_not_read():
    assert "not available" in PAPER.title and "reconstruction" in PAPER.title


def test_slope_is_that_of_a_fit_and_its_error_that_of_an_ensemble():
    abscissa, mean = np.array([3.0, 4.0, 6.0, 8.0]), np.array([26.0, 68.0, 480.0, 3500.0])
    expected, covariance = np.polyfit(abscissa, np.log(mean), 1), np.linalg.inv(_normal_equations(abscissa))
    found = times(*mean).slope(abscissa)
    assert found.value == pytest.approx(expected[0]) == slope(mean, abscissa)
    assert found.stderr == pytest.approx(0.01 * np.sqrt(covariance[0, 0]))
    assert times(2.0, 1.0).ratio(0, 1) == pytest.approx((2.0, 2 * np.sqrt(2) * 0.01))


def _normal_equations(abscissa):
    design = np.stack([abscissa, np.ones_like(abscissa)], axis=1)
    return design.T @ design


def test_decay_rate_of_an_ensemble_of_two_states():
    """Lanes that jump at random times from 1 to an equal mixture decay at that rate, within the error given."""
    rng, clock = np.random.default_rng(0), np.linspace(0.2, 1.4, 7)
    scores = []
    for _ in range(50):
        jumped = rng.exponential(1 / 1.7, size=(2048, 1)) < clock
        away = np.where(jumped, np.where(rng.random((2048, 1)) < 0.5, -0.5, 0.5), 0.5)
        found = preference._decay_rate(away, clock)
        scores.append((found.value - 1.7) / found.stderr)
    assert abs(np.mean(scores)) < 5 / np.sqrt(50) and 0.6 < np.std(scores) < 1.5


def test_exact_values():
    ratio, rate = preference._exact(4)
    assert ratio == pytest.approx(2.0336, abs=1e-4) and preference.temperature(4) == pytest.approx(0.3)
    assert 0 < rate < preference._exact(2)[1]
    assert escape_law.exact_time(0.01, 4) == pytest.approx(68.0252, rel=1e-5)
    np.testing.assert_allclose(mori2022.sde_times(mori2022._decoupled), [9.1, 66, 574, 5.3e3], rtol=0.01)
    np.testing.assert_allclose(mori2022.sde_times(mori2022._exact_covariance), [7.8, 39, 192, 866], rtol=0.01)
    assert xie2021._prefactor_ratio() == pytest.approx(0.982, abs=1e-3)


def test_excess_loss_tells_discrete_from_continuous():
    size = dataclasses.replace(PAPER.quick, num_exits=32)
    claims, _ = trade_off.excess_loss(size, jax.random.key(0))
    discrete, continuous, sooner, more = claims
    assert discrete.theory == pytest.approx(5 / 19) and discrete.verdict is Verdict.CONFIRMED
    assert continuous.theory == pytest.approx(0.25) and continuous.verdict is Verdict.REFUTED
    assert sooner.verdict is not Verdict.REFUTED and more.verdict is Verdict.CONFIRMED
    assert all("heorem" not in claim.source for claim in claims)


def test_figure_has_four_labelled_panels():
    batches, levels = np.array(escape_law.BATCH_SIZES), mori2022.LEVELS
    mean, clock = np.exp(batches), np.linspace(0, 2000, 50)
    band = {name: ("time", np.exp(-clock / 400)) for name in ("survival", "survival_lower", "survival_upper")}
    rows = {name: ("batch_size", mean) for name in ("mean", "lower", "upper", "exact", "kramers")}
    escape = xarray.Dataset(rows | band, {"batch_size": batches, "time": clock}).assign(mean_of_law=400.0)
    shape = (len(preference.BATCH_SIZES), 80)
    shares = xarray.Dataset({"density": (("batch_size", "position"), np.ones(shape))},
                            {"batch_size": list(preference.BATCH_SIZES), "position": np.linspace(-2, 2, 80)})
    power = xarray.Dataset({name: ("level", levels**10) for name in ("mean", "lower", "upper", "decoupled", "exact")},
                           {"level": levels})
    drawn = PAPER.figure({"escape times": escape, "shares": shares, "power law": power})
    assert len(drawn.axes) == 4
    assert all(ax.get_xlabel() and ax.get_ylabel() and ax.get_legend() for ax in drawn.axes)


def test_the_exponent_of_logistic_regression_scales_as_claimed():
    """The noise is nearly the Hessian at the minimum, and the exponent goes as B / (eta k) exactly."""
    key = jax.random.key(0)
    base, sharp = logistic._setting(1.0, key), logistic._setting(2.0, key)
    assert np.abs(base.problem.gradient(base.minimum)).max() < 1e-6
    exponent = base.exponent(0.01, 4, 0.1)
    assert base.exponent(0.01, 8, 0.1) == pytest.approx(2 * exponent)
    assert base.exponent(0.01, 4, 0.05) == pytest.approx(2 * exponent)
    assert sharp.exponent(0.01, 4, 0.1) == pytest.approx(exponent / 2, rel=1e-3)
    assert exponent == pytest.approx(2 * 4 * 0.01 / (0.1 * np.linalg.eigvalsh(base.hessian)[-1]), rel=0.25)
