"""Tiles: the fixed-size groups of lanes that every run is cut into, and the devices they go to.

All lanes run in tiles of one power-of-two size, by one compiled program a tile. So the bits of a lane depend neither
on how many lanes there are, nor on their order, nor on the number of devices.
"""

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from sde_sgd._core import tree
from sde_sgd.problems.examples import bytes_per_example, lanes_together
from sde_sgd.problems.problem import Problem

LANES = "lanes"

# What a tile may take on an accelerator, and what a lane of it takes: copies of the params (the state of an optimiser,
# gradients, old and new), their widest numbers, and examples of a batch.
_ACCELERATOR_BYTES = 2**33
_COPIES, _WIDEST, _ROWS = 10, 8, 1024


def tile_size(problem: Problem, params: Any, *, lanes_leave: bool = False) -> int:
    """Return the number of lanes in a tile: a function of the problem's shapes and the kinds of run and device alone.

    A bare landscape of few dimensions has nothing but its lanes to fill a core's vectors, and takes long tiles; with
    data, a short tile keeps the params and the gathered rows in the cache, the shorter one where a row is long. A
    network's params fill the vectors and the cache by themselves, and its lanes are few: at most eight, fewer the
    larger it is. Where lanes leave one by one, the last of them keep a whole tile busy, and shorter ones waste less.
    On an accelerator a tile fills the device as far as its memory is sure to allow.
    """
    size = tree.size(params)
    bare = problem.num_examples == 1 and size <= 64
    on_cpu = jax.default_backend() == "cpu"
    if bare:
        return (128 if lanes_leave else 2048) if on_cpu else (2**14 if lanes_leave else 2**17)
    example = bytes_per_example(problem.example_loss, params, problem.data)
    if on_cpu and size <= 4096 and lanes_together(example) > 4:
        return 64 if tree.size(problem.data) <= 128 * problem.num_examples else 16
    if on_cpu:
        together = lanes_together(example)
        return min(together, 4) if lanes_leave else together
    lane = _COPIES * size * _WIDEST + example * min(problem.num_examples, _ROWS)
    return 2 ** min(max(int(math.log2(_ACCELERATOR_BYTES / lane)), 0), 10)


def lane_mesh() -> Mesh:
    """Return the one-dimensional mesh over this process's devices."""
    devices = jax.local_devices()
    return jax.make_mesh((len(devices),), (LANES,), axis_types=(AxisType.Auto,), devices=devices)


def padded(values: np.ndarray, num_devices: int, tile: int) -> np.ndarray:
    """Return lane values as (devices, tile, ...), the last one repeated to fill the shape."""
    short = num_devices * tile - len(values)
    filled = np.concatenate([values, np.repeat(values[-1:], short, axis=0)]) if short else values
    return filled.reshape(num_devices, tile, *values.shape[1:])
