import io

import numpy as np
import pytest
import xarray

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402

from sde_sgd import plotting  # noqa: E402
from sde_sgd.analysis import weak_error  # noqa: E402
from sde_sgd.results import build  # noqa: E402

LANES = ("process", "learning_rate", "batch_size", "seed")
PROCESSES = ["sgd", "gradient flow", "sme"]
RATES, SIZES, STEPS = (0.2, 0.1, 0.05), (4, 16, 64), np.arange(0, 101, 10)
TIME = "time (learning rate \N{MULTIPLICATION SIGN} step)"


@pytest.fixture(autouse=True)
def _nothing_left():
    before = dict(matplotlib.rcParams)
    yield
    pyplot.close("all")
    assert dict(matplotlib.rcParams) == before


def _sweep(diverged=False, equal_time=False):
    """Return a sweep in the schema: falling risks, noise as learning rate over batch size, a process without spread."""
    rng = np.random.default_rng(0)
    times = np.tile(np.linspace(0, 5, 11), (3, 1)) if equal_time else np.array(RATES)[:, None] * STEPS
    decay = np.exp(-times)[:, None, None, :]
    noise = np.array(RATES)[:, None, None, None] / np.array(SIZES)[:, None, None] * rng.exponential(size=(3, 3, 20, 11))
    risk = np.stack([0.1 + decay + noise, 0.1 + decay + 0 * noise, 0.1 + decay + 1.01 * noise]).astype(np.float32)
    if diverged:
        risk[2, 0, 0, :3, 6:] = np.nan
    at = np.where(np.isnan(risk).any(-1), 60, -1).astype(np.int64)
    coords = {name: (name, list(values)) for name, values in
              (("process", PROCESSES), ("learning_rate", RATES), ("batch_size", SIZES), ("seed", range(20)))}
    if equal_time:
        coords |= {"time": ("time", times[0]), "step": (("learning_rate", "time"), np.zeros((3, 11), np.int64))}
    else:
        coords |= {"step": ("step", STEPS),
                   "time": (("process", "learning_rate", "step"), np.stack([times] * 3))}
    return build({"risk": ((*LANES, "time" if equal_time else "step"), risk, {"long_name": "empirical risk"}),
                  "status": (LANES, (at >= 0).astype(np.int8)), "diverged_at": (LANES, at)}, coords, {})


def _texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def _draw(figure):
    """Draw to a file, so that layout and fonts may complain: warnings are errors."""
    figure.savefig(io.BytesIO(), format="png", dpi=72)


def test_risk_curves_name_processes_band_and_units():
    ax = plotting.risk_curves(_sweep().sel(batch_size=4, learning_rate=0.2))
    assert _texts(ax.figure.legends[0]) == [*PROCESSES, "10\N{EN DASH}90 % of seeds"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == (TIME, "empirical risk", "log")
    np.testing.assert_allclose(ax.lines[0].get_xdata(), 0.2 * STEPS)
    mean = _sweep().risk.sel(batch_size=4, learning_rate=0.2, process="sgd").mean("seed")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), mean, rtol=1e-6)
    _draw(ax.figure)


def test_risk_curves_draw_on_given_axes_with_standard_errors():
    figure, given = pyplot.subplots()
    ax = plotting.risk_curves(_sweep().isel(batch_size=[0], learning_rate=[0]), "risk", quantiles=None, ax=given)
    assert ax is given
    assert not figure.legends
    assert _texts(ax.get_legend())[-1] == "mean \N{PLUS-MINUS SIGN} 1 standard error"
    _draw(figure)


@pytest.mark.parametrize("equal_time", [True, False])
def test_risk_grid_has_a_panel_for_every_cell(equal_time):
    axes = plotting.risk_grid(_sweep(diverged=True, equal_time=equal_time))
    assert axes.shape == (3, 3)
    assert [ax.get_title() for ax in axes[0]] == ["learning rate 0.2", "learning rate 0.1", "learning rate 0.05"]
    assert "diverged" in _texts(axes[0, 0].figure.legends[0])
    assert axes[0, 0].figure.get_supxlabel() == TIME
    _draw(axes[0, 0].figure)


def test_a_curve_ends_where_its_first_lane_diverges():
    ax = plotting.risk_curves(_sweep(diverged=True).sel(batch_size=4, learning_rate=0.2))
    ends = [line for line in ax.lines if line.get_marker() == "x"]
    assert len(ends) == 1
    np.testing.assert_allclose(ends[0].get_xdata(), 0.2 * 50)


def test_an_exploding_process_does_not_set_the_scale():
    dataset = _sweep()
    dataset.risk[2, 0, 0, 0, 5:] = 1e30
    ax = plotting.risk_curves(dataset.sel(batch_size=4, learning_rate=0.2))
    assert ax.get_ylim()[1] < 20
    _draw(ax.figure)


@pytest.mark.parametrize("scalar", [True, False])
def test_risk_curves_take_a_simulation(scalar):
    dataset = _sweep().isel(process=0, batch_size=0, learning_rate=0, drop=not scalar)
    ax = plotting.risk_curves(dataset)
    assert _texts(ax.figure.legends[0])[0] == ("sgd" if scalar else "risk")


