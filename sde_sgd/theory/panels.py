r"""Integrals over panels with Gauss-Legendre nodes, and the weighted cumulative integral that cannot overflow.

Exact passage times are double integrals of e^{psi(y)} e^{-psi(z)}. Neither factor may be formed by itself: each leaves
the range of float64 while their product along the way stays moderate.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.polynomial import legendre

_NODES_PER_PANEL = 16


def _rule(size: int) -> tuple[np.ndarray, ...]:
    """Return nodes and weights on [0, 1], and three matrices that take the values at the nodes of a function.

    They give its Legendre coefficients, its integrals from 0 to each node, and its derivatives at the nodes.
    """
    nodes, weights = legendre.leggauss(size)
    degrees = np.arange(size)
    coefficients = (degrees[:, None] + 0.5) * legendre.legvander(nodes, size - 1).T * weights
    cumulative = legendre.legval(nodes, legendre.legint(coefficients, lbnd=-1)).T
    derivative = legendre.legval(nodes, legendre.legder(coefficients)).T
    return (nodes + 1) / 2, weights / 2, coefficients, cumulative / 2, derivative * 2


_NODES, _WEIGHTS, _COEFFICIENTS, _CUMULATIVE, _DERIVATIVE = _rule(_NODES_PER_PANEL)


class Panels(NamedTuple):
    """A partition of an interval with nodes in each panel."""

    edges: Float[np.ndarray, " panels+1"]

    @property
    def widths(self) -> Float[np.ndarray, " panels"]:
        """Length of each panel."""
        return np.diff(self.edges)

    @property
    def nodes(self) -> Float[np.ndarray, "panels nodes"]:
        """Gauss-Legendre nodes of each panel."""
        return self.edges[:-1, None] + self.widths[:, None] * _NODES

    @property
    def weights(self) -> Float[np.ndarray, "panels nodes"]:
        """Weights of the nodes for integrals over their panels."""
        return self.widths[:, None] * _WEIGHTS

    def integrals(self, integrand: Float[np.ndarray, "panels nodes"]) -> Float[np.ndarray, " panels"]:
        """Return the integral over each panel."""
        return self.widths * (integrand @ _WEIGHTS)

    def within(self, integrand: Float[np.ndarray, "panels nodes"]) -> Float[np.ndarray, "panels nodes"]:
        """Return the integral from the left edge of its panel to each node."""
        return self.widths[:, None] * (integrand @ _CUMULATIVE.T)

    def derivative(self, function: Float[np.ndarray, "panels nodes"]) -> Float[np.ndarray, "panels nodes"]:
        """Return the derivative at the nodes of a function that is smooth within each panel."""
        return (function - function[:, :1]) @ _DERIVATIVE.T / self.widths[:, None]

    def split(self, which: np.ndarray | slice = slice(None)) -> "Panels":
        """Return the partition with the chosen panels halved."""
        middles = (self.edges[:-1] + self.widths / 2)[which]
        return Panels(np.sort(np.concatenate([self.edges, middles])))


def between(left: Float[np.ndarray, " n"], right: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of one rule on each of many intervals, both of shape (n, nodes)."""
    widths = (right - left)[:, None]
    return left[:, None] + widths * _NODES, widths * _WEIGHTS


def interpolation(fractions: Float[np.ndarray, "..."]) -> Float[np.ndarray, "... nodes"]:
    """Return the weights of a panel's nodes in the interpolant at fractions of its width."""
    return legendre.legvander(2 * fractions - 1, _NODES_PER_PANEL - 1) @ _COEFFICIENTS


class Exponent(NamedTuple):
    """A function psi at the nodes and at the edges of panels."""

    nodes: Float[np.ndarray, "panels nodes"]
    edges: Float[np.ndarray, " panels+1"]

    def variation(self) -> Float[np.ndarray, " panels"]:
        """Return by how much psi varies within each panel."""
        seen = np.column_stack([self.edges[:-1], self.nodes, self.edges[1:]])
        return np.max(seen, axis=1) - np.min(seen, axis=1)

    def __neg__(self) -> "Exponent":
        return Exponent(-self.nodes, -self.edges)

    def reversed(self) -> "Exponent":
        """Return psi along the mirrored axis."""
        return Exponent(self.nodes[::-1, ::-1], self.edges[::-1])


def swept(
    panels: Panels, exponent: Exponent, density: Float[np.ndarray, "panels nodes"]
) -> tuple[Float[np.ndarray, "panels nodes"], float]:
    r"""Return the weighted cumulative integral at the nodes and at the right end.

    .. math:: R(y) = e^{\psi(y)} \int_{\text{left}}^{y} \rho(z)\, e^{-\psi(z)}\, dz

    carried from panel to panel as R, so that only differences of psi are ever exponentiated.
    """
    start = exponent.edges[:-1, None]
    local = panels.within(density * np.exp(start - exponent.nodes))
    ends = panels.integrals(density * np.exp(exponent.edges[1:, None] - exponent.nodes))
    growth = np.exp(np.diff(exponent.edges))
    carried = np.zeros(len(ends) + 1)
    for panel in range(len(ends)):
        carried[panel + 1] = carried[panel] * growth[panel] + ends[panel]
    return np.exp(exponent.nodes - start) * (carried[:-1, None] + local), float(carried[-1])


def swept_back(
    panels: Panels, exponent: Exponent, density: Float[np.ndarray, "panels nodes"]
) -> tuple[Float[np.ndarray, "panels nodes"], float]:
    r"""Return the same integral taken from the right, at the nodes and at the left end.

    .. math:: e^{\psi(y)} \int_{y}^{\text{right}} \rho(z)\, e^{-\psi(z)}\, dz
    """
    mirrored, end = swept(Panels(-panels.edges[::-1]), exponent.reversed(), density[::-1, ::-1])
    return mirrored[::-1, ::-1], end
