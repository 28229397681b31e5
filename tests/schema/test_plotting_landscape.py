import io

import numpy as np
import pytest
import xarray

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402

from sde_sgd import plotting  # noqa: E402


@pytest.fixture(autouse=True)
def _nothing_left():
    before = dict(matplotlib.rcParams)
    yield
    pyplot.close("all")
    assert dict(matplotlib.rcParams) == before


def curves(place="position", data=("train", "test"), names=("loss", "accuracy")):
    where = np.linspace(-1, 2, 7)
    values = np.stack([np.exp(3 * where**2 + shift) for shift in range(len(data))])
    return xarray.Dataset({name: (("data", place), values / (1 + order)) for order, name in enumerate(names)},
                          {"data": list(data), place: where})


def plane(data=("train",)):
    axes = np.linspace(-1, 1, 5), np.linspace(-2, 2, 7)
    values = 0.1 + np.stack([axes[0][:, None] ** 2 + 3 * axes[1] ** 2] * len(data))
    return xarray.Dataset({"loss": (("data", "first", "second"), values)},
                          {"data": list(data), "first": axes[0], "second": axes[1]})


def test_path_plot_has_a_line_for_each_data_set_and_an_axis_for_each_quantity():
    ax = plotting.path_plot(curves())
    figure = ax.figure
    figure.savefig(io.BytesIO(), format="png", dpi=72)
    loss, accuracy = figure.axes
    assert [loss.get_ylabel(), accuracy.get_ylabel()] == ["loss", "accuracy"]
    assert [len(side.lines) for side in figure.axes] == [2, 2] and loss.get_yscale() == "log"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["train", "test"]
    np.testing.assert_allclose(loss.lines[1].get_ydata(), curves().loss.sel(data="test"))


def test_path_plot_of_one_quantity_has_one_axis_and_draws_where_it_is_told():
    _, ax = pyplot.subplots()
    assert plotting.path_plot(curves("distance", ("train",), ("loss",)), ax=ax) is ax
    assert ax.figure.axes == [ax] and "distance" in ax.get_xlabel() and ax.get_legend() is None


def test_plane_plot_has_the_first_direction_across():
    trajectory = np.array([[-0.5, 1.5], [0.2, 0.3], [0.0, 0.0]])
    ax = plotting.plane_plot(plane(), trajectory=trajectory)
    ax.figure.savefig(io.BytesIO(), format="png", dpi=72)
    assert ax.get_xlim() == (-1, 1) and ax.get_ylim() == (-2, 2)
    np.testing.assert_allclose(ax.lines[0].get_xydata(), trajectory)
    np.testing.assert_allclose(ax.lines[-1].get_xydata(), [[0, 0]])


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(ValueError, match="one or two quantities"):
        plotting.path_plot(plane())
    with pytest.raises(ValueError, match="one or two quantities"):
        plotting.path_plot(curves(names=("a", "b", "c")))
    with pytest.raises(ValueError, match="at most four"):
        plotting.path_plot(curves(data=tuple("abcde")))
    with pytest.raises(ValueError, match=r"sel\(data=\[name\]\)"):
        plotting.plane_plot(plane(("train", "test")))
    with pytest.raises(ValueError, match="'accuracy'"):
        plotting.plane_plot(plane(), "accuracy")