def test_errors_of_curves_say_what_to_do():
    dataset = _sweep()
    with pytest.raises(ValueError, match=r"one of risk; got 'loss'"):
        plotting.risk_curves(dataset, "loss")
    with pytest.raises(ValueError, match=r"one of risk, other; got None"):
        plotting.risk_curves(dataset.assign(other=dataset.risk))
    with pytest.raises(ValueError, match=r"shows one batch_size, got \[4, 16, 64\].*\.sel\(batch_size=4\)"):
        plotting.risk_curves(dataset)
    with pytest.raises(ValueError, match=r"no dim 'batch_size'.*risk_curves"):
        plotting.risk_grid(dataset.sel(batch_size=4))


def _errors():
    """Return errors of a resolved process, one under the floor at small rates, and a diverged cell."""
    rng = np.random.default_rng(1)
    rates = np.array([0.4, 0.2, 0.1, 0.05])
    shifts = np.stack([0 * rates, rates, rates**2])[:, :, None]
    lanes = 1 + shifts + 0.1 * rng.normal(size=(3, 4, 200))
    lanes[1, 0, 0] = np.nan
    quantity = xarray.DataArray(lanes, dims=("process", "learning_rate", "seed"), name="risk",
                                coords={"process": PROCESSES, "learning_rate": rates})
    return weak_error(quantity, "sgd")


def test_weak_error_plot_separates_resolved_hidden_and_diverged():
    errors = _errors()
    ax = plotting.weak_error_plot(errors)
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_ylabel()) == ("log", "log", "|difference from sgd|")
    assert _texts(ax.figure.legends[0]) == [*PROCESSES[1:], "slope 1", "slope 2", "floor: 3 standard errors",
                                            "diverged"]
    others = errors.sel(process=PROCESSES[1:])
    hidden = (abs(others.error) < others.floor).sum().item()
    drawn = sum(len(line.get_xdata()) for line in ax.lines if line.get_markerfacecolor() == "white")
    assert 0 < hidden == drawn
    assert sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() == "x") == 1
    _draw(ax.figure)


def test_weak_error_plot_on_given_axes_names_its_record():
    _, given = pyplot.subplots()
    errors = weak_error(_sweep(equal_time=True).risk.sel(batch_size=4), "sgd")
    ax = plotting.weak_error_plot(errors, slopes=(), ax=given)
    assert ax is given
    assert ax.get_ylabel() == "|difference from sgd| at time 5"
    with pytest.raises(ValueError, match="one batch_size"):
        plotting.weak_error_plot(weak_error(_sweep().risk, "sgd"))


@pytest.mark.parametrize("equal_time", [True, False])
def test_compare_figure_shows_the_telling_cell_and_all_differences(equal_time):
    figure = plotting.compare_figure({"one": _sweep(equal_time=equal_time),
                                      "two": _sweep(diverged=True, equal_time=equal_time)})
    assert not pyplot.get_fignums()
    axes = np.array(figure.axes).reshape(2, 4)
    assert axes[0, 0].get_title(loc="left") == "one\nbatch size 4, learning rate 0.2"
    assert [ax.get_title() for ax in axes[1, 1:]] == ["batch size 4", "batch size 16", "batch size 64"]
    assert axes[0, 1].get_ylabel() == "difference from sgd\nat the last record (%)"
    assert _texts(figure.legends[0]) == [*PROCESSES, "10\N{EN DASH}90 % of seeds",
                                         "\N{PLUS-MINUS SIGN} 2 standard errors", "diverged"]
    assert tuple(figure.get_size_inches()) == (7.0, 4.6)
    limits = [ax.get_ylim() for ax in axes[0, 1:]]
    assert limits[0] == limits[1] == limits[2]
    _draw(figure)


def test_compare_figure_shows_a_rate_that_the_reference_survives():
    dataset = _sweep()
    dataset.risk[0, 0, 0, 0, 5:] = np.nan
    figure = plotting.compare_figure({"one": dataset})
    assert figure.axes[0].get_title(loc="left").endswith("batch size 4, learning rate 0.1")
    dataset.risk[0, 1, 0, 0, 5:] = 1e20  # about to diverge: its mean is one lane's
    figure = plotting.compare_figure({"one": dataset})
    assert figure.axes[0].get_title(loc="left").endswith("batch size 4, learning rate 0.05")
    assert _texts(figure.legends[0])[-2:] == ["diverged", "mean not resolved"]
    assert figure.axes[1].get_ylim()[0] > -1e3
    dataset.risk[0, :, 0, 0, 5:] = np.nan
    _draw(plotting.compare_figure({"one": dataset}))


def test_errors_of_compare_figure_say_what_to_do():
    dataset = _sweep()
    with pytest.raises(ValueError, match="datasets is empty"):
        plotting.compare_figure({})
    with pytest.raises(ValueError, match=r"the same processes.*'two'"):
        plotting.compare_figure({"one": dataset, "two": dataset.isel(process=[1, 0, 2])})
    with pytest.raises(ValueError, match=r"as many batch sizes"):
        plotting.compare_figure({"one": dataset, "two": dataset.isel(batch_size=[0])})
    with pytest.raises(ValueError, match=r"one of sgd, gradient flow, sme; got 'SGD'"):
        plotting.compare_figure({"one": dataset}, reference="SGD")
