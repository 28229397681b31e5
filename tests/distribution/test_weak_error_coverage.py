"""Intervals cover as often as they say, floors are crossed as rarely, and an order is never made out of noise."""

import functools

import numpy as np
import pytest
import xarray
from scipy import stats

from sde_sgd.analysis import weak_error, weak_order
from sde_sgd.analysis.weak_error import CHANGES_SIGN, DIFFERS, FITTED, INCONCLUSIVE

REPETITIONS = 4000
SHIFT = 0.3


def _normal(rng, shape):
    return rng.normal(size=shape)


def _exponential(rng, shape):
    return rng.exponential(size=shape) - 1


def _off(coverage, repetitions):
    """Return how many standard errors a measured coverage lies from 95 %."""
    return abs(coverage - 0.95) / (0.95 * 0.05 / repetitions) ** 0.5


@functools.cache
def _lanes(law, correlated, num_seeds):
    """Return reference and process, (repetitions, seeds), of true difference ``SHIFT``."""
    rng = np.random.default_rng(20_260_101)
    shape = (REPETITIONS * (64 // num_seeds), num_seeds)
    shared, first, second = law(rng, shape), law(rng, shape), law(rng, shape)
    if correlated:
        return shared + 0.2 * first, SHIFT + shared + 0.4 * second
    return first, SHIFT + second


@functools.cache
def _compared(law, correlated, num_seeds):
    lanes = np.stack(_lanes(law, correlated, num_seeds))
    quantity = xarray.DataArray(lanes, dims=("process", "repetition", "seed"), coords={"process": ["sgd", "sme"]})
    return weak_error(quantity, "sgd", confidence=0.95).sel(process="sme")


def _coverage(error, halfwidth):
    return float(np.mean(np.abs(error - SHIFT) <= halfwidth))


CASES = [(_normal, True, 4), (_normal, False, 4), (_normal, True, 64), (_normal, False, 64), (_exponential, True, 64),
         (_exponential, False, 64)]


@pytest.mark.parametrize("case", CASES)
def test_intervals_cover(case):
    errors = _compared(*case)
    coverage = _coverage(errors.error.values, errors.error_halfwidth.values)
    assert 0.92 < coverage < 0.98
    if case[0] is _normal:  # Student's t is exact
        assert _off(coverage, errors.sizes["repetition"]) < 5


def test_teeth_an_unpaired_error_does_not_cover():
    reference, other = _lanes(_normal, True, 64)
    unpaired = np.hypot(stats.sem(reference, axis=1), stats.sem(other, axis=1))
    assert _coverage((other - reference).mean(axis=1), stats.t.ppf(0.975, 63) * unpaired) > 0.98


@pytest.mark.parametrize(("ddof", "quantile"), [(0, stats.t.ppf(0.975, 3)), (1, stats.norm.ppf(0.975))])
def test_teeth_small_samples_need_n_minus_one_and_student(ddof, quantile):
    reference, other = _lanes(_normal, True, 4)
    stderr = (other - reference).std(axis=1, ddof=ddof) / 2
    assert _off(_coverage((other - reference).mean(axis=1), quantile * stderr), len(reference)) > 10


@pytest.mark.parametrize("num_seeds", [4, 64])
def test_equal_means_are_called_different_as_rarely_as_three_sigma(num_seeds):
    lanes = np.stack(_lanes(_normal, True, num_seeds)) - np.array([0, SHIFT])[:, None, None]
    quantity = xarray.DataArray(lanes, dims=("process", "repetition", "seed"), coords={"process": ["sgd", "sme"]})
    errors = weak_error(quantity, "sgd").sel(process="sme")
    expected = 2 * stats.norm.sf(3) * errors.sizes["repetition"]
    assert abs((errors.verdict == DIFFERS).sum().item() - expected) < 5 * expected**0.5
    assert set(np.unique(errors.verdict)) == {DIFFERS, INCONCLUSIVE}
    if num_seeds == 4:  # teeth: three plain standard errors would be crossed twenty times as often
        assert (abs(errors.error) >= 3 * errors.error_stderr).sum() > 10 * expected


@pytest.mark.parametrize("options", [{"tolerance": SHIFT}, {"relative_tolerance": SHIFT / 5}])
@pytest.mark.parametrize("correlated", [True, False])
def test_agreement_is_rarely_granted_at_the_very_tolerance(options, correlated):
    lanes = 5 + np.stack(_lanes(_normal, correlated, 64))
    quantity = xarray.DataArray(lanes, dims=("process", "repetition", "seed"), coords={"process": ["sgd", "sme"]})
    verdicts = weak_error(quantity, "sgd", **options).verdict.sel(process="sme")
    granted = np.char.startswith(verdicts.values, "agrees").sum()
    assert granted < 0.025 * REPETITIONS + 5 * (0.025 * REPETITIONS) ** 0.5


@pytest.mark.parametrize("law", [_normal, _exponential])
def test_spread_stderr_is_the_scatter_of_spreads(law):
    errors = _compared(law, False, 64)
    scatter = errors.spread.std().item()
    mean_stderr = errors.spread_stderr.mean().item()
    assert 0.8 < mean_stderr / scatter < 1.1
    if law is _exponential:  # teeth: the formula for normal samples is half as large
        assert errors.spread.mean().item() / (2 * 63) ** 0.5 < 0.6 * scatter


RATES = np.array([1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64])


def _order_errors(size):
    """Return errors ``size * rate^2`` of 1000 repetitions, under the noise of 100 seeds of unit spread."""
    rng = np.random.default_rng(7)
    noise = rng.normal(size=(2, 1000, 100, len(RATES)))
    noise[1] += size * RATES**2
    quantity = xarray.DataArray(noise, dims=("process", "repetition", "seed", "learning_rate"),
                                coords={"process": ["sgd", "sme"], "learning_rate": RATES})
    return weak_error(quantity, "sgd")


@pytest.mark.parametrize("size", [0.0, 1.0, 3.0])
def test_an_order_below_the_floor_is_inconclusive(size):
    errors = _order_errors(size)
    orders = weak_order(errors).sel(process="sme")
    assert np.isin(orders.verdict, [INCONCLUSIVE, CHANGES_SIGN, FITTED]).all()
    assert (orders.verdict == FITTED).sum() <= 2
    naive = np.polyfit(np.log(RATES), np.log(np.abs(errors.error.sel(process="sme").values.T)), 1)[0]
    assert naive.mean() < 1.5  # teeth: what a fit through all points reports


@pytest.mark.parametrize("size", [30.0, 100.0, 1000.0])
def test_a_fitted_order_two_is_two_within_its_error(size):
    errors = _order_errors(size)
    orders = weak_order(errors).sel(process="sme")
    fitted = orders.where(orders.verdict == FITTED, drop=True)
    assert fitted.sizes["repetition"] > 20
    scores = (fitted.order - 2) / fitted.order_stderr
    assert abs(scores).max() < 5
    assert abs(scores.mean()) < 1
    assert ((fitted.order + 2 * fitted.order_stderr) > 1.5).all()
    naive = np.polyfit(np.log(RATES), np.log(np.abs(errors.error.sel(process="sme").values.T)), 1)[0]
    if size < 1000:
        assert naive.mean() < 1.8
