"""How far the loss rises at worst in a neighbourhood: SAM's and ASAM's sharpness, one step or iterated."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sde_sgd._core import checks
from sde_sgd.curvature.chunks import CHUNK_SIZE, summed
from sde_sgd.curvature.flat import check_params
from sde_sgd.curvature.regions import AbstractRegion
from sde_sgd.problems.problem import Problem


def worst_case_sharpness(
    problem: Problem, params: PyTree, region: AbstractRegion, *, num_steps: int = 1
) -> Float[Array, ""]:
    r"""Return how far the loss rises at most within a region about the params, as far as a few steps of ascent see.

    .. math:: \max_{\delta \in R} f(w + \delta) - f(w), \qquad
              \delta_{k+1} = \arg\max_{\delta \in R}\; \delta \cdot \nabla f(w + \delta_k), \quad \delta_0 = 0

    One step is what SAM (`Ball`) and ASAM (`AdaptiveBall`, `AdaptiveBox`) compute in training. It follows the gradient
    that is left at w and measures that rather than curvature where it is small; some tens of steps find the steep
    directions. Each step goes to the far end of the region, which never lowers a convex loss; of all steps the best
    counts. The value is a lower bound of the maximum; at a stationary point it is zero.

    Parameters
    ----------
    problem
        Any problem.
    params
        Where to evaluate. For an ensemble, with a leading axis, wrap in `jax.vmap`.
    region
        `Ball`, `AdaptiveBall`, `AdaptiveBox` or `KeskarBox`.
    num_steps
        Steps of ascent, each a gradient.

    Raises
    ------
    TypeError, ValueError
        If the params do not fit the problem, or an argument is none of the above.

    References
    ----------
    Foret, Kleiner, Mobahi, Neyshabur (2021), Sharpness-aware minimization, ICLR. Kwon, Kim, Park, Choi (2021), ASAM,
    ICML. Journée, Nesterov, Richtárik, Sepulchre (2010), Generalized power method for sparse principal component
    analysis, JMLR 11 (the iteration).

    Examples
    --------
    >>> import jax.numpy as jnp, sde_sgd as ss
    >>> bowl = ss.problems.potential(lambda w: 0.5 * w[0] ** 2 + 2 * w[1] ** 2, start=jnp.ones(2))
    >>> params = jnp.array([0.01, 0.001])
    >>> sam = ss.curvature.worst_case_sharpness(bowl, params, ss.curvature.Ball(1.0))
    >>> worst = ss.curvature.worst_case_sharpness(bowl, params, ss.curvature.Ball(1.0), num_steps=20)
    >>> round(float(sam), 2), round(float(worst), 2)
    (0.72, 2.0)
    """
    if not isinstance(region, AbstractRegion):
        raise TypeError(f"region must be one of sde_sgd.curvature such as Ball(0.05), got {region!r} of type "
                        f"{type(region).__name__}.")
    checks.integer("num_steps", num_steps)
    return _worst_case_sharpness(problem, check_params(problem, params), region, num_steps)


@functools.partial(jax.jit, static_argnums=3)
def _worst_case_sharpness(problem: Problem, params: PyTree, region: AbstractRegion, num_steps: int) -> Array:
    def evaluate(step: PyTree) -> tuple[Array, PyTree]:
        at = jax.tree.map(jnp.add, params, step)
        return summed(lambda chunk: jax.value_and_grad(problem.loss)(at, chunk), problem, None, CHUNK_SIZE)

    def ascend(_: Any, state: tuple[Array, PyTree]) -> tuple[Array, PyTree]:
        best, gradient = state
        loss, gradient = evaluate(region.farthest(params, gradient))
        return jnp.maximum(best, loss), gradient

    loss, gradient = evaluate(jax.tree.map(jnp.zeros_like, params))
    first, gradient = evaluate(region.farthest(params, gradient))
    return jax.lax.fori_loop(1, num_steps, ascend, (first, gradient))[0] - loss
