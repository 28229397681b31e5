"""The loss surface along a path or a direction, and over a plane with a trajectory in it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from sde_sgd.plotting.marks import COLUMN, add_legend, legend_handle, new_axes, paper_style

if TYPE_CHECKING:
    import matplotlib.axes
    import xarray

_COLOURS = ("#0072B2", "#D55E00")  # of the loss and of the second quantity
_LINES = ("-", (0, (4, 2)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
_LABELS = {"position": "position on the path (0 and 1: the solutions)", "distance": "distance along the direction"}


def path_plot(curves: "xarray.Dataset", *, ax: "matplotlib.axes.Axes | None" = None) -> "matplotlib.axes.Axes":
    """Draw one or two quantities along a path, the second on an axis of its own at the right.

    Colours are quantities, lines are data sets. The first quantity is logarithmic where it is positive and spans more
    than a factor of ten.

    Parameters
    ----------
    curves
        Result of ``curvature.interpolate`` or ``curvature.loss_slice``.
    ax
        Axes to draw on; by default those of a new figure, as wide as a column.

    Returns
    -------
    ax : matplotlib.axes.Axes
        The axes of the first quantity.

    Raises
    ------
    ValueError
        If the dataset holds no such curves, more than two quantities or more than four data sets.
    """
    place = next((name for name in _LABELS if name in curves.dims), None)
    if place is None or not 1 <= len(curves.data_vars) <= 2 or curves.sizes["data"] > len(_LINES):
        raise ValueError("curves must hold one or two quantities of at most four data sets along position or distance, "
                         f"got the variables {list(curves.data_vars)} with dims {dict(curves.sizes)}. Select with "
                         "curves[['loss']] or curves.sel(data=[...]).")
    with paper_style():
        axes = new_axes(1, 1, COLUMN, 2.6)[0, 0] if ax is None else ax
        sides = [axes, axes.twinx()] if len(curves.data_vars) > 1 else [axes]
        for side, (name, values), colour in zip(sides, curves.data_vars.items(), _COLOURS[: len(sides)], strict=True):
            _draw_quantity(side, values, place, colour)
            side.set_ylabel(str(name), color=colour if len(sides) > 1 else "black")
        if len(sides) > 1:
            sides[1].spines["right"].set_visible(True)
        first = next(iter(curves.data_vars.values())).values
        if first.min() > 0 and first.max() > 10 * first.min():
            axes.set_yscale("log")
        axes.set_xlabel(_LABELS[place])
        if curves.sizes["data"] > 1:
            handles = [legend_handle({"linestyle": line, "label": str(name)})
                       for name, line in zip(curves.data.values, _LINES, strict=False)]
            add_legend(axes, handles, num_columns=len(handles), above=ax is None)
    return axes


def plane_plot(plane: "xarray.Dataset", quantity: str = "loss", *, trajectory: Any = None, num_levels: int = 14,
               ax: "matplotlib.axes.Axes | None" = None) -> "matplotlib.axes.Axes":
    """Draw the contours of a quantity over a plane, and a trajectory in it.

    Levels are logarithmic where the quantity is positive and spans more than a factor of ten. Of a trajectory the start
    is a hollow point and the end a filled one.

    Parameters
    ----------
    plane
        Result of ``curvature.loss_plane`` for one problem; select one of several with ``plane.sel(data=[name])``.
    quantity
        Name of a variable.
    trajectory
        Coordinates (points, 2) such as those of ``curvature.principal_plane``.
    num_levels
        How many contours.
    ax
        Axes to draw on; by default those of a new figure, as wide as a column.

    Returns
    -------
    ax : matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ValueError
        If the dataset holds no plane of the quantity, or several data sets.
    """
    values = plane.get(quantity)
    if values is None or set(values.dims) != {"data", "first", "second"} or values.sizes["data"] != 1:
        raise ValueError(f"plane must hold {quantity!r} of one data set over first and second, got the variables "
                         f"{list(plane.data_vars)} with dims {dict(plane.sizes)}. Select with plane.sel(data=[name]).")
    values = values.squeeze("data").transpose("second", "first").values
    with paper_style():
        axes = new_axes(1, 1, COLUMN, 2.9)[0, 0] if ax is None else ax
        levels = _levels(values, num_levels)
        contours = axes.contour(plane.first, plane.second, values, levels=levels, cmap="viridis", linewidths=0.8)
        axes.clabel(contours, levels[::3], fmt="%.2g", fontsize=6)
        if trajectory is not None:
            points = np.asarray(trajectory)
            axes.plot(*points.T, color="black", linewidth=0.8, marker=".", markersize=2)
            axes.plot(*points[0], color="black", marker="o", markerfacecolor="white", linestyle="none")
            axes.plot(*points[-1], color="black", marker="o", linestyle="none")
        axes.set(xlabel="first direction", ylabel="second direction", title=quantity)
    return axes


def _draw_quantity(ax: Any, values: "xarray.DataArray", place: str, colour: str) -> None:
    for row, line in zip(values.transpose("data", place), _LINES, strict=False):
        ax.plot(row[place], row, color=colour, linestyle=line)


def _levels(values: np.ndarray, number: int) -> np.ndarray:
    finite = values[np.isfinite(values)]
    low, high = finite.min(), finite.max()
    if low > 0 and high > 10 * low:
        return np.geomspace(low * 1.05, high, number)
    return np.linspace(low, high, number + 1)[1:]
