"""Figures for papers. Each function draws a dataset and returns the axes; none shows, saves or sets a global style.

Sizes are those of a column (3.4 inches) or a page (7 inches), with text of 7 and 8 points: figures go in unscaled.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sde_sgd.analysis.intervals import floor_in_stderrs
from sde_sgd.analysis.weak_error import weak_error

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import xarray

_COLUMN, _PAGE = 3.4, 7.0  # widths in inches
_STYLE: dict[Any, Any] = {
    "font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8, "legend.fontsize": 7.5, "xtick.labelsize": 7,
    "ytick.labelsize": 7, "lines.linewidth": 1.2, "lines.markersize": 3.6, "axes.linewidth": 0.6,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4, "ytick.minor.width": 0.4,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "legend.handlelength": 2.6,
    "figure.dpi": 200}
# Okabe and Ito's colours, told apart with any colour vision. The first process is solid and lies below the others,
# whose gaps let it through where curves coincide.
_MARKS: tuple[tuple[str, Any, str], ...] = (
    ("#000000", "-", "o"), ("#E69F00", (0, (1, 1)), "s"), ("#0072B2", (0, (5, 2)), "^"),
    ("#D55E00", (0, (5, 1.5, 1, 1.5)), "D"), ("#009E73", (0, (2, 2)), "v"), ("#CC79A7", (0, (8, 3)), "P"),
    ("#56B4E9", (0, (3, 1, 1, 1, 1, 1)), "h"))
_LOST = {"marker": "x", "linestyle": "none", "clip_on": False, "label": "diverged"}
_UNRESOLVED = {"marker": "$?$", "markersize": 6, "linestyle": "none", "label": "mean not resolved"}


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
    samples = _only(_only(_samples(dataset, quantity), "batch_size"), "learning_rate")
    with _style():
        axes = _subplots(1, 1, _COLUMN, 2.7)[0, 0] if ax is None else ax
        _draw_curves(axes, samples, quantiles)
        axes.set(xlabel=_label(_clock(samples)), ylabel=_label(samples))
        handles = [*_process_handles(samples, markers=False), *_curve_handles(samples, quantiles)]
        _legend(axes, handles, num_columns=2, above=ax is None)
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
    samples = _samples(dataset, quantity)
    _check_sweep(samples)
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
        handles = [*_process_handles(samples, markers=False), *_curve_handles(samples, quantiles)]
        _legend(axes[0, 0], handles, num_columns=7, above=True)
    return axes


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
    final, when = _last(_only(errors, "batch_size").sortby("learning_rate"))
    reference = errors.attrs["reference"]
    others = [(name, mark) for name, mark in _marked(final) if name != reference]
    with _style():
        axes = _subplots(1, 1, _COLUMN, 2.9)[0, 0] if ax is None else ax
        axes.set(xscale="log", yscale="log", xlabel="learning rate", ylabel=f"|difference from {reference}|{when}")
        axes.set_xticks(final.learning_rate.values, _texts(final.learning_rate))
        axes.set_xticks([], minor=True)
        for order, (name, mark) in enumerate(others):
            _draw_sizes(axes, final.sel(process=name), mark, 1.04 ** (order - (len(others) - 1) / 2))
        extra = [*_draw_slopes(axes, final, slopes), *_size_handles(final)]
        _legend(axes, [*_process_handles(final, omit=reference), *extra], num_columns=2, above=ax is None)
    return axes


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
    all_samples = {title: _samples(dataset, quantity) for title, dataset in datasets.items()}
    num_columns = 1 + _check_comparable(all_samples)
    extra: dict[str, Any] = {}
    with _style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(_PAGE, 0.8 + 1.9 * len(datasets)), layout="constrained")
        rows = figure.subplots(len(datasets), num_columns, squeeze=False, width_ratios=[1.8] + [1] * (num_columns - 1))
        for row, (title, samples) in zip(rows, all_samples.items(), strict=True):
            final, _ = _last(weak_error(samples, str(samples.process.values[0]) if reference is None else reference))
            drawn = _draw_telling_cell(row[0], title, samples, final, quantiles)
            _draw_shares(row[1:], final)
            extra |= {handle.get_label(): handle for handle in _curve_handles(drawn, quantiles)}
            extra |= {handle.get_label(): handle for handle in _share_handles(final)}
        handles = [*_process_handles(next(iter(all_samples.values()))), *extra.values()]
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _draw_curves(ax: "matplotlib.axes.Axes", samples: "xarray.DataArray",
                 quantiles: tuple[float, float] | None) -> None:
    means = []
    for order, (name, (colour, line, _)) in enumerate(_marked(samples)):
        lanes = samples.sel(process=name)
        clock, values = _clock(lanes).values, lanes.transpose("seed", ...).values
        mean = values.mean(axis=0)
        stderr = values.std(axis=0, ddof=min(1, len(values) - 1)) / len(values) ** 0.5
        low, high = (mean - stderr, mean + stderr) if quantiles is None else np.quantile(values, quantiles, axis=0)
        ax.fill_between(clock, low, high, color=colour, alpha=0.13, linewidth=0, zorder=1 + order / 100)
        ax.plot(clock, mean, color=colour, linestyle=line, zorder=2 + order / 100)
        kept = np.isfinite(mean)
        if kept.any() and not kept.all():
            ax.plot(clock[kept][-1], mean[kept][-1], color=colour, zorder=3, **_LOST)
        means.append(mean)
    limit = 10 * np.nanmax(np.abs(means[0]), initial=0)
    shown = np.concatenate(means)
    shown = shown[np.abs(shown) <= limit]
    if shown.size and shown.min() > 0 and shown.max() > 3 * shown.min():
        ax.set_yscale("log")
        _plain_ticks(ax.yaxis, shown.max() / shown.min())
    if ax.get_ylim()[1] > limit > 0:
        ax.set_ylim(top=limit)


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
    _draw_lost(ax, rates[np.isnan(size)], colour)


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


def _draw_lost(ax: "matplotlib.axes.Axes", places: np.ndarray, colour: str, mark: Mapping[str, Any] = _LOST) -> None:
    """Mark cells without a number at the top of the axes."""
    if places.size:
        ax.plot(places, np.full(places.size, 0.96), color=colour, transform=ax.get_xaxis_transform(), **mark)


def _draw_telling_cell(ax: "matplotlib.axes.Axes", title: str, samples: "xarray.DataArray", final: "xarray.Dataset",
                       quantiles: tuple[float, float] | None) -> "xarray.DataArray":
    """Draw the curves of one cell and return its samples."""
    smallest, rates = final.batch_size.min().item(), final.learning_rate.sortby("learning_rate").values
    resolved = _reference_mean(final).sel(batch_size=smallest, learning_rate=rates).notnull().values
    cell = samples.sel(batch_size=smallest, learning_rate=rates[resolved][-1] if resolved.any() else rates[0])
    _draw_curves(ax, cell, quantiles)
    ax.set(xlabel=_label(_clock(cell)), ylabel=_label(cell))
    ax.set_title(f"{title}\nbatch size {smallest:g}, learning rate {cell.learning_rate.item():g}", loc="left")
    return cell


def _draw_shares(axes: np.ndarray, final: "xarray.Dataset") -> None:
    """Draw the differences in per cent of the reference's mean, side by side, one panel for each batch size."""
    final = final.sortby(["batch_size", "learning_rate"])
    reference, scale = final.attrs["reference"], 100 / np.abs(_reference_mean(final))
    shares, widths = scale * final.error, 2 * scale * final.error_stderr
    others = [(name, mark) for name, mark in _marked(final) if name != reference]
    positions = np.arange(final.sizes["learning_rate"])
    for ax, batch_size in zip(axes, final.batch_size.values, strict=True):
        ax.axhline(0, color="black", linewidth=0.6, zorder=1)
        ax.vlines(positions[1:] - 0.5, 0, 1, transform=ax.get_xaxis_transform(), color="0.85", linewidth=0.5, zorder=0)
        for order, (name, (colour, _, marker)) in enumerate(others):
            places = positions + 0.8 * ((order + 0.5) / len(others) - 0.5)
            cell = {"process": name, "batch_size": batch_size}
            ax.errorbar(places, shares.sel(cell).values, widths.sel(cell).values, color=colour, marker=marker,
                        linestyle="none", elinewidth=0.9)
            _draw_lost(ax, places[final.error.sel(cell).isnull().values], colour)
        _draw_lost(ax, positions[_unresolved(final).sel(batch_size=batch_size).values], "0.4", _UNRESOLVED)
        ax.set_xticks(positions, _texts(final.learning_rate))
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


