"""A constant epoch budget: the best learning rate against the batch size, with and without momentum."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sde_sgd.analysis import Claim, Regimes, Relation, Saturation, fit_regimes, optimal_learning_rate, tuned
from sde_sgd.noise import EpochShuffle
from sde_sgd.papers.paper import Findings
from sde_sgd.papers.smith2020.data import task
from sde_sgd.papers.smith2020.size import Size
from sde_sgd.papers.smith2020.training import (
    MOMENTUM,
    annealed,
    at_edge,
    best_rates,
    curves,
    divergence_expected,
    end,
    grid,
    measured,
    pair,
    saturation,
    slope,
)
from sde_sgd.run import sweep

if TYPE_CHECKING:
    import xarray

_NUM_EXAMPLES, _EPOCHS = 1000, 20
_REGIMES = "two regimes"
_MOMENTUM_SOURCE = "momentum"
_SAME = float(np.log2(1.15))  # octaves between learning rates that count as equal
_POINT = 0.01  # of accuracy


def learning_rates(size: Size, key: Any) -> Findings:
    """Train at every batch size for 20 epochs, over a grid of learning rates."""
    data = task(_NUM_EXAMPLES)
    rates = grid(-5, 3, size.octaves)

    def process(momentum: float) -> Any:
        return lambda rate, batch: annealed(
            rate, EpochShuffle(batch), _EPOCHS * data.problem.steps_per_epoch(batch), momentum=momentum)

    with divergence_expected():
        runs = sweep(data.problem, {"SGD": process(0.0), "heavy ball": process(MOMENTUM)}, learning_rates=rates,
                     batch_sizes=size.epochs_batches, num_seeds=size.epochs_seeds, num_epochs=_EPOCHS,
                     record=data.record, key=key, progress=False)
    last = end(runs, "process")
    optimum = optimal_learning_rate(last.log_loss)
    optimum["accuracy"] = tuned(last.log_loss, last.accuracy)[0].mean("seed")
    optimum["accuracy_stderr"] = tuned(last.log_loss, last.accuracy)[0].std("seed", ddof=1) / size.epochs_seeds**0.5
    found = _Found(last, rates, size.epochs_batches)
    edge = at_edge("learning rates", {str(name): optimum.at_edge.sel(process=name) for name in optimum.process.values})
    claims = [*_rate_claims(found, edge), *_momentum_claims(found), *_accuracy_claims(found),
              *_temperature_claims(found)]
    return Findings(claims, optimum.drop_vars("learning_rate", errors="ignore"))


class _Found(NamedTuple):
    """The end of all runs."""

    last: "xarray.Dataset"
    rates: tuple[float, ...]
    batches: tuple[int, ...]

    def loss(self, name: str) -> np.ndarray:
        """Return log losses over (seed, batch size, learning rate)."""
        return curves(self.last.log_loss.sel(process=name), "batch_size", "learning_rate")

    def where(self, low: int, high: int) -> slice:
        """Return the batch sizes in a range."""
        inside = [place for place, batch in enumerate(self.batches) if low <= batch <= high]
        return slice(inside[0], inside[-1] + 1)

    def slope(self, name: str, low: int, high: int) -> Any:
        """Return the exponent of the best learning rate in the batch size."""
        part = self.where(low, high)
        logs = np.log2(self.batches)[part]
        return measured(lambda mean: slope(logs, best_rates(self.rates, mean)), self.loss(name)[:, part])

    def accuracy(self, name: str) -> "xarray.DataArray":
        """Return test accuracies at the learning rate best for the training loss, over (batch size, seed)."""
        row = self.last.sel(process=name)
        return tuned(row.log_loss, row.accuracy)[0]

    def saturation(self, mean: np.ndarray) -> Saturation:
        """Return the fit of the best learning rates of mean curves."""
        return saturation(self.batches, best_rates(self.rates, mean), rising=True)

    def regimes(self, mean: np.ndarray) -> Regimes:
        """Return the two power laws of the best learning rates of mean curves."""
        logs = best_rates(self.rates, mean)
        return fit_regimes(self.batches, 2**logs) if np.all(np.isfinite(logs)) else Regimes(*[np.nan] * 4)


def _rate_claims(found: _Found, edge: str) -> list[Claim]:
    """Hold the exponents and the corner against the two regimes."""
    large, small = (125, 500), (8, 64)
    claims = [
        found.slope("SGD", *large)("exponent of the best learning rate in B, SGD, B = 125 to 500: constant, to 0.15",
                                   _REGIMES, 0.0, relation=Relation.WITHIN, tolerance=0.15, note=edge),
        found.slope("heavy ball", *small)("the same, heavy ball, B = 8 to 64: linear rule, to 0.4", _REGIMES, 1.0,
                                          relation=Relation.WITHIN, tolerance=0.4),
        found.slope("heavy ball", *small)("the same: steeper than a square root", _REGIMES, 0.5,
                                          relation=Relation.ABOVE),
    ]
    for name in ("SGD", "heavy ball"):
        fit = found.saturation(found.loss(name).mean(axis=0))
        miss = measured(lambda mean: found.saturation(mean).residual, found.loss(name))
        claims.append(miss(f"largest deviation from eta_max / (1 + B_noise / B), octaves, {name}: eta_max = "
                           f"{fit.limit:.2g}, B_noise = {fit.batch_size:.0f}", "McCandlish et al. (2018)", 0.5,
                           relation=Relation.BELOW))
    if len(found.batches) >= 5:
        claims += [_corner(found, name) for name in ("SGD", "heavy ball")]
    return claims


def _corner(found: _Found, name: str) -> Claim:
    """Return what two power laws say: that the exponent falls at the corner."""

    def change(mean: np.ndarray) -> float:
        fit = found.regimes(mean)
        return fit.slope_above - fit.slope_below

    fit = found.regimes(found.loss(name).mean(axis=0))
    return measured(change, found.loss(name))(
        f"change of the exponent at the corner, {name}: {fit.slope_below:.2f} to {fit.slope_above:.2f} at "
        f"B = {fit.corner:.0f}", _REGIMES, 0.0, relation=Relation.BELOW)


def _momentum_claims(found: _Found) -> list[Claim]:
    """Compare heavy ball with SGD: the same at small batches, better at large ones."""
    claims, both = [], (found.loss("heavy ball"), found.loss("SGD"))
    for batch in (8, 16):
        if batch in found.batches:
            place = found.batches.index(batch)
            octaves = measured(lambda one, two: best_rates(found.rates, one) - best_rates(found.rates, two),
                               *(values[:, place] for values in both))
            claims.append(octaves(f"best effective learning rate with over without momentum, octaves, B = {batch}: the "
                                  "same, to 15 %", _MOMENTUM_SOURCE, 0.0, relation=Relation.WITHIN, tolerance=_SAME))
    for part, statement, ceiling in (("limit", "largest best effective learning rate", True),
                                     ("batch_size", "noise scale at which the best learning rate saturates", False)):
        gain = measured(lambda one, two, part=part: np.log2(
            getattr(found.saturation(one), part) / getattr(found.saturation(two), part)), *both)
        claims.append(gain(f"{statement}, with over without momentum, octaves", _MOMENTUM_SOURCE, 0.0,
                           relation=Relation.ABOVE))
        if ceiling:
            claims.append(gain("the same: at most (1 + m)/(1 - m), the room of stability", "stability of a "
                               "quadratic", float(np.log2((1 + MOMENTUM) / (1 - MOMENTUM))), relation=Relation.BELOW))
    for batch in (250, 500):
        if batch in found.batches:
            gain = pair((found.accuracy("heavy ball") - found.accuracy("SGD")).sel(batch_size=batch))
            claims.append(gain(f"test accuracy with less that without momentum, B = {batch}", _MOMENTUM_SOURCE, 0.0,
                               relation=Relation.ABOVE))
    gain = pair((found.accuracy("heavy ball") - found.accuracy("SGD")).sel(batch_size=8))
    claims.append(gain("the same at B = 8: none, to a point", _MOMENTUM_SOURCE, 0.0, relation=Relation.WITHIN,
                       tolerance=_POINT))
    return claims


def _accuracy_claims(found: _Found) -> list[Claim]:
    """Hold accuracy and training loss against the two regimes."""
    claims = []
    for name, last in (("SGD", 32), ("heavy ball", 32)):
        accuracy = found.accuracy(name)
        flat = pair(accuracy.sel(batch_size=last) - accuracy.sel(batch_size=8))
        claims.append(flat(f"test accuracy at B = {last} less that at B = 8, {name}: none, to a point", _REGIMES, 0.0,
                           relation=Relation.WITHIN, tolerance=_POINT))
        fall = pair(accuracy.sel(batch_size=500) - accuracy.sel(batch_size=8))
        claims.append(fall(f"the same at B = 500, {name}: it falls", _REGIMES, 0.0, relation=Relation.BELOW))
        row = found.last.sel(process=name)
        loss = tuned(row.log_loss)[0] / np.log(2.0)
        rise = pair(loss.sel(batch_size=500) - loss.sel(batch_size=last))
        claims.append(rise(f"training loss at B = 500 over that at B = {last}, octaves, {name}: it rises", _REGIMES,
                           0.0, relation=Relation.ABOVE))
    return claims


def _temperature_claims(found: _Found) -> list[Claim]:
    """Compare runs of equal temperature and equal epochs, well below the best learning rate."""
    claims = []
    for name in ("SGD", "heavy ball"):
        row = found.last.sel(process=name)
        loss = row.log_loss / np.log(2.0)
        one = loss.sel(batch_size=8).sel(learning_rate=2.0**-5, method="nearest")
        four = loss.sel(batch_size=32).sel(learning_rate=2.0**-3, method="nearest")
        claims.append(pair(four - one)(
            f"training loss at (B, rate) = (32, 1/8) over that at (8, 1/32), octaves, {name}: the same temperature, "
            "the same loss to 20 %", "SDE, T = rate / B", 0.0, relation=Relation.WITHIN, tolerance=float(np.log2(1.2))))
    return claims
