"""Tiles: the fixed-size groups of lanes that every run is cut into, and the devices they go to.

All lanes run in tiles of one power-of-two size, by one compiled program a tile. So the bits of a lane depend neither
on how many lanes there are, nor on their order, nor on the number of devices.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from sde_sgd._core import tree
from sde_sgd.problems.problem import Problem

LANES = "lanes"


def tile_size(problem: Problem, params: Any, *, lanes_leave: bool = False) -> int:
    """Return the number of lanes in a tile: a function of the problem's shapes and the kinds of run and device alone.

    A bare landscape of few dimensions has nothing but its lanes to fill a core's vectors, and takes long tiles; with
    data, a short tile keeps the params and the gathered rows in the cache. A network's params fill the vectors and
    the cache by themselves, and its lanes are few: the shortest tile, one vector long, has the least padding. Where
    lanes leave one by one, the last of them keep a whole tile busy, and shorter ones waste less.
    """
    size = tree.size(params)
    bare = problem.num_examples == 1 and size <= 64
    if jax.default_backend() == "cpu":
        if bare:
            return 128 if lanes_leave else 2048
        return 64 if size <= 4096 else 16
    return (2**14 if lanes_leave else 2**17) if bare else 2**10


def lane_mesh() -> Mesh:
    """Return the one-dimensional mesh over this process's devices."""
    devices = jax.local_devices()
    return jax.make_mesh((len(devices),), (LANES,), axis_types=(AxisType.Auto,), devices=devices)


def padded(values: np.ndarray, num_devices: int, tile: int) -> np.ndarray:
    """Return lane values as (devices, tile, ...), the last one repeated to fill the shape."""
    short = num_devices * tile - len(values)
    filled = np.concatenate([values, np.repeat(values[-1:], short, axis=0)]) if short else values
    return filled.reshape(num_devices, tile, *values.shape[1:])
