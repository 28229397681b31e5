"""Figures 2 to 4 of the paper, redrawn with the package's own simulations."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sde_sgd import theory
from sde_sgd.plotting.marks import PAGE, legend_handle, marks, paper_style

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray

# Theories in the order of the styles, and how a measurement was made.
_LABELS = ("this paper", "discrete time, noise A/S", "continuous time, noise A/S (Fig. 2: decoupled noise)",
           "Kesten's equation")
_ENSEMBLE, _SINGLE_STEPS = "measured by ensembles", "measured by single steps"


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
        handles = [legend_handle({**_line(place), "label": label}) for place, label in enumerate(_LABELS)]
        handles += [legend_handle({**_mark(ensemble), "label": label})
                    for ensemble, label in ((True, _ENSEMBLE), (False, _SINGLE_STEPS))]
        drawn.legend(handles=handles, loc="outside lower center", ncols=3)
    return drawn


def _line(place: int) -> dict[str, Any]:
    """Return the style of a theory."""
    colour, line, _ = marks()[place]
    return {"color": colour, "linestyle": line}


def _mark(ensemble: bool) -> dict[str, Any]:
    """Return the style of a measurement: filled by an ensemble, open by single steps."""
    return {"color": "#56B4E9", "marker": "o", "linestyle": "none", "markeredgecolor": "#0072B2",
            "markerfacecolor": "#56B4E9" if ensemble else "white"}


def _points(ax: Any, abscissa: Any, value: Any, stderr: Any, *, ensemble: bool) -> None:
    ax.errorbar(abscissa, value, 2 * np.asarray(stderr), elinewidth=0.9, zorder=3, **_mark(ensemble))


def _tails(ax: Any, data: "xarray.Dataset") -> None:
    sizes = data.batch_size.values
    for place, line in ((0, sizes), (2, 2 * sizes + 1), (3, data.kesten)):
        ax.plot(sizes, line, **_line(place))
    _points(ax, sizes, data.tail_index, data.tail_index_stderr, ensemble=True)
    _points(ax, sizes, data.measured, data.measured_stderr, ensemble=False)
    ax.set(xlabel="batch size S", ylabel="tail exponent", ylim=(0, 15), xticks=sizes)
    ax.set_title("Fig. 2: a \N{MULTIPLICATION SIGN} rate = 1", loc="left")


def _two_kinds(ax: Any, abscissa: np.ndarray, data: "xarray.Dataset") -> None:
    """Draw what was measured either way; leave out what is infinite."""
    for kind in (True, False):
        chosen = (data.by_ensemble.values == kind) & np.isfinite(data.measured.values)
        _points(ax, abscissa[chosen], data.measured.values[chosen], data.measured_stderr.values[chosen], ensemble=kind)


def _against_batch_size(ax: Any, data: "xarray.Dataset") -> None:
    sizes, line = data.batch_size.values, np.geomspace(6.3, 100, 200)
    for place, theory_line in enumerate((2 / (line - 6), 2 / line, 1 / (2 * line))):
        ax.plot(line, theory_line, **_line(place))
    ax.axvline(6, color="0.7", linewidth=0.6)
    _two_kinds(ax, sizes, data)
    ax.set(xscale="log", yscale="log", xlabel="batch size S", ylabel="fluctuation", ylim=(3e-3, 8))
    ax.set_xticks([6, 10, 20, 50, 100], ["6", "10", "20", "50", "100"])
    ax.set_xticks([], minor=True)
    ax.set_title("Fig. 3 left: a = 1.5, rate 1", loc="left")


def _against_weight_decay(ax: Any, data: "xarray.Dataset") -> None:
    decays = np.linspace(-0.33, 2.1, 300)
    losses = [theory.online_regression([[1.0]], 0.5, 1, weight_decay=decay, teacher=[1.0]).test_loss
              for decay in decays]
    ax.plot(decays, losses, **_line(0))
    _points(ax, data.weight_decay, data.measured, data.measured_stderr, ensemble=False)
    ax.set(xlabel="weight decay", ylabel="test loss", ylim=(-0.03, 0.8))
    ax.set_title("Fig. 3 right: rate 0.5, S = 1", loc="left")


def _against_learning_rate(ax: Any, data: "xarray.Dataset") -> None:
    rates, line = data.learning_rate.values, np.linspace(0.05, 1.66, 200)
    for place, theory_line in enumerate((line / (10 * (2 - 1.2 * line)), line / (10 * (2 - line)), line / 20)):
        ax.plot(line, theory_line, **_line(place))
    ax.axvline(5 / 3, color="0.7", linewidth=0.6)
    _two_kinds(ax, rates, data)
    ax.set(yscale="log", xlabel="learning rate", ylabel="fluctuation", ylim=(1e-3, 8))
    ax.set_title("Fig. 4a: a = 1, S = 10", loc="left")


def _ellipses(ax: Any, data: "xarray.Dataset", batch_size: int) -> None:
    """Draw the ellipses of one standard deviation."""
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    features = np.diag([1.0, 0.5])
    hessian_noise = theory.sgd_stationary_covariance(features, features / batch_size, 1.5)
    continuous = theory.ou_stationary_covariance(features, features / batch_size, 1.5)
    for place, covariance in enumerate((data.theory.values, hessian_noise, continuous)):
        ax.plot(*(np.linalg.cholesky(covariance) @ circle), **_line(place))
    ax.plot(*(np.linalg.cholesky(data.measured.values) @ circle[:, ::10]), **_mark(batch_size == 50))
    ax.set(xlabel="w along a = 1", ylabel="w along a = 0.5", aspect="equal")
