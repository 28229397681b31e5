import numpy as np
import pytest
import xarray
from scipy import stats

from sde_sgd.analysis import comparison_table, format_table, weak_error, weak_order
from sde_sgd.analysis.intervals import floor_in_stderrs, spread_and_stderr
from sde_sgd.analysis.weak_error import CHANGES_SIGN, DIFFERS, FITTED, IDENTICAL, INCONCLUSIVE, REFERENCE

PROCESSES = ["sgd", "sme", "flow"]


def _quantity(num_seeds=64, seed=0, spread=1.0):
    """Return a quantity with a correlated process, a deterministic one, and the clock of a sweep."""
    rng = np.random.default_rng(seed)
    rates, sizes, steps = [0.2, 0.1, 0.05], [4, 16], [0, 5, 10]
    base = spread * rng.normal(size=(3, 2, num_seeds, 3))
    values = np.stack([5 + base, 5 + 0.8 * base + 0.6 * spread * rng.normal(size=base.shape), np.full_like(base, 4.5)])
    time = np.array(rates)[None, :, None] * np.array(steps) * np.array([1.0, 1.0, 2.0])[:, None, None]
    return xarray.DataArray(
        values, dims=("process", "learning_rate", "batch_size", "seed", "step"), name="loss",
        coords={"process": PROCESSES, "learning_rate": rates, "batch_size": sizes, "seed": np.arange(num_seeds),
                "step": steps, "time": (("process", "learning_rate", "step"), time)})


def _pair(reference, other, **options):
    return _compared(reference, other, **options).sel(process="sme")


def _compared(reference, other, **options):
    lanes = np.stack([reference, other])
    quantity = xarray.DataArray(lanes, dims=("process", "seed"), coords={"process": ["sgd", "sme"]})
    return weak_error(quantity, "sgd", **options)


def test_numbers_are_those_of_the_paired_test():
    quantity = _quantity()
    errors = weak_error(quantity, "sgd", confidence=0.9)
    cell = {"learning_rate": 0.1, "batch_size": 4, "step": 10}
    sgd, sme = (quantity.sel(process=name, **cell).values for name in ("sgd", "sme"))
    row = errors.sel(process="sme", **cell)
    test = stats.ttest_rel(sme, sgd)
    np.testing.assert_allclose(row.error, sme.mean() - sgd.mean(), rtol=1e-12)
    np.testing.assert_allclose(row.error / row.error_stderr, test.statistic, rtol=1e-12)
    interval = test.confidence_interval(0.9)
    np.testing.assert_allclose(row.error + row.error_halfwidth, interval.high, rtol=1e-10)
    np.testing.assert_allclose(row["mean"], sme.mean(), rtol=1e-12)
    np.testing.assert_allclose(row.mean_stderr, stats.sem(sme), rtol=1e-12)
    np.testing.assert_allclose(row.spread, sme.std(ddof=1), rtol=1e-12)
    assert row.error_stderr < np.hypot(stats.sem(sgd), stats.sem(sme))


def test_labels_are_kept():
    quantity = _quantity()
    errors = weak_error(quantity.transpose("seed", "step", ...), "sgd")
    assert set(errors.error.dims) == set(quantity.dims) - {"seed"}
    time = errors.time.transpose(*quantity.time.dims)  # kept although the processes have different clocks
    xarray.testing.assert_equal(time, quantity.time)
    assert "seed" not in errors.coords
    assert errors.attrs == {"quantity": "loss", "reference": "sgd", "num_seeds": 64, "confidence": 0.95}
    ordered = weak_error(quantity, "sgd")
    assert (ordered.verdict == errors.verdict).all()
    xarray.testing.assert_allclose(ordered.error, errors.error.transpose(*ordered.error.dims))


