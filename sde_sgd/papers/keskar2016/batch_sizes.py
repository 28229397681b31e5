"""Figure 4 and the objection to it: sharpness and accuracy against the batch size and against the learning rate."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Array, PyTree

from sde_sgd.analysis import Claim, Relation, tuned
from sde_sgd.noise import EpochShuffle
from sde_sgd.papers.keskar2016.batches import LARGE, RATE, SMALL
from sde_sgd.papers.keskar2016.measures import measured, stacked
from sde_sgd.papers.keskar2016.networks import NETWORKS, Setting, digit_images, setting
from sde_sgd.papers.keskar2016.paired import difference, ratio, trend
from sde_sgd.papers.keskar2016.size import Size
from sde_sgd.papers.keskar2016.training import starts, to_target
from sde_sgd.papers.paper import Findings
from sde_sgd.processes import SGD

if TYPE_CHECKING:
    import xarray

_FACTORS = (4, 8)  # times the small batch, at as many times its learning rate
_SMALL_FACTORS = (0.5, 2.0, 4.0)  # of the learning rate, tried for small batches beside 1
_LOOK = 0.625  # units of time, learning rate times steps, between two looks at the loss
_MAX_TIME = 250.0
_FLAT_FROM = 50  # where the sharpness has levelled off, with 500 examples


def sweep(size: Size, key: Any) -> Findings:
    """Vary the batch size at one learning rate, both together, and the learning rate of the small and the large."""
    import xarray

    case = setting(NETWORKS["F1"], digit_images())
    start_key, run_key = jax.random.split(key)
    begin = starts(case.train, size.num_seeds, start_key)

    def cells(settings: "list[tuple[int, float]]", label: str) -> "xarray.Dataset":
        rows = [_cell(case, begin, batch, rate, run_key) for batch, rate in settings]
        joined = stacked(rows, "cell", [f"{label} {number}" for number in range(len(rows))])
        return joined.assign(cell_batch_size=("cell", [batch for batch, _ in settings]),
                             cell_learning_rate=("cell", [rate for _, rate in settings]))

    by_batch = cells([(batch, RATE) for batch in size.batch_sizes], "batch size")
    factors = [factor for factor in _FACTORS if factor * SMALL in size.batch_sizes]
    same = cells([(factor * SMALL, factor * RATE) for factor in factors], "temperature")
    doublings = 2.0 ** np.arange(size.num_doublings + 1)
    small = cells([(SMALL, RATE * factor) for factor in _SMALL_FACTORS], "small")
    large = cells([(LARGE, RATE * factor) for factor in doublings], "large")
    claims = [*_against_batch_size(by_batch), *_temperature(by_batch, same, factors[-1]),
              *_tuned(xarray.concat([small, by_batch.isel(cell=[0])], "cell"), large)]
    return Findings(claims, xarray.concat([by_batch, same, small, large], "cell"))


def _cell(case: Setting, begin: PyTree, batch_size: int, rate: float, key: Array) -> "xarray.Dataset":
    """Return what is measured at one batch size and learning rate; the loss is looked at at equal times."""
    run = to_target(case.train, SGD(rate, EpochShuffle(batch_size)), begin, look_every=max(round(_LOOK / rate), 1),
                    max_steps=round(_MAX_TIME / rate), key=key)
    return measured(case, run.params, begin, run.reached)


def _against_batch_size(rows: "xarray.Dataset") -> list[Claim]:
    accuracy, sharp, loss = (rows[name].transpose("seed", "cell").values
                             for name in ("test_accuracy", "sharpness", "train_loss"))
    batches = rows.cell_batch_size.values
    kept = np.isfinite(sharp).all(axis=1)
    order = np.argsort(sharp[kept], axis=1)
    by_sharpness = np.full_like(accuracy, np.nan)
    by_sharpness[kept] = np.take_along_axis(accuracy[kept], order, axis=1)
    low, high = batches <= batches[0] * 4, batches >= _FLAT_FROM
    claims = [
        difference("F1, control: training loss at the largest batch less that at the smallest, to 0.004", "equal loss",
                   loss[:, -1], loss[:, 0], relation=Relation.WITHIN, tolerance=0.004),
        trend("F1: sharpness rises with the batch size, rank correlation", "Fig. 4", sharp),
        trend("F1: test accuracy falls with the batch size, rank correlation", "Fig. 4", accuracy,
              relation=Relation.BELOW),
        trend("F1: test accuracy falls with the sharpness, rank correlation over batch sizes", "Sec. 2.2.2",
              by_sharpness, relation=Relation.BELOW),
        ratio(f"F1: sharpness at B = {batches[-1]} over B = {batches[0]}", "Fig. 4", sharp[:, -1], sharp[:, 0]),
    ]
    if high.sum() > 1:
        slopes = [_slopes(np.log(sharp[:, chosen]), np.log(batches[chosen])) for chosen in (low, high)]
        claims.append(difference(f"F1: slope of log sharpness on log B up to {batches[low][-1]} less that from "
                                 f"{_FLAT_FROM}", "Fig. 4, threshold", *slopes))
    return claims


def _slopes(values: np.ndarray, against: np.ndarray) -> np.ndarray:
    """Return the slope of every row by least squares."""
    centred = against - against.mean()
    return values @ centred / np.sum(centred**2)


def _temperature(by_batch: "xarray.Dataset", same: "xarray.Dataset", factor: int) -> list[Claim]:
    """Return the claim that eta / B, and not B, sets the sharpness."""
    small = by_batch.isel(cell=0).sharpness.values
    cooler = by_batch.isel(cell=int(np.flatnonzero(by_batch.cell_batch_size.values == factor * SMALL)[0]))
    equal = same.isel(cell=-1).sharpness.values
    label = f"F1: B = {factor * SMALL} over B = {SMALL}, sharpness"
    moved = np.abs(np.log(cooler.sharpness.values / small)) - np.abs(np.log(equal / small))
    return [
        ratio(f"{label}, at {factor} times the learning rate", "eta / B (not in the paper)", equal, small,
              relation=Relation.WITHIN, tolerance=0.5),
        ratio(f"{label}, at equal learning rate", "eta / B (not in the paper)", cooler.sharpness.values, small),
        difference("F1: at equal learning rate |log ratio| is larger than at equal eta / B, by",
                   "eta / B (not in the paper)", moved, np.zeros_like(moved)),
    ]


def _tuned(small: "xarray.Dataset", large: "xarray.Dataset") -> list[Claim]:
    """Return the claims with a learning rate of its own for either batch size, chosen for every seed by the others."""
    chosen, notes = [], []
    for label, rows in (("SB", small), ("LB", large)):
        names = ("test_accuracy", "sharpness")
        by_rate = rows[list(names)].swap_dims(cell="learning_rate").assign_coords(
            learning_rate=("learning_rate", rows.cell_learning_rate.values)).sortby("learning_rate")
        lost = by_rate.sharpness.isnull().any("seed")
        criterion = (-by_rate.test_accuracy).where(~lost)
        chosen.append(tuned(criterion, *(by_rate[name] for name in names)))
        best, rates = int(np.nanargmin(criterion.mean("seed", skipna=False))), by_rate.learning_rate.values
        usable = rates[np.isfinite(criterion.values).all(axis=criterion.get_axis_num("seed"))]
        edge = ", the largest at which every run reaches the loss" if rates[best] == usable[-1] < rates[-1] else (
            ", at the edge" if rates[best] in (usable[0], usable[-1]) else "")
        notes.append(f"{label} {rates[best]:g} of {usable[0]:g} to {usable[-1]:g}{edge}")
    (accuracy, sharp), (other_accuracy, other_sharp) = chosen
    note = f"learning rates, chosen for every seed by the others, mostly {' and '.join(notes)}."
    return [
        difference("F1, either at its best learning rate: test accuracy SB - LB in points", "Table 2, tuned",
                   100 * accuracy.values, 100 * other_accuracy.values, note=note),
        ratio("F1, either at its best learning rate: sharpness LB / SB", "Table 3, tuned", other_sharp.values,
              sharp.values),
    ]
