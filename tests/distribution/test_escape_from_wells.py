"""First passages out of wells, estimated, against exact values of the chain (from the discrete backward equation)."""

import jax
import numpy as np
import pytest
import xarray

import sde_sgd as ss
from sde_sgd.analysis import escape_time, survival

CHAIN, SDE_AT_6 = 68.0252, 484.6466  # double well, from -1 to 0.8: barrier / T = 4 at step 0.01; barrier / T = 6


def beyond(w):
    return w > 0.8


def langevin(max_steps, num_lanes=4096, seed=1):
    return ss.first_passage(ss.problems.double_well(), ss.Langevin(0.01, temperature=0.25), region=beyond,
                            num_lanes=num_lanes, max_steps=max_steps, key=jax.random.key(seed), progress=False)


def z_score(estimate, expected):
    return ((estimate.escape_time - expected) / estimate.escape_time_stderr).item()


def test_censored_or_not_the_estimate_is_that_of_the_chain():
    complete = escape_time(langevin(10**6))
    assert complete.num_censored == 0 and complete.verdict == "exponential"
    assert abs(z_score(complete, CHAIN)) < 5
    exits = langevin(1500, seed=2)  # a deadline of 0.22 means
    assert exits.event_observed.mean() < 0.25
    assert abs(z_score(escape_time(exits, relaxation=1.0), CHAIN)) < 5
    done = exits.durations.where(exits.event_observed)
    assert (CHAIN - done.mean()) / (done.std() / np.sqrt(done.count())) > 100  # the mean of those that escaped


def test_skewed_noise_of_equal_covariance_escapes_at_another_time():
    """Batch size 1, s = 5, barrier / T = 6: the exact chain's time over the SDE's is 0.231 for an exponential law."""
    learning_rate, estimates = 2 / (25 * 6), {}
    for name, law in (("skewed", ss.problems.ExponentialLaw()), ("normal", ss.problems.NormalLaw())):
        well = ss.problems.finite_sum(ss.problems.double_well(), law, strength=5.0, num_examples=16384)
        exits = ss.first_passage(well, ss.SGD(learning_rate, ss.WithReplacement(1)), region=beyond, num_lanes=2048,
                                 max_steps=10**6, key=jax.random.key(3), progress=False)
        estimates[name] = escape_time(exits)
    assert abs(z_score(estimates["skewed"], 0.231 * SDE_AT_6)) < 5
    assert abs(z_score(estimates["normal"], 0.984 * SDE_AT_6)) < 5
    assert abs(z_score(estimates["skewed"], SDE_AT_6)) > 100


def test_passages_of_several_cells_are_estimated_together():
    rates = (0.02, 0.01)
    cells = [ss.first_passage(ss.problems.double_well(), ss.Langevin(rate, temperature=0.5), region={
                 "right": beyond, "far left": lambda w: w < -2.0}, num_lanes=64, max_steps=2000, progress=False,
                              key=jax.random.key(4)) for rate in rates]
    exits = xarray.concat(cells, xarray.Variable("learning_rate", list(rates)))
    estimate, curve = escape_time(exits), survival(exits)
    assert estimate.escape_time.sizes == {"learning_rate": 2}
    assert curve.incidence.sizes["learning_rate"] == 2
    assert estimate.cause.values.tolist() == ["right", "far_left", "diverged"]
    steps = escape_time(exits, duration="steps")
    np.testing.assert_allclose(estimate.escape_time, steps.escape_time * np.array(rates))
    assert estimate.escape_time.sel(learning_rate=0.01).item() == pytest.approx(
        escape_time(cells[1]).escape_time.item())
