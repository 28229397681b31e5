"""The places of a tile that compute the same bits: lanes go to these alone.

The lanes of a tile are the elements of a compiler's loops. Where such a loop reads with gaps, as from params of two
numbers a lane, it may compute the last few elements one by one, and contract ``a * b + c * d`` into a fused
multiply-add in another way than for the others. So a lane at the end of a tile can differ in the last bit from what it
is elsewhere. This is rare, it depends on the user's own functions, and no option of XLA prevents it. But it can be
seen: a tile is filled with one lane, and the places are compared.

The answer follows from the program, up to a difference that no trial shows. Trials have fixed addresses, lengths and
numbers: with those of the process a small learning rate would hide, for long, how a gradient was rounded.
"""

from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sde_sgd._core import tree

# Steps, and the number put in place of all those of the process: the larger, the sooner all may overflow. No powers of
# two, products with which are exact.
_TRIALS = ((1, 0.9), (4, 0.6), (16, 0.3), (64, 0.1))
_ROUNDINGS = 2048  # steps times numbers of the params that show enough: large params need few steps
_MOST_PROGRAMS = 1024
_HOST_BYTES = 2**26  # what is compared on the host; more stays on its accelerator


class Places(NamedTuple):
    """The places of a tile that lanes may take, in increasing order."""

    tile: int
    usable: np.ndarray

    @property
    def num_usable(self) -> int:
        """How many lanes a tile takes."""
        return len(self.usable)

    def put(self, values: np.ndarray) -> np.ndarray:
        """Return lane values (devices, lanes, ...) at their places; a lane's neighbour fills an unusable place."""
        if self.num_usable == self.tile:
            return values
        lane_of = np.maximum(np.searchsorted(self.usable, np.arange(self.tile), side="right") - 1, 0)
        return self._selected(values, self.num_usable, lane_of)

    def take(self, values: np.ndarray) -> np.ndarray:
        """Return what is at the places of the lanes: the inverse of `put`."""
        return values if self.num_usable == self.tile else self._selected(values, self.tile, self.usable)

    def index(self, lanes: np.ndarray) -> np.ndarray:
        """Return the places of the lanes of these numbers, tile after tile."""
        group, lane = np.divmod(lanes, self.num_usable)
        return (group * self.tile + self.usable[lane]).astype(lanes.dtype)

    def _selected(self, values: np.ndarray, width: int, places: np.ndarray) -> np.ndarray:
        by_tile = values.reshape(len(values), -1, width, *values.shape[2:])
        return by_tile[:, :, places].reshape(len(values), -1, *values.shape[2:])


_FOUND: dict[Hashable, Places] = {}


def every_place(tile: int) -> Places:
    """Return all places of a tile."""
    return Places(tile, np.arange(tile))


def usable_places(program: Hashable, tile: int, results: Iterator[PyTree]) -> Places:
    """Return the places, the largest set of them, at which one lane has the same bits in all ``results``.

    The leaves of every result have leading axes (devices, places); the first tile of the first device is looked at.
    Results are asked for once a program.
    """
    if tile == 1:
        return every_place(tile)
    if program not in _FOUND:
        if len(_FOUND) >= _MOST_PROGRAMS:
            _FOUND.clear()
        kinds = [_kinds(leaf, tile) for result in results for leaf in jax.tree.leaves(result)]
        _, kind, count = np.unique(np.stack(kinds, axis=1), axis=0, return_inverse=True, return_counts=True)
        _FOUND[program] = Places(tile, np.flatnonzero(kind.reshape(-1) == np.argmax(count)))
    return _FOUND[program]


def _kinds(leaf: jax.Array | np.ndarray, tile: int) -> np.ndarray:
    """Return numbers that are equal where the bits of two places are; NaN equals NaN."""
    own = leaf.addressable_shards[0].data if isinstance(leaf, jax.Array) else leaf
    if own.nbytes > _HOST_BYTES and jax.default_backend() != "cpu":
        return _differ_from_first(own[0, :tile])
    values = np.asarray(own)[0, :tile]
    if jnp.issubdtype(values.dtype, jnp.floating):
        values = np.where(np.isnan(values), np.asarray(np.nan, values.dtype), values)
    bits = np.ascontiguousarray(values).reshape(tile, -1).view(np.uint8)
    if np.array_equal(bits, np.broadcast_to(bits[0], bits.shape)):
        return np.zeros(tile, np.int64)
    return np.unique(bits, axis=0, return_inverse=True)[1].reshape(-1)


def _differ_from_first(values: Any) -> np.ndarray:
    """Return 1 for the places that differ from the first, 0 for the others."""
    same = (values == values[:1]) | ((values != values) & (values[:1] != values[:1]))
    return np.asarray(~jnp.all(same.reshape(len(values), -1), axis=1)).astype(np.int64)


def program_of(arguments: PyTree, *static: Hashable) -> Hashable:
    """Return what decides the compiled program of a function of these arguments: all but the numbers in them."""
    leaves, structure = jax.tree.flatten(arguments)
    options = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision
    return static, structure, tuple((np.shape(leaf), str(jnp.result_type(leaf))) for leaf in leaves), options


def trials(params: PyTree) -> list[tuple[int, float]]:
    """Return the trials for params of these shapes: steps, and the number that stands for those of the process."""
    most = max(_ROUNDINGS // tree.size(params), 4)
    return [(steps, number) for steps, number in _TRIALS if steps <= most]


def numbered(process: PyTree, number: float) -> PyTree:
    """Return the process with one number for all its own that are floating-point scalars."""

    def one(leaf: Any) -> np.ndarray:
        own = np.asarray(leaf)
        return np.full_like(own, number) if own.ndim == 0 and jnp.issubdtype(own.dtype, jnp.floating) else own

    return jax.tree.map(one, process)
