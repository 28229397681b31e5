"""Survival curves against scipy's, against binomial counts where nothing is censored, and against sums by hand."""

import numpy as np
import pytest
import xarray
from scipy import stats

import sde_sgd as ss
from sde_sgd.analysis import escape_time, survival

FLAGS = {"flag_values": np.array([-1, 0, 1], np.int8), "flag_meanings": "none left right"}


def exits_of(durations, status, region=None, time_per_step=0.01, **coords):
    durations, status = np.asarray(durations, np.float64), np.asarray(status, np.int8)
    region = np.zeros(status.shape, np.int8) if region is None else np.asarray(region, np.int8)
    return xarray.Dataset(
        {"durations": ("lane", durations, {"units": "learning_rate x step"}),
         "steps": ("lane", np.round(np.nan_to_num(durations) / time_per_step).astype(np.int64)), "status": ("lane", status),
         "event_observed": ("lane", status == 0),
         "region": ("lane", np.where(status == 0, region, -1).astype(np.int8), FLAGS),
         "time_per_step": time_per_step}, {"lane": np.arange(len(durations)), **coords})


def mixed(num_lanes=80, seed=0, decimals=2):
    """Return lanes of all outcomes, with ties among them."""
    rng = np.random.default_rng(seed)
    status = rng.choice([0, 0, 0, 1, 2], num_lanes)
    return exits_of(np.round(rng.gamma(2.0, 1.0, num_lanes), decimals) + 0.01, status, rng.integers(0, 2, num_lanes))


@pytest.mark.parametrize("confidence", [0.95, 0.6])
def test_survival_is_scipys_kaplan_meier(confidence):
    exits = mixed()
    ended = (exits.status != 1).values
    data = stats.CensoredData(uncensored=exits.durations.values[ended], right=exits.durations.values[~ended])
    judge = stats.ecdf(data).sf
    times = judge.quantiles
    curve = survival(exits, times=times, confidence=confidence)
    np.testing.assert_allclose(curve.survival, judge.probabilities, rtol=1e-12)
    with pytest.warns(RuntimeWarning, match="undefined"):  # where nobody is left; left out below
        interval = judge.confidence_interval(confidence, method="log-log")
    inside = np.isfinite(interval.low.probabilities) & (judge.probabilities > 0) & (judge.probabilities < 1) & curve.survival.notnull().values
    np.testing.assert_allclose(curve.survival_lower[inside], interval.low.probabilities[inside], rtol=1e-9)
    np.testing.assert_allclose(curve.survival_upper[inside], interval.high.probabilities[inside], rtol=1e-9)


def test_without_censoring_all_shares_are_binomial():
    exits = mixed(seed=1)
    exits = exits.isel(lane=(exits.status != 1).values)
    times = np.unique(exits.durations)[:-1]
    curve, num = survival(exits, times=times), exits.sizes["lane"]
    cause = np.where(exits.status == 2, 2, exits.region)
    for index in range(3):
        share = np.array([np.mean((exits.durations.values <= time) & (cause == index)) for time in times])
        np.testing.assert_allclose(curve.incidence[index], share, rtol=1e-12)
        np.testing.assert_allclose(curve.incidence_stderr[index], np.sqrt(share * (1 - share) / num), atol=1e-9)
    stderr = np.sqrt(curve.survival * (1 - curve.survival) / num)
    np.testing.assert_allclose(curve.survival_stderr, stderr, rtol=1e-9)
    np.testing.assert_allclose(curve.num_at_risk, [np.sum(exits.durations >= time) for time in times])


def test_survival_and_incidences_sum_to_one():
    curve = survival(mixed(seed=2))
    total = curve.survival + curve.incidence.sum("cause", skipna=False)
    known = total.notnull().values
    np.testing.assert_allclose(total[known], 1.0, rtol=1e-12)
    assert known[:-1].all()
    for name in ("survival", "incidence"):
        assert (curve[f"{name}_lower"] <= curve[name]).where(curve[name].notnull(), True).all()
        assert (curve[name] <= curve[f"{name}_upper"]).where(curve[name].notnull(), True).all()


