"""The one compiled program: tiles of lanes advanced by any number of steps, with records on the way.

Every physical parameter is a per-lane array and every count is a dynamic argument, so nothing but shapes, the kind of
process and the recorded quantities decides compilation.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from sde_sgd._core import tree
from sde_sgd._core.random import DYNAMICS, INITIALISE, RECORD, Draws, lane_key
from sde_sgd.problems.problem import Problem
from sde_sgd.run.clock import Clock, add64
from sde_sgd.run.motion import computed_once
from sde_sgd.run.shares import shard, tile_by_tile
from sde_sgd.run.statistics import AbstractAccumulator, AbstractRecord, evaluate


class Lanes(NamedTuple):
    """What tells the lanes of a tile apart: their ids and their process, every leaf with a leading lane axis."""

    ids: Array
    process: PyTree


class Carry(NamedTuple):
    """What a tile takes from call to call. ``alive`` is False from the first step that was not finite."""

    state: PyTree
    alive: Array
    accumulators: dict[str, dict[str, PyTree]]


class Quantities(NamedTuple):
    """The recorded quantities by name, of either kind."""

    records: dict[str, AbstractRecord]
    accumulators: dict[str, AbstractAccumulator]


def example_params(problem: Problem, params: PyTree) -> PyTree:
    """Return params as a run begins with, or their shapes and dtypes. ``params`` None: the problem's own start."""
    return jax.eval_shape(problem.init, jax.random.key(0)) if params is None else params


def example_records(problem: Problem, process: Any, quantities: Quantities, params: PyTree) -> dict[str, Any]:
    """Return the shape and dtype of every recorded array of one lane, found without computing anything."""

    def lane(problem: Problem, process: Any, params: PyTree) -> dict[str, dict[str, Array]]:
        state = process.init(problem, problem.init(jax.random.key(0)) if params is None else params)
        draws = Draws((jnp.uint32(0), jnp.uint32(0)), jnp.uint32(0))
        return {name: evaluate(record.function, problem, state, draws) for name, record in quantities.records.items()}

    return jax.eval_shape(lane, problem, process, params)


def example_carry(problem: Problem, process: Any, quantities: Quantities, params: PyTree) -> Carry:
    """Return the shapes and dtypes of what one lane takes from call to call."""
    first = functools.partial(_first_carry, problem, quantities, process)
    return jax.eval_shape(first, example_params(problem, params))


@functools.partial(jax.jit, static_argnames=("mesh", "tile"))
def first_params(
    problem: Problem, params: PyTree, ids: Array, root: Array, num_tiles: Array, *, mesh: Mesh, tile: int
) -> PyTree:
    """Return where the lanes begin. ``params`` None: the problem's own start, a key per lane.

    A program of its own, since the initialisers of a network take longer to compile than its steps and are the same
    for every process.
    """

    def device(problem: Problem, params: PyTree, ids: Array, root: Array, num_tiles: Array) -> PyTree:
        def one(lane: Array) -> PyTree:
            if params is not None:
                return params
            key = lane_key(jax.random.wrap_key_data(root), lane, purpose=INITIALISE)
            return problem.init(jax.random.wrap_key_data(jnp.stack(key)))

        return tile_by_tile(lambda _, ids: ((), jax.vmap(one)(ids)), (), ids, num_tiles, tile)[1]

    split = (False, False, True, False, True)
    return shard(device, mesh, split)(problem, params, ids, root, num_tiles)


@functools.partial(jax.jit, static_argnames=("mesh", "tile"))
def start(
    problem: Problem, quantities: Quantities, lanes: Lanes, params: PyTree, num_tiles: Array, *, mesh: Mesh, tile: int
) -> Carry:
    """Return the lanes before their first step, from the params of every lane."""

    def device(problem: Problem, quantities: Quantities, lanes: Lanes, params: PyTree, num_tiles: Array) -> Carry:
        one = jax.vmap(functools.partial(_first_carry, problem, quantities))
        both = lanes.process, params
        return tile_by_tile(lambda _, lanes: ((), one(*lanes)), (), both, num_tiles, tile)[1]

    split = (False, False, True, True, True)
    return shard(device, mesh, split)(problem, quantities, lanes, params, num_tiles)


