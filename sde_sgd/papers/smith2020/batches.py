"""A constant learning rate: the batch size best for the test, against the learning rate and the number of examples."""

from typing import TYPE_CHECKING, Any

import numpy as np

from sde_sgd.analysis import Claim, Relation, grid_minimum, jackknife
from sde_sgd.noise import EpochShuffle
from sde_sgd.papers.paper import Findings
from sde_sgd.papers.smith2020.data import NOISE, task
from sde_sgd.papers.smith2020.size import Size
from sde_sgd.papers.smith2020.training import curves, divergence_expected, end, measured, slope
from sde_sgd.processes import SGD
from sde_sgd.run import sweep

if TYPE_CHECKING:
    import xarray

_STEPS, _NUM_EXAMPLES = 1000, 500
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
_FEWER = _BATCHES[:-1]  # for the smallest data sets
_RATES = (0.1, 0.2)  # at which the number of examples varies
_SOURCE = "Smith, Le (2018)"


def best_batches(size: Size, key: Any) -> Findings:
    """Train for 1000 steps at constant learning rates, with 20 % label noise; find the best batch size of each."""
    last = _runs(_NUM_EXAMPLES, size.rates, _BATCHES, size, key)
    logs = np.log2(size.rates)
    errors = curves(last.error, "learning_rate", "batch_size")
    found = jackknife(lambda mean: _best(_BATCHES, mean), errors)
    edge = grid_minimum(np.log2(_BATCHES), errors.mean(axis=0), 5).at_edge
    note = "".join(f"at rate {rate:g} the best batch size is at the edge of the grid. "
                   for rate, flag in zip(size.rates, edge, strict=True) if flag).rstrip()
    exponent = measured(lambda mean: slope(logs, _best(_BATCHES, mean)), errors)
    where = f"learning rates {size.rates[0]:g} to {size.rates[-1]:g}"
    claims = [
        exponent(f"exponent of the best batch size in the learning rate: proportional, to 0.5; {where}", _SOURCE, 1.0,
                 relation=Relation.WITHIN, tolerance=0.5, note=note),
        exponent("the same: it grows", _SOURCE, 0.0, relation=Relation.ABOVE, note=note),
        *_number_claims(size, key),
    ]
    data = last[["accuracy"]].mean("seed").assign(
        accuracy_stderr=last.accuracy.std("seed", ddof=1) / size.batch_seeds**0.5,
        log2_best=("learning_rate", found.value), log2_best_stderr=("learning_rate", found.stderr))
    return Findings(claims, data)


def _runs(
    num_examples: int, rates: tuple[float, ...], batches: tuple[int, ...], size: Size, key: Any
) -> "xarray.Dataset":
    data = task(num_examples, NOISE)
    with divergence_expected():
        return end(sweep(data.problem, {"SGD": lambda rate, batch: SGD(rate, EpochShuffle(batch))},
                         learning_rates=rates, batch_sizes=batches, num_seeds=size.batch_seeds, num_steps=_STEPS,
                         record=data.record, key=key, progress=False), "batch_size")


def _best(batches: tuple[int, ...], means: np.ndarray) -> np.ndarray:
    """Return log2 of the best batch size, NaN at the edge of the grid."""
    found = grid_minimum(np.log2(batches), means, 5)
    return np.where(found.at_edge, np.nan, found.position)


def _number_claims(size: Size, key: Any) -> list[Claim]:
    """Find the exponent of the best batch size in the number of examples."""
    if len(size.numbers) < 2:
        return []
    errors = [curves(_runs(number, _RATES, _FEWER, size, key).error, "learning_rate", "batch_size")
              for number in size.numbers]
    logs = np.log2(size.numbers)
    exponent = measured(lambda *means: slope(logs, [_best(_FEWER, mean).mean() for mean in means]), *errors)
    return [exponent(
        f"exponent of the best batch size in the number of examples, {size.numbers[0]} to {size.numbers[-1]}: "
        f"proportional, to 0.5; mean of learning rates {_RATES[0]:g} and {_RATES[1]:g}", _SOURCE, 1.0,
        relation=Relation.WITHIN, tolerance=0.5,
        note="at a fixed number of steps: larger data sets are seen fewer times.")]
