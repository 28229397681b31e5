"""Curves of a recorded scalar against time."""

from typing import TYPE_CHECKING, Any

import numpy as np

from sde_sgd.plotting.marks import (
    COLUMN,
    LOST,
    PAGE,
    add_legend,
    lost_handles,
    marked,
    new_axes,
    paper_style,
    process_handles,
)
from sde_sgd.plotting.records import (
    axis_label,
    check_sweep,
    only_cell,
    record_clock,
    recorded_scalar,
)

if TYPE_CHECKING:
    import matplotlib.axes
    import xarray


def risk_curves(dataset: "xarray.Dataset", quantity: str | None = None, *,
                quantiles: tuple[float, float] | None = (0.1, 0.9),
                ax: "matplotlib.axes.Axes | None" = None) -> "matplotlib.axes.Axes":
    """Draw the mean of a quantity over seeds against time, one curve for each process.

    A curve ends, with a cross, where the first of its lanes diverges. The ordinate is logarithmic where the means span
    more than a factor of three, and it ends at ten times the largest mean of the first process.

    Parameters
    ----------
    dataset
        Result of ``sweep`` or ``simulate`` with one batch size and one learning rate.
    quantity
        Name of a recorded scalar; may be left out where there is only one.
    quantiles
        Band of seeds around each mean, or None for the mean +- 1 standard error.
    ax
        Axes to draw on; by default those of a new figure, as wide as a column.

    Returns
    -------
    ax : matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ValueError
        If the quantity is no recorded scalar, or the dataset holds several batch sizes or learning rates.
    """
    samples = only_cell(only_cell(recorded_scalar(dataset, quantity), "batch_size"), "learning_rate")
    with paper_style():
        axes = new_axes(1, 1, COLUMN, 2.7)[0, 0] if ax is None else ax
        draw_curves(axes, samples, quantiles)
        axes.set(xlabel=axis_label(record_clock(samples)), ylabel=axis_label(samples))
        handles = [*process_handles(samples, markers=False), *curve_handles(samples, quantiles)]
        add_legend(axes, handles, num_columns=2, above=ax is None)
    return axes


def risk_grid(dataset: "xarray.Dataset", quantity: str | None = None, *,
              quantiles: tuple[float, float] | None = (0.1, 0.9)) -> np.ndarray:
    """Draw ``risk_curves`` for every batch size (rows) and learning rate (columns) of a sweep.

    Parameters
    ----------
    dataset, quantity, quantiles
        As in ``risk_curves``, with any number of batch sizes and learning rates.

    Returns
    -------
    axes : numpy.ndarray
        Axes of a new figure, as wide as a page, in rows and columns, with one ordinate for all.

    Raises
    ------
    ValueError
        If the quantity is no recorded scalar or the dataset is no sweep.
    """
    samples = recorded_scalar(dataset, quantity)
    check_sweep(samples)
    batch_sizes, rates = samples.batch_size.values, samples.learning_rate.values
    with paper_style():
        axes = new_axes(len(batch_sizes), len(rates), PAGE, 1.0 + 1.4 * len(batch_sizes))
        for row, batch_size in zip(axes, batch_sizes, strict=True):
            for ax, rate in zip(row, rates, strict=True):
                draw_curves(ax, samples.sel(batch_size=batch_size, learning_rate=rate), quantiles)
            row[-1].annotate(f"batch size {batch_size:g}", (1.02, 0.5), xycoords="axes fraction", rotation=270,
                             va="center")
        for ax, rate in zip(axes[0], rates, strict=True):
            ax.set_title(f"learning rate {rate:g}")
        figure = axes[0, 0].figure
        figure.supxlabel(axis_label(record_clock(samples)), fontsize=8)
        figure.supylabel(axis_label(samples), fontsize=8)
        handles = [*process_handles(samples, markers=False), *curve_handles(samples, quantiles)]
        add_legend(axes[0, 0], handles, num_columns=7, above=True)
    return axes


def draw_curves(ax: "matplotlib.axes.Axes", samples: "xarray.DataArray",
                 quantiles: tuple[float, float] | None) -> None:
    """Draw mean and band of every process; the first and the means decide about the ordinate."""
    means = []
    for order, (name, (colour, line, _)) in enumerate(marked(samples)):
        lanes = samples.sel(process=name)
        clock, values = record_clock(lanes).values, lanes.transpose("seed", ...).values
        mean = values.mean(axis=0)
        with np.errstate(over="ignore"):  # lanes about to diverge may have squares beyond float64
            stderr = values.std(axis=0, ddof=min(1, len(values) - 1)) / len(values) ** 0.5
        low, high = (mean - stderr, mean + stderr) if quantiles is None else np.quantile(values, quantiles, axis=0)
        ax.fill_between(clock, low, high, color=colour, alpha=0.13, linewidth=0, zorder=1 + order / 100)
        ax.plot(clock, mean, color=colour, linestyle=line, zorder=2 + order / 100)
        kept = np.isfinite(mean)
        if kept.any() and not kept.all():
            ax.plot(clock[kept][-1], mean[kept][-1], color=colour, zorder=3, **LOST)
        means.append(mean)
    limit = 10 * np.nanmax(np.abs(means[0]), initial=0)
    shown = np.concatenate(means)
    shown = shown[np.abs(shown) <= limit]
    if shown.size and shown.min() > 0 and shown.max() > 3 * shown.min():
        ax.set_yscale("log")
        _plain_ticks(ax.yaxis, shown.max() / shown.min())
    if ax.get_ylim()[1] > limit > 0:
        ax.set_ylim(top=limit)


def curve_handles(samples: "xarray.DataArray", quantiles: tuple[float, float] | None) -> list[Any]:
    """Return the legend entries of the band and, where there are any, of diverged lanes."""
    from matplotlib.patches import Patch

    label = "mean \N{PLUS-MINUS SIGN} 1 standard error" if quantiles is None else (
        f"{100 * quantiles[0]:g}\N{EN DASH}{100 * quantiles[1]:g} % of seeds")
    return [Patch(color="0.5", alpha=0.3, linewidth=0, label=label), *lost_handles(samples)]


def _plain_ticks(axis: Any, span: float) -> None:
    """Label a short logarithmic axis with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    if span < 100:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if span > 10 else (1, 1.5, 2, 3, 5, 7)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
