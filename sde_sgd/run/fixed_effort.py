"""Splitting with a fixed number of particles at every level, on levels chosen beforehand by an independent pilot."""

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from sde_sgd._core import checks
from sde_sgd.run.basin import Basin, reached
from sde_sgd.run.excursions import Excursions, Stream, resampled
from sde_sgd.run.method import AbstractSplitting, Estimates
from sde_sgd.run.passage import GivenStates
from sde_sgd.run.targets import REGION

_MOST_LEVELS = 100  # a probability of exp(-100): nobody waits that long


class FixedEffort(AbstractSplitting):
    """Splitting with a fixed number of particles at every level.

    A stage starts all its particles from states in which particles of the stage before first reached their level, and
    runs each until it reaches the next level or is back in the core of the basin. The product of the shares that
    succeed is unbiased, because the levels were placed by an independent pilot. It keeps two sets of states only, so
    that it also serves networks.

    Parameters
    ----------
    num_particles
        Particles of a replica at every level.
    """

    num_particles: int = eqx.field(static=True, default=256)

    def __check_init__(self):
        checks.integer("num_particles", self.num_particles, minimum=2)

    def estimate(
        self, excursions: Excursions, pool: PyTree, basin: Basin, num_replicas: int, stream: Stream
    ) -> Estimates:
        """Return the estimates from the states at the rim."""
        levels = pilot_levels(excursions, pool, basin, stream)
        num, states = self.num_particles, pool
        per_replica = len(jax.tree.leaves(pool)[0]) // num_replicas
        starts = (per_replica * np.arange(num_replicas)[:, None] + np.arange(num) % per_replica).ravel()
        probability = np.ones(num_replicas)
        replica, shares = np.repeat(np.arange(num_replicas), num), []
        for stage, upper in enumerate([*levels, np.inf]):
            ended = excursions.run(GivenStates(states), starts, lower=basin.core, upper=upper)
            success = reached(ended.code)
            wins = np.bincount(replica, weights=success, minlength=num_replicas)
            probability *= wins / num
            shares.append(success.sum() / max(len(success), 1))
            alive = np.flatnonzero(wins > 0)
            if stage == len(levels) or not len(alive):
                break
            offsets = stream.offsets(stage, len(alive))
            parents = np.split(np.flatnonzero(success), np.cumsum(wins[alive].astype(int))[:-1])  # by replica
            starts = np.concatenate([resampled(*one, num) for one in zip(offsets, parents, strict=True)])
            replica, states = np.repeat(alive, num), ended.states
        return Estimates(probability, np.asarray(levels), np.asarray(shares))


def pilot_levels(excursions: Excursions, pool: PyTree, basin: Basin, stream: Stream) -> list[float]:
    """Return levels about one unit of log-probability apart, from particles that the estimate does not use."""
    count = min(len(np.asarray(jax.tree.leaves(pool)[0])), 1024)
    states, starts = pool, np.arange(count)
    levels: list[float] = []
    level, gap = basin.rim, basin.rim - basin.core
    for attempt in range(2 * _MOST_LEVELS):
        ended = excursions.run(GivenStates(states), starts, lower=basin.core, upper=level + gap)
        success = reached(ended.code)
        if not success.any():
            gap /= 2
            continue
        if np.all(ended.code[success] == REGION):
            _check_monotone(excursions.score_of(ended.states)[success], basin)
            return levels
        level += gap
        levels.append(level)
        gap *= float(np.clip(1 / max(-np.log(success.mean()), 1e-9), 0.5, 2.0))
        parents = np.flatnonzero(success)
        states, starts = ended.states, stream.choices(-1 - attempt & 0x7FFFFFFF, parents, count)
        if len(levels) > _MOST_LEVELS:
            break
    raise RuntimeError(f"the pilot did not reach the region within {len(levels)} levels (last at score {level:.4g}). "
                       "Pass a score that grows towards the region.")


def _check_monotone(scores: np.ndarray, basin: Basin) -> None:
    if scores.min() <= basin.rim:
        raise ValueError(f"score is not monotone towards the region: particles entered it at a score of "
                         f"{scores.min():.4g}, and left the basin at {basin.rim:.4g}. Pass a score that is larger in "
                         "the region.")
