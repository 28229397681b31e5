"""Neighbourhoods of the params in which sharpness is measured."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sde_sgd._core import checks, tree


class AbstractRegion(eqx.Module):
    """A convex set of steps from the params, symmetric about zero."""

    @abc.abstractmethod
    def farthest(self, params: PyTree, direction: PyTree) -> PyTree:
        """Return the step in the region whose inner product with ``direction`` is largest."""


class AbstractBox(AbstractRegion):
    """A box centred at the params."""

    @abc.abstractmethod
    def half_widths(self, params: PyTree) -> PyTree:
        """Return how far each of the params may move."""

    def farthest(self, params: PyTree, direction: PyTree) -> PyTree:
        """Return the corner towards ``direction``."""
        return jax.tree.map(lambda width, leaf: width * jnp.sign(leaf), self.half_widths(params), direction)


class Ball(AbstractRegion):
    r"""All steps of Euclidean length at most ``radius``, the region of SAM.

    .. math:: |\delta|_2 \le \rho

    References
    ----------
    Foret, Kleiner, Mobahi, Neyshabur (2021), Sharpness-aware minimization, ICLR.
    """

    radius: Any

    def __check_init__(self):
        checks.positive("radius", self.radius)

    def farthest(self, params: PyTree, direction: PyTree) -> PyTree:
        """Return the step along ``direction``."""
        return tree.scale(self.radius, _unit(direction))


class AdaptiveBall(AbstractRegion):
    r"""An ellipsoid with half-axes in proportion to the params, the region of ASAM in the 2-norm.

    .. math:: |T^{-1} \delta|_2 \le \rho, \qquad T = \mathrm{diag}\,|w|

    It does not change when layers of a ReLU network are rescaled inversely to each other. Biases count as weights do,
    and nothing is added to :math:`|w|`: either would break that.

    References
    ----------
    Kwon, Kim, Park, Choi (2021), ASAM: adaptive sharpness-aware minimization, ICML.
    """

    radius: Any

    def __check_init__(self):
        checks.positive("radius", self.radius)

    def farthest(self, params: PyTree, direction: PyTree) -> PyTree:
        """Return ``radius T^2 direction / |T direction|``."""
        sizes = jax.tree.map(jnp.abs, params)
        scaled = _unit(jax.tree.map(jnp.multiply, sizes, direction))
        return jax.tree.map(lambda size, leaf: jnp.asarray(self.radius, leaf.dtype) * size * leaf, sizes, scaled)


class AdaptiveBox(AbstractBox):
    r"""A box with sides in proportion to the params, the region of ASAM in the maximum norm.

    .. math:: |\delta_i| \le \rho\, |w_i|

    References
    ----------
    Kwon, Kim, Park, Choi (2021), ASAM: adaptive sharpness-aware minimization, ICML.
    """

    radius: Any

    def __check_init__(self):
        checks.positive("radius", self.radius)

    def half_widths(self, params: PyTree) -> PyTree:
        """Return how far each of the params may move."""
        return jax.tree.map(lambda leaf: jnp.asarray(self.radius, leaf.dtype) * jnp.abs(leaf), params)


class KeskarBox(AbstractBox):
    r"""The box of Keskar's sharpness: absolute for small params, relative for large ones.

    .. math:: |\delta_i| \le \epsilon\, (|w_i| + 1)

    References
    ----------
    Keskar, Mudigere, Nocedal, Smelyanskiy, Tang (2017), On large-batch training for deep learning: generalization gap
    and sharp minima, ICLR, Section 2.2.2.
    """

    epsilon: Any

    def __check_init__(self):
        checks.positive("epsilon", self.epsilon)

    def half_widths(self, params: PyTree) -> PyTree:
        """Return how far each of the params may move."""
        return jax.tree.map(lambda leaf: jnp.asarray(self.epsilon, leaf.dtype) * (jnp.abs(leaf) + 1), params)


def _unit(direction: PyTree) -> PyTree:
    """Return the direction at length one, zero if it is zero; divided by its largest entry first, against underflow."""
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(direction)]))
    scaled = tree.scale(jnp.where(largest > 0, 1 / largest, 0.0), direction)
    length = jnp.sqrt(tree.squared_norm(scaled))
    return tree.scale(jnp.where(length > 0, 1 / length, 0.0), scaled)
