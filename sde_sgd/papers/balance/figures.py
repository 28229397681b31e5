"""The figure: the imbalance against time for three dynamics, and the laws of the product."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sde_sgd import theory
from sde_sgd.papers.balance.experiments import CRITICAL, LABEL_NOISE, SIGNAL

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray


def figure(found: "Mapping[str, xarray.Dataset]") -> "matplotlib.figure.Figure":
    """Draw the imbalance against time for three dynamics, and the laws of the product."""
    from matplotlib.figure import Figure

    from sde_sgd.plotting.marks import PAGE, marks, paper_style

    with paper_style():
        drawn = Figure(figsize=(PAGE, 2.8), layout="constrained")
        left, right = drawn.subplots(1, 2)
        runs = found["contraction"].imbalance
        for (colour, line, _), name in zip(marks(), runs.process.values, strict=False):
            low, middle, high = runs.sel(process=name).quantile((0.1, 0.5, 0.9), "seed").values
            left.fill_between(runs.time, low, high, color=colour, alpha=0.15, linewidth=0)
            left.plot(runs.time, middle, color=colour, linestyle=line, label=str(name))
        left.set(xlabel="learning rate \N{MULTIPLICATION SIGN} step", ylabel="u\N{SUPERSCRIPT TWO} - "
                 "w\N{SUPERSCRIPT TWO}")
        left.legend(loc="upper left", title="median, 10 to 90 %")
        _draw_laws(right, found["Gamma law"], marks())
    return drawn


def _draw_laws(ax: Any, laws: "xarray.Dataset", styles: Any) -> None:
    from scipy.stats import gamma

    for (colour, line, _), share in zip(styles, laws.share.values, strict=False):
        law = theory.balanced_gamma_law(SIGNAL, LABEL_NOISE, share * CRITICAL)
        edges = np.linspace(0, 2.5, 51)
        heights, _ = np.histogram(laws.product.sel(share=share), edges)
        density = heights / laws.sizes["lane"] / np.diff(edges)
        centres = (edges[1:] + edges[:-1]) / 2
        ax.plot(centres, gamma.pdf(centres, law.shape, scale=law.scale), color=colour, linestyle=line,
                label=f"Gamma law, T = {share:g} $T_c$")
        ax.plot(centres, density, color=colour, marker=".", linestyle="none")
    ax.plot([], [], color="0.4", marker=".", linestyle="none", label="SDE, measured")
    ax.set(xlabel="v = u w", ylabel="density", ylim=(0, 4))
    ax.legend()
