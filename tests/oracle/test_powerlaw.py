"""Hill's estimator and Clauset's threshold against the `powerlaw` package."""

import warnings

import numpy as np
import pytest
import xarray

from sde_sgd.analysis import hill

powerlaw = pytest.importorskip("powerlaw")


def samples(num=1000):
    return np.abs(np.random.default_rng(8).standard_t(2.5, num))


def fit(values, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return powerlaw.Fit(values, verbose=False, **options)


@pytest.mark.parametrize("num_tail", [50, 300])
def test_hill_is_the_maximum_of_the_likelihood(num_tail):
    values = samples()
    ours = hill(xarray.DataArray(values, dims="seed"), num_tail=num_tail)
    theirs = fit(values, xmin=float(ours.threshold))
    # The same threshold, at which powerlaw counts the sample that sits there, and the exponent of the density.
    assert np.sum(values > float(ours.threshold)) == num_tail
    assert float(ours.tail_index) == pytest.approx((theirs.power_law.alpha - 1) * num_tail / (num_tail + 1), rel=1e-9)


def test_clausets_threshold_is_found_nearly():
    values = samples()
    ours, theirs = hill(xarray.DataArray(values, dims="seed")), fit(values)
    assert float(ours.distance) == pytest.approx(theirs.D, rel=0.15)
    assert float(ours.tail_index) == pytest.approx(theirs.power_law.alpha - 1, rel=0.05)
    assert int(ours.num_tail) == pytest.approx(np.sum(values >= theirs.xmin), rel=0.25)
