"""The figure: escape times over barriers, the law of one, stationary densities, and the power law."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sde_sgd import theory
from sde_sgd.papers.dai_zhu2018 import mori2022, preference
from sde_sgd.papers.dai_zhu2018.landscape import landscape
from sde_sgd.plotting.marks import PAGE, marks, paper_style
from sde_sgd.problems import asymmetric_well

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray

_DASHED, _DOTTED = (0, (5, 2)), (0, (1, 1))


def figure(data: "Mapping[str, xarray.Dataset]") -> "matplotlib.figure.Figure":
    """Draw four panels: escape times, survival, flat against sharp, power law."""
    from matplotlib.figure import Figure

    with paper_style():
        drawn = Figure(figsize=(PAGE, 5.4), layout="constrained")
        axes = drawn.subplots(2, 2).ravel()
        _escape_times(axes[0], data["escape times"])
        _survival(axes[1], data["escape times"])
        _densities(axes[2], data["shares"])
        _power_law(axes[3], data["power law"])
        for ax, letter in zip(axes, "abcd", strict=True):
            ax.set_title(f"{letter}) {ax.get_title(loc='left')}", loc="left")
    return drawn


def _points(ax: Any, abscissa: Any, row: "xarray.Dataset", label: str) -> None:
    ends = np.abs(np.stack([row["lower"].values, row["upper"].values]) - row["mean"].values)
    ax.errorbar(abscissa, row["mean"], ends, color="black", marker="o", linestyle="none", elinewidth=0.9, capsize=2,
                label=label, zorder=3)


def _escape_times(ax: Any, row: "xarray.Dataset") -> None:
    ax.plot(row.batch_size, row.exact, color="#0072B2", label="exact chain")
    ax.plot(row.batch_size, row.kramers, color="#D55E00", linestyle=_DASHED, label="Kramers")
    _points(ax, row.batch_size, row, "SGD, 95 % interval")
    ax.set(yscale="log", xlabel="barrier / T, equal to the batch size", ylabel="mean escape time")
    ax.set_title("double well, learning rate 0.01", loc="left")
    ax.legend(loc="upper left")
    inset = ax.inset_axes((0.56, 0.11, 0.42, 0.33))
    inset.axhline(1, color="#0072B2")
    inset.plot(row.batch_size, row.kramers / row.exact, color="#D55E00", linestyle=_DASHED)
    _points(inset, row.batch_size, row[["mean", "lower", "upper"]] / row.exact, "")
    inset.set_title("over exact chain", fontsize=7)
    inset.tick_params(labelsize=6)
    inset.set_xticks(row.batch_size.values)


def _survival(ax: Any, row: "xarray.Dataset") -> None:
    scaled = row.time.values / row.mean_of_law.item()
    ax.fill_between(scaled, row.survival_lower, row.survival_upper, step="post", color="0.8", linewidth=0,
                    label="95 % interval")
    ax.step(scaled, row.survival.where(row.survival > 0), where="post", color="black", label="SGD")
    line = np.array([0.0, 5.0])
    ax.plot(line, np.exp(-line), color="#D55E00", linestyle=_DASHED, label="exponential law")
    ax.set(yscale="log", xlim=(0, 5), ylim=(3e-3, 1.1), xlabel="time / mean escape time",
           ylabel="probability to be inside")
    ax.set_title("law at barrier / T = 6", loc="left")
    ax.legend(loc="lower left")


def _densities(ax: Any, rows: "xarray.Dataset") -> None:
    potential = landscape(asymmetric_well()).potential
    line = np.linspace(-2.2, 1.8, 401)
    for (colour, _, marker), batch in zip(marks()[2:], rows.batch_size.values, strict=False):
        row, noise = rows.sel(batch_size=batch), preference.temperature(int(batch))
        ax.plot(line, theory.stationary_density(potential, noise, line), color=colour, linewidth=0.9)
        ax.plot(row.position[::2], row.density[::2], color=colour, marker=marker, linestyle="none", markersize=2.6,
                label=f"B = {batch}")
    ax.plot([], [], color="0.4", linewidth=0.9, label="exp(-U / T)")
    ax.set(xlabel="position", ylabel="stationary density", ylim=(0, None), xlim=(-2, 1.6))
    ax.set_title("flat minimum (left) and sharp one, equally deep", loc="left")
    ax.legend(loc="upper center", bbox_to_anchor=(0.54, 1.0), handlelength=1.6)


def _power_law(ax: Any, row: "xarray.Dataset") -> None:
    levels, exponent = row.level.values, mori2022.exponent()
    ax.plot(levels, row.decoupled, color="#0072B2", label="SDE, decoupled noise")
    ax.plot(levels, row.exact, color="#009E73", linestyle=_DOTTED, label="SDE, exact covariance")
    guide = row["mean"].values[0] * (levels / levels[0]) ** exponent
    ax.plot(levels, guide, color="#D55E00", linestyle=_DASHED, label=f"slope {exponent:g}")
    _points(ax, levels, row, "SGD, 95 % interval")
    ax.set(xscale="log", yscale="log", xlabel="loss of escape / loss of the minimum", ylabel="mean escape time")
    ax.set_xticks(levels, [f"{level:g}" for level in levels])
    ax.set_xticks([], minor=True)
    ax.set_title("linear regression, learning rate 0.1, B = 1", loc="left")
    ax.legend(loc="upper left")
