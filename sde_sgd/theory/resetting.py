"""Stochastic resetting: going back to a checkpoint at random times can shorten the way to a target."""

import math

from sde_sgd._core import checks
from sde_sgd.theory import matrices
from sde_sgd.theory.roots import bracketed_root


def resetting_first_passage_time(rate: float, *, distance: float, diffusion: float, velocity: float = 0.0) -> float:
    r"""Return the mean first passage time of drifted Brownian motion that is reset to its start at random times.

    .. math::
        \mathrm{E}\tau = \frac1r \left[\exp\frac{(\sqrt{v^2 + 4 D r} - v)\,L}{2D} - 1\right], \qquad
        dX = v\,dt + \sqrt{2D}\,dW

    from 0 to L, set back to 0 at the events of a Poisson process of rate r. Exact.

    Parameters
    ----------
    rate
        r >= 0; at 0 the time is L / v, infinite unless v > 0.
    distance
        L > 0.
    diffusion
        D > 0.
    velocity
        v, positive towards the target.

    Returns
    -------
    time : float
        The mean first passage time.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    References
    ----------
    Evans, Majumdar (2011), Diffusion with stochastic resetting, Phys. Rev. Lett. 106; for checkpoints of SGD: Bae et
    al. (2024).

    Examples
    --------
    >>> round(resetting_first_passage_time(1.0, distance=2.0, diffusion=1.0), 2)
    6.39
    """
    drift = _checked(rate, distance, diffusion, velocity)
    if rate == 0:
        return float(distance) / drift if drift > 0 else math.inf
    exponent = (math.hypot(drift, 2 * math.sqrt(diffusion * rate)) - drift) * distance / (2 * diffusion)
    return math.expm1(exponent) / float(rate)


def optimal_resetting_rate(*, distance: float, diffusion: float, velocity: float = 0.0) -> float:
    r"""Return the resetting rate of the shortest mean first passage time.

    It is positive, resetting helps, where the Peclet number :math:`v L / (2 D)` is below 1. Without drift
    :math:`L \sqrt{r / D} = 1.5936`.

    Parameters
    ----------
    distance
        L > 0.
    diffusion
        D > 0.
    velocity
        v, positive towards the target.

    Returns
    -------
    rate : float
        The best r; 0 where resetting only delays.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    References
    ----------
    Evans, Majumdar (2011), Diffusion with stochastic resetting, Phys. Rev. Lett. 106.

    Examples
    --------
    >>> round(optimal_resetting_rate(distance=1.0, diffusion=1.0) ** 0.5, 4)
    1.5936
    """
    drift = _checked(0.0, distance, diffusion, velocity)
    peclet = drift * distance / (2 * diffusion)
    if peclet >= 1:
        return 0.0

    # In units of D / L^2, with z the exponent above: r = z (z + 2 Pe), and d E tau / dr = 0 is the equation below.
    def slope(z: float) -> float:
        return z * (z + 2 * peclet) + 2 * (z + peclet) * math.expm1(-z)

    # The root lies beyond that of the parabola's linear term; slope is negative before it and positive after.
    high = 2.0 + 2 * max(0.0, -2 * peclet)
    low = max(0.0, -2 * peclet) + 1e-6
    while slope(low) >= 0:
        low /= 2
    z = bracketed_root(slope, low, high)
    return z * (z + 2 * peclet) * float(diffusion) / float(distance) ** 2


def _checked(rate: float, distance: float, diffusion: float, velocity: float) -> float:
    checks.non_negative("rate", rate)
    checks.positive("distance", distance)
    checks.positive("diffusion", diffusion)
    return float(matrices.finite_array("velocity", velocity, ()))
