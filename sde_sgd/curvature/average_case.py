"""How far the loss rises on average under random steps."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from sde_sgd._core import checks, tree
from sde_sgd._core.random import RECORD, Draws, lane_key
from sde_sgd._core.random_tree import normal_like
from sde_sgd.curvature.chunks import CHUNK_SIZE, summed
from sde_sgd.curvature.estimate import Estimate, over_probes
from sde_sgd.curvature.flat import check_params
from sde_sgd.problems.problem import Problem


def average_sharpness(
    problem: Problem, params: PyTree, size: Any, *, key: Array, num_probes: int = 16, adaptive: bool = False
) -> Estimate:
    r"""Estimate how far the loss rises on average under Gaussian steps.

    .. math:: \mathrm{E}\, f(w + \sigma T z) - f(w), \qquad z \sim N(0, I)

    with T the identity, or diag |w| for the adaptive variant, which does not change when layers of a ReLU network are
    rescaled inversely. For small sigma it is :math:`\tfrac{\sigma^2}{2} \mathrm{tr}(THT)`. Every probe takes z and -z,
    which removes the gradient.

    Parameters
    ----------
    problem
        Any problem.
    params
        Where to evaluate. For an ensemble, with a leading axis, wrap in `jax.vmap`.
    size
        sigma > 0.
    key
        Typed key of the steps.
    num_probes
        Pairs of steps, at least 2.
    adaptive
        Whether the steps are in proportion to the params.

    Raises
    ------
    TypeError, ValueError
        If the params do not fit the problem or an argument is out of range.

    References
    ----------
    Andriushchenko, Croce, Müller, Hein, Flammarion (2023), A modern look at the relationship between sharpness and
    generalization, ICML.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, sde_sgd as ss
    >>> bowl = ss.problems.potential(lambda w: 0.5 * jnp.sum(w**2), start=jnp.ones(100))
    >>> value, stderr = ss.curvature.average_sharpness(bowl, jnp.ones(100), 0.1, key=jax.random.key(0))
    >>> bool(abs(value - 0.5) < 4 * stderr)
    True
    """
    checks.positive("size", size)
    checks.typed_key(key)
    checks.integer("num_probes", num_probes, 2, fix="A standard error needs two.")
    return _average_sharpness(problem, check_params(problem, params), size, key, num_probes, adaptive)


@functools.partial(jax.jit, static_argnums=(4, 5))
def _average_sharpness(
    problem: Problem, params: PyTree, size: Any, key: Array, num_probes: int, adaptive: bool
) -> Estimate:
    words = lane_key(key, jnp.uint32(0), purpose=RECORD)

    def loss(at: PyTree) -> Array:
        return summed(lambda chunk: problem.loss(at, chunk), problem, None, CHUNK_SIZE)

    def pair(number: Array) -> Array:
        step = normal_like(Draws(words, number), params)
        if adaptive:
            step = jax.tree.map(lambda leaf, at: leaf * jnp.abs(at), step, params)
        return (loss(tree.axpy(size, step, params)) + loss(tree.axpy(-size, step, params))) / 2

    rises = jax.lax.map(pair, jnp.arange(num_probes, dtype=jnp.uint32)) - loss(params)
    return over_probes(rises)
