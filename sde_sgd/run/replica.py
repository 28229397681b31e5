"""One replica of adaptive multilevel splitting as one lane: its particles take turns, and replicas never wait.

Scores are cut into integer levels. So a particle need not keep its path, but only its state at the first visit to
each new highest level, and ties between particles are common; killing all of them keeps the estimate unbiased.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from sde_sgd._core import tree
from sde_sgd._core.random import DYNAMICS, OBSERVE, SELECT, Draws, lane_key
from sde_sgd.problems.problem import Problem
from sde_sgd.run.motion import AbstractMotion
from sde_sgd.run.targets import LOW, REGION, Band, level_of


class Ladder(eqx.Module):
    """The band that a particle moves in, and the scores that separate the levels."""

    band: Band
    scores: Array

    @property
    def top(self) -> int:
        """The level of the region."""
        return self.scores.shape[0] + 1

    def look(self, problem: Problem, params: PyTree) -> tuple[Array, Array]:
        """Return the level of the params and whether a particle ends there."""
        code = self.band.code(problem, params)
        level = jnp.sum(level_of(self.band.score, problem, params) >= self.scores, dtype=jnp.int32)
        lost = ~tree.all_finite(params)
        return jnp.where((code == REGION) & ~lost, jnp.int32(self.top), level), (code == REGION) | (code == LOW) | lost


class Shared(eqx.Module):
    """What all replicas share."""

    problem: Problem
    motion: AbstractMotion
    ladder: Ladder
    root: Array
    kill: Array
    longest: Array


class Particles(NamedTuple):
    """The particles of a replica: highest levels, the states that first reached each level, and their part in a turn.

    ``entrances`` and ``filled`` have axes (particle, level).
    """

    highest: Array
    entrances: PyTree
    filled: Array
    waiting: Array
    parents: Array


class Replica(NamedTuple):
    """A replica: the particle that moves now, all particles, and the weight so far.

    ``overdue`` tells whether a particle has ever gone on beyond the longest excursion.
    """

    state: Any
    index: Array
    best: Array
    resting: Array
    age: Array
    overdue: Array
    looks: Array
    turns: Array
    particles: Particles
    level: Array
    log_weight: Array
    extinct: Array
    finished: Array


def first_turn(shared: Shared, pool: Any, num_particles: int) -> Replica:
    """Return a replica whose particle 0 sets out from the first state of ``pool``."""
    num_levels = shared.ladder.top + 1
    start = jax.tree.map(lambda leaf: leaf[0], pool)
    entrances = jax.tree.map(lambda leaf: jnp.zeros((num_particles, num_levels, *leaf.shape), leaf.dtype), start)
    particles = Particles(
        highest=jnp.zeros(num_particles, jnp.int32),
        entrances=entrances,
        filled=jnp.zeros((num_particles, num_levels), bool),
        waiting=jnp.arange(num_particles) > 0,
        parents=jnp.zeros(num_particles, bool),
    )
    zero, never = jnp.uint32(0), jnp.asarray(False)
    replica = Replica(start, jnp.int32(0), jnp.int32(0), never, zero, never, zero, zero, particles, jnp.int32(-1),
                      jnp.zeros((), jnp.float32), never, never)
    return _set_out(shared, replica, jnp.int32(0), start)


def move(shared: Shared, replica: Replica, run: Array) -> Replica:
    """Return the replica after one look at the particle that moves, if one does."""
    keys = (lane_key(jax.random.wrap_key_data(shared.root), run, 0, purpose) for purpose in (DYNAMICS, OBSERVE))
    per_step = jnp.uint32(shared.motion.looks_per_step)
    draws, observation = (Draws(key, replica.looks // per_step) for key in keys)
    new, _ = shared.motion.move(
        shared.problem, shared.ladder.band, replica.state, draws, observation, replica.looks % per_step
    )
    level, ends = shared.ladder.look(shared.problem, new.params)
    moves = ~(replica.resting | replica.finished)
    rises = moves & (level > replica.best)
    particles = _noted(replica.particles, replica.index, jnp.where(rises, level, shared.ladder.top + 1), new)
    one = moves.astype(jnp.uint32)
    return replica._replace(
        state=tree.select(moves, new, replica.state),
        best=jnp.where(rises, level, replica.best),
        resting=replica.resting | (moves & ends),
        age=replica.age + one,
        overdue=replica.overdue | (moves & ~ends & (replica.age + one >= shared.longest)),
        looks=replica.looks + one,
        particles=particles,
    )


def turn(shared: Shared, replica: Replica, pool: Any, run: Array) -> Replica:
    """Return the replica with its next particle under way, if the last one has ended; select when all have."""
    acts = replica.resting & ~replica.finished
    highest = replica.particles.highest.at[replica.index].set(replica.best)
    replica_now = replica._replace(particles=replica.particles._replace(highest=highest))
    after = _selected(shared, replica_now)
    index = jnp.argmax(after.particles.waiting).astype(jnp.int32)
    start = tree.select(after.level < 0, _of_pool(pool, index), _parent_state(shared, after, run))
    after = _set_out(shared, after._replace(turns=replica.turns + jnp.uint32(1)), index, start)
    stopped = replica_now._replace(
        log_weight=after.log_weight, extinct=after.extinct, finished=after.finished, level=after.level
    )
    return tree.select(acts, tree.select(after.finished, stopped, after), replica)


def probability(shared: Shared, replica: Replica) -> Array:
    """Return the estimate of a finished replica."""
    share = jnp.mean((replica.particles.highest == shared.ladder.top).astype(jnp.float32))
    return jnp.where(replica.extinct, 0.0, jnp.exp(replica.log_weight) * share)


def killed(highest: Array, threshold: Array) -> Array:
    """Return which particles die: *all* that did not get above the threshold, however many tie with it."""
    return highest <= threshold


def entrance(filled: Array, threshold: Array) -> Array:
    """Return the level at which a child sets out: the parent's first *strictly above* the threshold."""
    levels = jnp.arange(filled.shape[0], dtype=jnp.int32)
    return jnp.argmax(filled & (levels > threshold)).astype(jnp.int32)