def test_of_one_cause_the_incidence_is_the_complement():
    exits = mixed(seed=3)
    exits["status"] = xarray.where(exits.status == 2, 1, exits.status).astype(np.int8)
    exits["region"] = exits.region.clip(-1, 0).assign_attrs(FLAGS)
    curve = survival(exits, times=np.linspace(0, 3, 40)).sel(cause="left")
    np.testing.assert_allclose(curve.incidence, 1 - curve.survival, atol=1e-12)
    np.testing.assert_allclose(curve.incidence_stderr, curve.survival_stderr, atol=1e-8)
    np.testing.assert_allclose(curve.incidence_lower, 1 - curve.survival_upper, atol=1e-7)


def test_curves_start_exact_and_end_honest():
    curve = survival(exits_of([1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1]), times=[0.0, 0.5, 3.5, 4.0, 4.5])
    assert curve.survival[:2].values.tolist() == [1.0, 1.0]
    np.testing.assert_allclose(curve.survival_lower[:2], 0.025**0.25)  # a rule of three for four lanes
    assert np.isnan(curve.survival[4]) and curve.survival[3] == 3 / 4 * 1 / 2  # nobody was seen after 4
    ended = survival(exits_of([1.0, 2.0], [0, 0]), times=[1.5, 2.0, 9.0])
    assert ended.survival.values.tolist() == [0.5, 0.0, 0.0]
    assert ended.survival_upper[1] == ended.survival_upper[0] and ended.survival_lower[1] == 0


def test_restricted_mean_by_hand():
    exits = exits_of([1.0, 2.0, 2.0, 3.0, 5.0, 6.0], [0, 1, 0, 0, 0, 1])
    curve = survival(exits)
    steps = [1, 5 / 6, 5 / 6 * 4 / 5, 5 / 6 * 4 / 5 * 2 / 3, 5 / 6 * 4 / 5 * 2 / 3 / 2]
    assert curve.restricted_to == 5
    area = steps[0] * 1 + steps[1] * 1 + steps[2] * 1 + steps[3] * 2
    np.testing.assert_allclose(curve.restricted_mean, area)
    remaining = [area - 1, area - 1 - steps[1], 2 * steps[3], 0]
    variance = sum(rest**2 * weight for rest, weight in zip(remaining, [1 / 30, 1 / 20, 1 / 6, 1 / 2], strict=True))
    np.testing.assert_allclose(curve.restricted_mean_stderr, np.sqrt(variance))
    complete = exits_of([1.0, 2.0, 4.0, 4.5], [0, 0, 0, 0])
    assert survival(complete).restricted_mean == complete.durations.mean()


def test_escape_time_by_hand():
    exits = exits_of([1.0, 3.0, 4.0, 2.0, 0.5], [0, 0, 1, 2, 0], [0, 1, 0, 0, 1])
    estimate = escape_time(exits)
    assert estimate.escape_time == 10.5 / 3
    np.testing.assert_allclose(estimate.escape_time_lower, 2 * 10.5 / stats.chi2.ppf(0.975, 8))
    np.testing.assert_allclose(estimate.escape_time_upper, 2 * 10.5 / stats.chi2.ppf(0.025, 6))
    np.testing.assert_allclose(estimate.escape_time_stderr, 10.5 / 3**1.5)
    np.testing.assert_allclose(estimate.rate, np.array([1, 2, 1]) / 10.5)
    np.testing.assert_allclose(estimate.rate_upper, stats.chi2.ppf(0.975, [4, 6, 4]) / 21)
    np.testing.assert_allclose(estimate.rate_lower, stats.chi2.ppf(0.025, [2, 4, 2]) / 21)
    assert estimate.num_events.values.tolist() == [1, 2, 1]
    assert (estimate.num_lanes, estimate.num_censored, estimate.time_at_risk) == (5, 1, 10.5)
    later = escape_time(exits, relaxation=1.0)
    assert (later.time_at_risk, later.num_lanes, later.num_events.sum()) == (6.0, 3, 2)
    complete = escape_time(exits_of([1.0, 2.0], [0, 0]))
    np.testing.assert_allclose(complete.escape_time_lower, 6 / stats.chi2.ppf(0.975, 4))


def test_time_and_iterations_differ_by_the_time_per_step():
    exits = mixed()
    time, steps = escape_time(exits), escape_time(exits, duration="steps")
    for name in ("escape_time", "escape_time_lower", "escape_time_stderr", "restricted_mean"):
        np.testing.assert_allclose(time[name], 0.01 * steps[name], rtol=1e-9)
    np.testing.assert_allclose(time.exponentiality, steps.exponentiality, rtol=1e-6)
    assert (time.attrs["time_units"], steps.attrs["time_units"]) == ("learning_rate x step", "iterations")