def _samples(dataset: "xarray.Dataset", quantity: str | None) -> "xarray.DataArray":
    """Return the recorded scalar in float64, with a process dim, NaN where it is not finite."""
    lanes = {"process", "learning_rate", "batch_size", "seed"}
    scalars = [str(name) for name, values in dataset.data_vars.items()
               if "seed" in values.dims and len(set(values.dims) - lanes) == 1 and {"step", "time"} & set(values.dims)]
    if quantity is None and len(scalars) == 1:
        quantity = scalars[0]
    if quantity not in scalars:
        raise ValueError(f"quantity must be a scalar recorded for every seed, one of {', '.join(scalars) or 'none'}; "
                         f"got {quantity!r}. Pass its name, or a dataset with one component selected.")
    samples = dataset[quantity]
    samples = samples.astype(np.float64).where(abs(samples) < np.inf)
    if "process" in samples.dims:
        return samples
    return samples.expand_dims("process" if "process" in samples.coords else {"process": [quantity]})


def _only(data: Any, dim: str) -> Any:
    """Drop a dim of one label; raise if there are more."""
    if data.sizes.get(dim, 1) > 1:
        raise ValueError(f"one axes shows one {dim}, got {data[dim].values.tolist()}. Select one, for example with "
                         f".sel({dim}={data[dim].values[0]}).")
    return data.isel({dim: 0}) if dim in data.dims else data


