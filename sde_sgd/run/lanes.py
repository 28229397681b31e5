"""The host loop: groups of tiles advanced chunk by chunk, records gathered on the way."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree

from sde_sgd._core import tree
from sde_sgd.problems.problem import Problem
from sde_sgd.processes import AbstractProcess
from sde_sgd.run.clock import clock_for
from sde_sgd.run.pace import Pace
from sde_sgd.run.places import every_place, numbered, program_of, trials, usable_places
from sde_sgd.run.program import (
    Carry,
    Lanes,
    Quantities,
    advance,
    example_carry,
    example_params,
    example_records,
    first_params,
    start,
)
from sde_sgd.run.schedule import Schedule
from sde_sgd.run.shares import Shares, lane_mesh
from sde_sgd.run.statistics import Gatherer, joined
from sde_sgd.run.tiles import power_of_two, tile_size, tiles_in_a_call

Variables = dict[str, tuple[tuple[str, ...], np.ndarray]]

_FIRST_CHUNK_STEPS = 256
_RECORD_BUFFER_BYTES = 2**22


class Run(NamedTuple):
    """What all lanes of a run share."""

    problem: Problem
    quantities: Quantities
    params: PyTree
    root: jax.Array
    schedule: Schedule
    cadence: dict[str, tuple[int, int]]
    shares: Shares
    rows: int


class Call(NamedTuple):
    """One call of the compiled program: ``num_intervals`` intervals of ``length`` steps from ``step``."""

    step: int
    num_intervals: int
    length: int
    record: int | None  # the index of the first record made; None: an interval is cut short and nothing is recorded

    @property
    def num_steps(self) -> int:
        """The steps of the call."""
        return self.num_intervals * self.length


def run_cells(
    problem: Problem,
    processes: Sequence[AbstractProcess],
    *,
    num_seeds: int,
    schedule: Schedule,
    quantities: Quantities,
    params: PyTree,
    key: Any,
    report: Callable[[float], None],
) -> tuple[Variables, np.ndarray]:
    """Run every process for every seed; all must share one program (the same pytree structure).

    Returns
    -------
    tuple
        The recorded variables, arrays with a leading cell axis; and for every (cell, seed) the step of divergence, -1
        for none.
    """
    run, shapes = _prepare(problem, processes[0], schedule, quantities, params, key)
    shares = run.shares
    program = program_of((run.problem, quantities, processes[0], run.params), shares.mesh, shares.room, run.rows)
    shares = shares._replace(places=usable_places(program, shares.places.tile, _tried(run, processes[0])))
    store = _Store(quantities, shapes, len(processes), num_seeds, schedule.num_records)
    pace = Pace(_FIRST_CHUNK_STEPS)
    num_lanes, group = len(processes) * num_seeds, shares.most_lanes
    for begin in range(0, num_lanes, group):
        lanes = np.arange(begin, min(begin + group, num_lanes), dtype=np.int64)
        own = run._replace(shares=shares._replace(num_lanes=len(lanes)))
        _run_group(own, processes, lanes // num_seeds, lanes % num_seeds, store, pace, report)
    return store.variables(), store.diverged_at


def _prepare(
    problem: Problem, process: AbstractProcess, schedule: Schedule, quantities: Quantities, params: PyTree, key: Any
) -> tuple[Run, Any]:
    mesh = lane_mesh()
    everywhere = NamedSharding(mesh, PartitionSpec())
    shapes = example_records(problem, process, quantities, params)
    record_bytes = tree.num_bytes(shapes)
    example = example_params(problem, params)
    tile = tile_size(problem, example, process)
    room = tiles_in_a_call(tile, tree.num_bytes(example_carry(problem, process, quantities, params)) + record_bytes)
    run = Run(
        problem=jax.device_put(problem, everywhere),
        quantities=jax.device_put(quantities, everywhere),
        params=None if params is None else jax.device_put(params, everywhere),
        root=jax.device_put(jax.random.key_data(key), everywhere),
        schedule=schedule,
        cadence={
            name: (accumulator.every or schedule.record_every, accumulator.burn_in)
            for name, accumulator in quantities.accumulators.items()
        },
        shares=Shares(mesh, every_place(tile), room, num_lanes=1),
        # A power of two that depends on shapes alone, so that the number of steps never decides the program.
        rows=power_of_two(_RECORD_BUFFER_BYTES / max(record_bytes * room * tile, 1), most=64),
    )
    return run, shapes


def _tried(run: Run, process: AbstractProcess) -> Iterator[PyTree]:
    """Yield what the program makes of tiles filled with one lane."""
    example = example_params(run.problem, run.params)
    root = jax.device_put(np.zeros_like(run.root), run.root.sharding)
    fixed = run._replace(root=root, cadence=dict.fromkeys(run.cadence, (1, 0)))
    for number, (steps, value) in enumerate(trials(example)):
        lanes = _placed(run, [numbered(process, value)], np.zeros(1, int), np.full(1, number))
        carry, survived, rows = _advance(fixed, lanes, _start(fixed, lanes), Call(0, 1, steps, 0))
        yield carry, survived, jax.tree.map(lambda buffer: np.asarray(buffer)[:, :, 0], rows)


def _placed(run: Run, processes: Sequence[AbstractProcess], cells: np.ndarray, seeds: np.ndarray) -> Lanes:
    """Return the lanes of a group, on the devices."""

    def per_lane(*leaves: Any) -> jax.Array:
        return run.shares.put(np.stack([np.asarray(leaf) for leaf in leaves])[cells])

    return Lanes(run.shares.put(seeds.astype(np.uint32)), jax.tree.map(per_lane, *processes))


def _run_group(
    run: Run,
    processes: Sequence[AbstractProcess],
    cells: np.ndarray,
    seeds: np.ndarray,
    store: "_Store",
    pace: Pace,
    report: Callable[[float], None],
) -> None:
    """Take as many lanes as there is room for from start to end."""
    lanes, shares = _placed(run, processes, cells, seeds), run.shares
    carry = _start(run, lanes)
    for call in _calls(run, pace):
        with pace.timed(call.num_steps):
            carry, survived, rows = _advance(run, lanes, carry, call)
            survived = shares.take(survived).astype(np.int64)  # waits for the call to end
        values = None if call.record is None else jax.tree.map(shares.take, rows)
        store.add(call, cells, seeds, survived, values)
        report(float(call.num_steps * len(seeds)))
    store.finish(cells, seeds, jax.tree.map(shares.take, carry.accumulators))


def _calls(run: Run, pace: Pace) -> Iterator[Call]:
    """Yield the calls of a run: the record of the start, then chunks that take about equally long."""
    yield Call(0, 1, 0, 0)
    interval, last = run.schedule.record_every, run.schedule.num_records
    unit = math.gcd(interval, *(every for every, _ in run.cadence.values()))
    step, record = 0, 1
    while record < last:
        if pace.steps >= interval:
            count = min(last - record, pace.steps // interval, run.rows)
            yield Call(step, count, interval, record)
            step, record = step + count * interval, record + count
            continue
        end = step + interval
        while step < end:
            # Looks at the accumulators are counted from the start of a call, so a chunk is a whole number of them.
            length = max(pace.steps // unit, 1) * unit if run.cadence else pace.steps
            length = min(length, end - step)
            yield Call(step, 1, length, record if step + length == end else None)
            step += length
        record += 1


def _start(run: Run, lanes: Lanes) -> Carry:
    shares, tile = run.shares, run.shares.places.tile
    params = first_params(run.problem, run.params, lanes.ids, run.root, shares.num_tiles, mesh=shares.mesh, tile=tile)
    return start(run.problem, run.quantities, lanes, params, shares.num_tiles, mesh=shares.mesh, tile=tile)


def _advance(run: Run, lanes: Lanes, carry: Carry, call: Call) -> tuple[Carry, Any, Any]:
    event_steps = math.gcd(call.length, *(every for every, _ in run.cadence.values())) if run.cadence else call.length
    emit = call.record is not None
    clock = clock_for(call.step, call.num_intervals, call.length, max(event_steps, 1), emit, run.cadence)
    shares = run.shares
    carry, (survived, rows) = advance(run.problem, run.quantities, lanes, run.root, carry, shares.num_tiles, clock,
                                      mesh=shares.mesh, tile=shares.places.tile, rows=run.rows)
    return carry, survived, rows


class _Store:
    """The results on the host, filled group by group in the order of the lanes."""

    def __init__(self, quantities: Quantities, shapes: Any, num_cells: int, num_seeds: int, num_records: int):
        self.quantities = quantities
        self.diverged_at = np.full((num_cells, num_seeds), -1, np.int64)
        self.accumulated: dict[str, Any] = {}
        self.gatherers: dict[tuple[str, str], Gatherer] = {
            (name, part): record.gather(num_cells, num_seeds, num_records, np.empty(shape.shape, shape.dtype))
            for name, record in quantities.records.items()
            for part, shape in shapes[name].items()
        }

    def add(self, call: Call, cells: np.ndarray, seeds: np.ndarray, survived: np.ndarray, rows: Any) -> None:
        """Take what one call returned for these lanes."""
        new = (survived != call.num_steps) & (self.diverged_at[cells, seeds] < 0)
        # A lane that was not finite before its first step survived more steps than were made.
        ended = np.where(survived > call.num_steps, 0, call.step + survived + 1)
        self.diverged_at[cells[new], seeds[new]] = ended[new]
        if call.record is None:
            return
        span = slice(call.record, call.record + call.num_intervals)
        for (name, part), gatherer in self.gatherers.items():
            gatherer.add(cells, seeds, span, rows[name][part][:, : call.num_intervals])

    def finish(self, cells: np.ndarray, seeds: np.ndarray, accumulators: Any) -> None:
        """Take the accumulators of lanes that reached the end."""
        diverged = self.diverged_at[cells, seeds] >= 0

        def own(leaf: np.ndarray) -> np.ndarray:
            lanes = leaf.copy()
            # What a diverged lane gathered before its end is no estimate of anything.
            lanes[diverged] = np.nan if np.issubdtype(lanes.dtype, np.floating) else 0
            return lanes

        final = jax.tree.map(own, accumulators)
        if not self.accumulated:
            shape = self.diverged_at.shape
            self.accumulated = jax.tree.map(lambda leaf: np.zeros((*shape, *leaf.shape[1:]), leaf.dtype), final)

        def put(held: np.ndarray, new: np.ndarray) -> None:
            held[cells, seeds] = new

        jax.tree.map(put, self.accumulated, final)

    def variables(self) -> Variables:
        """Return everything recorded, by variable name."""
        found: Variables = {}
        for (name, part), gatherer in self.gatherers.items():
            found.update(gatherer.result(joined(name, part)))
        for name, accumulator in self.quantities.accumulators.items():
            for part, held in self.accumulated[name].items():
                found.update(accumulator.result(joined(name, part), held))
        return found
