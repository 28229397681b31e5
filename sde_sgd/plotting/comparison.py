"""The figure of ``sde-sgd compare``: one row for each problem."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sde_sgd.analysis.intervals import floor_in_stderrs
from sde_sgd.analysis.weak_error import weak_error
from sde_sgd.plotting.curves import curve_handles, draw_curves
from sde_sgd.plotting.marks import (
    PAGE,
    draw_lost,
    legend_handle,
    lost_handles,
    marked,
    paper_style,
    process_handles,
    tick_labels,
)
from sde_sgd.plotting.records import (
    axis_label,
    check_sweep,
    last_record,
    record_clock,
    recorded_scalar,
)

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import xarray

_UNRESOLVED: dict[str, Any] = {"marker": "$?$", "markersize": 6, "linestyle": "none", "label": "mean not resolved"}


def compare_figure(datasets: Mapping[str, "xarray.Dataset"], *, quantity: str | None = None,
                   reference: str | None = None,
                   quantiles: tuple[float, float] | None = (0.1, 0.9)) -> "matplotlib.figure.Figure":
    """Compare processes with a reference on several problems, one row for each problem.

    Left, the curves of the cell that tells most: the smallest batch size with the largest learning rate at which the
    final mean of the reference exists and is resolved, by three of its standard errors. Right, for every batch size,
    the difference from the reference at the last record against learning rate, in per cent of the reference's mean; a
    question mark stands where that mean is not resolved. The right ordinate is linear between the ticks nearest to zero
    and logarithmic beyond.

    Parameters
    ----------
    datasets
        Title of each problem -> result of ``sweep``. All with the same processes.
    quantity, quantiles
        As in ``risk_curves``.
    reference
        Process to compare with; by default the first.

    Returns
    -------
    figure : matplotlib.figure.Figure
        A figure as wide as a page, outside pyplot.

    Raises
    ------
    ValueError
        If there are no datasets, their processes differ, one is no sweep, or a name is unknown.
    """
    all_samples = {title: recorded_scalar(dataset, quantity) for title, dataset in datasets.items()}
    num_columns = 1 + _check_comparable(all_samples)
    extra: dict[str, Any] = {}
    with paper_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(PAGE, 0.8 + 1.9 * len(datasets)), layout="constrained")
        rows = figure.subplots(len(datasets), num_columns, squeeze=False, width_ratios=[1.8] + [1] * (num_columns - 1))
        for row, (title, samples) in zip(rows, all_samples.items(), strict=True):
            final, _ = last_record(weak_error(samples, reference or str(samples.process.values[0])))
            drawn = _draw_telling_cell(row[0], title, samples, final, quantiles)
            _draw_shares(row[1:], final)
            extra |= {handle.get_label(): handle for handle in curve_handles(drawn, quantiles)}
            extra |= {handle.get_label(): handle for handle in _share_handles(final)}
        handles = [*process_handles(next(iter(all_samples.values()))), *extra.values()]
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _draw_telling_cell(ax: "matplotlib.axes.Axes", title: str, samples: "xarray.DataArray", final: "xarray.Dataset",
                       quantiles: tuple[float, float] | None) -> "xarray.DataArray":
    """Draw the curves of one cell and return its samples."""
    smallest, rates = final.batch_size.min().item(), final.learning_rate.sortby("learning_rate").values
    resolved = _reference_mean(final).sel(batch_size=smallest, learning_rate=rates).notnull().values
    cell = samples.sel(batch_size=smallest, learning_rate=rates[resolved][-1] if resolved.any() else rates[0])
    draw_curves(ax, cell, quantiles)
    ax.set(xlabel=axis_label(record_clock(cell)), ylabel=axis_label(cell))
    ax.set_title(f"{title}\nbatch size {smallest:g}, learning rate {cell.learning_rate.item():g}", loc="left")
    return cell


def _draw_shares(axes: np.ndarray, final: "xarray.Dataset") -> None:
    """Draw the differences in per cent of the reference's mean, side by side, one panel for each batch size."""
    final = final.sortby(["batch_size", "learning_rate"])
    reference, scale = final.attrs["reference"], 100 / np.abs(_reference_mean(final))
    shares, widths = scale * final.error, 2 * scale * final.error_stderr
    others = [(name, mark) for name, mark in marked(final) if name != reference]
    positions = np.arange(final.sizes["learning_rate"])
    for ax, batch_size in zip(axes, final.batch_size.values, strict=True):
        ax.axhline(0, color="black", linewidth=0.6, zorder=1)
        ax.vlines(positions[1:] - 0.5, 0, 1, transform=ax.get_xaxis_transform(), color="0.85", linewidth=0.5, zorder=0)
        for order, (name, (colour, _, marker)) in enumerate(others):
            places = positions + 0.8 * ((order + 0.5) / len(others) - 0.5)
            cell = {"process": name, "batch_size": batch_size}
            ax.errorbar(places, shares.sel(cell).values, widths.sel(cell).values, color=colour, marker=marker,
                        linestyle="none", elinewidth=0.9)
            draw_lost(ax, places[final.error.sel(cell).isnull().values], colour)
        draw_lost(ax, positions[_unresolved(final).sel(batch_size=batch_size).values], "0.4", _UNRESOLVED)
        ax.set_xticks(positions, tick_labels(final.learning_rate))
        ax.set(title=f"batch size {batch_size:g}", xlabel="learning rate", xlim=(-0.5, len(positions) - 0.5))
        _scale_shares(ax, shares, widths)
        ax.tick_params(labelleft=ax is axes[0])
    axes[0].set_ylabel(f"difference from {reference}\nat the last record (%)")


