"""The covariance of one example's gradient: dense for small problems, its trace for any."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from sde_sgd._core import tree
from sde_sgd.curvature.dense import check_dense
from sde_sgd.problems.problem import Problem


def noise_covariance(problem: Problem, params: PyTree) -> Float[Array, "d d"]:
    r"""Return the covariance of one example's gradient as a dense matrix.

    .. math:: \Sigma(w) = \frac1N \sum_i (g_i - \bar g)(g_i - \bar g)^\top

    The normalisation is 1/N. The mean of a minibatch has covariance :math:`\varphi \Sigma` with :math:`\varphi = 1/B`
    with replacement and :math:`(N-B)/(B(N-1))` without.

    Parameters
    ----------
    problem
        Any problem; memory N d + d^2, so for d up to a few thousand.
    params
        Where to evaluate; the order of rows is that of ``jax.flatten_util.ravel_pytree``.

    Raises
    ------
    ValueError
        If the params are more than 10,000 numbers. `NoiseCovariance` is the same matrix without forming it.
    """
    check_dense(params)
    gradients = problem.example_gradients(params)
    matrix = jax.vmap(lambda gradient: ravel_pytree(gradient)[0])(gradients)
    centred = matrix - jnp.mean(matrix, axis=0, keepdims=True)
    return centred.T @ centred / problem.num_examples


def noise_trace(problem: Problem, params: PyTree) -> Float[Array, ""]:
    """Return the trace of `noise_covariance` without forming it, one example's gradient in memory at a time."""

    def squared_norm(example: PyTree) -> Array:
        return tree.squared_norm(jax.grad(problem.example_loss)(params, example))

    mean_square = jnp.mean(jax.lax.map(squared_norm, problem.data, batch_size=64))
    return jnp.maximum(mean_square - tree.squared_norm(problem.gradient(params)), 0.0)