def test_trailing_dims_and_single_precision_are_taken():
    quantity = _quantity().expand_dims(loss_dim_0=2).transpose(..., "loss_dim_0")
    errors = weak_error(quantity.astype(np.float32), "sgd")
    assert errors.error.dims == ("process", "learning_rate", "batch_size", "step", "loss_dim_0")
    assert errors.error.dtype == np.float64
    np.testing.assert_allclose(errors.error.values, weak_error(quantity, "sgd").error.values, atol=1e-6)


def test_pairs_go_by_seed():
    rng = np.random.default_rng(1)
    reference = rng.normal(size=50)
    other = reference + 0.01 * rng.normal(size=50)
    shuffled = _pair(reference, rng.permutation(other))
    assert _pair(reference, other).error_stderr < 0.01 * shuffled.error_stderr * 5
    np.testing.assert_allclose(_pair(reference, other).error, shuffled.error, atol=1e-12)


def test_a_deterministic_process_leaves_the_error_of_the_reference():
    errors = weak_error(_quantity(num_seeds=63), "sgd")
    flow = errors.sel(process="flow")
    np.testing.assert_allclose(flow.error_stderr, errors.sel(process="sgd").mean_stderr, rtol=1e-12)
    for name in ("mean_stderr", "spread", "spread_stderr"):
        assert (flow[name] == 0).all()


def test_two_deterministic_processes():
    row = _pair(np.full(63, 0.1), np.full(63, 0.3))
    assert (row.error_stderr, row.verdict) == (0, DIFFERS)
    np.testing.assert_allclose(row.error, 0.2, rtol=1e-15)
    assert _pair(np.full(63, 0.1), np.full(63, 0.1)).verdict == IDENTICAL


def test_spread_stderr_is_the_known_one():
    samples = xarray.DataArray([0.0, 0.0, 1.0, 1.0], dims="seed")
    spread, stderr = spread_and_stderr(samples)  # s^2 = 1/3, kurtosis (1/16) / (1/9)
    np.testing.assert_allclose(spread, 3**-0.5)
    np.testing.assert_allclose(stderr, 3**-0.5 / 2 * np.sqrt((9 / 16 - 1 / 3) / 4))


def test_floor_is_three_standard_errors_and_wider_for_few_seeds():
    np.testing.assert_allclose(floor_in_stderrs(10**9), 3, rtol=1e-6)
    assert 3.1 < floor_in_stderrs(64) < 3.2
    np.testing.assert_allclose(2 * stats.t.sf(floor_in_stderrs(5), 4), 2 * stats.norm.sf(3))


