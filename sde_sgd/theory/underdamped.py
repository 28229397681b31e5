r"""Escape with momentum: from energy diffusion at low friction over the turnover to Kramers at high friction.

.. math:: dX = V\,dt, \qquad dV = -\nabla U\,dt - \gamma V\,dt + \sqrt{2 \gamma T}\,dW
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import potentials
from sde_sgd.theory.critical_points import CriticalPoint, barrier, find_minimum, find_saddle
from sde_sgd.theory.kramers import boltzmann, distinct
from sde_sgd.theory.prediction import Prediction, judged, low_barrier

_NODES = 200
_MIN_ENERGY_LOSS = 3.0  # below this loss per round trip, in units of T, spatial diffusion is not what limits


class KineticEquivalent(NamedTuple):
    """The kinetic Langevin equation whose parameters heavy ball has at small learning rate."""

    friction: float
    temperature: float
    time_per_step: float


def heavy_ball_equivalent(learning_rate: float, momentum: float, noise_variance: float) -> KineticEquivalent:
    r"""Return friction, temperature and time step of the kinetic Langevin equation of heavy ball.

    .. math:: \gamma = \frac{1 - \beta}{\sqrt\eta}, \qquad T = \frac{\eta s^2}{2 (1 - \beta)}, \qquad
        \Delta t = \sqrt\eta

    for v <- beta v - eta (grad U + noise), w <- w + v of unit mass, with isotropic noise. With beta up to about 0.9 and
    eta times the curvatures small, it is overdamped, with the effective learning rate eta / (1 - beta).

    Parameters
    ----------
    learning_rate
        eta > 0.
    momentum
        beta in [0, 1).
    noise_variance
        s^2 > 0, the variance of each component of one step's gradient.

    Returns
    -------
    KineticEquivalent
        Times in its units are to be divided by ``time_per_step`` for iterations.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> kinetic = ss.theory.heavy_ball_equivalent(0.01, 0.9, 5.0)
    >>> round(kinetic.friction, 6), round(kinetic.temperature, 6), kinetic.time_per_step
    (1.0, 0.25, 0.1)
    """
    checks.positive("learning_rate", learning_rate)
    checks.in_half_open_unit("momentum", momentum)
    checks.positive("noise_variance", noise_variance)
    eta, loss = float(learning_rate), 1 - float(momentum)
    return KineticEquivalent(loss / eta**0.5, eta * float(noise_variance) / (2 * loss), eta**0.5)


def langer_time(
    potential: Callable[[Any], Any], temperature: float, friction: float, minimum: ArrayLike, saddles: ArrayLike
) -> Prediction:
    r"""Return the mean escape time with momentum in the regime of spatial diffusion, in any dimension.

    .. math::
        \frac1\tau = \sum_s \frac{\lambda_+}{2\pi} \sqrt{\frac{\det H_a}{|\det H_s|}}\, e^{-(U(s) - U(a)) / T}, \qquad
        \lambda_+ = \sqrt{\gamma^2 / 4 + \lambda_s} - \gamma / 2

    with -lambda_s the negative eigenvalue of the Hessian at a saddle. For friction to infinity it is the overdamped
    law with time in units of gamma. It needs a particle that loses at least a few T on its way across the well and
    back: at lower friction see `melnikov_meshkov_time`.

    Parameters
    ----------
    potential
        U(x) of a number or of a vector, as ``minimum`` is, of operators or jax.numpy.
    temperature
        T > 0.
    friction
        gamma > 0, for unit mass.
    minimum
        a, shape () or (d,).
    saddles
        One saddle of the same shape, or several in a leading axis.

    Returns
    -------
    Prediction
        In units of the kinetic equation's time. Valid if the barrier is at least 5 T; in one dimension also if
        gamma times the action of the orbit at the height of the saddle is at least 3 T.

    Raises
    ------
    TypeError, ValueError
        As `eyring_kramers_time`.

    References
    ----------
    Kramers (1940). Langer (1969). Hänggi, Talkner, Borkovec (1990), Rev. Mod. Phys. 62.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> well = lambda x: (x**2 - 1) ** 2
    >>> round(ss.theory.langer_time(well, 0.1, friction=1e3, minimum=-1.0, saddles=0.0).value / 1e3, 1)
    24465.4
    """
    checks.positive("temperature", temperature)
    checks.positive("friction", friction)
    t, gamma = float(temperature), float(friction)
    a = find_minimum(potential, minimum)
    guesses = np.asarray(saddles, dtype=np.float64)
    several = guesses if guesses.ndim > np.ndim(minimum) else guesses[None]
    found = distinct([find_saddle(potential, guess) for guess in several])
    rate = sum(_escaping_rate(-s.eigenvalues[0], gamma) * boltzmann(a, s, t) for s in found)
    low = low_barrier(min(barrier(a, s) for s in found) / t)
    weak = ""
    if not np.ndim(minimum):
        weak = _weak_friction(min(gamma * _barrier_action(potential, a, s) for s in found) / t)
    return judged(2 * np.pi / rate, low, weak)


def energy_diffusion_time(
    potential: Callable[[Any], Any], temperature: float, friction: float, minimum: float, saddle: float
) -> Prediction:
    r"""Return the mean escape time with momentum on a line as friction goes to zero.

    .. math:: \frac1\tau = \frac{\gamma I_b}{T} \frac{\sqrt{U''(a)}}{2\pi} e^{-(U(b) - U(a)) / T}, \qquad
        I_b = \oint \sqrt{2 (U(b) - U(x))}\, dx

    over the closed orbit in the well of a at the height of the saddle. Valid for gamma I_b much below T.

    Parameters
    ----------
    potential
        U(x), of operators or jax.numpy.
    temperature
        T > 0.
    friction
        gamma > 0, for unit mass.
    minimum, saddle
        a and b; guesses are polished.

    Returns
    -------
    Prediction
        Valid if the barrier is at least 5 T and gamma I_b at most 0.1 T.

    Raises
    ------
    TypeError, ValueError
        As `kramers_time`, and if the well does not reach the height of the saddle on its other side.

    References
    ----------
    Kramers (1940).
    """
    t, gamma, a, b = _one_well(potential, temperature, friction, minimum, saddle)
    loss = gamma * _barrier_action(potential, a, b) / t
    exponent = barrier(a, b) / t
    strong = f"friction * action / T = {loss:.3g} is above 0.1" if loss > 0.1 else ""
    return judged(2 * np.pi / (loss * np.sqrt(a.eigenvalues[0])) * np.exp(exponent), low_barrier(exponent), strong)


def melnikov_meshkov_time(
    potential: Callable[[Any], Any], temperature: float, friction: float, minimum: float, saddle: float
) -> Prediction:
    r"""Return the mean escape time with momentum from a well of a **symmetric** double well, at any friction.

    .. math::
        \frac1\tau = \frac{1}{\tau_{\text{Langer}}} \frac{\Upsilon(\Delta)^2}{\Upsilon(2 \Delta)}, \qquad
        \log \Upsilon(\Delta) = \frac{1}{2\pi} \int \frac{\log[1 - e^{-\Delta (l^2 + 1/4)}]}{l^2 + 1/4}\, dl, \qquad
        \Delta = \frac{\gamma I_b}{T}

    with I_b of `energy_diffusion_time`, which is its limit at low friction together with the chance of 1/2 to come to
    rest in either well; `langer_time` is the limit at high friction. Checked by simulation at barrier 6 T, where it is
    7 to 17 % fast.

    Parameters
    ----------
    potential
        U(x), of operators or jax.numpy.
    temperature
        T > 0.
    friction
        gamma > 0, for unit mass.
    minimum, saddle
        a and b; guesses are polished.

    Returns
    -------
    Prediction
        Valid if the barrier is at least 5 T.

    Raises
    ------
    TypeError, ValueError
        As `energy_diffusion_time`.

    References
    ----------
    Melnikov, Meshkov (1986), J. Chem. Phys. 85.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> round(ss.theory.melnikov_meshkov_time(lambda x: (x**2 - 1) ** 2, 1 / 6, 0.1, -1.0, 0.0).value)
    2147
    """
    t, gamma, a, b = _one_well(potential, temperature, friction, minimum, saddle)
    loss = gamma * _barrier_action(potential, a, b) / t
    rate = _escaping_rate(-b.eigenvalues[0], gamma) / (2 * np.pi) * boltzmann(a, b, t)
    return judged(_depopulation(2 * loss) / (rate * _depopulation(loss) ** 2), low_barrier(barrier(a, b) / t))


def _one_well(
    potential: Any, temperature: Any, friction: Any, minimum: Any, saddle: Any
) -> tuple[float, float, CriticalPoint, CriticalPoint]:
    checks.positive("temperature", temperature)
    checks.positive("friction", friction)
    minimum, saddle = potentials.number("minimum", minimum), potentials.number("saddle", saddle)
    return float(temperature), float(friction), find_minimum(potential, minimum), find_saddle(potential, saddle)


def _escaping_rate(curvature: float, friction: float) -> float:
    """Return lambda_+ in the form that does not cancel at high friction."""
    return curvature / (np.sqrt(friction**2 / 4 + curvature) + friction / 2)


def _weak_friction(loss: float) -> str:
    return f"friction * action / T = {loss:.3g} is below {_MIN_ENERGY_LOSS:g}" if loss < _MIN_ENERGY_LOSS else ""


def _depopulation(loss: float) -> float:
    """Return Upsilon. With l = tan(phi) / 2 the integral is that of log(1 - exp(-loss / (4 cos^2))) / pi over phi."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    phi = np.pi / 2 * nodes
    return float(np.exp(np.sum(weights * np.log(-np.expm1(-loss / (4 * np.cos(phi) ** 2)))) / 2))


def _barrier_action(potential: Callable[[Any], Any], a: CriticalPoint, b: CriticalPoint) -> float:
    """Return the closed integral of the momentum at the height of the saddle, over the well of the minimum."""
    from scipy.optimize import brentq

    def depth(x: float) -> float:
        return b.value - float(potentials.values(potential, np.array([x]))[0])

    start, saddle = float(a.position[0]), float(b.position[0])
    reach = start - saddle
    for _ in range(60):
        if depth(start + reach) < 0:
            break
        reach *= 1.5
    else:
        raise ValueError("potential must reach the height of the saddle on the other side of the minimum. Without that "
                         "wall there is no orbit around the well.")
    turn = float(brentq(depth, start, start + reach, xtol=1e-14, rtol=1e-14))  # pyright: ignore[reportArgumentType]
    # The momentum vanishes as a root at the turning point: x = turn + (saddle - turn) u^2 makes it smooth.
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    u, weights = (nodes + 1) / 2, weights / 2
    depths = b.value - potentials.values(potential, turn + (saddle - turn) * u**2)
    return 2 * abs(saddle - turn) * float(np.sum(weights * 2 * u * np.sqrt(2 * np.maximum(depths, 0))))
