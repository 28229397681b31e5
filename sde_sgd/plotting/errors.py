"""The size of a difference against learning rate."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sde_sgd.plotting.marks import (
    COLUMN,
    add_legend,
    draw_lost,
    legend_handle,
    lost_handles,
    marked,
    new_axes,
    paper_style,
    process_handles,
    tick_labels,
)
from sde_sgd.plotting.records import last_record, only_cell

if TYPE_CHECKING:
    import matplotlib.axes
    import xarray


def weak_error_plot(errors: "xarray.Dataset", *, slopes: Sequence[float] = (1, 2),
                    ax: "matplotlib.axes.Axes | None" = None) -> "matplotlib.axes.Axes":
    """Draw the size of the difference from the reference against learning rate, both logarithmic.

    Resolved differences are filled points with +- 1 standard error. Where a difference is below the floor, a hollow
    point at the floor, three standard errors, points down. Diverged cells are crosses at the top. Processes are set a
    little apart. The slopes mean a weak order at equal time only.

    Parameters
    ----------
    errors
        Result of ``weak_error`` for a scalar quantity and one batch size. Of several records the last is drawn.
    slopes
        Powers of the learning rate drawn for comparison.
    ax
        Axes to draw on; by default those of a new figure, as wide as a column.

    Returns
    -------
    ax : matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ValueError
        If there are several batch sizes.
    """
    final, when = last_record(only_cell(errors, "batch_size").sortby("learning_rate"))
    reference = errors.attrs["reference"]
    others = [(name, mark) for name, mark in marked(final) if name != reference]
    with paper_style():
        axes = new_axes(1, 1, COLUMN, 2.9)[0, 0] if ax is None else ax
        axes.set(xscale="log", yscale="log", xlabel="learning rate", ylabel=f"|difference from {reference}|{when}")
        axes.set_xticks(final.learning_rate.values, tick_labels(final.learning_rate))
        axes.set_xticks([], minor=True)
        for order, (name, mark) in enumerate(others):
            _draw_sizes(axes, final.sel(process=name), mark, 1.04 ** (order - (len(others) - 1) / 2))
        extra = [*_draw_slopes(axes, final, slopes), *_size_handles(final)]
        add_legend(axes, [*process_handles(final, omit=reference), *extra], num_columns=2, above=ax is None)
    return axes


def _draw_sizes(ax: "matplotlib.axes.Axes", row: "xarray.Dataset", mark: tuple[str, Any, str], shift: float) -> None:
    """Draw |difference| of one process: resolved points, floors of the others, diverged cells."""
    colour, line, marker = mark
    rates, size, floor = shift * row.learning_rate.values, np.abs(row.error.values), row.floor.values
    resolved, hidden = (size >= floor) & (size > 0), size < floor
    ax.plot(rates, np.where(resolved, size, np.nan), color=colour, linestyle=line)
    ax.errorbar(rates[resolved], size[resolved], row.error_stderr.values[resolved], color=colour, marker=marker,
                linestyle="none")
    ax.errorbar(rates[hidden], floor[hidden], 0.35 * floor[hidden], uplims=True, color=colour, marker=marker,
                markerfacecolor="white", linestyle="none", elinewidth=0.8, capsize=1.8)
    draw_lost(ax, rates[np.isnan(size)], colour)


def _draw_slopes(ax: "matplotlib.axes.Axes", errors: "xarray.Dataset", slopes: Sequence[float]) -> list[Any]:
    """Draw powers of the learning rate down from a point above the data; return their handles."""
    sizes = np.fmax(np.abs(errors.error.values), errors.floor.values)
    sizes = sizes[sizes > 0]
    if not sizes.size:
        return []
    rates, top = errors.learning_rate.values, 2 * sizes.max()
    lines = [ax.plot(rates, top * (rates / rates[-1]) ** slope, color="0.6", linewidth=0.8, zorder=1,
                     linestyle=(0, (1 + 6 * order, 1 + order)) if order else "-", label=f"slope {slope:g}")[0]
             for order, slope in enumerate(slopes)]
    ax.set_ylim(0.4 * sizes.min(), 1.5 * top)
    return lines


def _size_handles(errors: "xarray.Dataset") -> list[Any]:
    floor = legend_handle({"marker": "o", "markerfacecolor": "white", "label": "floor: 3 standard errors"})
    return [*([floor] if (np.abs(errors.error) < errors.floor).any() else []), *lost_handles(errors.error)]