def _shifted(shift, num_seeds=400):
    """Return a pair whose difference has exactly the mean ``shift`` and the standard error 1 / sqrt(n - 1)."""
    noise = np.tile([1.0, -1.0], num_seeds // 2)
    return np.full(num_seeds, 10.0), 10 + shift + noise


@pytest.mark.parametrize(("shift", "options", "verdict"), [
    (0.20, {}, DIFFERS),
    (-0.20, {}, DIFFERS),
    (0.12, {}, INCONCLUSIVE),
    (0.00, {}, INCONCLUSIVE),
    (0.12, {"tolerance": 0.23}, "agrees within 0.23"),
    (-0.12, {"tolerance": 0.23}, "agrees within 0.23"),
    (0.12, {"tolerance": 0.20}, INCONCLUSIVE),
    (0.12, {"tolerance": 0.20, "confidence": 0.8}, "agrees within 0.2"),
    (0.20, {"tolerance": 0.50}, "agrees within 0.5"),
    (0.20, {"tolerance": 0.10}, DIFFERS),
    (0.12, {"relative_tolerance": 0.023}, "agrees within 2.3 %"),
    (0.12, {"relative_tolerance": 0.020}, INCONCLUSIVE),
])
def test_verdicts(shift, options, verdict):
    assert _compared(*_shifted(shift), **options).verdict.values.tolist() == [REFERENCE, verdict]


def test_relative_tolerance_takes_any_sign_and_counts_the_noise_of_the_reference():
    reference, other = _shifted(0.12)
    assert _pair(-reference, -other, relative_tolerance=0.023).verdict == "agrees within 2.3 %"
    noisy = np.random.default_rng(0).normal(size=400)  # mean about zero: no share of it is known
    assert _pair(noisy, noisy + 1e-6, relative_tolerance=0.01).verdict != "agrees within 1 %"
    scaled = np.random.default_rng(0).normal(1, 0.3, size=400)
    assert _pair(scaled, 1.0101 * scaled, relative_tolerance=0.01).verdict == DIFFERS  # exactly 1.01 % apart


def test_diverged_lanes_are_never_dropped():
    quantity = _quantity()
    quantity[1, 0, 0, :3, 2] = np.nan
    quantity[1, 0, 1, 0, 1:] = np.inf
    quantity[0, 2, 0, 7, 2] = np.nan
    errors = weak_error(quantity, "sgd", tolerance=100.0)
    lost = errors.sel(process="sme", learning_rate=0.2, batch_size=4)
    assert lost.verdict.values.tolist()[1:] == ["agrees within 100", "diverged: 3 of 64 lanes"]
    assert np.isnan(lost.error[2]) and np.isnan(lost["mean"][2]) and np.isfinite(lost.error[1])
    assert errors.verdict.sel(process="sme", learning_rate=0.2, batch_size=16, step=5) == "diverged: 1 of 64 lanes"
    cell = errors.sel(learning_rate=0.05, batch_size=4, step=10)
    assert cell.verdict.sel(process="sgd") == "diverged: 1 of 64 lanes"
    assert cell.verdict.sel(process="sme") == "reference diverged: 1 of 64 lanes"
    assert np.isnan(cell.error.sel(process="sme")) and np.isfinite(cell["mean"].sel(process="sme"))


def test_lanes_about_to_diverge_do_not_warn():
    row = _pair(np.ones(8), np.geomspace(1, 1e300, 8))
    assert row.verdict == INCONCLUSIVE


@pytest.mark.parametrize(("change", "error", "message"), [
    (lambda q: (q.to_dataset(), "sgd", {}), TypeError, "DataArray, got Dataset.*dataset.loss"),
    (lambda q: (q, "SGD", {}), ValueError, "one of sgd, sme, flow; got 'SGD'"),
    (lambda q: (q.mean("seed"), "sgd", {}), ValueError, "no dim 'seed'.*every seed"),
    (lambda q: (q.isel(process=0), "sgd", {}), ValueError, "no dim 'process'.*sweep"),
    (lambda q: (q.isel(seed=[0]), "sgd", {}), ValueError, "at least 2 seeds"),
    (lambda q: (q, "sgd", {"confidence": 1.0}), ValueError, "confidence must lie in"),
    (lambda q: (q, "sgd", {"tolerance": -1.0}), ValueError, "tolerance must be finite and positive"),
    (lambda q: (q, "sgd", {"tolerance": 1.0, "relative_tolerance": 0.1}), ValueError, "exclude each other"),
])
def test_bad_input_is_refused(change, error, message):
    quantity, reference, options = change(_quantity(num_seeds=4))
    with pytest.raises(error, match=message):
        weak_error(quantity, reference, **options)


def _errors(values, stderr, rates=(0.4, 0.2, 0.1, 0.05, 0.025)):
    """Return errors of one process with given values, as weak_error makes them."""
    values = np.stack([np.zeros(len(rates)), np.asarray(values, float)])
    stderrs = np.stack([np.zeros(len(rates)), np.broadcast_to(stderr, len(rates))])
    lost = np.isnan(values)
    verdict = np.where(lost, "diverged: 1 of 9 lanes", np.array([[REFERENCE], [DIFFERS]]))
    dims = ("process", "learning_rate")
    return xarray.Dataset(
        {"error": (dims, values), "error_stderr": (dims, stderrs), "floor": (dims, 3 * stderrs),
         "verdict": (dims, verdict)},
        coords={"process": ["sgd", "sme"], "learning_rate": list(rates)}, attrs={"reference": "sgd"})


RATES = np.array([0.4, 0.2, 0.1, 0.05, 0.025])


@pytest.mark.parametrize("order", [1.0, 2.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_exact_errors_give_the_order(order, sign):
    for stderr in (0.0, 1e-6 * RATES**order):
        fit = weak_order(_errors(sign * 0.3 * RATES**order, stderr))
        assert fit.verdict.values.tolist() == [REFERENCE, FITTED]
        np.testing.assert_allclose(fit.order.sel(process="sme"), order, rtol=1e-10)
        assert fit.num_points.sel(process="sme") == 5
        assert np.isnan(fit.order.sel(process="sgd"))


def test_order_is_weighted_by_the_errors():
    rng = np.random.default_rng(0)
    stderr = np.array([0.001, 0.001, 0.001, 0.001, 0.002])
    values = 0.5 * RATES + stderr * rng.normal(size=5)
    fit = weak_order(_errors(values, stderr)).sel(process="sme")
    slope, covariance = np.polyfit(np.log(RATES), np.log(values), 1, w=values / stderr, cov="unscaled")
    np.testing.assert_allclose(fit.order, slope[0], rtol=1e-10)
    assert fit.order_stderr >= np.sqrt(covariance[0, 0]) * (1 - 1e-10)


def test_order_is_fitted_for_each_time_and_any_sorting():
    errors = xarray.concat([_errors(RATES**p, 1e-9).assign_coords(time=p) for p in (1.0, 2.0)], "time")
    fit = weak_order(errors.isel(learning_rate=[3, 0, 4, 2, 1]).assign_coords(step=("learning_rate", np.arange(5))))
    np.testing.assert_allclose(fit.order.sel(process="sme"), [1, 2])


def test_points_at_the_floor_are_refused_and_never_give_a_wrong_order():
    stderr = 1e-3
    noise = stderr * np.array([0.4, -0.8, 1.1, 1.3, 1.9])  # sizes that a fit through all points would believe
    values = 0.05 * RATES**2 + noise
    naive = np.polyfit(np.log(RATES), np.log(abs(values)), 1)[0]
    assert naive < 1.6
    fit = weak_order(_errors(values, stderr)).sel(process="sme")
    assert fit.verdict == INCONCLUSIVE
    assert np.isnan(fit.order) and np.isnan(fit.order_stderr)
    assert fit.num_points == 1


def test_nothing_below_the_first_refused_rate_is_used():
    values = np.array([0.16, 0.04, 0.01, 1e-4, 4e-3])
    fit = weak_order(_errors(values, 1e-3)).sel(process="sme")  # the last is a fluke of four standard errors
    assert (fit.num_points, fit.verdict) == (3, FITTED)
    np.testing.assert_allclose(fit.order, 2)


def test_order_is_refused_where_no_power_law_can_hold():
    fit = weak_order(_errors([0.4, 0.1, -0.1, -0.2, -0.2], 1e-3)).sel(process="sme")
    assert fit.verdict == CHANGES_SIGN and np.isnan(fit.order)
    fit = weak_order(_errors([np.nan, 0.1, 0.05, 0.02, 0.01], 1e-3)).sel(process="sme")
    assert fit.verdict == "diverged: 1 of 5 learning rates" and np.isnan(fit.order)
    fit = weak_order(_errors(np.zeros(5), 0.0)).sel(process="sme")
    assert fit.verdict == INCONCLUSIVE


def test_a_bent_curve_widens_the_error_of_its_order():
    values = RATES + 3 * RATES**2
    fit = weak_order(_errors(values, 1e-6 * values)).sel(process="sme")
    assert 1 < fit.order < 2
    assert fit.order_stderr > 0.02


def test_order_needs_equal_time_and_three_rates():
    quantity = _quantity()
    with pytest.raises(ValueError, match=r"equal steps.*time="):
        weak_order(weak_error(quantity, "sgd"))
    with pytest.raises(ValueError, match=r"unequal times, 0.5 to 4.*time="):
        weak_order(weak_error(quantity.isel(step=-1, drop=True), "sgd"))
    with pytest.raises(ValueError, match=r"at least 3 learning rates.*got 2"):
        weak_order(weak_error(quantity.isel(learning_rate=[0, 1]), "sgd"))
    equal = quantity.isel(step=-1, drop=True).drop_vars("time")
    assert weak_order(weak_error(equal, "sgd")).order.dims == ("process", "batch_size")


def test_table_rows_are_cells_in_order():
    rows = comparison_table(weak_error(_quantity(), "sgd"))
    assert len(rows) == 18
    assert [(row["batch_size"], row["learning_rate"]) for row in rows[::3]] == [
        (size, rate) for size in (4, 16) for rate in (0.05, 0.1, 0.2)]
    assert [row["process"] for row in rows[:3]] == PROCESSES
    errors = weak_error(_quantity().isel(step=-1), "sgd").sel(process="sme", batch_size=16, learning_rate=0.2)
    row = next(row for row in rows if (row["process"], row["batch_size"], row["learning_rate"]) == ("sme", 16, 0.2))
    for name in ("mean", "mean_stderr", "spread", "spread_stderr", "error", "error_stderr"):
        np.testing.assert_allclose(row[name], errors[name], rtol=1e-12)


def test_table_text_is_aligned_and_narrow():
    quantity = _quantity(spread=0.1).assign_coords(process=["Gaussian-noise gradient descent", "sme", "flow"])
    quantity[1, 0, 0, :3] = np.nan
    quantity[0, 1, 1, :3] = np.nan
    errors = weak_error(quantity.isel(step=-1), "Gaussian-noise gradient descent", tolerance=0.01)
    text = format_table(comparison_table(errors))
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= 100
    assert lines[0].split() == ["batch", "learning", "mean", "spread", "difference", "standard"]
    assert lines[1].split()[:4] == ["process", "size", "rate", "loss"]
    assert "diverged: 3 of 64 lanes" in text and "reference diverged\n" in text
    rows = [line for line in lines[3:] if line and not line.startswith("inconclusive")]
    assert len(rows) == 18
    column = lines[1].index("rate") + len("rate")
    assert all(line[column - 1].isdigit() and line[column] == " " for line in rows)
    assert text.endswith("more seeds may resolve it")


@pytest.mark.parametrize(("value", "stderr", "text"), [
    (0.123456, 0.0123, "0.123"), (0.123456, 0.00456, "0.1235"), (-0.0004, 0.0012, "-0.0004"),
    (12345.6, 230.0, "12350"), (1.5e-9, 2.3e-10, "1.50e-09"), (3.21e8, 4.5e6, "3.210e+08"),
    (2.3e-10, 2.3e-10, "2.3e-10"), (0.5, 0.0, "0.5"), (1 / 3, 0.0, "0.333333"), (np.nan, 0.1, "-"), (1.0, np.nan, "1"),
])
def test_table_numbers_show_two_digits_of_their_error(value, stderr, text):
    from sde_sgd.analysis.columns import rounded

    assert rounded(value, stderr) == text


def test_table_of_one_cell_and_bad_rows():
    cell = _quantity().isel(learning_rate=0, batch_size=0, step=-1)
    rows = comparison_table(weak_error(cell, "sgd"))
    assert [row["learning_rate"] for row in rows] == [0.2] * 3
    bare = comparison_table(weak_error(cell.reset_coords(drop=True), "sgd"))
    assert bare[0]["batch_size"] is None
    assert format_table(bare).splitlines()[3].split()[:3] == ["sgd", "-", "-"]
    with pytest.raises(ValueError, match=r"further dims.*loss_dim_0"):
        comparison_table(weak_error(cell.expand_dims(loss_dim_0=2), "sgd"))
    with pytest.raises(ValueError, match="rows is empty"):
        format_table([])