def _reference_mean(final: "xarray.Dataset") -> "xarray.DataArray":
    """Return the mean of the reference, NaN where it has diverged or is not resolved from zero."""
    row = final.sel(process=final.attrs["reference"], drop=True)
    return row["mean"].where(np.abs(row["mean"]) > floor_in_stderrs(final.attrs["num_seeds"]) * row.mean_stderr)


def _unresolved(final: "xarray.Dataset") -> "xarray.DataArray":
    return _reference_mean(final).isnull() & final["mean"].sel(process=final.attrs["reference"]).notnull()


def _scale_shares(ax: "matplotlib.axes.Axes", shares: "xarray.DataArray", widths: "xarray.DataArray") -> None:
    """Set an ordinate that is linear where the noise is and logarithmic beyond."""
    typical = widths.where(widths > 0).median().item()
    if not np.isfinite(typical):
        return
    linear = 10.0 ** round(np.log10(typical))
    low, high = (shares - widths).min().item(), (shares + widths).max().item()
    ax.set_yscale("symlog", linthresh=linear)
    ax.set_ylim(2 * min(low, -linear), 2 * max(high, linear))
    ax.yaxis.set_major_formatter("{x:g}")


def _share_handles(final: "xarray.Dataset") -> list[Any]:
    bar = legend_handle({"marker": "|", "markersize": 9, "label": "\N{PLUS-MINUS SIGN} 2 standard errors"})
    unresolved = [legend_handle(_UNRESOLVED)] if _unresolved(final).any() else []
    return [bar, *lost_handles(final.error), *unresolved]


def _check_comparable(all_samples: "Mapping[str, xarray.DataArray]") -> int:
    """Raise unless all are sweeps of the same processes and batch sizes; return the number of batch sizes."""
    if not all_samples:
        raise ValueError("datasets is empty, there is nothing to draw. Pass {title: dataset}.")
    first = next(iter(all_samples.values()))
    for title, samples in all_samples.items():
        check_sweep(samples)
        for dim, fix in (("process", "the same processes"), ("batch_size", "as many batch sizes")):
            same = samples.sizes[dim] == first.sizes[dim] and (dim != "process" or (
                samples.process.values == first.process.values).all())
            if not same:
                raise ValueError(f"datasets must hold {fix}, got {first[dim].values.tolist()} and, for {title!r}, "
                                 f"{samples[dim].values.tolist()}. Draw them apart.")
    return first.sizes["batch_size"]
