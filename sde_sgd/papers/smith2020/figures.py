"""The figure: regimes of the learning rate and the accuracy, equal steps, growing budgets, steps to a loss, orders."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sde_sgd.analysis import fit_saturation
from sde_sgd.papers.smith2020.shuffling import LOSSES
from sde_sgd.plotting.marks import PAGE, paper_style
from sde_sgd.theory import optimal_learning_rate

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray

_BLUE, _RED, _GREEN = "#0072B2", "#D55E00", "#009E73"
_DASHED, _DOTTED = (0, (5, 2)), (0, (1, 1.5))
_STYLES = {"SGD": (_BLUE, "o"), "heavy ball": (_RED, "s")}


def figure(data: "Mapping[str, xarray.Dataset]") -> "matplotlib.figure.Figure":
    """Draw six panels."""
    from matplotlib.figure import Figure

    with paper_style():
        drawn = Figure(figsize=(PAGE, 4.8), layout="constrained")
        axes = drawn.subplots(2, 3).ravel()
        _rates(axes[0], data["equal epochs"])
        _accuracies(axes[1], data["equal epochs"])
        _equal_steps(axes[2], data["equal steps"])
        _budgets(axes[3], data["growing budgets"])
        _steps(axes[4], data["steps to a loss"])
        _orders(axes[5], data["modified loss"])
        for ax, letter in zip(axes, "abcdef", strict=True):
            ax.set_title(f"{letter}) {ax.get_title(loc='left')}", loc="left")
    return drawn


def _points(ax: Any, x: Any, y: Any, error: Any, colour: str, marker: str, label: str = "", line: Any = "none") -> None:
    ax.errorbar(x, y, error, color=colour, marker=marker, linestyle=line, elinewidth=0.9, capsize=2, label=label,
                zorder=3)


def _interval(row: "xarray.Dataset") -> np.ndarray:
    ends = np.stack([row.learning_rate_best_lower, row.learning_rate_best_upper])
    return np.abs(ends - row.learning_rate_best.values)


def _batch_axis(ax: Any, batches: Any, base: int = 2) -> None:
    ax.set_xscale("log", base=base)
    shown = np.asarray(batches)
    shown = shown[:: -(-len(shown) // 7)]
    ax.set_xticks(shown, [f"{batch:g}" for batch in shown])
    ax.minorticks_off()
    ax.set_xlabel("batch size")


def _rates(ax: Any, data: "xarray.Dataset") -> None:
    line = np.geomspace(data.batch_size.values[0], data.batch_size.values[-1], 60)
    for name, (colour, marker) in _STYLES.items():
        row = data.sel(process=name)
        ends = _interval(row)
        _points(ax, row.batch_size, row.learning_rate_best, ends, colour, marker, name)
        fit = fit_saturation(row.batch_size, row.learning_rate_best, rising=True)
        ax.plot(line, [optimal_learning_rate(batch, fit.limit, fit.batch_size) for batch in line], color=colour)
    ax.plot([], [], color="0.4", label=r"$\eta_{max}/(1 + B_{noise}/B)$")
    ax.set(yscale="log", ylabel="best effective rate, 95 % interval")
    ax.set_title("20 epochs", loc="left")
    _batch_axis(ax, data.batch_size)
    ax.legend(loc="upper left", handlelength=1.4, fontsize=6.5)


def _accuracies(ax: Any, data: "xarray.Dataset") -> None:
    for name, (colour, marker) in _STYLES.items():
        row = data.sel(process=name)
        _points(ax, row.batch_size, 100 * row.accuracy, 100 * row.accuracy_stderr, colour, marker, name, "-")
    ax.set(ylabel="test accuracy, %, with standard error")
    ax.set_title("20 epochs, rate tuned", loc="left")
    _batch_axis(ax, data.batch_size)
    ax.legend(loc="lower left")


def _equal_steps(ax: Any, data: "xarray.Dataset") -> None:
    for which, colour, marker in (("test", _BLUE, "o"), ("training", _RED, "s")):
        _points(ax, data.batch_size, 100 * data[f"accuracy_best_for_{which}"],
                100 * data[f"accuracy_best_for_{which}_stderr"], colour, marker, f"rate best for {which}", "-")
    for batch, loss, accuracy in zip(data.batch_size.values, np.exp(data.log_loss_best_for_training.values),
                                     100 * data.accuracy_best_for_training.values, strict=True):
        ax.annotate(f"{loss:.2g}", (batch, accuracy), (0, -9), textcoords="offset points", fontsize=6, color=_RED,
                    ha="center")
    ax.set(ylabel="test accuracy, %, with standard error")
    ax.margins(y=0.14)
    ax.set_title("1000 steps, noisy labels", loc="left")
    _batch_axis(ax, data.batch_size)
    ax.legend(loc="lower left", title="numbers: training loss", title_fontsize=6.5, fontsize=6.5)


def _budgets(ax: Any, data: "xarray.Dataset") -> None:
    for which, colour, marker, exponent in (("test", _BLUE, "o", -1 / 7), ("training", _RED, "s", -4 / 7)):
        row = data.sel(best_for=which)
        ends = _interval(row)
        _points(ax, row.budget, row.learning_rate_best, ends, colour, marker, f"best for {which}")
        start = float(row.learning_rate_best[0])
        ax.plot(row.budget, start * (row.budget / row.budget[0]) ** exponent, color=colour, linestyle=_DASHED)
    ax.plot([], [], color="0.4", linestyle=_DASHED, label="as the paper says")
    ax.set(yscale="log", ylabel="best rate, 95 % interval")
    _batch_axis(ax, data.budget)
    ax.set_xlabel("epoch budget")
    ax.set_title("B = 16, noisy labels", loc="left")
    ax.set_ylim(bottom=ax.get_ylim()[0] / 40)  # room for the legend
    ax.legend(loc="lower left", fontsize=6.5)


def _steps(ax: Any, data: "xarray.Dataset") -> None:
    line = np.geomspace(data.batch_size.values[0], data.batch_size.values[-1], 60)
    least, critical = float(data.least_steps), float(data.critical_batch_size)
    ax.plot(line, least * (1 + critical / line), color=_BLUE, label=r"$S_{min}(1 + B_{crit}/B)$")
    ax.axvline(critical, color=_BLUE, linestyle=_DASHED, label=r"$B_{crit}$")
    simple = float(data.simple.median())
    ax.axvline(simple, color=_RED, linestyle=_DOTTED, label=r"tr$\,\Sigma/|g|^2$")
    ax.plot(data.batch_size, data.steps, color="black", marker="o", linestyle="none", label="SGD, rate tuned")
    ax.set(yscale="log", ylabel="steps to training loss 0.15")
    ax.set_title("steps to a loss", loc="left")
    _batch_axis(ax, data.batch_size)
    ax.legend(loc="upper right", fontsize=6.5, frameon=True, framealpha=1.0, edgecolor="none")


def _orders(ax: Any, data: "xarray.Dataset") -> None:
    labels = ("flow of the loss", r"with $\eta/4\,|\nabla f|^2$", "with that of the batches")
    for name, label, colour, marker in zip(LOSSES, labels, (_BLUE, _GREEN, _RED), "o^s", strict=True):
        ax.plot(data.learning_rate, data.distance.sel(loss=name), color=colour, marker=marker, label=label)
    rates = data.learning_rate.values
    for name, order, place, side in ((LOSSES[0], 2, (4, -8), "left"), (LOSSES[2], 3, (-4, 3), "right")):
        start = float(data.distance.sel(loss=name)[-1])
        ax.plot(rates, 0.7 * start * (rates / rates[-1]) ** order, color="0.5", linestyle=_DOTTED)
        ax.annotate(f"slope {order}", (rates[2], 0.7 * start * (rates[2] / rates[-1]) ** order), place,
                    textcoords="offset points", fontsize=6.5, color="0.4", ha=side)
    ax.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="distance of mean iterate")
    ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
    ax.minorticks_off()
    ax.set_title("one epoch, all orders", loc="left")
    ax.legend(loc="lower right", fontsize=6, handlelength=1.6, bbox_to_anchor=(1.04, 0.0))
