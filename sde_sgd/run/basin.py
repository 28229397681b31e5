"""Life within a basin: its scores at equilibrium, and the loops from its core outwards and back."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from sde_sgd.run.excursions import Excursions, Stream
from sde_sgd.run.passage import AbstractSource, GivenStates
from sde_sgd.run.targets import HIGH, LOW, REGION

_FIRST_WARM_UP = 64
_MOST_DOUBLINGS = 24
_CORE, _RIM = 0.3, 1.5  # standard deviations of the score above its mean


class Basin(NamedTuple):
    """The edges of the basin in the score: back in its core at ``core``, setting out at ``rim``."""

    core: float
    rim: float


class Loops(NamedTuple):
    """The loops of every replica: where they crossed the rim, and how long they took.

    Attributes
    ----------
    states
        The states at the rim, replica after replica, ``num_loops`` times the lanes of a replica each.
    looks
        Mean looks of a loop, whatever its end, by replica.
    """

    states: PyTree
    looks: np.ndarray


def settle(
    excursions: Excursions, source: AbstractSource, num_lanes: int, warm_up: int | None, stream: Stream
) -> tuple[PyTree, np.ndarray]:
    """Return states at equilibrium within the basin and their scores.

    Lanes that enter the region on the way are replaced by copies of others. Without a given ``warm_up`` it is doubled
    until the mean and the spread of the score stay where they are.
    """
    ended = excursions.run(source, np.zeros(num_lanes, np.int64), max_steps=warm_up or _FIRST_WARM_UP)
    if np.any((ended.code == REGION) & (ended.looks == 0)):
        raise ValueError("the start lies inside the region. Start in the basin, or pass another region.")
    states, last = ended.states, None
    for doubling in range(_MOST_DOUBLINGS):
        inside = np.flatnonzero(ended.code == 0)
        if not len(inside):
            raise ValueError(f"all {num_lanes} lanes entered the region or diverged during the warm-up of "
                             f"{warm_up or _FIRST_WARM_UP * 2**doubling} steps: this is no rare event. Use "
                             "sde_sgd.first_passage.")
        kept = np.where(ended.code == 0, np.arange(num_lanes), stream.choices(doubling, inside, num_lanes))
        states = jax.tree.map(lambda leaf, kept=kept: leaf[kept], states)
        scores = excursions.score_of(states)
        if warm_up or (last is not None and _alike(last, scores)):
            return states, scores
        last = scores
        ended = excursions.run(GivenStates(states), np.arange(num_lanes), max_steps=_FIRST_WARM_UP * 2**doubling)
        states = ended.states
    raise RuntimeError(f"the score did not settle within {_FIRST_WARM_UP * 2**_MOST_DOUBLINGS} steps. Pass warm_up, "
                       "or a score that is stationary within the basin.")


def edges_of(scores: np.ndarray) -> Basin:
    """Return the edges of the basin for given scores at equilibrium."""
    mean, spread = scores.mean(), scores.std()
    if spread == 0:
        raise ValueError("score is the same for all lanes at equilibrium. Pass a score that tells how far a lane has "
                         "come.")
    return Basin(float(mean + _CORE * spread), float(mean + _RIM * spread))


def run_loops(
    excursions: Excursions, states: PyTree, basin: Basin, *, num_replicas: int, num_loops: int, stream: Stream
) -> Loops:
    """Send every lane around ``num_loops`` times after a first loop that is not counted.

    A loop goes from the core until the rim is crossed, then until the lane is back in the core or in the region. A
    lane that ended in the region starts its next loop from where another one came back, so that the loops begin with
    the law of the returns.
    """
    num_lanes = len(np.asarray(excursions.scores(states.params)))
    starts, crossings, looks = np.arange(num_lanes), [], []
    for loop in range(num_loops + 1):
        out = excursions.run(GivenStates(states), starts, upper=basin.rim)
        back = excursions.run(GivenStates(out.states), np.arange(num_lanes), lower=basin.core)
        returned = np.flatnonzero(back.code == LOW)
        if not len(returned):
            raise ValueError("no lane came back to the core of the basin: this is no rare event. Use "
                             "sde_sgd.first_passage.")
        starts = np.where(back.code == LOW, np.arange(num_lanes), stream.choices(loop, returned, num_lanes))
        states = back.states
        if loop:
            crossings.append(out.states)
            looks.append(out.looks + back.looks)
    per_replica = np.stack(looks).reshape(num_loops, num_replicas, -1)
    return Loops(_by_replica(crossings, num_replicas), per_replica.mean(axis=(0, 2)))


def _by_replica(crossings: list[PyTree], num_replicas: int) -> PyTree:
    """Return the states of all loops with one leading axis, those of one replica together."""
    def joined(*leaves: Any) -> np.ndarray:
        stacked = np.stack(leaves)
        split = stacked.reshape(len(leaves), num_replicas, -1, *stacked.shape[2:])
        return np.swapaxes(split, 0, 1).reshape(-1, *stacked.shape[2:])

    return jax.tree.map(joined, *crossings)


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether the score's mean and spread agree within their noise, or a twentieth of the spread."""
    noise = 4 / np.sqrt(len(one)) + 0.05
    spread = max(one.std(), other.std())
    return abs(one.mean() - other.mean()) <= noise * spread and abs(one.std() - other.std()) <= noise * spread


def reached(code: np.ndarray) -> np.ndarray:
    """Return which lanes came to the next level, or straight into the region."""
    return (code == HIGH) | (code == REGION)