def _selected(shared: Shared, replica: Replica) -> Replica:
    """Return the replica after a selection, if no particle waits any more."""
    highest, num = replica.particles.highest, replica.particles.highest.shape[0]
    due = ~jnp.any(replica.particles.waiting)
    threshold = jnp.sort(highest)[shared.kill - 1]
    dies = killed(highest, threshold)
    count = jnp.sum(dies, dtype=jnp.int32)
    arrived = due & (threshold == shared.ladder.top)
    extinct = due & ~arrived & (count == num)
    goes_on = due & ~arrived & ~extinct
    share = count.astype(jnp.float32) / num
    return replica._replace(
        particles=replica.particles._replace(
            waiting=jnp.where(goes_on, dies, replica.particles.waiting),
            parents=jnp.where(goes_on, ~dies, replica.particles.parents),
        ),
        level=jnp.where(goes_on, threshold, replica.level),
        log_weight=replica.log_weight + jnp.where(goes_on, jnp.log1p(-jnp.where(goes_on, share, 0.0)), 0.0),
        extinct=extinct,
        finished=arrived | extinct,
    )


def _parent_state(shared: Shared, replica: Replica, run: Array) -> Any:
    """Return the state at which a parent, drawn uniformly from the survivors, first passed the threshold."""
    key = lane_key(jax.random.wrap_key_data(shared.root), run, 0, SELECT)
    uniform = Draws(key, replica.turns).uniforms(1)[0]
    rank = jnp.cumsum(replica.particles.parents.astype(jnp.int32))
    place = jnp.minimum((uniform * rank[-1]).astype(jnp.int32), rank[-1] - 1)
    parent = jnp.argmax(rank > place)
    level = entrance(replica.particles.filled[parent], replica.level)
    return jax.tree.map(lambda leaf: leaf[parent, level], replica.particles.entrances)


def _of_pool(pool: Any, index: Array) -> Any:
    return jax.tree.map(lambda leaf: leaf[index % leaf.shape[0]], pool)


def _set_out(shared: Shared, replica: Replica, index: Array, start: Any) -> Replica:
    """Return the replica with particle ``index`` at ``start``, its earlier path forgotten."""
    level, ends = shared.ladder.look(shared.problem, start.params)
    particles = replica.particles
    particles = particles._replace(
        filled=particles.filled.at[index].set(False), waiting=particles.waiting.at[index].set(False)
    )
    return replica._replace(
        state=start,
        index=index,
        best=level,
        resting=ends,
        age=jnp.uint32(0),
        particles=_noted(particles, index, level, start),
    )


def _noted(particles: Particles, index: Array, level: Array, state: Any) -> Particles:
    """Return the particles with a state put down as the first at its level; a level beyond the top is dropped."""
    entrances = jax.tree.map(
        lambda held, new: held.at[index, level].set(new, mode="drop"), particles.entrances, state
    )
    return particles._replace(
        entrances=entrances, filled=particles.filled.at[index, level].set(True, mode="drop")
    )
