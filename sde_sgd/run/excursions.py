"""Pieces of a path: many runs from given states until each leaves a band of scores, the states they end in kept."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from sde_sgd.problems.problem import Problem
from sde_sgd.run.motion import AbstractMotion
from sde_sgd.run.passage import AbstractSource, Passage
from sde_sgd.run.queue import Ended, run_queue
from sde_sgd.run.targets import Band, Region, level_of


class Excursions:
    """Runs excursions of one process, each batch of them with randomness of its own.

    Parameters
    ----------
    problem, motion, region, score
        What moves, how it is seen, where it escapes to, and the score that says how far it has come.
    key
        Typed key; the batches fold their number into it.
    max_steps
        Steps after which an excursion is an error.
    """

    def __init__(
        self,
        problem: Problem,
        motion: AbstractMotion,
        region: Region,
        score: Region,
        *,
        key: Any,
        max_steps: int,
        mesh: Mesh,
        tile: int,
        report: Callable[[float], None],
    ):
        self.problem, self.motion, self.region, self.score = problem, motion, region, score
        self.key, self.max_steps, self.mesh, self.tile, self.report = key, max_steps, mesh, tile, report
        self.num_batches = 0
        self.useful = self.total = 0
        scores = jax.jit(jax.vmap(functools.partial(level_of, score), in_axes=(None, 0)))
        self.scores = functools.partial(scores, problem)
        example = jax.eval_shape(problem.init, jax.random.key(0))
        self.score_dtype = jax.eval_shape(functools.partial(level_of, score), problem, example).dtype

    def band(self, lower: float, upper: float) -> Band:
        """Return the band of scores between two edges."""
        edges = (jnp.asarray(edge, self.score_dtype) for edge in (lower, upper))
        return Band(self.region, self.score, *edges)

    def next_root(self) -> jax.Array:
        """Return the root of randomness of one more batch."""
        self.num_batches += 1
        return jax.random.key_data(jax.random.fold_in(self.key, self.num_batches))

    def run(
        self, source: AbstractSource, starts: np.ndarray, *, lower: float = -np.inf, upper: float = np.inf,
        max_steps: int | None = None,
    ) -> Ended:  # fmt: skip
        """Run until every lane is in the region, at or above ``upper``, or at or below ``lower``.

        With ``max_steps`` lanes may also stop there, inside the band; without it that is an error.
        """
        band = self.band(lower, upper)
        passage = Passage(self.problem, self.motion, band, source, {}, self.next_root())
        limit = (max_steps or self.max_steps) * self.motion.looks_per_step
        ended, work = run_queue(
            passage, starts, limit, mesh=self.mesh, tile=self.tile, report=self.report, keep_states=True
        )
        self.useful += work.useful
        self.total += work.total
        cut = int(np.sum(ended.code == 0))
        if cut and max_steps is None:
            raise RuntimeError(f"{cut} of {len(starts)} excursions were still between the scores {lower:.4g} and "
                               f"{upper:.4g} after max_steps={self.max_steps} steps, and what is cut short is no "
                               "estimate. Pass a larger max_steps, or a score that the process does not linger at.")
        return ended

    def score_of(self, states: PyTree) -> np.ndarray:
        """Return the scores of states; raise if one is NaN."""
        scores = np.asarray(self.scores(states.params), np.float64)
        if np.any(np.isnan(scores)):
            raise ValueError(f"score is NaN at {int(np.sum(np.isnan(scores)))} of {len(scores)} states. Pass a score "
                             "that is a number wherever the process goes.")
        return scores


class Stream(NamedTuple):
    """Uniform draws on the host, by key: which states are copied."""

    key: Any

    def offsets(self, number: int, count: int) -> np.ndarray:
        """Return ``count`` uniform numbers of the ``number``-th draw."""
        return np.asarray(jax.random.uniform(jax.random.fold_in(self.key, number), (count,), jnp.float32), np.float64)

    def choices(self, number: int, candidates: np.ndarray, count: int) -> np.ndarray:
        """Return ``count`` of the candidates, resampled."""
        return resampled(self.offsets(number, 1)[0], candidates, count)


def resampled(offset: float, candidates: np.ndarray, count: int) -> np.ndarray:
    """Return ``count`` of the candidates, each copied equally often up to one (systematic resampling)."""
    places = ((np.arange(count) + offset) / count * len(candidates)).astype(np.int64)
    return candidates[np.minimum(places, len(candidates) - 1)]
