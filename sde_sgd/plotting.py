"""Figures for papers. Each function draws a dataset and returns the axes; none shows, saves or sets a global style.

Sizes are those of a column (3.4 inches) or a page (7 inches), with text of 7 and 8 points: figures go in unscaled.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sde_sgd._core import checks
from sde_sgd.analysis.weak_error import weak_error

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import matplotlib.axes
    import matplotlib.figure
    import xarray

_COLUMN, _PAGE = 3.4, 7.0  # widths in inches
_STYLE = {"font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8, "legend.fontsize": 7.5, "xtick.labelsize": 7,
          "ytick.labelsize": 7, "lines.linewidth": 1.2, "lines.markersize": 3.6, "axes.linewidth": 0.6,
          "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4, "ytick.minor.width": 0.4,
          "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "legend.handlelength": 2.6,
          "figure.dpi": 200}
_HOLLOW = {"marker": r"$\downarrow$", "markersize": 7}
_LOST = {"marker": "x", "linestyle": "none", "clip_on": False}
# Okabe and Ito's colours, told apart with any colour vision. The first process is drawn solid and below the others,
# whose gaps let it through where curves coincide.
_MARKS: tuple[tuple[str, Any, str], ...] = (
    ("#000000", "-", "o"), ("#E69F00", (0, (1, 1)), "s"), ("#0072B2", (0, (5, 2)), "^"),
    ("#D55E00", (0, (5, 1.5, 1, 1.5)), "D"), ("#009E73", (0, (2, 2)), "v"), ("#CC79A7", (0, (8, 3)), "P"),
    ("#56B4E9", (0, (3, 1, 1, 1, 1, 1)), "X"))


def risk_curves(dataset: "xarray.Dataset", quantity: str = "loss", *,
                quantiles: tuple[float, float] | None = (0.1, 0.9),
                ax: "matplotlib.axes.Axes | None" = None) -> "matplotlib.axes.Axes":
    """Draw the mean of a quantity over seeds against time, one curve for each process.

    Parameters
    ----------
    dataset
        Result of ``sweep`` or ``simulate`` with one batch size and one learning rate.
    quantity
        Name of a recorded scalar.
    quantiles
        Band of seeds around each mean, or None for the mean +- 1 standard error.
    ax
        Axes to draw on; by default those of a new figure, as wide as a column.

    Returns
    -------
    ax : matplotlib.axes.Axes
        The axes, logarithmic where the means span more than a factor of three.

    Raises
    ------
    ValueError
        If the quantity is no recorded scalar, or the dataset holds several batch sizes or learning rates.

    Notes
    -----
    A curve ends where the first of its lanes diverges, and the axes end at ten times the largest mean of the first
    process.
    """
    samples = _samples(dataset, quantity)
    for dim in ("batch_size", "learning_rate"):
        samples = _only(samples, dim)
    handles = [*_handles(_names(samples), line=True), _band_handle(quantiles)]
    with _style():
        if ax is None:
            ax = _subplots(1, 1, _COLUMN, 2.7)[0, 0]
            ax.figure.legend(handles=handles, loc="outside upper center", ncols=2)
        else:
            ax.legend(handles=handles)
        _draw_curves(ax, samples, quantiles)
        ax.set_xlabel(_label(_clock(samples)))
        ax.set_ylabel(_label(samples))
    return ax


def risk_grid(dataset: "xarray.Dataset", quantity: str = "loss", *,
              quantiles: tuple[float, float] | None = (0.1, 0.9)) -> np.ndarray:
    """Draw ``risk_curves`` for every batch size (rows) and learning rate (columns) of a sweep.

    Parameters
    ----------
    dataset, quantity, quantiles
        As in :func:`risk_curves`, with any number of batch sizes and learning rates.

    Returns
    -------
    axes : numpy.ndarray
        Axes of a new figure, as wide as a page: row for batch size, column for learning rate, one ordinate for all.

    Raises
    ------
    ValueError
        If the quantity is no recorded scalar or the dataset is no sweep.
    """
    samples = _samples(dataset, quantity)
    for dim in ("batch_size", "learning_rate"):
        if dim not in samples.dims:
            raise ValueError(f"dataset has no dim {dim!r}, its dims are {samples.dims}. Use risk_curves for one cell.")
    batch_sizes, rates = samples.batch_size.values, samples.learning_rate.values
    with _style():
        axes = _subplots(len(batch_sizes), len(rates), _PAGE, 1.0 + 1.4 * len(batch_sizes), sharex="col", sharey=True)
        for row, batch_size in zip(axes, batch_sizes, strict=True):
            for ax, rate in zip(row, rates, strict=True):
                _draw_curves(ax, samples.sel(batch_size=batch_size, learning_rate=rate), quantiles)
            row[-1].annotate(f"batch size {batch_size:g}", (1.02, 0.5), xycoords="axes fraction", rotation=270,
                             va="center")
        for ax, rate in zip(axes[0], rates, strict=True):
            ax.set_title(f"learning rate {rate:g}")
        figure = axes[0, 0].figure
        figure.supxlabel(_label(_clock(samples)), fontsize=8)
        figure.supylabel(_label(samples), fontsize=8)
        figure.legend(handles=[*_handles(_names(samples), line=True), _band_handle(quantiles)],
                      loc="outside upper center", ncols=6)
    return axes


def weak_error_plot(errors: "xarray.Dataset", *, slopes: Sequence[float] = (1, 2),
                    ax: "matplotlib.axes.Axes | None" = None) -> "matplotlib.axes.Axes":
    """Draw the size of the difference from the reference against learning rate, on logarithmic axes.

    Parameters
    ----------
    errors
        Result of ``weak_error`` for a scalar quantity and one batch size. Of several records the last is drawn.
    slopes
        Powers of the learning rate drawn for comparison. They mean a weak order at equal time only.
    ax
        Axes to draw on; by default those of a new figure, as wide as a column.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Filled points with +- 1 standard error where the difference is resolved; hollow ones pointing down at the floor,
        three standard errors, where it is not. Diverged cells are marked at the top.

    Raises
    ------
    ValueError
        If there are several batch sizes.
    """
    final, when = _last(_only(errors, "batch_size").sortby("learning_rate"))
    names, reference = _names(final), errors.attrs["reference"]
    with _style():
        created = ax is None
        ax = _subplots(1, 1, _COLUMN, 2.9)[0, 0] if ax is None else ax
        ax.set(xscale="log", yscale="log", xlabel=_label(final.learning_rate),
               ylabel=f"|difference from {reference}|{when}")
        for name, mark in _marked(names):
            if name != reference:
                _draw_sizes(ax, final.sel(process=name), mark)
        _draw_slopes(ax, final, slopes)
        handles = [*_handles(names, omit=reference), *_extra_handles(final, floor=True)]
        if created:
            ax.figure.legend(handles=handles, loc="outside upper center", ncols=2)
        else:
            ax.legend(handles=handles)
    return ax


def compare_figure(datasets: Mapping[str, "xarray.Dataset"], *, quantity: str = "loss", reference: str | None = None,
                   quantiles: tuple[float, float] | None = (0.1, 0.9)) -> "matplotlib.figure.Figure":
    """Compare processes with a reference on several problems: one row for each problem.

    On the left the curves of the cell that tells most: the smallest batch size and, with it, the largest learning rate
    at which no lane of the reference diverges. Then, for every batch size, the difference from the reference at the
    last record in per cent of the reference's mean, +- 2 standard errors, against learning rate. That ordinate is
    linear about zero, between the ticks nearest to it, and logarithmic beyond.

    Parameters
    ----------
    datasets
        Title of each problem -> result of ``sweep``. All with the same processes in the same order.
    quantity
        Name of a recorded scalar.
    reference
        Process to compare with; by default the first.
    quantiles
        Band of seeds around each mean, or None for the mean +- 1 standard error.

    Returns
    -------
    figure : matplotlib.figure.Figure
        A figure as wide as a page, outside pyplot.

    Raises
    ------
    ValueError
        If there are no datasets, their processes differ, or ``quantity`` or ``reference`` is unknown.
    """
    all_samples = {title: _samples(dataset, quantity) for title, dataset in datasets.items()}
    names = _common_names(all_samples)
    reference = names[0] if reference is None else reference
    with _style():
        from matplotlib.figure import Figure

        num_batch_sizes = next(iter(all_samples.values())).sizes["batch_size"]
        figure = Figure(figsize=(_PAGE, 0.8 + 1.9 * len(datasets)), layout="constrained")
        rows = figure.subplots(len(datasets), 1 + num_batch_sizes, squeeze=False,
                               width_ratios=[1.8] + [1] * num_batch_sizes)
        extra = {}
        for row, (title, samples) in zip(rows, all_samples.items(), strict=True):
            errors, _ = _last(weak_error(samples, reference))
            _draw_comparison(row, title, samples, errors, quantiles)
            extra |= {handle.get_label(): handle for handle in _extra_handles(errors)}
        figure.legend(handles=[*_handles(names, line=True), _band_handle(quantiles), *extra.values()],
                      loc="outside lower center", ncols=4)
    return figure


def _draw_curves(ax: "matplotlib.axes.Axes", samples: "xarray.DataArray",
                 quantiles: tuple[float, float] | None) -> None:
    """Draw mean and band of every process; choose the ordinate by the means of the first."""
    means = []
    for order, (name, (colour, line, _)) in enumerate(_marked(_names(samples))):
        lanes = samples.sel(process=name)
        clock, values = _clock(lanes).values, lanes.transpose("seed", ...).values
        mean = values.mean(axis=0)
        stderr = values.std(axis=0, ddof=min(1, len(values) - 1)) / len(values) ** 0.5
        low, high = (mean - stderr, mean + stderr) if quantiles is None else np.quantile(values, quantiles, axis=0)
        ax.fill_between(clock, low, high, color=colour, alpha=0.13, linewidth=0, zorder=1 + order / 100)
        ax.plot(clock, mean, color=colour, linestyle=line, zorder=2 + order / 100)
        means.append(mean)
    limit = 10 * np.nanmax(np.abs(means[0]), initial=0)
    shown = np.concatenate(means)
    shown = shown[np.abs(shown) <= limit]
    if shown.size and shown.min() > 0 and shown.max() > 3 * shown.min():
        ax.set_yscale("log")
        _plain_ticks(ax.yaxis, shown.max() / shown.min())
    if ax.get_ylim()[1] > limit > 0:
        ax.set_ylim(top=limit)


def _draw_sizes(ax: "matplotlib.axes.Axes", row: "xarray.Dataset", mark: tuple[str, Any, str]) -> None:
    """Draw |difference| of one process: resolved points, floors of the others, diverged cells."""
    colour, line, marker = mark
    size, floor = np.abs(row.error.values), row.floor.values
    rates, resolved = row.learning_rate.values, (size >= floor) & (size > 0)
    ax.plot(rates, np.where(resolved, size, np.nan), color=colour, linestyle=line)
    ax.errorbar(rates[resolved], size[resolved], row.error_stderr.values[resolved], color=colour, marker=marker,
                linestyle="none")
    hidden = size < floor
    ax.plot(rates[hidden], floor[hidden], color=colour, linestyle="none", **_HOLLOW)
    _draw_lost(ax, rates[np.isnan(size)], colour)


def _draw_lost(ax: "matplotlib.axes.Axes", places: np.ndarray, colour: str) -> None:
    """Mark diverged cells at the top of the axes."""
    if places.size:
        ax.plot(places, np.full(places.size, 0.97), color=colour, transform=ax.get_xaxis_transform(), **_LOST)


def _draw_slopes(ax: "matplotlib.axes.Axes", errors: "xarray.Dataset", slopes: Sequence[float]) -> None:
    """Draw powers of the learning rate, through a point above the data at the largest rate."""
    sizes = np.fmax(np.abs(errors.error.values), errors.floor.values)
    if not np.any(sizes > 0):
        return
    rates = errors.learning_rate.values
    for slope in slopes:
        ends = 1.6 * np.nanmax(sizes) * (rates[[0, -1]] / rates[-1]) ** slope
        ax.plot(rates[[0, -1]], ends, color="0.6", linewidth=0.7, zorder=1)
        ax.annotate(f"slope {slope:g}", (rates[0], ends[0]), xytext=(-2, 0), textcoords="offset points", ha="right",
                    va="center", color="0.4", fontsize=7)


def _draw_comparison(axes: np.ndarray, title: str, samples: "xarray.DataArray", errors: "xarray.Dataset",
                     quantiles: tuple[float, float] | None) -> None:
    """Draw one row of the figure: the curves of one cell, then the differences for every batch size."""
    smallest = errors.batch_size.min().item()
    rates = errors.learning_rate.sortby("learning_rate").values
    survived = errors["mean"].sel(process=errors.attrs["reference"], batch_size=smallest, learning_rate=rates).notnull()
    rate = rates[survived.values][-1] if survived.any() else rates[0]
    _draw_curves(axes[0], samples.sel(batch_size=smallest, learning_rate=rate), quantiles)
    axes[0].set(xlabel=_label(_clock(samples)), ylabel=_label(samples))
    axes[0].set_title(f"{title}\nbatch size {smallest:g}, learning rate {rate:g}", loc="left")
    scale = 100 / np.abs(errors["mean"].sel(process=errors.attrs["reference"], drop=True))
    shares, widths = scale * errors.error, 2 * scale * errors.error_stderr
    threshold = float(widths.where(widths > 0).median())
    for ax, batch_size in zip(axes[1:], errors.batch_size.sortby("batch_size").values, strict=True):
        ax.set_title(f"batch size {batch_size:g}")
        ax.set_xlabel("learning rate")
        cell = {"batch_size": batch_size, "learning_rate": rates}
        _draw_shares(ax, shares.sel(cell), widths.sel(cell), errors.attrs["reference"])
        if np.isfinite(threshold):
            ax.set_yscale("symlog", linthresh=10 ** np.round(np.log10(threshold)))
            ax.yaxis.set_major_formatter("{x:g}")
        if ax is not axes[1]:
            ax.sharey(axes[1])
            ax.tick_params(labelleft=False)
    axes[1].set_ylabel(f"difference from {errors.attrs['reference']} (%)")


def _draw_shares(ax: "matplotlib.axes.Axes", shares: "xarray.DataArray", widths: "xarray.DataArray",
                 reference: str) -> None:
    """Draw the differences of all processes side by side at each learning rate."""
    others = [(name, mark) for name, mark in _marked(_names(shares)) if name != reference]
    positions = np.arange(shares.sizes["learning_rate"])
    ax.axhline(0, color="black", linewidth=0.6, zorder=1)
    for boundary in positions[1:] - 0.5:
        ax.axvline(boundary, color="0.85", linewidth=0.5, zorder=0)
    for order, (name, (colour, _, marker)) in enumerate(others):
        places = positions + 0.8 * ((order + 0.5) / len(others) - 0.5)
        share = shares.sel(process=name).values
        ax.errorbar(places, share, widths.sel(process=name).values, color=colour, marker=marker, linestyle="none",
                    elinewidth=0.9)
        _draw_lost(ax, places[np.isnan(share)], colour)
    ax.set_xticks(positions, [f"{rate:g}" for rate in shares.learning_rate.values])
    ax.set_xlim(-0.5, len(positions) - 0.5)


def _samples(dataset: "xarray.Dataset", quantity: str) -> "xarray.DataArray":
    """Return the recorded scalar in float64, not finite made NaN, with a process dim."""
    checks.one_of("quantity", quantity, [str(name) for name in dataset.data_vars])
    samples = dataset[quantity]
    extra = [dim for dim in samples.dims
             if dim not in ("process", "learning_rate", "batch_size", "seed", "step", "time")]
    if extra or "seed" not in samples.dims:
        raise ValueError(f"quantity {quantity!r} must be a scalar recorded for every seed, its dims are "
                         f"{samples.dims}. Select one component, or record the quantity itself.")
    samples = samples.astype(np.float64).where(np.isfinite(samples))
    return samples if "process" in samples.dims else samples.expand_dims(process=[quantity])


def _only(data: Any, dim: str) -> Any:
    """Drop a dim of one label; raise if there are more."""
    if data.sizes.get(dim, 1) > 1:
        raise ValueError(f"one axes shows one {dim}, got {data[dim].values.tolist()}. Select one, for example with "
                         f".sel({dim}={data[dim].values[0]}), or use a figure of several panels.")
    return data.isel({dim: 0}) if dim in data.dims else data


def _last(errors: "xarray.Dataset") -> "tuple[xarray.Dataset, str]":
    """Return the last record, and its place in words."""
    for dim in ("step", "time"):
        if dim in errors.dims:
            return errors.isel({dim: -1}), f" at {dim} {errors[dim].values[-1]:g}"
    return errors, ""


def _names(data: Any) -> list[str]:
    return [str(name) for name in data.process.values]


def _common_names(all_samples: "Mapping[str, xarray.DataArray]") -> list[str]:
    names = {title: _names(samples) for title, samples in all_samples.items()}
    if not names:
        raise ValueError("datasets is empty, there is nothing to draw. Pass {title: dataset}.")
    first = next(iter(names.values()))
    for title, others in names.items():
        if others != first:
            raise ValueError(f"datasets must hold the same processes, got {first} and, for {title!r}, {others}. Draw "
                             "them apart.")
    return first


def _clock(samples: "xarray.DataArray") -> "xarray.DataArray":
    """Return the time of the records, of the first process and learning rate if it depends on them."""
    clock = samples.time if "time" in samples.coords else samples.step
    return clock.isel({dim: 0 for dim in clock.dims if dim in ("process", "learning_rate")})


def _label(variable: "xarray.DataArray") -> str:
    """Return name and units of a variable for an axis."""
    name = str(variable.attrs.get("long_name", variable.name)).replace("_", " ")
    units = str(variable.attrs.get("units", "1")).replace("_", " ").replace(" x ", " × ")
    return name if units == "1" else f"{name} ({units})"


def _marked(names: Sequence[str]) -> list[tuple[str, tuple[str, Any, str]]]:
    return [(name, _MARKS[index % len(_MARKS)]) for index, name in enumerate(names)]


def _handles(names: Sequence[str], *, line: bool = True, omit: str = "") -> list[Any]:
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=colour, linestyle=style if line else "none", marker=marker, label=name)
            for name, (colour, style, marker) in _marked(names) if name != omit]


def _band_handle(quantiles: tuple[float, float] | None) -> Any:
    from matplotlib.patches import Patch

    label = "mean ± 1 standard error" if quantiles is None else (
        f"{100 * quantiles[0]:g}–{100 * quantiles[1]:g} % of seeds")
    return Patch(color="0.5", alpha=0.3, linewidth=0, label=label)


def _extra_handles(errors: "xarray.Dataset", *, floor: bool = False) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = []
    if floor and (np.abs(errors.error) < errors.floor).any():
        handles.append(Line2D([], [], color="0.4", linestyle="none", **_HOLLOW, label="below 3 standard errors"))
    if errors.error.isnull().any():
        handles.append(Line2D([], [], color="0.4", **_LOST, label="diverged"))
    return handles


def _plain_ticks(axis: Any, span: float) -> None:
    """Label a short logarithmic axis with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    if span < 100:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def _style() -> Any:
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def _subplots(num_rows: int, num_columns: int, width: float, height: float, **shared: Any) -> np.ndarray:
    import matplotlib.pyplot as plt

    return plt.subplots(num_rows, num_columns, figsize=(width, height), layout="constrained", squeeze=False, **shared)[1]