def _check_sweep(samples: "xarray.DataArray") -> None:
    for dim in ("batch_size", "learning_rate"):
        if dim not in samples.dims:
            raise ValueError(f"dataset has no dim {dim!r}, its dims are {samples.dims}. Pass the result of sweep; one "
                             "cell is drawn by risk_curves.")


def _check_comparable(all_samples: "Mapping[str, xarray.DataArray]") -> int:
    """Raise unless all are sweeps of the same processes and batch sizes; return the number of batch sizes."""
    if not all_samples:
        raise ValueError("datasets is empty, there is nothing to draw. Pass {title: dataset}.")
    first = next(iter(all_samples.values()))
    for title, samples in all_samples.items():
        _check_sweep(samples)
        for dim, fix in (("process", "the same processes"), ("batch_size", "as many batch sizes")):
            same = samples.sizes[dim] == first.sizes[dim] and (dim != "process" or (
                samples.process.values == first.process.values).all())
            if not same:
                raise ValueError(f"datasets must hold {fix}, got {first[dim].values.tolist()} and, for {title!r}, "
                                 f"{samples[dim].values.tolist()}. Draw them apart.")
    return first.sizes["batch_size"]


def _last(errors: "xarray.Dataset") -> "tuple[xarray.Dataset, str]":
    """Return the last record, and its place in words."""
    for dim in ("step", "time"):
        if dim in errors.dims:
            return errors.isel({dim: -1}), f" at {dim} {errors[dim].values[-1]:g}"
    return errors, ""


def _clock(samples: "xarray.DataArray") -> "xarray.DataArray":
    """Return the times of the records; those of the first process and learning rate where there are several."""
    clock = samples.time if "time" in samples.coords else samples.step
    return clock.isel({dim: 0 for dim in clock.dims if dim in ("process", "learning_rate")})


def _label(variable: "xarray.DataArray") -> str:
    """Return name and units of a variable for an axis."""
    name = str(variable.attrs.get("long_name", variable.name)).replace("_", " ")
    units = str(variable.attrs.get("units", "1")).replace("_", " ").replace(" x ", " \N{MULTIPLICATION SIGN} ")
    return name if units == "1" else f"{name} ({units})"


def _texts(rates: "xarray.DataArray") -> list[str]:
    """Return tick labels, every second one or fewer where there are many."""
    every = -(-rates.size // 7)
    return [f"{rate:g}" if index % every == 0 else "" for index, rate in enumerate(rates.values[::-1])][::-1]


def _marked(data: Any) -> list[tuple[str, tuple[str, Any, str]]]:
    return [(str(name), _MARKS[index % len(_MARKS)]) for index, name in enumerate(data.process.values)]


def _line(**properties: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], **properties)


def _process_handles(data: Any, *, markers: bool = True, omit: str = "") -> list[Any]:
    return [_line(color=colour, linestyle=line, marker=marker if markers else "", label=name)
            for name, (colour, line, marker) in _marked(data) if name != omit]


def _curve_handles(samples: "xarray.DataArray", quantiles: tuple[float, float] | None) -> list[Any]:
    from matplotlib.patches import Patch

    label = "mean \N{PLUS-MINUS SIGN} 1 standard error" if quantiles is None else (
        f"{100 * quantiles[0]:g}\N{EN DASH}{100 * quantiles[1]:g} % of seeds")
    return [Patch(color="0.5", alpha=0.3, linewidth=0, label=label), *_lost_handles(samples)]


def _size_handles(errors: "xarray.Dataset") -> list[Any]:
    floor = _line(color="0.4", marker="o", markerfacecolor="white", linestyle="none", label="floor: 3 standard errors")
    return [*([floor] if (np.abs(errors.error) < errors.floor).any() else []), *_lost_handles(errors.error)]


def _share_handles(final: "xarray.Dataset") -> list[Any]:
    bar = _line(color="0.4", marker="|", markersize=9, linestyle="none", label="\N{PLUS-MINUS SIGN} 2 standard errors")
    unresolved = [_line(color="0.4", **_UNRESOLVED)] if _unresolved(final).any() else []
    return [bar, *_lost_handles(final.error), *unresolved]


def _lost_handles(values: "xarray.DataArray") -> list[Any]:
    return [_line(color="0.4", **_LOST)] if values.isnull().any() else []


def _plain_ticks(axis: Any, span: float) -> None:
    """Label a short logarithmic axis with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    if span < 100:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if span > 10 else (1, 1.5, 2, 3, 5, 7)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def _legend(ax: "matplotlib.axes.Axes", handles: list[Any], *, num_columns: int, above: bool) -> None:
    if above:
        ax.figure.legend(handles=handles, loc="outside upper center", ncols=num_columns)
    else:
        ax.legend(handles=handles)


def _style() -> Any:
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def _subplots(num_rows: int, num_columns: int, width: float, height: float, **shared: Any) -> np.ndarray:
    import matplotlib.pyplot as plt

    return plt.subplots(num_rows, num_columns, figsize=(width, height), layout="constrained", squeeze=False,
                        **shared)[1]
