"""Figures 2 to 4 of the paper, redrawn with the package's own simulations."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sde_sgd import theory
from sde_sgd.plotting.marks import PAGE, marks, paper_style

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray

_EXACT, _HESSIAN, _CONTINUOUS = "this paper", "discrete, noise A/S", "first-order SDE, noise A/S"


def figure(data: "Mapping[str, xarray.Dataset]") -> "matplotlib.figure.Figure":
    """Draw figures 2, 3 left and right, 4a, 4b and 4c as six panels."""
    from matplotlib.figure import Figure

    with paper_style():
        drawn = Figure(figsize=(PAGE, 4.6), layout="constrained")
        axes = drawn.subplots(2, 3).ravel()
        _tails(axes[0], data["figure 2"])
        _against_batch_size(axes[1], data["figure 3 left"])
        _against_weight_decay(axes[2], data["figure 3 right"])
        _against_learning_rate(axes[3], data["figure 4a"])
        for ax, letter, batch_size in zip(axes[4:], "bc", (50, 10), strict=True):
            _ellipses(ax, data["figures 4b and 4c"].sel(batch_size=batch_size), batch_size)
            ax.set_title(f"Fig. 4{letter}: rate 1.5, S = {batch_size}", loc="left")
    return drawn


def _line(place: int) -> dict[str, Any]:
    """Return the style of one of the theories: the paper's, discrete with Hessian noise, continuous."""
    colour, line, _ = marks()[place]
    return {"color": colour, "linestyle": line}


def _points(ax: Any, abscissa: Any, value: Any, stderr: Any, *, filled: bool, label: str) -> None:
    ax.errorbar(abscissa, value, 2 * np.asarray(stderr), color="#0072B2", marker="o", linestyle="none", elinewidth=0.9,
                markerfacecolor="#0072B2" if filled else "white", label=label, zorder=3)


def _tails(ax: Any, data: "xarray.Dataset") -> None:
    sizes = data.batch_size.values
    ax.plot(sizes, sizes, **_line(0), label="this paper: S")
    ax.plot(sizes, data.kesten, **_line(3), label="Kesten's equation")
    ax.plot(sizes, 2 * sizes + 1, **_line(2), label="continuous time: 2S + 1")
    _points(ax, sizes, data.measured, data.measured_stderr, filled=True, label="smallest diverging moment")
    _points(ax, sizes, data.hill, data.hill_stderr, filled=False, label="Hill's estimate")
    ax.set(xlabel="batch size S", ylabel="tail exponent", ylim=(0, 15))
    ax.set_title("Fig. 2: a \N{MULTIPLICATION SIGN} rate = 1", loc="left")
    ax.legend(fontsize=6)


def _two_kinds(ax: Any, abscissa: np.ndarray, data: "xarray.Dataset") -> None:
    """Draw what ensembles measured filled, what recursions measured open; leave out what is infinite."""
    ensembles = data.by_ensemble.values
    for kind, label in ((True, "ensemble"), (False, "recursion")):
        chosen = (ensembles == kind) & np.isfinite(data.measured.values)
        _points(ax, abscissa[chosen], data.measured.values[chosen], data.measured_stderr.values[chosen], filled=kind,
                label=label)


def _against_batch_size(ax: Any, data: "xarray.Dataset") -> None:
    sizes, line = data.batch_size.values, np.geomspace(6.3, 100, 200)
    ax.plot(line, 2 / (line - 6), **_line(0), label=_EXACT)
    ax.plot(line, 2 / line, **_line(1), label=_HESSIAN)
    ax.plot(line, 1 / (2 * line), **_line(2), label=_CONTINUOUS)
    ax.axvline(6, color="0.7", linewidth=0.6)
    _two_kinds(ax, sizes, data)
    ax.set(xscale="log", yscale="log", xlabel="batch size S", ylabel="fluctuation", ylim=(3e-3, 8))
    ax.set_xticks([6, 10, 20, 50, 100], ["6", "10", "20", "50", "100"])
    ax.set_xticks([], minor=True)
    ax.set_title("Fig. 3 left: a = 1.5, rate 1", loc="left")
    ax.legend(fontsize=6)


def _against_weight_decay(ax: Any, data: "xarray.Dataset") -> None:
    decays = np.linspace(-0.33, 2.1, 300)
    losses = [theory.online_regression([[1.0]], 0.5, 1, weight_decay=decay, teacher=[1.0]).test_loss
              for decay in decays]
    ax.plot(decays, losses, **_line(0), label=_EXACT)
    ax.plot(decays, 0.5 * (decays / (1 + decays)) ** 2, **_line(2), label="without noise")
    _points(ax, data.weight_decay, data.measured, data.measured_stderr, filled=False, label="recursion")
    ax.set(xlabel="weight decay", ylabel="test loss", ylim=(-0.03, 0.8))
    ax.set_title("Fig. 3 right: a = 1, rate 0.5, S = 1", loc="left")
    ax.legend(fontsize=6)


def _against_learning_rate(ax: Any, data: "xarray.Dataset") -> None:
    rates, line = data.learning_rate.values, np.linspace(0.05, 1.66, 200)
    ax.plot(line, line / (10 * (2 - 1.2 * line)), **_line(0), label=_EXACT)
    ax.plot(line, line / (10 * (2 - line)), **_line(1), label=_HESSIAN)
    ax.plot(line, line / 20, **_line(2), label=_CONTINUOUS)
    _two_kinds(ax, rates, data)
    ax.set(yscale="log", xlabel="learning rate", ylabel="fluctuation", ylim=(1e-3, 8))
    ax.set_title("Fig. 4a: a = 1, S = 10", loc="left")
    ax.legend(fontsize=6)


def _ellipses(ax: Any, data: "xarray.Dataset", batch_size: int) -> None:
    """Draw the ellipses of one standard deviation."""
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    features = np.diag([1.0, 0.5])
    hessian_noise = theory.sgd_stationary_covariance(features, features / batch_size, 1.5)
    continuous = theory.ou_stationary_covariance(features, features / batch_size, 1.5)
    for place, (covariance, label) in enumerate(((data.theory.values, _EXACT), (hessian_noise, _HESSIAN),
                                                 (continuous, _CONTINUOUS))):
        ax.plot(*(np.linalg.cholesky(covariance) @ circle), **_line(place), label=label)
    measured = np.linalg.cholesky(data.measured.values) @ circle[:, ::10]
    ax.plot(*measured, color="#0072B2", marker="o", linestyle="none", label="measured", markersize=3,
            markerfacecolor="#0072B2" if batch_size == 50 else "white")
    ax.set(xlabel="w, a = 1", ylabel="w, a = 0.5", aspect="equal")
    ax.set_ylim(top=1.75 * ax.get_ylim()[1])
    ax.legend(fontsize=6, loc="upper center", ncols=2, handlelength=1.8, columnspacing=0.8)
