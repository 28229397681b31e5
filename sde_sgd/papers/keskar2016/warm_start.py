"""Figure 5: large batches started from where some epochs of small ones have led."""

from typing import Any

import jax
import numpy as np

from sde_sgd.analysis import Claim, Relation
from sde_sgd.papers.keskar2016.batches import LARGE, SMALL, process, trained
from sde_sgd.papers.keskar2016.measures import measured, stacked
from sde_sgd.papers.keskar2016.networks import NETWORKS, NUM_TRAIN, digit_images, setting
from sde_sgd.papers.keskar2016.paired import difference, trend
from sde_sgd.papers.keskar2016.size import Size
from sde_sgd.papers.keskar2016.training import for_steps, starts
from sde_sgd.papers.paper import Findings

_NO_GAIN = 1.0  # points of accuracy that do not matter


def warm_start(size: Size, key: Any) -> Findings:
    """Train some epochs with small batches, then to the target with large ones, and compare at equal loss."""
    case = setting(NETWORKS["F1"], digit_images())
    start_key, small_key, large_key = jax.random.split(key, 3)
    begin = starts(case.train, size.num_seeds, start_key)
    now, done, rows = begin, 0, []
    for place, epochs in enumerate(size.warm_epochs):
        if epochs > done:
            steps = (epochs - done) * NUM_TRAIN // SMALL
            now = for_steps(case.train, process("SGD", SMALL), now, steps, jax.random.fold_in(small_key, place))
            done = epochs
        run = trained(case, "SGD", LARGE, now, large_key)
        rows.append(measured(case, run.params, begin, run.reached))
    data = stacked(rows, "warm_epochs", size.warm_epochs)
    return Findings(_claims(size.warm_epochs, data), data)


def _claims(epochs: tuple[int, ...], data: Any) -> list[Claim]:
    accuracy = 100 * data.test_accuracy.transpose("seed", "warm_epochs").values
    sharp = data.sharpness.transpose("seed", "warm_epochs").values
    source = "Fig. 5"
    return [
        trend("F1: sharpness falls with the epochs of small batches before, rank correlation", source, sharp,
              relation=Relation.BELOW),
        trend("F1: test accuracy rises with them, rank correlation", source, accuracy),
        difference(f"F1: test accuracy after {epochs[-1]} epochs less that without, in points", source, accuracy[:, -1],
                   accuracy[:, 0]),
        difference(f"F1: after {epochs[1]} epoch no gain, to {_NO_GAIN:g} point", source, accuracy[:, 1],
                   accuracy[:, 0], relation=Relation.WITHIN, tolerance=_NO_GAIN),
    ] if np.isfinite(sharp).any() else []
