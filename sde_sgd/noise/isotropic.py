"""Isotropic Gaussian noise with the total variance of a minibatch: the control for the shape of the noise."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from sde_sgd._core import tree
from sde_sgd._core.random import Draws
from sde_sgd._core.random_tree import normal_like, slots_for_normal_like
from sde_sgd.curvature.covariance import noise_trace
from sde_sgd.noise.base import AbstractGaussianNoise, batch_leaf
from sde_sgd.problems.problem import Problem


class Isotropic(AbstractGaussianNoise):
    r"""Gaussian noise of the same total variance as a minibatch, spread evenly over all directions.

    .. math:: g = \nabla f(w) + \sqrt{\varphi\,\mathrm{tr}\,\Sigma(w)/d}\;\xi, \qquad \xi \sim N(0, I_d)

    The control that shows what the *shape* of the noise does: its covariance has the trace of the minibatch's,
    :math:`\varphi\,\mathrm{tr}\,\Sigma(w)`, but no preferred direction.

    Parameters
    ----------
    batch_size
        B, in 1..N.
    replacement
        As for `Gaussian`.

    Notes
    -----
    Cost: one full gradient and N example gradients for the trace. Randomness: d normals a draw.

    References
    ----------
    Zhu, Wu, Yu, Wu, Ma (2019), The anisotropic noise in stochastic gradient descent, ICML.
    """

    batch_size: Any = eqx.field(converter=batch_leaf)
    replacement: bool = eqx.field(static=True, default=True)

    def num_slots(self, problem: Problem, params: PyTree) -> int:
        """Return how many slots of randomness one gradient takes."""
        return slots_for_normal_like(params)

    def scaled_gradient(self, problem: Problem, params: PyTree, draws: Draws, slot: Any, scale: Any) -> PyTree:
        """Return the full gradient plus ``scale`` times the fluctuation."""
        return tree.axpy(scale, self.fluctuation(problem, params, draws, slot), problem.gradient(params))

    def fluctuation(self, problem: Problem, params: PyTree, draws: Draws, slot: Any) -> PyTree:
        """Return the fluctuation alone."""
        total = noise_trace(problem, params) * self.factor(problem)
        return tree.scale(jnp.sqrt(total / tree.size(params)), normal_like(draws, params, slot))

    def variance_along(self, problem: Problem, params: PyTree, direction: PyTree) -> Array:
        """Return the variance in any direction of unit length times the squared length of ``direction``."""
        total = noise_trace(problem, params) * self.factor(problem)
        return total / tree.size(params) * tree.squared_norm(direction)

    def variances(self, problem: Problem, params: PyTree) -> PyTree:
        """Return the variance of every component of one gradient, the same for all."""
        each = noise_trace(problem, params) * self.factor(problem) / tree.size(params)
        return jax.tree.map(lambda leaf: jnp.full_like(leaf, each), params)
