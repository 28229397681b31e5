"""The host loop of runs that end when they arrive: a queue of run numbers, and lanes that take the next when free.

The runs are fixed in advance and all of them are seen to their end, so no run counts more for being short. Between two
calls the lanes that stopped leave, those that go on move together, and the next runs fill up the room.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sde_sgd._core import tree
from sde_sgd.run.pace import Pace
from sde_sgd.run.passage import Passage, Progress, Slots, advance, empty_states, example_state
from sde_sgd.run.places import Places, every_place, program_of, trials, usable_places
from sde_sgd.run.shares import LANES

_CALLS_PER_LIFE = 20  # calls in the mean life of a run with all lanes taken; a run that stops wastes half a call
_FIRST_LOOKS = 16
_MOST_LOOKS = 2**31
_STATE_BYTES = 2**28  # what the states of all lanes of a device may take, several copies not counted
_MOST_LANES = 2**22


class Ended(NamedTuple):
    """How every run ended: looks given, why it stopped (0: at its limit), what was recorded there."""

    looks: np.ndarray
    code: np.ndarray
    exits: dict[str, dict[str, np.ndarray]]
    states: Any


class Work(NamedTuple):
    """Looks that runs were given, and looks that lanes had time for."""

    useful: int
    total: int


def run_queue(
    passage: Passage,
    starts: np.ndarray,
    max_looks: int,
    *,
    mesh: Mesh,
    tile: int,
    report: Callable[[float], None],
    check: Callable[[Ended], None] = lambda ended: None,
    keep_states: bool = False,
) -> tuple[Ended, Work]:
    """Give every run up to ``max_looks`` looks; run i uses the ``starts[i]``-th start.

    After every call ``check`` sees how the runs ended that have; it may raise.

    Returns
    -------
    tuple
        How the runs ended, in the order of their numbers, and the work it took. The states at their ends are kept if
        asked for.
    """
    everywhere = NamedSharding(mesh, PartitionSpec())
    passage = jax.device_put(passage, everywhere)
    queue = _Queue(passage, starts, max_looks, mesh, every_place(tile), keep_states)
    while (places := queue.usable()).num_usable < queue.places.num_usable:
        queue = _Queue(passage, starts, max_looks, mesh, places, keep_states)  # more tiles, another program
    pace = Pace(_FIRST_LOOKS)
    while queue.fill():
        length = queue.next_length(pace)
        with pace.timed(length):
            queue.call(length)
        report(float(queue.take_finished()))
        check(queue.ended)
    return queue.ended, Work(queue.useful, queue.total)


class _Queue:
    """All runs, those that lanes hold and those that wait."""

    def __init__(self, passage: Passage, starts: np.ndarray, max_looks: int, mesh: Mesh, places: Places, keep: bool):
        self.passage, self.starts, self.max_looks, self.mesh, self.places = passage, starts, max_looks, mesh, places
        self.looks_per_step = passage.motion.looks_per_step
        self.steps_per_look = int(passage.motion.steps_per_look)
        self.placed = NamedSharding(mesh, PartitionSpec(LANES))
        num_tiles = _num_tiles(passage, len(starts), mesh.size, places)
        self.states = jax.device_put(empty_states(passage, mesh.size, num_tiles * places.tile), self.placed)
        shape = (mesh.size, num_tiles * places.num_usable)
        self.run = np.full(shape, -1, np.int64)  # -1: empty
        self.order = np.tile(np.arange(shape[1], dtype=np.int32), (mesh.size, 1))
        self.fresh = np.zeros(shape, bool)
        self.given = np.zeros(len(starts), np.int64)
        self.waiting = 0
        self.events = self.useful = self.total = 0
        self.keep = keep
        self.ended = Ended(self.given, np.zeros(len(starts), np.int32), {}, None)
        self.made: Any = None

    def fill(self) -> bool:
        """Move the lanes that go on together, fill up with waiting runs; return whether any lane has a run."""
        num_devices = len(self.run)
        for device in range(num_devices):
            going = np.flatnonzero(self.run[device] >= 0)
            free = np.flatnonzero(self.run[device] < 0)
            self.order[device] = np.concatenate([going, free])
            share = -(-(len(self.starts) - self.waiting) // (num_devices - device))
            new = np.arange(self.waiting, self.waiting + min(share, len(free)))
            self.waiting += len(new)
            held = len(going) + len(new)
            self.run[device, :held] = np.concatenate([self.run[device][going], new])
            self.run[device, held:] = -1
            self.fresh[device] = False
            self.fresh[device, len(going) : held] = True
        return bool(np.any(self.run >= 0))

    def next_length(self, pace: Pace) -> int:
        """Return how many looks the next call gives: whole steps, a small part of a life, no word of a step wrapped.

        A call costs the host time h, and a run that stops wastes half a call: of n lanes with mean life L and c the
        time of a look, calls of length l cost h / l + n c l / (2 L) per look, least at a length proportional to
        1 / sqrt(n). So calls grow longer as the last lanes go, and the waste as a whole stays below twice that of the
        first.
        """
        held = self.given[self.run[self.run >= 0]]
        per_step = self.looks_per_step
        life = self.useful / self.events if self.events else self.max_looks
        part = life / _CALLS_PER_LIFE * math.sqrt(self.run.size / len(held))
        wanted = min(pace.steps, int(part) + 1, _MOST_LOOKS, self.max_looks - int(held.min()))
        # Looks of many steps are for runs that end before the first wrap.
        until_wrap = 2**32 - int((held // per_step % 2**32).max()) if self.steps_per_look == 1 else 2**32
        return min(-(-wanted // per_step), until_wrap) * per_step

    def call(self, length: int) -> None:
        """Advance the lanes."""
        run = np.maximum(self.run, 0)
        step = self.given[run] // self.looks_per_step * self.steps_per_look
        left = np.where(self.run >= 0, self.max_looks - self.given[run], 0)
        slots = Slots(
            run=run.astype(np.uint32),
            start=self.starts[run].astype(np.int32),
            fresh=self.fresh,
            step_high=(step >> 32).astype(np.uint32),
            step_low=(step & 0xFFFFFFFF).astype(np.uint32),
            limit=np.minimum(left, 2**32 - 1).astype(np.uint32),
            order=self.places.index(self.order),
        )
        num_tiles = -(-np.sum(self.run >= 0, axis=1) // self.places.num_usable).astype(np.int32)
        self.made = self.take(self.advance(self.passage, slots, num_tiles, length))  # waits for the call to end
        self.total += int(num_tiles.sum()) * self.places.tile * length

    def advance(self, passage: Passage, slots: Slots, num_tiles: np.ndarray, length: int) -> Progress:
        """Call the compiled program."""
        slots, tiles = jax.device_put((jax.tree.map(self.places.put, slots), num_tiles), self.placed)
        self.states, progress = advance(
            passage, self.states, slots, tiles, np.uint32(length), mesh=self.mesh, tile=self.places.tile
        )
        return progress

    def take(self, lanes: Any) -> Any:
        """Return arrays over the slots as arrays over the lanes, on the host."""
        return jax.tree.map(lambda leaf: self.places.take(np.asarray(leaf)), lanes)

    def usable(self) -> Places:
        """Return the places that compute the same bits, of those that are in use."""
        program = program_of((self.passage, self.states), self.mesh)
        found = usable_places(program, self.places.tile, self.tried())
        return self.places._replace(usable=np.intersect1d(found.usable, self.places.usable))

    def tried(self) -> Iterator[Any]:
        """Yield what the program makes of tiles filled with one lane."""
        everywhere = NamedSharding(self.mesh, PartitionSpec())
        zeros = np.zeros(self.run.shape, np.uint32)
        for number, (looks, value) in enumerate(trials(example_state(self.passage).params)):
            passage = jax.device_put(self.passage.tried(value), everywhere)
            slots = Slots(
                run=zeros + np.uint32(number),
                start=np.full(zeros.shape, self.starts[number % len(self.starts)], np.int32),
                fresh=np.ones(zeros.shape, bool),
                step_high=zeros,
                step_low=zeros,
                limit=zeros + np.uint32(looks),
                order=self.places.index(self.order),
            )
            progress = self.advance(passage, slots, np.ones(len(zeros), np.int32), looks)
            yield self.states, progress

    def take_finished(self) -> int:
        """Take the runs that stopped out of their lanes; return how many there were."""
        held = self.run >= 0
        runs, looks, code = self.run[held], self.made.looks[held].astype(np.int64), self.made.code[held]
        self.given[runs] += looks
        self.useful += int(looks.sum())
        stopped = (code != 0) | (self.given[runs] >= self.max_looks)
        self.events += int(np.sum(code != 0))
        self.ended.code[runs] = code
        where = np.nonzero(held)
        where = tuple(axis[stopped] for axis in where)
        own = self.made.exits, (self.take(self.states) if self.keep else ())
        found = jax.tree.map(lambda leaf: leaf[where], own)
        if not self.ended.exits and self.ended.states is None:
            empty = jax.tree.map(lambda leaf: np.zeros((len(self.starts), *leaf.shape[1:]), leaf.dtype), found)
            self.ended = self.ended._replace(exits=empty[0], states=empty[1])
        kept = self.ended.exits, self.ended.states
        jax.tree.map(lambda held, new: held.__setitem__(runs[stopped], new), kept, found)
        self.run[where] = -1
        return int(stopped.sum())


def _num_tiles(passage: Passage, num_runs: int, num_devices: int, places: Places) -> int:
    """Return how many tiles of lanes a device holds: a power of two, as memory allows."""
    size = tree.num_bytes(example_state(passage))
    most = min(_STATE_BYTES // size, _MOST_LANES) // places.tile
    wanted = -(-num_runs // (num_devices * places.num_usable))
    num_tiles = 1
    while num_tiles < wanted and 2 * num_tiles <= most:
        num_tiles *= 2
    return num_tiles
