"""The figure: batch size, course, warm start, paths, remedies and learning rates in nine panels."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sde_sgd.papers.keskar2016.batches import LARGE, RATE, SMALL
from sde_sgd.plotting.marks import PAGE, legend_handle, marks, paper_style

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray

_BLUE, _RED, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "0.4"
_SHARPNESS = "sharpness (%)"
_ACCURACY = "test accuracy (%)"


def figure(data: "Mapping[str, xarray.Dataset]") -> "matplotlib.figure.Figure":
    """Draw figures 2 to 7 of the paper, the learning rate and the remedies, from our own runs."""
    from matplotlib.figure import Figure

    with paper_style():
        drawn = Figure(figsize=(PAGE, 7.2), layout="constrained")
        axes = drawn.subplots(3, 3).ravel()
        sweep = data["batch sizes"]
        _batch_sizes(axes[0], sweep, "sharpness", _SHARPNESS)
        _batch_sizes(axes[1], sweep, "test_accuracy", _ACCURACY)
        _learning_rates(axes[2], sweep)
        _course(axes[3], data["course"], "sharpness", _SHARPNESS)
        _course(axes[4], data["course"], "test_accuracy", _ACCURACY)
        _warm_start(axes[5], data["warm start"])
        pairs = data["small and large"]
        paths = [case for case in pairs.case.values if case.endswith("SGD")]
        places = [(paths[0], "linear"), (paths[-1], "linear" if len(paths) > 1 else "curved")]
        for ax, (case, path) in zip(axes[6:8], places, strict=True):
            _path(ax, pairs.sel(case=case, path=path), f"{case}, {path}")
        _remedies(axes[8], data["remedies"])
        for ax, letter in zip(axes, "abcdefghi", strict=True):
            ax.set_title(f"{letter}) {ax.get_title(loc='left')}", loc="left")
    return drawn


def _mean(values: "xarray.DataArray") -> tuple[np.ndarray, np.ndarray]:
    """Return mean and twice the standard error over the seeds, accuracies in per cent."""
    scale = 100.0 if values.name == "test_accuracy" else 1.0
    count = values.count("seed")
    return (scale * values.mean("seed")).values, (2 * scale * values.std("seed", ddof=1) / count**0.5).values


def _draw(ax: Any, abscissa: Any, values: "xarray.DataArray", colour: str, label: str = "", marker: str = "o",
          line: str = "-") -> None:
    mean, width = _mean(values)
    ax.errorbar(abscissa, mean, width, color=colour, label=label, capsize=2, elinewidth=0.9, marker=marker,
                linestyle=line)


def _chosen(sweep: "xarray.Dataset", kind: str) -> "xarray.Dataset":
    return sweep.isel(cell=[place for place, name in enumerate(sweep.cell.values) if name.startswith(kind)])


def _batch_sizes(ax: Any, sweep: "xarray.Dataset", name: str, label: str) -> None:
    rows, same = _chosen(sweep, "batch size"), _chosen(sweep, "temperature")
    _draw(ax, rows.cell_batch_size, rows[name].transpose("cell", "seed"), _BLUE, r"$\eta$ kept")
    first = rows.isel(cell=[0])
    batches = np.concatenate([first.cell_batch_size, same.cell_batch_size])
    values = np.concatenate([first[name].transpose("cell", "seed"), same[name].transpose("cell", "seed")])
    joined = rows[name].transpose("cell", "seed").isel(cell=slice(len(batches))).copy(data=values)
    _draw(ax, batches, joined, _RED, r"$\eta / B$ kept", marker="s", line="--")
    ax.set_xscale("log", base=2)
    ticks = rows.cell_batch_size.values
    ticks = ticks if len(ticks) <= 4 else ticks[::2]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    if name == "sharpness":
        _plain_log(ax, "y")
    ax.set(xlabel="batch size", ylabel=label)
    ax.set_title("Fig. 4: at equal training loss" if name == "sharpness" else "Fig. 4: accuracy", loc="left")
    if name == "sharpness":
        ax.legend(loc="center right", handlelength=1.6)


def _learning_rates(ax: Any, sweep: "xarray.Dataset") -> None:
    """Draw accuracy against sharpness, one point for a batch size and a learning rate."""
    base = _chosen(sweep, "batch size").isel(cell=[0])
    import xarray

    series = ((xarray.concat([_chosen(sweep, "small"), base], "cell").sortby("cell_learning_rate"), _BLUE, "o", SMALL),
              (_chosen(sweep, "large").sortby("cell_learning_rate"), _RED, "s", LARGE))
    for rows, colour, marker, batch in series:
        _draw(ax, rows.cell_learning_rate, rows.test_accuracy.transpose("cell", "seed"), colour, f"B = {batch}",
              marker=marker)
    _plain_log(ax, "x", RATE * 4.0 ** np.arange(3))
    ax.set(xlabel="learning rate", ylabel=_ACCURACY)
    ax.set_title("learning rate tuned", loc="left")
    ax.legend(loc="upper left", handlelength=1.6)


def _course(ax: Any, rows: "xarray.Dataset", name: str, label: str) -> None:
    styles = {"SB": (_BLUE, "o"), "LB": (_RED, "s"), "LB, clean labels": (_GREEN, "^")}
    for case, (colour, marker) in styles.items():
        if name == "sharpness" and case == "LB, clean labels":
            continue
        values = rows[name].sel(case=case).transpose("level", "seed")
        _draw(ax, rows.level, values, colour, case, marker=marker)
    _plain_log(ax, "x", rows.level.values[::2])
    ax.set(xlabel="training loss", ylabel=label)
    ax.invert_xaxis()
    if name == "sharpness":
        _plain_log(ax, "y")
    ax.set_title("Fig. 6: as the loss falls" if name == "sharpness" else "Fig. 2: on the way", loc="left")
    if name == "test_accuracy":  # room for the legend
        low, high = ax.get_ylim()
        ax.set_ylim(low - 0.4 * (high - low), high)
    ax.legend(loc="upper left" if name == "sharpness" else "lower right", handlelength=1.6)


def _warm_start(ax: Any, rows: "xarray.Dataset") -> None:
    ticks = np.arange(rows.sizes["warm_epochs"])
    _draw(ax, ticks, rows.sharpness.transpose("warm_epochs", "seed"), _RED, marker="s")
    other = ax.twinx()
    _draw(other, ticks, rows.test_accuracy.transpose("warm_epochs", "seed"), _BLUE)
    other.spines["right"].set_visible(True)
    _plain_log(ax, "y")
    ax.set_xticks(ticks, [str(epochs) for epochs in rows.warm_epochs.values])
    ax.set(xlabel=f"epochs at B = {SMALL} before B = {LARGE}")
    ax.set_ylabel(_SHARPNESS, color=_RED)
    other.set_ylabel(_ACCURACY, color=_BLUE)
    ax.set_title("Fig. 5: warm start", loc="left")


def _path(ax: Any, rows: "xarray.Dataset", label: str) -> None:
    other = ax.twinx()
    for name, line in (("train", "-"), ("test", (0, (4, 2)))):
        row = rows.sel(data=name).mean("seed")
        ax.plot(row.position, row.path_loss, color=_RED, linestyle=line)
        other.plot(row.position, 100 * row.path_accuracy, color=_BLUE, linestyle=line)
    for place, text in ((0, "SB"), (1, "LB")):
        ax.axvline(place, color="0.7", linewidth=0.6, zorder=0)
        ax.annotate(text, (place, 1.0), xycoords=("data", "axes fraction"), ha="center", fontsize=7)
    ax.set_yscale("log")
    other.spines["right"].set_visible(True)
    ax.set_xlabel("position on the path")
    ax.set_ylabel("loss", color=_RED)
    other.set_ylabel("accuracy (%)", color=_BLUE)
    ax.set_title(f"{label}\n", loc="left")
    ax.legend(handles=[legend_handle({"linestyle": line, "label": name, "color": _GREY})
                       for name, line in (("train", "-"), ("test", (0, (4, 2))))], loc="lower left", handlelength=1.6)


def _remedies(ax: Any, rows: "xarray.Dataset") -> None:
    """Draw a point for each remedy: how sharp and how accurate."""
    accuracy, height = _mean(rows.test_accuracy.transpose("remedy", "seed"))
    sharp, width = _mean(rows.sharpness.transpose("remedy", "seed"))
    for place, name in enumerate(rows.remedy.values):
        colour, _, marker = marks()[place % len(marks())]
        ax.errorbar(sharp[place], accuracy[place], height[place], width[place], color=colour, marker=marker,
                    markerfacecolor=colour if place < len(marks()) else "white", linestyle="none", elinewidth=0.9,
                    label=name)
    _plain_log(ax, "x")
    ax.set(xlabel=_SHARPNESS, ylabel=_ACCURACY)
    ax.set_title("App. E: remedies", loc="left")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6.5, handlelength=1)


def _plain_log(ax: Any, axis: str, places: Any = None) -> None:
    """Make an axis logarithmic, its ticks plain numbers, at 1, 2 and 5 by default."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    getattr(ax, f"set_{axis}scale")("log")
    ticks = getattr(ax, f"{axis}axis")
    ticks.set_major_locator(LogLocator(subs=(1, 2, 5)) if places is None else FixedLocator(places))
    ticks.set_minor_locator(NullLocator())
    ticks.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
