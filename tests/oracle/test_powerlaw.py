"""Hill's estimator and Clauset's threshold against the `powerlaw` package."""

import warnings

import numpy as np
import pytest
import xarray

from sde_sgd.analysis import hill

powerlaw = pytest.importorskip("powerlaw")


def samples(num=1000):
    return np.abs(np.random.default_rng(8).standard_t(1.5, num))


def fit(values, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = powerlaw.Fit(values, verbose=False, **options)
        return fitted, fitted.power_law.alpha - 1  # that of the tail, not of the density


@pytest.mark.parametrize("num_tail", [50, 300])
def test_hill_is_the_maximum_of_the_likelihood(num_tail):
    values = samples()
    ours = hill(xarray.DataArray(values, dims="seed"), num_tail=num_tail)
    _, theirs = fit(values, xmin=float(ours.threshold))
    # The same threshold; powerlaw also counts the sample that sits there.
    assert np.sum(values > float(ours.threshold)) == num_tail
    assert float(ours.tail_index) == pytest.approx(theirs * num_tail / (num_tail + 1), rel=1e-9)


def test_clausets_threshold_is_found_nearly():
    values = samples()
    ours, (theirs, exponent) = hill(xarray.DataArray(values, dims="seed")), fit(values)
    assert float(ours.distance) == pytest.approx(theirs.D, rel=0.15)
    assert float(ours.tail_index) == pytest.approx(exponent, rel=0.05)
    assert int(ours.num_tail) == pytest.approx(np.sum(values >= theirs.xmin), rel=0.25)