def _first_carry(problem: Problem, quantities: Quantities, process: Any, params: PyTree) -> Carry:
    state = process.init(problem, params)
    accumulators = {}
    for name, accumulator in quantities.accumulators.items():
        draws = Draws((jnp.uint32(0), jnp.uint32(0)), jnp.uint32(0))
        values = jax.eval_shape(lambda f=accumulator.function, d=draws: evaluate(f, problem, state, d))
        accumulators[name] = {
            part: accumulator.init(jnp.zeros(value.shape, value.dtype)) for part, value in values.items()
        }
    return Carry(state, tree.all_finite(state.params), accumulators)


@functools.partial(jax.jit, static_argnames=("mesh", "tile", "rows"), donate_argnames=("carry",))
def advance(
    problem: Problem,
    quantities: Quantities,
    lanes: Lanes,
    root: Array,
    carry: Carry,
    num_tiles: Array,
    clock: Clock,
    *,
    mesh: Mesh,
    tile: int,
    rows: int,
) -> tuple[Carry, tuple[Array, dict[str, dict[str, Array]]]]:
    """Advance every device's first ``num_tiles`` tiles.

    Returns
    -------
    tuple
        The next carry; with it the number of steps of this call each lane survived and the records, every array with
        leading axes (device, lane, row), of which the first ``num_intervals`` rows are filled.
    """

    def device(
        problem: Problem, quantities: Quantities, lanes: Lanes, root: Array, carry: Carry, tiles: Array, clock: Clock
    ) -> Any:
        def one(carry: Carry, lanes: Lanes) -> Any:
            return _Tile(problem, quantities, lanes, root).run(carry, clock, rows)

        return tile_by_tile(one, carry, lanes, tiles, tile)

    split = (False, False, True, False, True, True, False)
    return shard(device, mesh, split)(problem, quantities, lanes, root, carry, num_tiles, clock)


class _Progress(NamedTuple):
    """The loop variables of a call: the lanes' state, the steps each survived, the steps made, the accumulators."""

    state: PyTree
    survived: Array
    made: Array
    accumulators: dict[str, dict[str, PyTree]]


