"""The devices that lanes go to: a one-dimensional mesh, the shares of its devices, and tile after tile on each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from sde_sgd.run.places import Places

LANES = "lanes"


def lane_mesh() -> Mesh:
    """Return the one-dimensional mesh over this process's devices."""
    devices = jax.local_devices()
    return jax.make_mesh((len(devices),), (LANES,), axis_types=(AxisType.Auto,), devices=devices)


class Shares(NamedTuple):
    """How the lanes of one call are shared out: whole tiles, equally many to the devices as far as they go.

    A device has room for ``room`` tiles, whatever the number of lanes: shapes, and so programs, do not depend on it.
    """

    mesh: Mesh
    places: Places
    room: int
    num_lanes: int

    @property
    def most_lanes(self) -> int:
        """How many lanes there is room for on all devices."""
        return self.mesh.size * self.room * self.places.num_usable

    @property
    def num_tiles(self) -> np.ndarray:
        """How many tiles every device has."""
        lanes = np.clip(self.num_lanes - np.arange(self.mesh.size) * self._each, 0, self._each)
        return (-(-lanes // self.places.num_usable)).astype(np.int32)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Return lane values as (devices, lanes of a device, ...); the last one fills up the rest."""
        slots = np.arange(self.room * self.places.num_usable)
        lane = np.minimum(np.arange(self.mesh.size)[:, None] * self._each + slots, self.num_lanes - 1)
        return self.places.put(values[lane])

    def put(self, values: np.ndarray) -> Array:
        """Return lane values on their devices."""
        return jax.device_put(self.spread(values), NamedSharding(self.mesh, PartitionSpec(LANES)))

    def take(self, values: Any) -> np.ndarray:
        """Return what belongs to the lanes, in their order: the inverse of `spread`."""
        own = self.places.take(np.asarray(values))[:, : self._each]
        return own.reshape(-1, *own.shape[2:])[: self.num_lanes]

    @property
    def _each(self) -> int:
        """The lanes of a device that has all its tiles."""
        tiles = -(-self.num_lanes // self.places.num_usable)
        return -(-tiles // self.mesh.size) * self.places.num_usable


def shard(function: Any, mesh: Mesh, per_lane: tuple[bool, ...]) -> Any:
    """Run ``function`` on every device's own lanes; ``per_lane`` says which arguments have a leading device axis."""

    def local(*arguments: Any) -> Any:
        paired = zip(arguments, per_lane, strict=True)
        own = [jax.tree.map(lambda leaf: leaf[0], given) if split else given for given, split in paired]
        return jax.tree.map(lambda leaf: leaf[None], function(*own))

    specs = tuple(PartitionSpec(LANES) if split else PartitionSpec() for split in per_lane)
    # There is no collective in a tile, so nothing varies that the checker could protect.
    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(LANES), check_vma=False)


def tile_by_tile(
    function: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    carry: PyTree,
    lanes: PyTree,
    num_tiles: Array,
    tile: int,
) -> tuple[PyTree, PyTree]:
    """Return ``function(carry, lanes)`` of a device's first ``num_tiles`` tiles, one after the other.

    All leaves have a leading lane axis. The function returns the next carry and an output; beyond the tiles the carry
    stays as it was and the output is zero.
    """

    def part(index: Any, held: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, index * tile, tile, 0), held)

    # Traced once, here, for its shapes and for the loop.
    traced, shapes = jax.make_jaxpr(function, return_shape=True)(part(0, carry), part(0, lanes))
    num_lanes = jax.tree.leaves(lanes)[0].shape[0]
    empty = jax.tree.map(lambda leaf: jnp.zeros((num_lanes, *leaf.shape[1:]), leaf.dtype), shapes[1])

    def one(index: Array, held: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        arguments = jax.tree.leaves((part(index, held[0]), part(index, lanes)))
        own = jax.tree.unflatten(jax.tree.structure(shapes), jaxpr_as_fun(traced)(*arguments))
        return jax.tree.map(
            lambda leaf, new: jax.lax.dynamic_update_slice_in_dim(leaf, new, index * tile, 0), held, own
        )

    return jax.lax.fori_loop(0, num_tiles, one, (carry, empty))
