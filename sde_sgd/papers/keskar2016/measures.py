"""What is measured of every network once it has been trained."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from sde_sgd.curvature import KeskarBox, top_eigenvalue, trace, worst_case_sharpness
from sde_sgd.papers.keskar2016.networks import Setting
from sde_sgd.problems import accuracy
from sde_sgd.run.places import every_place
from sde_sgd.run.shares import Shares, lane_mesh, shard

if TYPE_CHECKING:
    import xarray

EPSILON = 1e-3
ASCENT = 12  # steps from corner to corner of the box
_EIGENVALUE_STEPS, _PROBES = 16, 8


def each(function: Callable[[Any, PyTree], Any], task: Any, params: PyTree) -> Any:
    """Return ``function(task, params)`` for every seed, as arrays with a leading axis; devices share the seeds."""
    mesh = lane_mesh()
    num_seeds = len(jax.tree.leaves(params)[0])
    shares = Shares(mesh, every_place(1), -(-num_seeds // mesh.size), num_seeds)
    found = _each(function, task, jax.tree.map(lambda leaf: shares.put(np.asarray(leaf)), params), mesh)
    return jax.tree.map(shares.take, found)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _each(function: Callable, task: Any, params: PyTree, mesh: Any) -> Any:
    def device(task: Any, params: PyTree) -> Any:
        return jax.lax.map(lambda one: function(task, one), params)

    return shard(device, mesh, (False, True))(task, params)


def stacked(rows: "Sequence[xarray.Dataset]", dim: str, values: Sequence[Any]) -> "xarray.Dataset":
    """Return datasets along a new dim with these coordinates."""
    import xarray

    together: Any = xarray.concat(list(rows), xarray.Variable(dim, list(values)), join="outer")
    return together


def measured(setting: Setting, params: PyTree, start: PyTree, reached: np.ndarray) -> "xarray.Dataset":
    """Return losses, accuracies, sharpness and distance of all seeds, NaN for those that did not reach the target.

    ``sharpness`` is Keskar's at 1e-3, by steps from corner to corner of the box.
    """
    import xarray

    found = each(_measures, setting, (params, start))
    rows = {name: ("seed", np.where(reached, values, np.nan)) for name, values in found.items()}
    return xarray.Dataset(rows, {"seed": np.arange(len(reached))})


def _measures(setting: Setting, both: tuple[PyTree, PyTree]) -> dict[str, Array]:
    params, start = both
    key = jax.random.key(0)
    loss = setting.train.loss(params)
    rise = worst_case_sharpness(setting.train, params, KeskarBox(EPSILON), num_steps=ASCENT)
    return {
        "train_loss": loss, "test_loss": setting.test.loss(params),
        "train_accuracy": accuracy(setting.train, params), "test_accuracy": accuracy(setting.test, params),
        "sharpness": 100 * rise / (1 + loss),
        "top_eigenvalue": top_eigenvalue(setting.train, params, key=key, num_steps=_EIGENVALUE_STEPS),
        "trace": trace(setting.train, params, key=key, rank=0, num_probes=_PROBES).value,
        "distance": jnp.linalg.norm(ravel_pytree(params)[0] - ravel_pytree(start)[0]),
    }
