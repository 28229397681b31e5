"""Tiles: the fixed-size groups of lanes that every run is cut into.

All lanes run in tiles of one power-of-two size, by one compiled program a tile. So the bits of a lane depend neither
on how many lanes there are, nor on their order, nor on the number of devices.
"""

import math
from typing import Any

import jax

from sde_sgd._core import tree
from sde_sgd.noise import AbstractNoise
from sde_sgd.problems.examples import bytes_per_example, lanes_together
from sde_sgd.problems.problem import Problem

# On a CPU: what the examples that the lanes of a tile copy in one step may take, half of a core's first cache; and
# what the params of a network's lanes may, so that their gradients and new values are in its second cache too.
_COPIED_BYTES, _PARAMS_BYTES = 20 * 2**10, 2**19

# What a tile may take on an accelerator, and what a lane of it takes: copies of the params (the state of an optimiser,
# gradients, old and new), their widest numbers, and examples of a batch.
_ACCELERATOR_BYTES = 2**33
_COPIES, _WIDEST, _ROWS = 10, 8, 1024

# Lanes, and bytes of what they carry, for which a device has room in one call: enough to share the host's part of it.
_CALL_LANES, _CALL_BYTES = 2**13, 2**22


def tile_size(problem: Problem, params: Any, process: Any, *, lanes_leave: bool = False) -> int:
    """Return the number of lanes in a tile: a function of shapes and the kinds of process, run and device alone.

    A bare landscape of few dimensions has nothing but its lanes to fill a core's vectors, and takes long tiles. With
    data, full gradients share the examples among the lanes of a tile, while minibatches copy examples for every lane,
    and a short tile keeps the copies in the cache. A network's params fill the vectors by themselves, and its lanes
    are few: at most eight, fewer the larger it is. Where lanes leave one by one, the last of them keep a whole tile
    busy, and shorter ones waste less. On an accelerator a tile fills the device as far as its memory is sure to allow.
    """
    size = tree.size(params)
    bare = problem.num_examples == 1 and size <= 64
    on_cpu = jax.default_backend() == "cpu"
    if bare:
        return (128 if lanes_leave else 2048) if on_cpu else (2**14 if lanes_leave else 2**17)
    example = bytes_per_example(problem.example_loss, params, problem.data)
    if on_cpu and size <= 4096 and lanes_together(example) > 4:
        copied = _copied_bytes(problem, params, process)
        if copied:
            return power_of_two(_COPIED_BYTES / copied, most=64)
        return 64 if tree.size(problem.data) <= 128 * problem.num_examples else 16
    if on_cpu:
        together = power_of_two(_PARAMS_BYTES / tree.num_bytes(params), most=lanes_together(example))
        return min(together, 4) if lanes_leave else together
    lane = _COPIES * size * _WIDEST + example * min(problem.num_examples, _ROWS)
    return power_of_two(_ACCELERATOR_BYTES / lane, most=1024)


def power_of_two(bound: float, most: int) -> int:
    """Return the largest power of two up to a bound, at least 1 and at most ``most``."""
    return min(2 ** max(math.floor(math.log2(bound)), 0), most)


def tiles_in_a_call(tile: int, bytes_per_lane: int) -> int:
    """Return for how many tiles a device has room in one call: a tile fills an accelerator by itself."""
    if jax.default_backend() != "cpu":
        return 1
    return max(min(_CALL_LANES, _CALL_BYTES // max(bytes_per_lane, 1)) // tile, 1)


def _copied_bytes(problem: Problem, params: Any, process: Any) -> float:
    """Return the bytes of the examples that one lane copies for one gradient; 0 where none is copied."""
    noise = getattr(process, "noise", None)
    rows = noise.num_rows(problem, params) if isinstance(noise, AbstractNoise) else 0
    return rows * tree.num_bytes(problem.data) / problem.num_examples
