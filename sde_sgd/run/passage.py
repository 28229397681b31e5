"""The compiled program of runs that end when they arrive: every lane with a clock of its own, stopped by itself.

As in `program`, lanes run in tiles of one fixed size and every number is an argument. A lane that has stopped keeps
its state until the host takes it out between two calls.
"""

import abc
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from sde_sgd._core import tree
from sde_sgd._core.random import DYNAMICS, INITIALISE, OBSERVE, RECORD, Draws, lane_key
from sde_sgd.problems.problem import Problem
from sde_sgd.processes import AbstractProcess
from sde_sgd.run.clock import add64
from sde_sgd.run.motion import AbstractMotion, Spaced
from sde_sgd.run.places import numbered
from sde_sgd.run.shares import shard, tile_by_tile
from sde_sgd.run.statistics import AbstractRecord, evaluate
from sde_sgd.run.targets import AbstractTarget, Band

DIVERGED = -1


class AbstractSource(eqx.Module):
    """Where runs start."""

    @abc.abstractmethod
    def state(self, problem: Problem, process: AbstractProcess, root: Array, run: Array, start: Array) -> Any:
        """Return the first state of run number ``run``, which uses the ``start``-th of the given starts."""


class OwnStarts(AbstractSource):
    """Every run starts where the problem says, with a key of its own."""

    def state(self, problem: Problem, process: AbstractProcess, root: Array, run: Array, start: Array) -> Any:
        """Return the state at ``problem.init(key)``, with the key that `simulate` gives to the seed of this number."""
        key = lane_key(jax.random.wrap_key_data(root), run, purpose=INITIALISE)
        return process.init(problem, problem.init(jax.random.wrap_key_data(jnp.stack(key))))


class GivenParams(AbstractSource):
    """Runs start from given params, every leaf with a leading axis over the starts."""

    params: PyTree

    def state(self, problem: Problem, process: AbstractProcess, root: Array, run: Array, start: Array) -> Any:
        """Return the state at the chosen params."""
        return process.init(problem, jax.tree.map(lambda leaf: leaf[start], self.params))


class GivenStates(AbstractSource):
    """Runs go on from given states, copied whole: params, momentum and the sampler's position."""

    states: PyTree

    def state(self, problem: Problem, process: AbstractProcess, root: Array, run: Array, start: Array) -> Any:
        """Return the chosen state."""
        return jax.tree.map(lambda leaf: leaf[start], self.states)


class Passage(eqx.Module):
    """What all runs share."""

    problem: Problem
    motion: AbstractMotion
    target: AbstractTarget
    source: AbstractSource
    records: Mapping[str, AbstractRecord]
    root: Array

    def tried(self, number: float) -> "Passage":
        """Return the passage for a trial of places: one root, one number for all, lanes that stop as late as can be."""
        process = numbered(self.motion.process, number)
        motion = eqx.tree_at(lambda motion: motion.process, self.motion, process)
        motion = Spaced(process, np.uint32(1)) if isinstance(motion, Spaced) else motion
        target = self.target.unbounded() if isinstance(self.target, Band) else self.target
        return Passage(self.problem, motion, target, self.source, self.records, jnp.zeros_like(self.root))

    def first_state(self, run: Array, start: Array) -> Any:
        """Return the first state of a run."""
        return self.source.state(self.problem, self.motion.process, self.root, run, start)

    def exits(self, state: Any, run: Array, step_high: Array, step_low: Array) -> dict[str, dict[str, Array]]:
        """Return what is recorded of a run where it stopped."""
        draws = Draws(lane_key(jax.random.wrap_key_data(self.root), run, step_high, RECORD), step_low)
        return {name: evaluate(record.function, self.problem, state, draws) for name, record in self.records.items()}


class Slots(NamedTuple):
    """What the host tells of every lane it holds, with leading axes (device, slot).

    Attributes
    ----------
    run, start
        The number of the run and of the start it uses.
    fresh
        Whether the run begins with this call.
    step_high, step_low
        The step it has reached, in two words.
    limit
        How many looks it may still be given; 0 for an empty slot.
    order
        Where the lane of this slot was before the call.
    """

    run: Any
    start: Any
    fresh: Any
    step_high: Any
    step_low: Any
    limit: Any
    order: Any


class Progress(NamedTuple):
    """What a call did to every lane: the looks it was given, and why it stopped (0: it did not)."""

    looks: Array
    code: Array
    exits: dict[str, dict[str, Array]]


