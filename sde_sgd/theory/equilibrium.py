r"""The stationary law of a diffusion on a line, its share of each basin, and how fast it is reached.

.. math:: dX = -U'(X)\,dt + \sqrt{2 D(X)}\,dW \quad (\text{It\^o}), \qquad p \sim e^{-\psi}/D,\ \psi = \int U'/D
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd.theory import matrices, potentials
from sde_sgd.theory.line_diffusion import LineDiffusion, line_diffusion, refined
from sde_sgd.theory.panels import Panels, swept, swept_back

_MAX_ITERATIONS = 10_000


def stationary_density(
    potential: Callable[[Any], Any], temperature: float | Callable[[Any], Any], points: ArrayLike
) -> Float[np.ndarray, " points"]:
    r"""Return the stationary density of a diffusion on a line.

    .. math:: p(x) \sim \frac{1}{D(x)} \exp\left(-\int^x U'/D\right), \qquad \text{for } D = T:\ p \sim e^{-U/T}

    Parameters
    ----------
    potential
        U(x), elementwise, of Python, NumPy or JAX operations; it must confine on both sides.
    temperature
        T, or D(x) elementwise, as for `mean_first_passage_time`.
    points
        Ascending positions, shape (points,).

    Returns
    -------
    density : numpy.ndarray
        p at the points, normalised over the whole line.

    Raises
    ------
    TypeError, ValueError
        If the points do not ascend, or as `mean_first_passage_time`.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> ss.theory.stationary_density(lambda x: x**2 / 2, 1.0, [0.0, 1.0]).round(4)
    array([0.3989, 0.242 ])
    """
    process = line_diffusion(potential, temperature)
    points = _ascending("points", points)
    panels = _whole_line(process, points)

    def evaluate(panels: Panels) -> np.ndarray:
        exponent = process.exponent(panels)
        at_points = exponent.edges[np.searchsorted(panels.edges, points)]
        unnormalised = np.exp(np.min(exponent.edges) - at_points) / process.coefficient(points)
        return unnormalised / np.sum(_masses(process, panels))

    return refined(panels, evaluate)


def occupation(
    potential: Callable[[Any], Any], temperature: float | Callable[[Any], Any], boundaries: ArrayLike
) -> Float[np.ndarray, " regions"]:
    r"""Return the stationary probability of each region between boundaries on a line.

    With the saddles as boundaries these are the shares of the basins. Two minima of equal depth have, as T goes to 0,
    the ratio sqrt(U''_2 / U''_1) of the shares of the first and the second: the flatter one has more, whatever
    learning rate and batch size, as long as the noise does not depend on the position.

    Parameters
    ----------
    potential
        U(x), elementwise; it must confine on both sides.
    temperature
        T, or D(x) elementwise, as for `mean_first_passage_time`.
    boundaries
        Ascending positions.

    Returns
    -------
    shares : numpy.ndarray
        One more than there are boundaries, adding up to 1.

    Raises
    ------
    TypeError, ValueError
        If the boundaries do not ascend, or as `mean_first_passage_time`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import sde_sgd as ss
    >>> flat, sharp = ss.theory.occupation(lambda x: (x**2 - 1) ** 2 * jnp.exp(jnp.tanh(x)), 0.1, [0.2256])
    >>> round(float(flat / sharp), 4)
    2.1149
    """
    process = line_diffusion(potential, temperature)
    boundaries = _ascending("boundaries", boundaries)

    def evaluate(panels: Panels) -> np.ndarray:
        mass = _masses(process, panels)
        regions = np.searchsorted(boundaries, panels.edges[:-1], side="right")
        return np.bincount(regions, mass, len(boundaries) + 1) / np.sum(mass)

    return refined(_whole_line(process, boundaries), evaluate)


def relaxation_rate(
    potential: Callable[[Any], Any], temperature: float | Callable[[Any], Any], saddle: float
) -> float:
    r"""Return the spectral gap of a diffusion on a line: the rate at which the stationary law is reached.

    The smallest positive eigenvalue of the generator, by power iteration of its inverse. With two basins it goes, as
    T goes to 0, to the sum of the two Kramers rates, and E[sign(X - saddle)] decays with it.

    Parameters
    ----------
    potential
        U(x), elementwise; it must confine on both sides.
    temperature
        T, or D(x) elementwise, as for `mean_first_passage_time`.
    saddle
        A position that separates the basins; with one basin, any position inside.

    Returns
    -------
    rate : float
        Per unit of t = eta k.

    Raises
    ------
    TypeError, ValueError
        As `mean_first_passage_time`.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> round(ss.theory.relaxation_rate(lambda x: 3 * x**2 / 2, 0.1, saddle=0.5), 6)
    3.0
    """
    process = line_diffusion(potential, temperature)
    saddle = potentials.number("saddle", saddle)
    panels = _whole_line(process, np.array([saddle]))
    return float(refined(panels, lambda panels: np.array([_spectral_gap(process, panels, saddle)]))[0])


def _spectral_gap(process: LineDiffusion, panels: Panels, saddle: float) -> float:
    exponent = process.exponent(panels)
    coefficient = process.coefficient(panels.nodes)
    law = np.exp(np.min(exponent.edges) - exponent.nodes) / coefficient
    law /= np.sum(panels.integrals(law))
    # From the median on, the cumulative integral of the eigenfunction is taken from the right: it is zero in all, and
    # taken from the left would leave in the tail the difference of two equal numbers.
    upper = np.cumsum(panels.integrals(law)) > 0.5
    function = np.sign(panels.nodes - saddle)
    rate = np.inf
    for _ in range(_MAX_ITERATIONS):
        function = function - np.sum(panels.integrals(function * law))
        slope = -swept(panels, exponent, function / coefficient)[0]
        slope[upper] = swept_back(panels, exponent, function / coefficient)[0][upper]
        before = np.concatenate([[0.0], np.cumsum(panels.integrals(slope))[:-1]])
        image = before[:, None] + panels.within(slope)
        image = image - np.sum(panels.integrals(image * law))
        previous, rate = rate, np.sum(panels.integrals(function**2 * law)) / np.sum(
            panels.integrals(function * image * law))
        if abs(rate - previous) <= 1e-12 * abs(rate):
            return float(rate)
        function = image * abs(rate)
    raise ValueError("The two slowest rates are too close to tell apart.")


def _masses(process: LineDiffusion, panels: Panels) -> Float[np.ndarray, " panels"]:
    """Return the mass of each panel under the law whose exponential factor is 1 where it is largest."""
    exponent = process.exponent(panels)
    return panels.integrals(np.exp(np.min(exponent.edges) - exponent.nodes) / process.coefficient(panels.nodes))


def _whole_line(process: LineDiffusion, positions: Float[np.ndarray, " points"]) -> Panels:
    """Return panels that hold the whole law, with edges at the positions."""
    left = process.left_end(float(positions[0]), 1.0)
    right = -process.mirrored().left_end(-float(positions[-1]), 1.0)
    return process.resolve(left, *positions, right)


def _ascending(name: str, value: ArrayLike) -> Float[np.ndarray, " points"]:
    positions = matrices.finite_array(name, value, (None,))
    if np.any(np.diff(positions) <= 0):
        raise ValueError(f"{name} must ascend, got {positions}. Sort them.")
    return positions
