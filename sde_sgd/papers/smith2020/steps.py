"""A constant step budget: small batches generalise better although large ones train to a lower loss."""

from typing import TYPE_CHECKING, Any

import numpy as np

from sde_sgd.analysis import Claim, Measured, Relation, Trend, optimal_learning_rate, trend_test, tuned
from sde_sgd.noise import EpochShuffle
from sde_sgd.papers.paper import Findings
from sde_sgd.papers.smith2020.data import NOISE, task
from sde_sgd.papers.smith2020.size import Size
from sde_sgd.papers.smith2020.training import MOMENTUM, annealed, at_edge, divergence_expected, end, grid, of, pair
from sde_sgd.run import sweep

if TYPE_CHECKING:
    import xarray

_STEPS, _SMALL, _LARGE = 1000, 4, 500
_SOURCE = "equal steps"


def equal_steps(size: Size, key: Any) -> Findings:
    """Train for 1000 steps at every batch size with 20 % of the labels redrawn, over a grid of learning rates."""
    last = _runs(500, NOISE, grid(-9, 3, size.steps_octaves), size.steps_batches, size.steps_seeds, key)
    by_error, by_loss = optimal_learning_rate(last.error, num_points=5), optimal_learning_rate(last.log_loss)
    edge = at_edge("learning rates", {"best for the test": by_error.at_edge, "best for training": by_loss.at_edge})
    test_tuned = tuned(last.error, last.accuracy, last.log_loss)
    train_tuned = tuned(last.log_loss, last.accuracy, last.log_loss)
    trend = _fall(test_tuned[0], size.steps_batches)
    small, large = {"batch_size": _SMALL}, {"batch_size": _LARGE}
    noisy = f"20 % label noise, {_STEPS} steps"
    claims = [
        pair(test_tuned[0].sel(small) - test_tuned[0].sel(large))(
            f"best test accuracy at B = {_SMALL} less that at B = {_LARGE}; {noisy}", _SOURCE, 0.0,
            relation=Relation.ABOVE, note=edge),
        of(Measured(*trend[:2]), size.steps_seeds)(
            f"rank correlation of the best test accuracy with B from {_SMALL} up; Page's p = {trend.p_value:.1g}",
            _SOURCE, 0.0, relation=Relation.BELOW),
        pair((train_tuned[1].sel(large) - train_tuned[1].sel(small)) / np.log(2.0))(
            f"training loss at B = {_LARGE} over that at B = {_SMALL}, octaves, learning rates best for it", _SOURCE,
            0.0, relation=Relation.BELOW),
        pair(train_tuned[0].sel(small) - train_tuned[0].sel(large))(
            "test accuracy of the same runs, small less large", _SOURCE, 0.0, relation=Relation.ABOVE),
        *_clean_claims(size, key),
    ]
    return Findings(claims, _summary(test_tuned, train_tuned))


def _runs(
    num_examples: int, noise: float, rates: tuple[float, ...], batches: tuple[int, ...], num_seeds: int, key: Any
) -> "xarray.Dataset":
    data = task(num_examples, noise)
    with divergence_expected():
        return end(sweep(
            data.problem,
            {"heavy ball": lambda rate, batch: annealed(rate, EpochShuffle(batch), _STEPS, momentum=MOMENTUM)},
            learning_rates=rates, batch_sizes=batches, num_seeds=num_seeds, num_steps=_STEPS,
            record=data.record, key=key, progress=False), "batch_size")


def _fall(accuracy: "xarray.DataArray", batches: tuple[int, ...]) -> Trend:
    """Return the trend of the accuracy from the small batch to the largest, negative for a fall."""
    along = accuracy.sel(batch_size=[batch for batch in batches if batch >= _SMALL]).transpose("seed", "batch_size")
    found = trend_test(-along.values)
    return Trend(-found.correlation, found.stderr, found.p_value)


def _clean_claims(size: Size, key: Any) -> list[Claim]:
    """Repeat it with clean labels and twice the examples."""
    if not size.clean_seeds:
        return []
    last = _runs(1000, 0.0, grid(-5, 3, 1.0), (16, 250), size.clean_seeds, key)
    accuracy = tuned(last.error, last.accuracy)[0]
    gain = pair(accuracy.sel(batch_size=16) - accuracy.sel(batch_size=250))
    return [gain("best test accuracy at B = 16 less that at B = 250, clean labels", _SOURCE, 0.0,
                 relation=Relation.ABOVE, note="where the labels are clean, an accuracy near its ceiling leaves little "
                 "to gain.")]


def _summary(
    test_tuned: "tuple[xarray.DataArray, ...]", train_tuned: "tuple[xarray.DataArray, ...]"
) -> "xarray.Dataset":
    import xarray

    found = {}
    for name, (accuracy, log_loss) in (("test", test_tuned), ("training", train_tuned)):
        for part, values in (("accuracy", accuracy), ("log_loss", log_loss)):
            found[f"{part}_best_for_{name}"] = values.mean("seed")
            found[f"{part}_best_for_{name}_stderr"] = values.std("seed", ddof=1) / values.sizes["seed"] ** 0.5
    return xarray.Dataset(found).drop_vars("learning_rate", errors="ignore")
