import io

import numpy as np
import pytest
import xarray

import sde_sgd as ss

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402

from sde_sgd import plotting  # noqa: E402
from sde_sgd.analysis import escape_time, survival  # noqa: E402

PROCESSES, SIZES = ["sgd", "sde"], [4, 8, 16]
FLAGS = {"flag_values": [-1, 0], "flag_meanings": "none right"}


@pytest.fixture(autouse=True)
def _nothing_left():
    before = dict(matplotlib.rcParams)
    yield
    pyplot.close("all")
    assert dict(matplotlib.rcParams) == before


def _exits(horizon=20.0):
    """Return first passages at two processes and three batch sizes; of the largest one no lane escapes."""
    durations = np.random.default_rng(0).exponential(size=(2, 3, 60)) * np.array([1.0, 4.0, 1e9])[:, None]
    status = np.where(durations <= horizon, 0, 1)
    dims = ("process", "batch_size", "lane")
    return xarray.Dataset(
        {"durations": (dims, np.minimum(durations, horizon), {"units": "learning_rate x step"}),
         "status": (dims, status), "event_observed": (dims, status == 0),
         "region": (dims, np.where(status == 0, 0, -1), FLAGS), "time_per_step": 1e-6},
        {"process": PROCESSES, "batch_size": ("batch_size", SIZES, {"long_name": "batch size"})})


def _texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def _draw(figure):
    figure.savefig(io.BytesIO(), format="png", dpi=72)


def test_escape_times_show_intervals_bounds_and_theory():
    estimates = escape_time(_exits())
    sizes = np.linspace(4, 16, 7)
    theory = {"Kramers": xarray.DataArray(np.exp(sizes / 4), dims="batch_size", coords={"batch_size": sizes})}
    ax = plotting.plot_escape_times(estimates, theory=theory)
    assert (ax.get_yscale(), ax.get_xlabel()) == ("log", "batch size")
    assert ax.get_ylabel() == "mean escape time (learning rate \N{MULTIPLICATION SIGN} step)"
    assert _texts(ax.figure.legends[0]) == ["sgd", "sde", "Kramers", "95 % interval", "lower bound"]
    drawn = [container for container in ax.containers if len(container[0].get_xdata())]
    assert [len(container[0].get_xdata()) for container in drawn] == [2, 1, 2, 1]
    means, bound = drawn[:2]
    np.testing.assert_allclose(means[0].get_ydata(), estimates.escape_time.sel(process="sgd")[:2])
    ends = np.array([segment[:, 1] for segment in means[2][0].get_segments()])
    np.testing.assert_allclose(ends[:, 0], estimates.escape_time_lower.sel(process="sgd")[:2])
    np.testing.assert_allclose(ends[:, 1], estimates.escape_time_upper.sel(process="sgd")[:2])
    np.testing.assert_allclose(bound[0].get_ydata(), estimates.escape_time_lower.sel(process="sgd")[2:])
    _draw(ax.figure)


def test_escape_times_of_one_process_on_given_axes():
    _, given = pyplot.subplots()
    estimates = escape_time(_exits().sel(process="sde", drop=True).isel(batch_size=[0, 1]))
    ax = plotting.plot_escape_times(estimates, "batch_size", ax=given)
    assert ax is given
    assert _texts(ax.get_legend()) == ["measured", "95 % interval"]
    _draw(ax.figure)


def test_errors_of_escape_times_say_what_to_do():
    estimates = escape_time(_exits())
    with pytest.raises(ValueError, match="one dim beside process"):
        plotting.plot_escape_times(estimates.isel(batch_size=0))
    with pytest.raises(ValueError, match="against='learning_rate'"):
        plotting.plot_escape_times(estimates, "learning_rate")
    with pytest.raises(ValueError, match=r"theory\['x'\] must have the dim 'batch_size'"):
        plotting.plot_escape_times(estimates, theory={"x": xarray.DataArray([1.0], dims="size")})


@pytest.mark.parametrize("relaxation", [0.0, 0.5])
def test_survival_shows_curve_band_and_the_law_from_the_relaxation_on(relaxation):
    exits = _exits().isel(batch_size=1)
    curves, fit = survival(exits), escape_time(exits, relaxation=relaxation)
    ax = plotting.plot_survival(curves, fit=fit)
    assert _texts(ax.figure.legends[0]) == ["sgd", "sde", "95 % interval", "exponential law"]
    assert (ax.get_yscale(), ax.get_xlim()[0]) == ("log", 0.0)
    law = ax.lines[2]
    assert law.get_xdata()[0] == relaxation
    level = curves.survival.sel(process="sgd").sel(time=relaxation, method="ffill")
    end = law.get_xdata()[-1] - relaxation
    np.testing.assert_allclose(law.get_ydata()[-1], level * np.exp(-end / fit.escape_time.sel(process="sgd")))
    _draw(ax.figure)


def test_survival_draws_no_law_that_is_rejected():
    durations = np.random.default_rng(1).gamma(8.0, 1.0, 500)
    exits = xarray.Dataset(
        {"durations": ("lane", durations), "status": ("lane", np.zeros(500, int)),
         "event_observed": ("lane", np.ones(500, bool)), "region": ("lane", np.zeros(500, int), FLAGS),
         "time_per_step": 1e-6})
    ax = plotting.plot_survival(survival(exits), fit=escape_time(exits))
    assert len(ax.lines) == 1
    assert _texts(ax.figure.legends[0]) == ["95 % interval"]
    _draw(ax.figure)
    with pytest.raises(ValueError, match=r"one cell.*batch_size"):
        plotting.plot_survival(survival(_exits()))


def test_landscape_shows_minima_saddle_paths_and_exits():
    well = ss.problems.curved_valley()
    rng = np.random.default_rng(2)
    exits = rng.normal(size=(5, 2))
    exits[0] = np.nan
    ax = plotting.plot_landscape(well, paths=rng.normal(size=(3, 20, 2)), exits=exits)
    assert _texts(ax.figure.legends[0]) == ["minima", "saddle", "paths", "exits"]
    points, minima, saddle = ax.lines[3:]
    np.testing.assert_allclose(points.get_ydata(), exits[:, 1])
    np.testing.assert_allclose(minima.get_xydata(), [[-1, 0], [1, 0]], atol=1e-4)
    np.testing.assert_allclose(saddle.get_xydata(), [[0, 0.8]], atol=1e-6)
    _draw(ax.figure)
    _, given = pyplot.subplots()
    ax = plotting.plot_landscape(ss.problems.narrowing_well(), paths=rng.normal(size=(20, 2)),
                                 limits=((-2, 2), (-1, 1)), ax=given)
    assert ax is given and ax.get_xlim() == (-2, 2) and len(ax.lines) == 3


def test_errors_of_landscapes_say_what_to_do():
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        plotting.plot_landscape(ss.problems.double_well())
    with pytest.raises(ValueError, match=r"exits must have shape \(lanes, 2\)"):
        plotting.plot_landscape(ss.problems.curved_valley(), exits=np.zeros((4, 3)))
