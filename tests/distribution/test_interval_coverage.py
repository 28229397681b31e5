"""Intervals of stationary means and covariances cover the exact values as often as they say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sde_sgd as ss
from sde_sgd.analysis import confidence_interval

REPETITIONS, NUM_SEEDS, NUM_STEPS, BURN_IN = 200, 32, 120, 40
PROCESS = ss.SGD(0.25, ss.WithReplacement(3))


def problem():
    rng = np.random.default_rng(2)
    features = (rng.normal(size=(16, 2)) @ [[1.0, 0.4], [0.0, 0.7]]).astype(np.float32)
    return ss.problems.least_squares(features, (features @ [1.0, -1.0] + rng.normal(size=16)).astype(np.float32))


def params(problem, w):
    return w


@functools.cache
def runs():
    """Return 200 runs of 32 seeds each: their datasets, and the exact mean and covariance."""
    least_squares = problem()
    record = {"w": ss.Covariance(params, every=2, burn_in=BURN_IN)}
    found = [ss.simulate(least_squares, PROCESS, num_seeds=NUM_SEEDS, num_steps=NUM_STEPS, record=record,
                         params=least_squares.minimum, key=jax.random.key(repetition), progress=False)
             for repetition in range(REPETITIONS)]
    return found, np.asarray(least_squares.minimum, np.float64), ss.stationary_covariance(least_squares, PROCESS)


def coverage(name, truth, **options):
    """Return how often the interval of each entry holds its true value."""
    inside = []
    for ds in runs()[0]:
        interval = confidence_interval(ds, name, **options)
        inside.append((interval[f"{name}_lower"].values <= truth) & (truth <= interval[f"{name}_upper"].values))
    return np.mean(inside, axis=0)


def test_intervals_of_the_mean_and_of_every_entry_of_the_covariance_cover():
    _, mean, covariance = runs()
    for name, truth in (("w_mean", mean), ("w_covariance", covariance)):
        shares = coverage(name, truth)
        assert np.all((shares >= 0.90) & (shares <= 0.99)), (name, shares)


def test_the_estimates_are_unbiased():
    found, mean, covariance = runs()
    for name, truth in (("w_mean", mean), ("w_covariance", covariance)):
        values = np.stack([ds[name].values for ds in found])
        assert np.max(np.abs(values.mean(axis=0) - truth) / (values.std(axis=0) / REPETITIONS**0.5)) < 5


def test_teeth_other_truths_and_other_widths_do_not_cover():
    _, mean, covariance = runs()
    sde = ss.stationary_covariance(problem(), ss.SME(0.25, ss.Gaussian(3), order=1))
    assert coverage("w_covariance", sde).min() < 0.6  # the SDE's covariance is another
    assert coverage("w_covariance", covariance, confidence=0.7).max() < 0.85
    assert coverage("w_mean", mean + 0.05).max() < 0.8


def test_bad_input_is_refused():
    ds = runs()[0][0]
    for call, words in (
        (lambda: confidence_interval(ds, "w"), "name must be one of"),
        (lambda: confidence_interval(ds, "w_mean_stderr"), "name must be one of"),
        (lambda: confidence_interval(ds, "w_mean", confidence=1.0), "confidence must lie in"),
        (lambda: confidence_interval(ds.isel(seed=[0]), "w_mean"), "Run more seeds"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_a_pytree_goes_by_its_raveled_vector():
    process = ss.SGD(0.1, ss.WithReplacement(3))
    ds = ss.simulate(problem(), process, num_seeds=4, num_steps=6, key=jax.random.key(0), record={
        "both": ss.Covariance(lambda problem, w: {"w": w, "far": jnp.append(w, 1.0)}, every=1)})
    np.testing.assert_allclose(ds["both.far_covariance"][:2, :2], ds["both.w_covariance"], rtol=1e-5)
    np.testing.assert_allclose(ds["both.far_covariance"][2], 0.0, atol=1e-12)
