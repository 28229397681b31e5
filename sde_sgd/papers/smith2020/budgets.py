"""A growing epoch budget at one batch size: the best learning rate for the test and for training, and their ends."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sde_sgd.analysis import Claim, Relation, grid_minimum, optimal_learning_rate
from sde_sgd.noise import EpochShuffle
from sde_sgd.papers.paper import Findings
from sde_sgd.papers.smith2020.data import NOISE, task
from sde_sgd.papers.smith2020.size import Size
from sde_sgd.papers.smith2020.training import (
    annealed,
    best_rates,
    curves,
    divergence_expected,
    end,
    grid,
    measured,
    slope,
)
from sde_sgd.run import sweep

if TYPE_CHECKING:
    import xarray

_NUM_EXAMPLES, _BATCH = 500, 16
_LOW, _HIGH = -11, 1
_SOURCE = "growing budgets"
# Budgets up to 128 times as long lower the rate best for the test by about 2, and that best for training by about 16.
_TEST, _TRAINING = -1 / 7, -4 / 7
_WHY = ("the likely reason: a small network without normalisation that fits its training set has no noise floor, so "
        "that the learning rate best for training stays at the edge of stability, while label noise makes early "
        "stopping, a small rate, best for the test.")


def learning_rates(size: Size, key: Any) -> Findings:
    """Train for budgets of epochs with 20 % label noise; tune the learning rate for the test and for training."""
    import xarray

    rates = grid(_LOW, _HIGH, 1.0)
    variants = {"plain": (10.0, 0.0), "decayed": (10.0, 5e-4)}
    both = [_runs(rates, budget, variants, size, key) for budget in size.budgets]
    plain, decayed = ([one.sel(process=name, drop=True) for one in both] for name in variants)
    claims = []
    for runs, where in ((plain, "20 % label noise"), (decayed, "the same with weight decay 5e-4")):
        claims += _exponent_claims(runs, rates, size.budgets, where)
    optima = [xarray.concat([optimal_learning_rate(one[name], num_points=points) for one in plain], "budget")
              for name, points in (("error", 5), ("log_loss", 3))]
    data = xarray.concat(optima, xarray.DataArray(["test", "training"], dims="best_for", name="best_for"))
    return Findings([*claims, *_edge_claims(plain, rates, size, key)], data.assign_coords(budget=list(size.budgets)))


def _runs(
    rates: tuple[float, ...], budget: int, variants: dict[str, tuple[float, float]], size: Size, key: Any
) -> "xarray.Dataset":
    """Return the end of runs of so many epochs, for variants of the octaves of annealing and of the weight decay."""
    data = task(_NUM_EXAMPLES, NOISE)
    steps = budget * data.problem.steps_per_epoch(_BATCH)

    def process(octaves: float, decay: float) -> Any:
        return lambda rate, batch: annealed(rate, EpochShuffle(batch), steps, weight_decay=decay, octaves=octaves)

    with divergence_expected():
        return end(sweep(
            data.problem, {name: process(*variant) for name, variant in variants.items()},
            learning_rates=rates, batch_sizes=(_BATCH,), num_seeds=size.budget_seeds, num_steps=steps,
            record=data.record, key=key, progress=False), "process")


def _exponent_claims(
    runs: "list[xarray.Dataset]", rates: tuple[float, ...], budgets: tuple[int, ...], where: str
) -> list[Claim]:
    """Hold the exponents of the best learning rates in the budget against those read off the paper's abstract."""
    logs, growth = np.log2(budgets), budgets[-1] / budgets[0]

    def test(*means: np.ndarray) -> float:
        return slope(logs, [best_rates(rates, mean, 5) for mean in means])

    def training(*means: np.ndarray) -> float:
        return slope(logs, [best_rates(rates, mean) for mean in means])

    def gap(*means: np.ndarray) -> float:
        return training(*means[len(runs):]) - test(*means[: len(runs)])

    errors = [curves(one.error, "learning_rate") for one in runs]
    losses = [curves(one.log_loss, "learning_rate") for one in runs]
    return [
        measured(test, *errors)(f"exponent of the learning rate best for the test in the budget, to 0.1; x{growth:g}, "
                                f"{where}", _SOURCE, _TEST, relation=Relation.WITHIN, tolerance=0.1, note=_WHY),
        measured(training, *losses)(f"the same, best for training; {where}", _SOURCE, _TRAINING,
                                    relation=Relation.WITHIN, tolerance=0.1, note=_WHY),
        measured(gap, *errors, *losses)(f"the second less the first: training wants the faster fall; {where}", _SOURCE,
                                        0.0, relation=Relation.BELOW, note=_WHY),
    ]


def _edge_claims(
    plain: "list[xarray.Dataset]", rates: tuple[float, ...], size: Size, key: Any
) -> list[Claim]:
    """Tune the first and the last learning rate together; follow both as the budget grows."""
    coarse = rates[::2]
    variants = {str(octaves): (float(octaves), 0.0) for octaves in size.ratios}
    runs = []
    for place, budget in enumerate(size.budgets):
        found = _runs(coarse, budget, variants, size, key)
        rows = {octaves: found.sel(process=str(octaves)) for octaves in size.ratios}
        rows[10] = plain[place].sel(learning_rate=list(coarse))
        runs.append(rows)
    ratios = (*size.ratios, 10)
    logs = np.log2(size.budgets)

    def exponent(means: Sequence[np.ndarray], part: int) -> float:
        return slope(logs, [_ends(coarse, ratios, mean)[part] for mean in means])

    claims, samples = [], {}
    for name, points in (("error", "the test"), ("log_loss", "training")):
        samples[name] = [np.stack([curves(rows[ratio][name], "learning_rate") for ratio in ratios], axis=1)
                         for rows in runs]
        for part, which in enumerate(("first", "last")):
            claims.append(measured(lambda *means, part=part: exponent(means, part), *samples[name])(
                f"exponent in the budget of the {which} learning rate best for {points}, both tuned", _SOURCE, 0.0,
                relation=Relation.BELOW, note=_WHY))
    gap = measured(lambda *means: exponent(means[len(runs):], 1) - exponent(means[: len(runs)], 1),
                   *samples["error"], *samples["log_loss"])
    claims.append(gap("exponent of the last rate best for training less that for the test: training wants the faster "
                      "decay", _SOURCE, 0.0, relation=Relation.BELOW, note=_WHY))
    return claims


def _ends(rates: tuple[float, ...], ratios: tuple[int, ...], means: np.ndarray) -> tuple[float, float]:
    """Return log2 of the first and of the last learning rate that are best together.

    The best first rate for every ratio by a parabola, then the best ratio of those tried; NaN at the edge of the rates.
    """
    best = int(np.argmin(grid_minimum(np.log2(rates), means).value))
    first = float(best_rates(rates, means[best]))
    return first, first - ratios[best]
