"""A landscape of two parameters with paths and the points where they left."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from sde_sgd.plotting.marks import COLUMN, add_legend, legend_handle, new_axes, paper_style
from sde_sgd.problems.problem import Problem

if TYPE_CHECKING:
    import matplotlib.axes

_GREYS = [f"{grey:.3f}" for grey in np.linspace(0.62, 0.98, 15)]
_PATHS = ("#0072B2", "#009E73", "#CC79A7", "#56B4E9")
_EXIT = {"marker": ".", "color": "#D55E00", "markersize": 4}


def plot_landscape(problem: Problem, *, paths: ArrayLike | None = None, exits: ArrayLike | None = None,
                   limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
                   ax: "matplotlib.axes.Axes | None" = None) -> "matplotlib.axes.Axes":
    """Draw the contours of a potential of two parameters, its minima and saddle, and what was sampled on it.

    The filled contours reach from the minimum to three barriers above it; the dashed one has the height of the saddle.
    The minimum on the other side is found by descent from the saddle.

    Parameters
    ----------
    problem
        With params of shape (2,), a ``potential``, a ``minimum`` and a ``saddle``.
    paths
        One path of shape (times, 2), or several of shape (paths, times, 2), such as recorded params of some seeds.
    exits
        Points of shape (lanes, 2), such as the exit params of ``first_passage``. Those that are not finite, of lanes
        that did not leave, are not drawn.
    limits
        ((lowest, highest) of the first parameter, the same of the second); by default all that is drawn.
    ax
        Axes to draw on; by default those of a new figure, as wide as a column.

    Returns
    -------
    ax : matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ValueError
        If the problem has other params or lacks a fact, or an array has another shape.
    """
    barrier = problem.barrier
    if problem.potential is None or barrier is None or problem.minimum is None or np.shape(problem.minimum) != (2,):
        raise ValueError("problem must have params of shape (2,), a potential, a minimum and a saddle, such as "
                         "ss.problems.curved_valley().")
    lines, points = _points("paths", paths, 3), _points("exits", exits, 2)
    minimum, saddle = np.asarray(problem.minimum, np.float64), np.asarray(problem.saddle, np.float64)
    minima = np.stack([minimum, _minimum_beyond(problem.potential, minimum, saddle)])
    x, y = _grid(limits, [minima, saddle, *lines, points])
    heights = problem.potential(np.stack(np.meshgrid(x, y), axis=-1)) - problem.potential(minimum)
    with paper_style():
        axes = new_axes(1, 1, COLUMN, 2.7)[0, 0] if ax is None else ax
        axes.contourf(x, y, heights, levels=np.linspace(0, 3 * barrier, 16), colors=_GREYS)
        axes.contour(x, y, heights, levels=[barrier], colors="black", linewidths=0.7, linestyles="dashed")
        for order, line in enumerate(lines):
            axes.plot(*line.T, color=_PATHS[order % len(_PATHS)], linewidth=0.5, alpha=0.9)
        if len(points):
            axes.plot(*points.T, linestyle="none", **_EXIT)
        axes.plot(*minima.T, marker="o", linestyle="none", color="black", markeredgecolor="white")
        axes.plot(*saddle, marker="X", color="black", markeredgecolor="white", markersize=6)
        axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), xlabel="first parameter", ylabel="second parameter")
        handles = [legend_handle({"marker": "o", "color": "black", "label": "minima"}),
                   legend_handle({"marker": "X", "color": "black", "label": "saddle"})]
        paths_handle = legend_handle({"linestyle": "-", "color": _PATHS[0], "label": "paths"})
        exits_handle = legend_handle({"label": "exits", **_EXIT, "markersize": 7})
        handles += [paths_handle] * bool(len(lines)) + [exits_handle] * bool(len(points))
        add_legend(axes, handles, num_columns=2, above=ax is None)
    return axes


def _minimum_beyond(potential: Callable, minimum: np.ndarray, saddle: np.ndarray) -> np.ndarray:
    from scipy import optimize

    return optimize.minimize(potential, saddle + 0.05 * (saddle - minimum)).x


def _points(name: str, values: ArrayLike | None, ndim: int) -> np.ndarray:
    """Return an array of points, empty for None, with a leading axis added where one path was given alone."""
    if values is None:
        return np.empty((0, 2) if ndim == 2 else (0, 0, 2))
    array = np.asarray(values, np.float64)
    array = array[None] if array.ndim == ndim - 1 == 2 else array
    if array.ndim != ndim or array.shape[-1] != 2:
        raise ValueError(f"{name} must have shape {'(lanes, 2)' if ndim == 2 else '(paths, times, 2)'}, got "
                         f"{array.shape}.")
    return array


def _grid(limits: Any, drawn: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    if limits is None:
        everything = np.concatenate([np.reshape(points, (-1, 2)) for points in drawn])
        lowest, highest = np.nanmin(everything, axis=0), np.nanmax(everything, axis=0)
        margin = 0.25 * np.maximum(highest - lowest, 0.5 * (highest - lowest).max())
        limits = zip(lowest - margin, highest + margin, strict=True)
    x, y = (np.linspace(lowest, highest, 201) for lowest, highest in limits)
    return x, y
