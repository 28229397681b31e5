"""Gaussian noise with the exact covariance of a minibatch, at the cost of one gradient and without a matrix."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from sde_sgd._core import tree
from sde_sgd._core.random import Draws, slots_for_normals
from sde_sgd.curvature.covariance import noise_variances
from sde_sgd.noise.base import AbstractGaussianNoise, batch_leaf
from sde_sgd.problems.problem import Problem, float_dtype


class Gaussian(AbstractGaussianNoise):
    r"""Gaussian noise with the mean and covariance of a minibatch gradient at the current params.

    .. math:: g = \sum_i a_i g_i(w), \qquad
              a_i = \frac1N + \sqrt{\varphi}\,\frac{\xi_i - \bar\xi}{\sqrt N}, \qquad \xi_i \sim N(0, 1)

    so that :math:`\mathrm{Cov}(g) = \varphi\,\Sigma(w)` exactly: the weights are those of a multinomial minibatch with
    the counts replaced by their Gaussian twin. One vector-Jacobian product with these weights gives the full gradient
    and the noise together, for any model and with no matrix formed.

    Parameters
    ----------
    batch_size
        B, in 1..N.
    replacement
        Whether the minibatch imitated is drawn with replacement, :math:`\varphi = 1/B`, or without,
        :math:`\varphi = (N-B)/(B(N-1))`.

    Notes
    -----
    Cost: about one full gradient. Randomness: N normals a draw; the Brownian motion behind it is N-dimensional.

    References
    ----------
    Wu, Hu, Xiong, Huan, Braverman, Zhu (2020), On the noisy gradient descent that generalizes as SGD, ICML.
    """

    batch_size: Any = eqx.field(converter=batch_leaf)
    replacement: bool = eqx.field(static=True, default=True)

    def num_slots(self, problem: Problem, params: PyTree) -> int:
        """Return how many slots of randomness one gradient takes."""
        return slots_for_normals(problem.num_examples, float_dtype(params))

    def centred_weights(self, problem: Problem, params: PyTree, draws: Draws, slot: Any) -> Float[Array, " n"]:
        """Return the weights of the fluctuation alone; they sum to zero."""
        dtype = float_dtype(params)
        normals = draws.normals(problem.num_examples, slot, dtype)
        spread = jnp.sqrt(jnp.asarray(self.factor(problem), dtype) / np.asarray(problem.num_examples, dtype))
        return spread * (normals - jnp.mean(normals))

    def scaled_gradient(self, problem: Problem, params: PyTree, draws: Draws, slot: Any, scale: Any) -> PyTree:
        """Return the full gradient plus ``scale`` times the fluctuation, in one vector-Jacobian product."""
        weights = self.centred_weights(problem, params, draws, slot)
        mean_weight = jnp.asarray(1.0 / problem.num_examples, weights.dtype)
        return problem.gradient(params, mean_weight + jnp.asarray(scale, weights.dtype) * weights)

    def fluctuation(self, problem: Problem, params: PyTree, draws: Draws, slot: Any) -> PyTree:
        """Return the fluctuation alone."""
        return problem.gradient(params, self.centred_weights(problem, params, draws, slot))

    def variance_along(self, problem: Problem, params: PyTree, direction: PyTree) -> Array:
        """Return phi times the variance, over the examples, of their gradients' component along ``direction``."""
        _, components = jax.jvp(problem.example_losses, (params,), (direction,))
        return self.factor(problem) * jnp.var(components)

    def variances(self, problem: Problem, params: PyTree) -> PyTree:
        """Return the variance of every component of one gradient."""
        return tree.scale(self.factor(problem), noise_variances(problem, params))
