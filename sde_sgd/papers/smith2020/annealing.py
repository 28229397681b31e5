"""Do not decay the learning rate, increase the batch size: the same training in fewer steps."""

from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from sde_sgd._core.random import Draws
from sde_sgd.analysis import Claim, Relation
from sde_sgd.noise import AbstractMinibatch, EpochShuffle
from sde_sgd.noise.minibatch import EpochPosition
from sde_sgd.papers.paper import Findings
from sde_sgd.papers.smith2020.data import NOISE, task
from sde_sgd.papers.smith2020.size import Size
from sde_sgd.papers.smith2020.training import end, pair
from sde_sgd.problems import Problem
from sde_sgd.problems.problem import Batch
from sde_sgd.processes import from_optax
from sde_sgd.run import sweep

if TYPE_CHECKING:
    import xarray

_NUM_EXAMPLES, _EPOCHS = 1000, 10  # epochs of each of three phases
_SOURCE = "Smith, Kindermans, Ying, Le (2018)"
_POINT = 0.01
# Learning rates and batch sizes of the phases; schedules of one largest batch run together.
SCHEDULES: dict[str, tuple[tuple[float, ...], tuple[int, ...]]] = {
    "decay the rate": ((0.2, 0.05, 0.0125), (8, 8, 8)),
    "increase the batch": ((0.2, 0.2, 0.2), (8, 32, 125)),
    "first batch, then rate": ((0.2, 0.2, 0.05), (8, 32, 32)),
    "neither": ((0.2, 0.2, 0.2), (8, 8, 8)),
    "decay the rate, B = 32": ((0.2, 0.05, 0.0125), (32, 32, 32)),
}


class _Place(NamedTuple):
    """How many epochs are done, and where the lane stands in this one."""

    epoch: Array
    within: EpochPosition


class PhasedShuffle(AbstractMinibatch):
    """Epochs in fresh random orders, with a batch size that changes from phase to phase.

    Every step gathers as many examples as the largest batch.
    """

    batch_size: Any
    phases: Any
    epochs: Any
    shuffle: EpochShuffle

    def __init__(self, batch_sizes: tuple[int, ...], epochs_per_phase: int, largest: int):
        self.shuffle = EpochShuffle(largest)
        self.batch_size = self.shuffle.batch_size
        self.phases = np.asarray(batch_sizes, np.int32)
        self.epochs = np.asarray(epochs_per_phase, np.int32)

    def init(self) -> _Place:
        """Return the start of the first epoch."""
        return _Place(jnp.zeros((), jnp.int32), self.shuffle.init())

    def num_slots(self, problem: Problem, params: PyTree) -> int:
        """Return how many slots of randomness one gradient takes."""
        return self.shuffle.num_slots(problem, params)

    def factor(self, problem: Problem) -> Any:
        """Return that of the largest batch."""
        return self.shuffle.factor(problem)

    def sample(
        self, problem: Problem, params: PyTree, sampler: _Place, draws: Draws, slot: Any = 0
    ) -> tuple[Batch, _Place]:
        """Draw the next minibatch of the epoch, of the batch size of its phase."""
        phase = jnp.minimum(sampler.epoch // self.epochs, self.phases.shape[0] - 1)
        now = eqx.tree_at(lambda shuffle: shuffle.batch_size, self.shuffle, jnp.asarray(self.phases)[phase])
        batch, within = now.sample(problem, params, sampler.within, draws, slot)
        return batch, _Place(sampler.epoch + (within.batch == 0), within)


def phased_sgd(learning_rate: Any, rates: Any, ends: Any) -> Any:
    """Return SGD whose learning rate changes from phase to phase and is zero from the end of the last one on."""
    import optax

    def schedule(step: Any) -> Array:
        phase = jnp.searchsorted(ends, jnp.asarray(step, ends.dtype), side="right")
        return learning_rate * jnp.append(rates, 0.0)[phase]

    return optax.scale_by_learning_rate(schedule)


def decay_or_increase(size: Size, key: Any) -> Findings:
    """Train by five schedules of three phases, factors of four apart, with 20 % label noise."""
    import xarray

    updates = {name: int(_ends(batches)[-1]) for name, (_, batches) in SCHEDULES.items()}
    runs: dict[str, xarray.Dataset] = {}
    for largest in sorted({max(batches) for _, batches in SCHEDULES.values()}):
        runs |= _runs(largest, updates, size, key)
    found = {name: runs[name] for name in SCHEDULES}
    names = xarray.DataArray(list(found), dims="schedule", name="schedule")
    loss, accuracy = (xarray.concat([one[part] for one in found.values()], names) for part in ("loss", "accuracy"))
    means = xarray.Dataset({
        "loss": loss.mean("seed"), "accuracy": accuracy.mean("seed"),
        "accuracy_stderr": accuracy.std("seed", ddof=1) / size.annealing_seeds**0.5,
        "updates": ("schedule", list(updates.values()))})
    return Findings(_claims(found, updates), means)


def _ends(batches: tuple[int, ...]) -> np.ndarray:
    """Return the step after the last one of every phase."""
    return np.cumsum([_EPOCHS * -(-_NUM_EXAMPLES // batch) for batch in batches])


def _runs(largest: int, updates: dict[str, int], size: Size, key: Any) -> "dict[str, xarray.Dataset]":
    """Run all schedules with this largest batch as one ensemble, as long as the longest of them."""
    names = [name for name, (_, batches) in SCHEDULES.items() if max(batches) == largest]

    def process(name: str) -> Any:
        rates, batches = SCHEDULES[name]
        return lambda rate, batch: from_optax(
            phased_sgd, PhasedShuffle(batches, _EPOCHS, batch), learning_rate=rate,
            rates=np.asarray(rates) / rate, ends=_ends(batches).astype(np.float64))

    data = task(_NUM_EXAMPLES, NOISE)
    last = end(sweep(data.problem, {name: process(name) for name in names}, learning_rates=(SCHEDULES[names[0]][0][0],),
                     batch_sizes=(largest,), num_seeds=size.annealing_seeds,
                     num_steps=max(updates[name] for name in names), record=data.record, key=key, progress=False),
               "process").isel(learning_rate=0, drop=True)
    return {name: last.sel(process=name, drop=True) for name in names}


def _claims(found: "dict[str, xarray.Dataset]", updates: dict[str, int]) -> list[Claim]:
    decay, grow, hybrid, neither, wrong = found.values()
    claims = []
    for name, other in (("increase the batch", grow), ("first batch, then rate", hybrid)):
        claims += [
            pair(other.accuracy - decay.accuracy)(
                f"test accuracy, {name} less decay the rate: equal to a point; {updates[name]} against "
                f"{updates['decay the rate']} updates", _SOURCE, 0.0, relation=Relation.WITHIN, tolerance=_POINT),
            pair((other.log_loss - decay.log_loss) / np.log(2.0))(
                f"training loss, {name} over decay the rate, octaves: equal to 5 %", _SOURCE, 0.0,
                relation=Relation.WITHIN, tolerance=float(np.log2(1.05)))]
    claims += [
        pair((neither.log_loss - decay.log_loss) / np.log(2.0))(
            "control, neither: training loss over decay the rate, octaves", _SOURCE, float(np.log2(1.05)),
            relation=Relation.ABOVE),
        pair((wrong.log_loss - decay.log_loss) / np.log(2.0))(
            "control, another temperature (B = 32): training loss over decay the rate, octaves", _SOURCE,
            float(np.log2(1.05)), relation=Relation.ABOVE)]
    return claims
