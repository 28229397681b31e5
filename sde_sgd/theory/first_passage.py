r"""Exact passage times of a diffusion on a line, by quadrature.

.. math:: dX = -U'(X)\,dt + \sqrt{2 D(X)}\,dW \quad (\text{It\^o}), \qquad \psi = \int U'/D

No barrier is too high or too low for these, and they stand beside every asymptotic formula.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from sde_sgd._core import checks
from sde_sgd.theory import potentials
from sde_sgd.theory.line_diffusion import LineDiffusion, line_diffusion, refined
from sde_sgd.theory.panels import Panels, swept, swept_back


def mean_first_passage_time(
    potential: Callable[[Any], Any],
    temperature: float | Callable[[Any], Any],
    start: float,
    target: float,
    *,
    reflecting: float | None = None,
) -> float:
    r"""Return the exact mean time a diffusion on a line takes from one point to another.

    .. math::
        E\,\tau = \int_{x_0}^{c} e^{\psi(y)} \int_{-\infty}^{y} \frac{e^{-\psi(z)}}{D(z)}\, dz\, dy,
        \qquad \psi = \int U'/D

    which for D = T is (1/T) times the double integral of exp((U(y) - U(z)) / T). For a target on the left the axis is
    mirrored. Without a wall the process must be confined on the far side; it is cut off where exp(-psi) has fallen by
    e^50, so that wells behind a barrier of more than 50 T are left out. Noise is read in Itô's sense; for
    Stratonovich's add D'/2 to the drift, that is, subtract D/2 from the potential.

    Parameters
    ----------
    potential
        U(x), elementwise, of Python, NumPy or JAX operations (JAX if ``temperature`` is a function).
    temperature
        T > 0 with noise sqrt(2T) dW; for SGD with isotropic gradient noise of variance s^2, eta s^2 / 2. Or D(x) as
        an elementwise function, for SGD eta C(x) / 2.
    start
        x_0.
    target
        c, on either side of the start. At a saddle the time is about half of that to the next well.
    reflecting
        Position of a reflecting wall on the far side of the start; None for none.

    Returns
    -------
    time : float
        In units of t = eta k; divide by eta for iterations.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a number or not a function, the start is the target, the wall is between them, the
        process is not confined, D is not positive or the potential not smooth.
    OverflowError
        If the time is beyond float64.

    References
    ----------
    Pontryagin, Andronov, Vitt (1933). Gardiner, Handbook of stochastic methods, first passage times.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> round(ss.theory.mean_first_passage_time(lambda x: (x**2 - 1) ** 2, 0.25, start=-1.0, target=0.5), 4)
    65.925
    """
    return float(first_passage_moments(potential, temperature, start, target, order=1, reflecting=reflecting)[0])


def first_passage_moments(
    potential: Callable[[Any], Any],
    temperature: float | Callable[[Any], Any],
    start: float,
    target: float,
    *,
    order: int = 2,
    reflecting: float | None = None,
) -> Float[np.ndarray, " order"]:
    r"""Return the exact moments of the time a diffusion on a line takes from one point to another.

    .. math::
        m_n(x_0) = n \int_{x_0}^{c} e^{\psi(y)} \int_{-\infty}^{y} m_{n-1}(z) \frac{e^{-\psi(z)}}{D(z)}\, dz\, dy,
        \qquad m_0 = 1

    As the barrier grows the time becomes exponential: m_2 goes to 2 m_1^2.

    Parameters
    ----------
    potential
        U(x), as for `mean_first_passage_time`.
    temperature
        T or D(x), as there.
    start
        x_0.
    target
        c.
    order
        How many moments.
    reflecting
        Position of a reflecting wall, or None.

    Returns
    -------
    moments : numpy.ndarray
        E tau, E tau^2, ..., shape (order,).

    Raises
    ------
    TypeError, ValueError, OverflowError
        As `mean_first_passage_time`.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> mean, square = ss.theory.first_passage_moments(lambda x: (x**2 - 1) ** 2, 0.25, start=-1.0, target=1.0)
    >>> round(float(square / mean**2 - 1) ** 0.5, 4)  # the coefficient of variation
    0.985
    """
    process = line_diffusion(potential, temperature)
    checks.integer("order", order)
    start, target = _distinct("start", start, "target", target)
    wall = None if reflecting is None else potentials.number("reflecting", reflecting)
    if target < start:
        process, start, target, wall = process.mirrored(), -start, -target, None if wall is None else -wall
    if wall is None:
        wall = process.left_end(start, (target - start) / 8)
    elif wall > start:
        raise ValueError(f"reflecting must not lie between start and target, got {reflecting}. Put the wall behind "
                         "the start.")
    points = (wall, start, target) if wall < start else (start, target)
    return refined(process.resolve(*points), lambda panels: _moments(process, panels, start, order))


def _moments(process: LineDiffusion, panels: Panels, start: float, order: int) -> np.ndarray:
    exponent = process.exponent(panels)
    inverse_diffusion = 1 / process.coefficient(panels.nodes)
    beyond = panels.edges[:-1] >= start
    moment = np.ones_like(panels.nodes)
    results = []
    for n in range(1, order + 1):
        rate = n * swept(panels, exponent, moment * inverse_diffusion)[0]
        integrals = panels.integrals(rate)
        results.append(np.sum(integrals[beyond]))
        from_right = np.cumsum(integrals[::-1])[::-1]
        moment = from_right[:, None] - panels.within(rate)
    return np.array(results)


def mean_exit_time(
    potential: Callable[[Any], Any], temperature: float | Callable[[Any], Any], start: float, left: float, right: float
) -> float:
    r"""Return the exact mean time until a diffusion on a line leaves an interval.

    .. math::
        E\,\tau = (1 - q) \int_l^{x} \frac{S(z)}{D(z)} e^{-\psi(z)} dz
        + q \int_x^{r} \frac{S(r) - S(z)}{D(z)} e^{-\psi(z)} dz, \qquad S(y) = \int_l^y e^{\psi},\ q = \frac{S(x)}{S(r)}

    Parameters
    ----------
    potential
        U(x), as for `mean_first_passage_time`.
    temperature
        T or D(x), as there.
    start
        x, between the ends.
    left, right
        The ends l < r of the interval.

    Returns
    -------
    time : float
        In units of t = eta k.

    Raises
    ------
    TypeError, ValueError, OverflowError
        As `mean_first_passage_time`, and if the start is not inside the interval.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> round(ss.theory.mean_exit_time(lambda x: 0 * x, 0.5, start=0.25, left=0.0, right=1.0), 4)
    0.1875
    """
    process, panels, start = _interval(potential, temperature, start, left, right)

    def evaluate(panels: Panels) -> np.ndarray:
        exponent = process.exponent(panels)
        inverse_diffusion = 1 / process.coefficient(panels.nodes)
        before, after = _scale_shares(panels, exponent.nodes, start)
        ones = np.ones_like(panels.nodes)
        from_left = panels.integrals(swept(panels, -exponent, ones)[0] * inverse_diffusion)
        from_right = panels.integrals(swept_back(panels, -exponent, ones)[0] * inverse_diffusion)
        beyond = panels.edges[:-1] >= start
        return np.array([after * np.sum(from_left[~beyond]) + before * np.sum(from_right[beyond])])

    return float(refined(panels, evaluate)[0])


def exit_probability(
    potential: Callable[[Any], Any], temperature: float | Callable[[Any], Any], start: float, left: float, right: float
) -> float:
    r"""Return the exact probability that a diffusion on a line leaves an interval on the right: the committor.

    .. math:: q(x) = \frac{S(x)}{S(r)}, \qquad S(y) = \int_l^y e^{\psi}

    Parameters
    ----------
    potential
        U(x), as for `mean_first_passage_time`.
    temperature
        T or D(x), as there.
    start
        x, between the ends.
    left, right
        The ends l < r of the interval.

    Returns
    -------
    probability : float
        Between 0 and 1.

    Raises
    ------
    TypeError, ValueError
        As `mean_exit_time`.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> round(ss.theory.exit_probability(lambda x: 0 * x, 0.5, start=0.25, left=0.0, right=1.0), 4)
    0.25
    """
    process, panels, start = _interval(potential, temperature, start, left, right)

    def evaluate(panels: Panels) -> np.ndarray:
        return np.array([_scale_shares(panels, process.exponent(panels).nodes, start)[0]])

    return float(refined(panels, evaluate)[0])


def _interval(
    potential: Any, temperature: Any, start: Any, left: Any, right: Any
) -> tuple[LineDiffusion, Panels, float]:
    process = line_diffusion(potential, temperature)
    left, start, right = (potentials.number(*item) for item in (("left", left), ("start", start), ("right", right)))
    if not left < start < right:
        raise ValueError(f"start must lie between left and right, got left={left:.6g}, start={start:.6g}, "
                         f"right={right:.6g}. Order them.")
    return process, process.resolve(left, start, right), start


def _scale_shares(panels: Panels, exponent: Float[np.ndarray, "panels nodes"], start: float) -> tuple[float, float]:
    """Return the shares of the integral of e^psi before and after the start."""
    scale = panels.integrals(np.exp(exponent - np.max(exponent)))
    beyond = panels.edges[:-1] >= start
    return float(np.sum(scale[~beyond]) / np.sum(scale)), float(np.sum(scale[beyond]) / np.sum(scale))


def _distinct(first_name: str, first: Any, second_name: str, second: Any) -> tuple[float, float]:
    first, second = potentials.number(first_name, first), potentials.number(second_name, second)
    if first == second:
        raise ValueError(f"{second_name} must differ from {first_name}, got {second:.6g} for both. Move it.")
    return first, second