def test_extra_dims_and_their_labels_are_kept():
    cells = [[mixed(seed=3 * row + column).assign_coords(batch_size=size, learning_rate=rate)
              for column, size in enumerate((4, 16, 64))] for row, rate in enumerate((0.1, 0.05))]
    for rate, row in zip((0.1, 0.05), cells, strict=True):
        for exits in row:
            exits["time_per_step"] = rate
            exits["steps"] = np.round(exits.durations / rate).astype(np.int64)
    rows = [xarray.concat(row, "batch_size") for row in cells]
    grid = xarray.concat(rows, "learning_rate").transpose("lane", ...)
    estimate, curve = escape_time(grid), survival(grid, times=[1.0, 2.0])
    assert estimate.escape_time.sizes == {"learning_rate": 2, "batch_size": 3}
    assert curve.incidence.sizes == {"learning_rate": 2, "batch_size": 3, "cause": 3, "time": 2}
    for result, function in ((estimate, escape_time), (curve, lambda exits: survival(exits, times=[1.0, 2.0]))):
        one = result.sel(learning_rate=0.05, batch_size=16)
        xarray.testing.assert_allclose(one.reset_coords(drop=True), function(cells[1][1]).reset_coords(drop=True))


def test_lanes_filled_in_by_concat_are_no_lanes():
    short, long = mixed(40).assign_coords(batch_size=4), mixed(80, seed=5).assign_coords(batch_size=16)
    both = xarray.concat([short, long], "batch_size", join="outer")
    estimate = escape_time(both)
    assert estimate.num_lanes.values.tolist() == [40, 80]
    np.testing.assert_allclose(estimate.escape_time, [escape_time(short).escape_time, escape_time(long).escape_time])


def test_the_default_times_follow_all_durations():
    curve = survival(mixed())
    assert curve.time[0] == 0 and curve.time[-1] == mixed().durations.max()
    assert survival(mixed(4000, decimals=6)).sizes["time"] <= 513


def test_exponentiality_is_the_kolmogorov_test_of_the_total_time_on_test():
    rng = np.random.default_rng(8)
    durations = np.minimum(rng.gamma(3.0, 1.0, 60), 2.0)
    status = np.where(durations < 2, 0, 1)
    exits = exits_of(durations, status, time_per_step=1e-12)
    times = np.sort(durations[status == 0])
    clock = np.array([np.minimum(durations, time).sum() for time in times])
    judge = stats.kstest(clock[:-1] / clock[-1], "uniform").pvalue
    assert judge < 0.05  # Stephens' correction is made for small values
    assert escape_time(exits).exponentiality.item() == pytest.approx(judge, rel=0.05)


BAD = {
    "no dataset": (lambda: escape_time(np.ones(3)), TypeError, "exits must be"),
    "no lanes": (lambda: escape_time(mixed().isel(lane=0)), ValueError, "no dim 'lane'"),
    "no variable": (lambda: escape_time(mixed().drop_vars("status")), ValueError, "no 'status'"),
    "no such duration": (lambda: survival(mixed(), duration="time"), ValueError, "no 'time'"),
    "no names": (lambda: survival(mixed().drop_attrs()), ValueError, "flag_values"),
    "confidence": (lambda: escape_time(mixed(), confidence=95), ValueError, "confidence must lie in"),
    "relaxation": (lambda: escape_time(mixed(), relaxation=-1.0), ValueError, "relaxation"),
    "times": (lambda: survival(mixed(), times=[2.0, 1.0]), ValueError, "times"),
    "nan": (lambda: escape_time(exits_of([1.0, np.nan], [0, 1])), ValueError, "not finite"),
    "status": (lambda: escape_time(exits_of([1.0, 2.0], [0, 7])), ValueError, r"got \[7\]"),
    "contradiction": (lambda: escape_time(mixed().assign(event_observed=mixed().status == 1)), ValueError, "disagree"),
    "no region": (lambda: escape_time(mixed().assign(region=(mixed().region * 0 - 1).assign_attrs(FLAGS))), ValueError,
                  "no region"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    call, error, words = BAD[name]
    with pytest.raises(error, match=words):
        call()


def test_names_are_public():
    assert {"escape_time", "survival"} <= set(ss.analysis.__all__)
