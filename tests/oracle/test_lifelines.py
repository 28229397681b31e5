"""Incidences of competing outcomes and curves of one outcome against lifelines."""

import numpy as np
import pytest
import xarray

from sde_sgd.analysis import survival

lifelines = pytest.importorskip("lifelines")


def lanes(num_lanes=120):
    rng = np.random.default_rng(4)
    status = rng.choice([0, 0, 1, 2], num_lanes)
    region = np.where(status == 0, rng.integers(0, 2, num_lanes), -1)
    flags = {"flag_values": [-1, 0, 1], "flag_meanings": "none left right"}
    return xarray.Dataset({
        "durations": ("lane", rng.gamma(2.0, 1.0, num_lanes)), "status": ("lane", status),
        "event_observed": ("lane", status == 0), "region": ("lane", region, flags), "time_per_step": 0.01})


def test_incidence_is_that_of_aalen_and_johansen():
    exits = lanes()
    cause = np.select([exits.status == 2, exits.region == 0, exits.region == 1], [3, 1, 2], 0)
    times = np.sort(exits.durations.values)[:-5]
    curve = survival(exits, times=times)
    for index in range(3):
        judge = lifelines.AalenJohansenFitter(calculate_variance=True, seed=0)
        judge.fit(exits.durations.values, cause, event_of_interest=index + 1)
        at = judge.cumulative_density_.iloc[:, 0].loc[times].to_numpy()
        np.testing.assert_allclose(curve.incidence[index], at, rtol=1e-9)
        stderr = np.sqrt(judge.variance_.loc[times].to_numpy())
        np.testing.assert_allclose(curve.incidence_stderr[index], stderr, rtol=0.02, atol=2e-4)


def test_survival_and_restricted_mean_are_those_of_kaplan_and_meier():
    exits = lanes()
    judge = lifelines.KaplanMeierFitter().fit(exits.durations.values, exits.status.values != 1)
    times = np.sort(exits.durations.values)[:-5]
    curve = survival(exits, times=times)
    np.testing.assert_allclose(curve.survival, judge.survival_function_at_times(times), rtol=1e-12)
    mean = lifelines.utils.restricted_mean_survival_time(judge, t=float(curve.restricted_to))
    assert curve.restricted_mean.item() == pytest.approx(mean, rel=1e-9)
