"""Escape times against what drives them, and survival curves."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sde_sgd.plotting.marks import (
    COLUMN,
    PAGE,
    add_legend,
    legend_handle,
    marked,
    new_axes,
    paper_style,
    process_handles,
)
from sde_sgd.plotting.records import axis_label

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import xarray

_THEORY_LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1.5, 1, 1.5)))
_BOUND: dict[str, Any] = {"marker": "o", "markerfacecolor": "white", "label": "lower bound"}


def plot_escape_times(estimates: "xarray.Dataset", against: str | None = None, *,
                      theory: "Mapping[str, xarray.DataArray] | None" = None,
                      ax: "matplotlib.axes.Axes | None" = None) -> "matplotlib.axes.Axes":
    """Draw mean escape times, logarithmic, with their confidence intervals, over the curves of theory.

    Where the data resolve no mean, a hollow point at the lower bound points up. Processes are set a little apart.

    Parameters
    ----------
    estimates
        Result of ``escape_time`` over one dim, and ``process`` if there are several.
    against
        The dim on the abscissa; may be left out where there is only one beside ``process``. A coordinate computed from
        it, such as an inverse temperature, can be made a dim by ``swap_dims``.
    theory
        Label -> times over that dim, at any of its values. A curve named like a process takes its colour.
    ax
        Axes to draw on; by default those of a new figure, as wide as a column.

    Returns
    -------
    ax : matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ValueError
        If ``against`` is no dim, or there are dims beside it and ``process``, or a curve lacks the dim.
    """
    rows = _with_process(estimates)
    against = _abscissa(rows, against)
    for label, curve in (theory or {}).items():
        if curve.dims != (against,) or against not in curve.coords:
            raise ValueError(f"theory[{label!r}] must have the dim {against!r} alone, with values, got the dims "
                             f"{curve.dims}.")
    rows = rows.sortby(against)
    spread = 0.012 * np.ptp(rows[against].values)
    with paper_style():
        axes = new_axes(1, 1, COLUMN, 2.7)[0, 0] if ax is None else ax
        axes.set(yscale="log", xlabel=axis_label(rows[against]),
                 ylabel=f"mean escape time{_units(estimates.attrs.get('time_units', '1'))}")
        colours = {name: mark[0] for name, mark in marked(rows)}
        lines = [axes.plot(curve[against], curve, color=colours.get(label, "0.45"), linewidth=1.0, zorder=1,
                           label=label, linestyle=_THEORY_LINES[order % len(_THEORY_LINES)])[0]
                 for order, (label, curve) in enumerate((theory or {}).items())]
        for order, (name, mark) in enumerate(marked(rows)):
            shift = spread * (order - (rows.sizes["process"] - 1) / 2)
            _draw_times(axes, rows.sel(process=name), rows[against].values + shift, mark)
        add_legend(axes, [*_point_handles(rows), *lines, *_interval_handles(rows)], num_columns=2, above=ax is None)
    return axes


def escape_figure(estimates: "xarray.Dataset", theory: "Mapping[str, xarray.DataArray]",
                  curves: "tuple[int, xarray.Dataset, xarray.Dataset] | None") -> "matplotlib.figure.Figure":
    """Draw escape times over the curves of theory, and survival at one batch size beside them.

    Parameters
    ----------
    estimates, theory
        As for `plot_escape_times`.
    curves
        A batch size, the result of ``survival`` and that of ``escape_time`` there; None for no second panel.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Outside pyplot.
    """
    with paper_style():
        panels = new_axes(1, 1 if curves is None else 2, COLUMN if curves is None else PAGE, 2.9, shared=False)
        plot_escape_times(estimates, theory=theory, ax=panels[0, 0])
        panels[0, 0].set_title("lines: exact theory and Kramers", fontsize="small")
        if curves is not None:
            batch_size, survivors, fit = curves
            plot_survival(survivors, fit=fit, ax=panels[0, 1])
            panels[0, 1].set_title(f"batch size {batch_size}", fontsize="small")
        return panels[0, 0].figure


def plot_survival(curves: "xarray.Dataset", *, fit: "xarray.Dataset | None" = None,
                  ax: "matplotlib.axes.Axes | None" = None) -> "matplotlib.axes.Axes":
    """Draw survival curves with their pointwise confidence bands, logarithmic, so that an exponential law is a line.

    Parameters
    ----------
    curves
        Result of ``survival``, of one cell or over ``process``.
    fit
        Result of ``escape_time`` for the same lanes: the exponential law of the rates of all causes together, from
        the relaxation on, is drawn thin where it is not rejected.
    ax
        Axes to draw on; by default those of a new figure, as wide as a column.

    Returns
    -------
    ax : matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ValueError
        If there are dims beside ``time``, ``cause`` and ``process``.
    """
    rows = _with_process(curves)
    extra = [dim for dim in rows.survival.dims if dim not in ("process", "time")]
    if extra:
        raise ValueError(f"one axes shows one cell, got the further dims {extra}. Select one, for example with "
                         f".isel({extra[0]}=0).")
    times = rows.time.values
    with paper_style():
        axes = new_axes(1, 1, COLUMN, 2.5)[0, 0] if ax is None else ax
        for name, (colour, line, _) in marked(rows):
            row = rows.sel(process=name)
            axes.fill_between(times, row.survival_lower, row.survival_upper, step="post", color=colour, alpha=0.18,
                              linewidth=0)
            axes.step(times, row.survival.where(row.survival > 0), where="post", color=colour, linestyle=line)
        fitted = _draw_fits(axes, rows, None if fit is None else _with_process(fit))
        lowest = rows.survival.where(rows.survival > 0).min().item()
        axes.set(yscale="log", ylim=(0.7 * lowest, 1.1), xlim=(0, times[-1]), ylabel="probability to be inside",
                 xlabel=f"time{_units(rows.time.attrs.get('units', '1'))}")
        names = process_handles(rows, markers=False) if rows.sizes["process"] > 1 else []
        add_legend(axes, [*names, _band_handle(rows), *fitted], num_columns=2, above=ax is None)
    return axes


def _with_process(dataset: "xarray.Dataset") -> "xarray.Dataset":
    if "process" in dataset.dims:
        return dataset
    return dataset.expand_dims("process" if "process" in dataset.coords else {"process": ["measured"]})


def _abscissa(rows: "xarray.Dataset", against: str | None) -> str:
    """Return the dim of the abscissa; raise unless it and the process are the only ones."""
    dims = [str(dim) for dim in rows.escape_time.dims if dim != "process"]
    if against is None and len(dims) == 1:
        return dims[0]
    if against not in dims or len(dims) != 1:
        raise ValueError(f"estimates must have one dim beside process, to draw against; got {dims or 'none'} and "
                         f"against={against!r}. Select or swap dims.")
    return against


def _draw_times(ax: "matplotlib.axes.Axes", row: "xarray.Dataset", places: np.ndarray,
                mark: tuple[str, Any, str]) -> None:
    """Draw means with intervals, and bounds where there is no mean."""
    colour, _, marker = mark
    mean, lower, upper = (row[name].values for name in ("escape_time", "escape_time_lower", "escape_time_upper"))
    resolved = np.isfinite(mean)
    ends = np.stack([mean - lower, upper - mean])[:, resolved]
    ax.errorbar(places[resolved], mean[resolved], ends, color=colour, marker=marker, linestyle="none", elinewidth=0.9)
    bound = ~resolved & (lower > 0)
    ax.errorbar(places[bound], lower[bound], 0.6 * lower[bound], lolims=True, color=colour, marker=marker,
                markerfacecolor="white", linestyle="none", elinewidth=0.8, capsize=1.8)


def _draw_fits(ax: "matplotlib.axes.Axes", rows: "xarray.Dataset", fit: "xarray.Dataset | None") -> list[Any]:
    """Draw the exponential laws; return their legend entry."""
    if fit is None:
        return []
    start, times = fit.attrs["relaxation"], rows.time.values
    later, drawn = np.linspace(start, times[-1], 200), []
    for name, (colour, _, _) in marked(rows):
        rate = fit.rate.sel(process=name).sum("cause", skipna=False).item()
        level = rows.survival.sel(process=name).sel(time=start, method="ffill").item()
        if rate > 0:
            drawn += ax.plot(later, level * np.exp(-rate * (later - start)), color=colour, linewidth=0.5, zorder=3)
    return [legend_handle({"linestyle": "-", "linewidth": 0.5, "label": "exponential law"})] if drawn else []


def _point_handles(rows: "xarray.Dataset") -> list[Any]:
    return [legend_handle({"color": colour, "marker": marker, "label": name})
            for name, (colour, _, marker) in marked(rows)]


def _interval_handles(rows: "xarray.Dataset") -> list[Any]:
    label = f"{100 * rows.attrs['confidence']:g} % interval"
    interval = legend_handle({"marker": "|", "markersize": 9, "label": label})
    return [interval, *([legend_handle(_BOUND)] if rows.escape_time.isnull().any() else [])]


def _band_handle(rows: "xarray.Dataset") -> Any:
    from matplotlib.patches import Patch

    return Patch(color="0.5", alpha=0.3, linewidth=0, label=f"{100 * rows.attrs['confidence']:g} % interval")


def _units(units: str) -> str:
    return "" if units == "1" else f" ({units.replace('_', ' ').replace(' x ', f' {chr(0xD7)} ')})"