def empty_states(passage: Passage, num_devices: int, num_slots: int) -> PyTree:
    """Return zeros in the shape of the states of all lanes."""
    shape = (num_devices, num_slots)
    return jax.tree.map(lambda leaf: jnp.zeros((*shape, *leaf.shape), leaf.dtype), example_state(passage))


def example_state(passage: Passage) -> PyTree:
    """Return the shapes and dtypes of one lane's state."""
    return jax.eval_shape(lambda: passage.first_state(jnp.uint32(0), jnp.int32(0)))


@functools.partial(jax.jit, static_argnames=("mesh", "tile"), donate_argnames=("states",))
def advance(
    passage: Passage, states: PyTree, slots: Slots, num_tiles: Array, length: Array, *, mesh: Mesh, tile: int
) -> tuple[PyTree, Progress]:
    """Give every device's first ``num_tiles`` tiles of lanes up to ``length`` looks."""

    def device(passage: Passage, states: PyTree, slots: Slots, num_tiles: Array, length: Array) -> Any:
        states = jax.tree.map(lambda leaf: leaf.at[slots.order].get(mode="promise_in_bounds"), states)

        def one(states: PyTree, slots: Slots) -> tuple[PyTree, Progress]:
            return _run_tile(passage, states, slots, length)

        return tile_by_tile(one, states, slots, num_tiles, tile)

    split = (False, True, True, True, False)
    return shard(device, mesh, split)(passage, states, slots, num_tiles, length)


def _run_tile(passage: Passage, states: PyTree, slots: Slots, length: Array) -> tuple[PyTree, Progress]:
    """Give the lanes of one tile up to ``length`` looks each."""
    root = jax.random.wrap_key_data(passage.root)
    states = jax.lax.cond(jnp.any(slots.fresh), lambda: _with_starts(passage, states, slots), lambda: states)
    code = jnp.where(slots.fresh, jax.vmap(lambda state: _code_at_start(passage, state))(states), 0)
    # A lane moves while the number of the look is below its stop.
    stop = jnp.where(code == 0, slots.limit, jnp.uint32(0))
    keys = tuple(lane_key(root, slots.run, slots.step_high, purpose) for purpose in (DYNAMICS, OBSERVE))
    looks_per_step = jnp.uint32(passage.motion.looks_per_step)
    steps_per_look = jnp.asarray(passage.motion.steps_per_look, jnp.uint32)

    def one(look: Array, now: tuple[PyTree, Array, Array]) -> tuple[PyTree, Array, Array]:
        def lane(keys: Any, step_low: Array, state: Any, stop: Array, code: Array) -> tuple[Any, Array, Array]:
            step = step_low + look // looks_per_step * steps_per_look
            draws, observation = (Draws(key, step) for key in keys)
            moved = passage.motion.move(
                passage.problem, passage.target, state, draws, observation, look % looks_per_step
            )
            return _stopped(look, moved, state, stop, code)

        return jax.vmap(lane)(keys, slots.step_low, *now)

    states, stop, code = jax.lax.fori_loop(jnp.uint32(0), length, one, (states, stop, code))
    looks = jnp.minimum(stop, length)
    reached = add64(slots.step_high, slots.step_low, looks // looks_per_step * steps_per_look)
    exits = jax.vmap(passage.exits)(states, slots.run, *reached)
    return states, Progress(looks, code, exits)


def _stopped(look: Array, moved: tuple[Any, Array], state: Any, stop: Array, code: Array) -> tuple[Any, Array, Array]:
    """Return the lane after a look: it moves on, stops here, or stays where it had stopped."""
    new, entered = moved
    active = look < stop
    entered = jnp.where(tree.all_finite(new.params), entered, jnp.int32(DIVERGED))
    ends = active & (entered != 0)
    stop = jnp.where(ends, look + jnp.uint32(1), stop)
    return tree.select(active, new, state), stop, jnp.where(ends, entered, code)


def _with_starts(passage: Passage, states: PyTree, slots: Slots) -> PyTree:
    """Return the states with those of the fresh lanes at their start."""

    def lane(fresh: Array, run: Array, start: Array, state: Any) -> Any:
        return tree.select(fresh, passage.first_state(run, start), state)

    return jax.vmap(lane)(slots.fresh, slots.run, slots.start, states)


def _code_at_start(passage: Passage, state: Any) -> Array:
    code = passage.target.code(passage.problem, state.params)
    return jnp.where(tree.all_finite(state.params), code, jnp.int32(DIVERGED))