class _Tile:
    """One tile within a call. The loops run over steps outside and lanes inside, so that scalars stay scalars."""

    def __init__(self, problem: Problem, quantities: Quantities, lanes: Lanes, root: Array):
        self.problem = problem
        self.quantities = quantities
        self.lanes = lanes
        self.root = root

    def run(self, carry: Carry, clock: Clock, rows: int) -> tuple[Carry, tuple[Array, dict[str, dict[str, Array]]]]:
        # A lane is alive while it survived as many steps as were made.
        never = jnp.uint32(0xFFFFFFFF)
        survived = jnp.where(carry.alive, jnp.uint32(0), never)
        progress = _Progress(carry.state, survived, jnp.uint32(0), carry.accumulators)
        records = jax.tree.map(
            lambda value: jnp.zeros((rows, *value.shape), value.dtype),
            jax.eval_shape(lambda: self.record(progress, clock)),
        )

        def interval(index: Array, loop: tuple[_Progress, Any]) -> tuple[_Progress, Any]:
            progress, records = loop
            num_events = clock.length // clock.event_steps
            progress = jax.lax.fori_loop(jnp.uint32(0), num_events, lambda _, now: self.event(now, clock), progress)
            stored = jax.lax.cond(clock.emit, lambda: self.store(records, index, progress, clock), lambda: records)
            return progress, stored

        progress, records = jax.lax.fori_loop(jnp.int32(0), clock.num_intervals, interval, (progress, records))
        alive = progress.survived == progress.made
        by_lane = jax.tree.map(lambda buffer: jnp.moveaxis(buffer, 0, 1), records)
        return Carry(progress.state, alive, progress.accumulators), (progress.survived, by_lane)

    def event(self, progress: _Progress, clock: Clock) -> _Progress:
        """Make the steps up to the next event and update the accumulators that are due."""
        progress = self.steps(progress, clock)
        if not self.quantities.accumulators:
            return progress
        accumulators = {}
        for name, accumulator in self.quantities.accumulators.items():
            due = (clock.phase[name] + progress.made) % clock.every[name] == 0
            due = due & (progress.made > clock.wait[name])
            accumulators[name] = jax.lax.cond(
                due,
                lambda a=accumulator, n=name: self.accumulate(a, progress.accumulators[n], progress, clock),
                lambda n=name: progress.accumulators[n],
            )
        return progress._replace(accumulators=accumulators)

    def steps(self, progress: _Progress, clock: Clock) -> _Progress:
        """Make ``event_steps`` steps; the key of a lane changes where the low word of the step wraps round."""

        def segment(loop: tuple[PyTree, Array, Array, Array]) -> tuple[PyTree, Array, Array, Array]:
            state, survived, made, left = loop
            high, low = add64(clock.step_high, clock.step_low, made)
            until_wrap = jnp.uint32(0xFFFFFFFF) - low
            length = jnp.minimum(left - jnp.uint32(1), until_wrap) + jnp.uint32(1)
            keys = lane_key(jax.random.wrap_key_data(self.root), self.lanes.ids, high, DYNAMICS)

            def one(index: Array, now: tuple[PyTree, Array]) -> tuple[PyTree, Array]:
                move = jax.vmap(self.lane_step, in_axes=(0, 0, 0, 0, None))
                return move(self.lanes.process, keys, *now, low + index)

            state, survived = jax.lax.fori_loop(jnp.uint32(0), length, one, (state, survived))
            return state, survived, made + length, left - length

        loop = (progress.state, progress.survived, progress.made, clock.event_steps)
        state, survived, made, _ = jax.lax.while_loop(lambda loop: loop[-1] > 0, segment, loop)
        return progress._replace(state=state, survived=survived, made=made)

    def lane_step(
        self, process: Any, key: tuple[Array, Array], state: Any, survived: Array, step: Array
    ) -> tuple[PyTree, Array]:
        """Move one lane by one step and count the steps after which it was finite.

        What is not finite stays so, hence nothing needs to be frozen.
        """
        new = computed_once(process.step(self.problem, state, Draws(key, step)))
        return new, survived + tree.all_finite(new.params).astype(jnp.uint32)

    def draws(self, clock: Clock, made: Array) -> Draws:
        """Return the draws for recording at this step, a lane axis on the key."""
        high, low = add64(clock.step_high, clock.step_low, made)
        return Draws(lane_key(jax.random.wrap_key_data(self.root), self.lanes.ids, high, RECORD), low)

    def values(self, function: Any, progress: _Progress, clock: Clock) -> dict[str, Array]:
        """Return a recorded quantity for every lane."""
        draws = self.draws(clock, progress.made)

        def lane(state: Any, key: Any) -> dict[str, Array]:
            return evaluate(function, self.problem, state, Draws(key, draws.step))

        return jax.vmap(lane)(progress.state, draws.key)

    def accumulate(
        self, accumulator: AbstractAccumulator, held: dict[str, PyTree], progress: _Progress, clock: Clock
    ) -> dict[str, PyTree]:
        values = self.values(accumulator.function, progress, clock)
        alive = progress.survived == progress.made

        def lane(alive: Array, held: PyTree, value: Array) -> PyTree:
            return tree.select(alive, accumulator.update(held, value), held)

        return {part: jax.vmap(lane)(alive, held[part], value) for part, value in values.items()}

    def record(self, progress: _Progress, clock: Clock) -> dict[str, dict[str, Array]]:
        """Return every recorded quantity for every lane, NaN for the lanes that are no longer alive."""
        alive = progress.survived == progress.made

        def masked(value: Array) -> Array:
            shown = alive.reshape(alive.shape + (1,) * (value.ndim - 1))
            return jnp.where(shown, value, jnp.asarray(jnp.nan, value.dtype))

        return {
            name: jax.tree.map(masked, self.values(record.function, progress, clock))
            for name, record in self.quantities.records.items()
        }

    def store(self, records: Any, row: Array, progress: _Progress, clock: Clock) -> Any:
        """Return the record buffers with one more row."""
        return jax.tree.map(
            lambda buffer, value: jax.lax.dynamic_update_index_in_dim(buffer, value, row, 0),
            records,
            self.record(progress, clock),
        )
