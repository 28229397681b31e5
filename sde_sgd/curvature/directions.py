"""Directions to look along: random ones in units of the filters, and the plane in which a trajectory moves most."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from sde_sgd._core import checks
from sde_sgd._core.random import RECORD, Draws, lane_key
from sde_sgd._core.random_tree import normal_like


def filter_normalised_direction(params: PyTree, *, key: Array) -> PyTree:
    r"""Return a random direction in which every filter has the norm of its params.

    .. math:: d_{ij} \leftarrow \frac{|w_{ij}|}{|d_{ij}|}\, d_{ij}

    for filter or neuron j of layer i, from normals. Biases and scales of a normalisation, leaves of one axis, do not
    move. Slices along such directions do not change when layers of a ReLU network are rescaled inversely.

    Parameters
    ----------
    params
        A pytree of kernels in flax's order, outputs in the last axis. Filters of norm zero do not move.
    key
        Typed key of the direction.

    Raises
    ------
    TypeError, ValueError
        If the params are not floating-point arrays or none has two axes, or the key is not a typed key.

    References
    ----------
    Li, Xu, Taylor, Studer, Goldstein (2018), Visualizing the loss landscape of neural nets, NeurIPS.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, sde_sgd as ss
    >>> params = {"kernel": jnp.array([[3.0, 0.0], [4.0, 1.0]]), "bias": jnp.ones(2)}
    >>> direction = ss.curvature.filter_normalised_direction(params, key=jax.random.key(0))
    >>> [round(float(norm), 4) for norm in jnp.linalg.norm(direction["kernel"], axis=0)], direction["bias"].tolist()
    ([5.0, 1.0], [0.0, 0.0])
    """
    checks.floating_params(params)
    checks.typed_key(key)
    if all(leaf.ndim < 2 for leaf in jax.tree.leaves(params)):
        raise ValueError("params hold no kernel of two or more axes, hence no filters. Use a direction of your own.")
    normals = normal_like(Draws(lane_key(key, jnp.uint32(0), purpose=RECORD), jnp.uint32(0)), params)
    return jax.tree.map(_like_filters, normals, params)


def _like_filters(direction: Array, kernel: Array) -> Array:
    if kernel.ndim < 2:
        return jnp.zeros_like(kernel)
    inputs = tuple(range(kernel.ndim - 1))
    norms, lengths = (jnp.sqrt(jnp.sum(array**2, axis=inputs)) for array in (kernel, direction))
    return direction * norms / lengths


class Plane(NamedTuple):
    """A plane through the end of a trajectory.

    ``first`` and ``second`` are unit vectors, pytrees like the params; ``coordinates`` (points, 2) those of the
    trajectory in the plane, the end at the origin; ``explained`` the shares of either in the squared distances from the
    end, summed over the points.
    """

    origin: PyTree
    first: PyTree
    second: PyTree
    coordinates: Float[Array, "points 2"]
    explained: Float[Array, "2"]


def principal_plane(trajectory: PyTree) -> Plane:
    r"""Return the plane through the end of a trajectory that lies closest to all its points.

    The two leading right singular vectors of the rows :math:`w_t - w_T`. A plane that explains most is no sign of
    simple dynamics: of a random walk in many dimensions it explains :math:`8/\pi^2 = 81` and :math:`8/(9\pi^2) = 9` per
    cent.

    Parameters
    ----------
    trajectory
        A pytree like the params with a leading axis over time, three points or more.

    Raises
    ------
    TypeError, ValueError
        If the leaves are not floating-point arrays or their leading axes disagree or are shorter than three.

    References
    ----------
    Li, Xu, Taylor, Studer, Goldstein (2018), Visualizing the loss landscape of neural nets, NeurIPS. Antognini,
    Sohl-Dickstein (2018), PCA of high dimensional random walks with comparison to neural network training, NeurIPS
    (the walk, there about its mean).

    Examples
    --------
    >>> import jax.numpy as jnp, sde_sgd as ss
    >>> plane = ss.curvature.principal_plane(jnp.array([[3.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    >>> round(float(plane.explained.sum()), 4), plane.coordinates[2].tolist()
    (1.0, [0.0, 0.0])
    """
    checks.floating_params(trajectory)
    length = checks.leading_axis(trajectory)
    if length < 3:
        raise ValueError(f"trajectory must hold three points or more along its leading axis, got {length}.")
    origin = jax.tree.map(lambda leaf: leaf[-1], trajectory)
    flat, unravel = ravel_pytree(origin)
    if flat.size < 2:
        raise ValueError("trajectory must move in two dimensions or more, got params of a single number.")
    rows = jax.vmap(lambda point: ravel_pytree(point)[0])(trajectory) - flat
    left, sizes, right = jnp.linalg.svd(rows, full_matrices=False)
    explained = sizes[:2] ** 2 / jnp.sum(sizes**2)
    return Plane(origin, unravel(right[0]), unravel(right[1]), left[:, :2] * sizes[:2], explained)
