r"""Escape driven by noise that is not Gaussian: the exponent of the SDE is wrong, and stays wrong.

With the law of the noise fixed, neither a smaller learning rate nor a larger batch repairs it: what counts is the slope
of the potential against the noise of a single example.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import potentials
from sde_sgd.theory.critical_points import barrier, find_minimum, find_saddle
from sde_sgd.theory.noise_laws import NoiseLaw, empirical_noise
from sde_sgd.theory.panels import Panels
from sde_sgd.theory.prediction import Prediction, judged, large_learning_rate, low_barrier

_NUM_PANELS = 8
_SMALL_EFFECT = 0.1

Noise = NoiseLaw | Callable[[float], ArrayLike]


def escape_action(
    potential: Callable[[Any], Any], noise: Noise, minimum: float, saddle: float, *, batch_size: int = 1
) -> float:
    r"""Return the exponent of the escape time of SGD on a line, for any law of the gradient noise.

    .. math:: \eta \log \tau \to A = B \int_a^b \theta^*(x)\, dx, \qquad \Lambda(\theta^*) = \theta^* U'(x)

    as eta goes to 0 with the law fixed, for the mean of B independent noises of cumulant generating function Lambda;
    theta* is the root beside 0. For Gaussian noise A = 2 B (U(b) - U(a)) / s^2, the SDE's. To first order in the third
    cumulant k_3 of noise that pushes towards the exit,

    .. math:: A \approx \frac{2B}{s^2} \Big[U(b) - U(a) - \frac{2 k_3}{3 s^4} \int_a^b U'^2\, dx\Big]

    Noise that cannot overcome the slope somewhere gives infinity. Batches without replacement are not independent, and
    are not covered.

    Parameters
    ----------
    potential
        U(x), of operators or jax.numpy.
    noise
        The law of the noise of one example, or a function that returns all examples' gradients at x, shape (N,).
    minimum, saddle
        a and b; guesses are polished.
    batch_size
        B.

    Returns
    -------
    action : float
        A, in units of eta log(time).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or there is no such minimum or saddle.

    References
    ----------
    Baule, Sollich (2015). Azizian, Iutzeler, Malick, Mertikopoulos (2024), ICML.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> double_well = lambda x: (x**2 - 1) ** 2
    >>> skewed = ss.theory.escape_action(double_well, ss.theory.exponential_noise(5.0), -1.0, 0.0)
    >>> gaussian = ss.theory.escape_action(double_well, ss.theory.gaussian_noise(5.0), -1.0, 0.0)
    >>> round(skewed / gaussian, 4)
    0.7514
    """
    checks.integer("batch_size", batch_size)
    a, b = find_minimum(potential, minimum), find_saddle(potential, saddle)
    barrier(a, b)
    start, end = float(a.position[0]), float(b.position[0])
    panels = Panels(np.linspace(start, end, _NUM_PANELS + 1))  # leftward if the saddle is: the integral is the same
    slopes = potentials.derivative(potential, panels.nodes)
    laws = [noise if isinstance(noise, NoiseLaw) else empirical_noise(noise(float(x))) for x in panels.nodes.ravel()]
    roots = [_tilt(law, float(slope)) for law, slope in zip(laws, slopes.ravel(), strict=True)]
    return int(batch_size) * float(np.sum(panels.integrals(np.reshape(roots, slopes.shape))))


def large_deviation_time(
    potential: Callable[[Any], Any],
    learning_rate: float,
    noise: Noise,
    minimum: float,
    saddle: float,
    *,
    batch_size: int = 1,
) -> Prediction:
    r"""Return the mean escape time of SGD on a line at small learning rate, for any law of the gradient noise.

    .. math:: \tau = \frac{2\pi}{\sqrt{U''(a)\, |U''(b)|}}\, e^{A / \eta}

    with A of `escape_action`, to a target well beyond the saddle; t = eta k. To leading order the prefactor is
    Kramers'. `SGDChain` is exact.

    Parameters
    ----------
    potential
        U(x), of operators or jax.numpy.
    learning_rate
        eta > 0.
    noise
        The law of the noise of one example, or a function that returns all examples' gradients at x, shape (N,).
    minimum, saddle
        a and b; guesses are polished.
    batch_size
        B.

    Returns
    -------
    Prediction
        Valid if A / eta is at least 5 and finite, and eta times the curvatures at most 0.3.

    Raises
    ------
    TypeError, ValueError
        As `escape_action`.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> noise = ss.theory.uniform_noise(1.0)
    >>> ss.theory.large_deviation_time(lambda x: 2 * (x**2 - 1) ** 2, 0.01, noise, -1.0, 0.0).reason
    'the noise cannot overcome the slope'
    """
    checks.positive("learning_rate", learning_rate)
    eta = float(learning_rate)
    a, b = find_minimum(potential, minimum), find_saddle(potential, saddle)
    exponent = escape_action(potential, noise, minimum, saddle, batch_size=batch_size) / eta
    curvatures = a.eigenvalues[0], -b.eigenvalues[0]
    with np.errstate(over="ignore"):
        time = 2 * np.pi / np.sqrt(np.prod(curvatures)) * np.exp(exponent)
    impossible = "the noise cannot overcome the slope" if np.isinf(exponent) else ""
    return judged(time, low_barrier(exponent), impossible, large_learning_rate(eta * max(curvatures)))


def skewness_effect(
    potential: Callable[[Any], Any], temperature: float, noise: NoiseLaw, minimum: float, saddle: float
) -> Prediction:
    r"""Return what the third cumulant of the noise adds to the log of the escape time, to first order.

    .. math:: \Delta \log \tau = - \frac{2 k_3}{3 s^4\, T} \int_a^b U'^2\, dx

    What a comparison of SGD with its SDE should report beside every escape time. k_3 and s are those of one example:
    the batch size enters through T alone.

    Parameters
    ----------
    potential
        U(x), of operators or jax.numpy.
    temperature
        T = eta s^2 / (2 B) > 0.
    noise
        The law of the noise of one example.
    minimum, saddle
        a and b; guesses are polished.

    Returns
    -------
    Prediction
        The change, negative if SGD escapes sooner; valid, so that the SDE can be trusted, if below 0.1 in size.

    Raises
    ------
    TypeError, ValueError
        As `escape_action`.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> noise = ss.theory.exponential_noise(20.0)
    >>> effect = ss.theory.skewness_effect(lambda x: (x**2 - 1) ** 2, 1 / 6, noise, minimum=-1.0, saddle=0.0)
    >>> round(effect.value, 3), effect.valid
    (-0.488, False)
    """
    checks.positive("temperature", temperature)
    if not isinstance(noise, NoiseLaw):
        raise TypeError(f"noise must be a NoiseLaw, got {noise!r}. Pass empirical_noise(gradients), say.")
    a, b = find_minimum(potential, minimum), find_saddle(potential, saddle)
    barrier(a, b)
    panels = Panels(np.linspace(a.position[0], b.position[0], _NUM_PANELS + 1))
    squares = np.sum(panels.integrals(potentials.derivative(potential, panels.nodes) ** 2))
    effect = -2 * noise.skewness / (3 * noise.standard_deviation * float(temperature)) * squares
    large = f"skewness changes the log of the time by {effect:.3g}" if abs(effect) > _SMALL_EFFECT else ""
    return judged(effect, large)


def _tilt(law: NoiseLaw, slope: float) -> float:
    """Return the root theta beside 0 of Lambda(theta) = theta * slope; infinite if the noise cannot reach the slope."""
    from scipy.optimize import brentq

    if slope < 0:
        return -_tilt(law.mirrored(), -slope)
    if slope >= law.support[1]:
        return np.inf

    def excess(theta: float) -> float:
        return float(law.cumulant_generating_function(np.array(theta))) / theta - slope

    gaussian, limit = 2 * slope / law.standard_deviation**2, law.exponential_range[1]
    upper = min(gaussian, limit / 2)
    while excess(upper) < 0:  # towards infinity, or halving the distance to where Lambda ends
        upper = 2 * upper if np.isinf(limit) else (upper + limit) / 2
    lower = upper
    while excess(lower) > 0:
        lower /= 2
    return lower if lower == upper else float(brentq(excess, lower, upper, xtol=1e-14 * upper, rtol=1e-13))  # pyright: ignore
