r"""Kramers' law: mean escape times over a barrier at low temperature, in one and in many dimensions.

Asymptotic in T / barrier. Each function returns a `Prediction`, whose verdict says whether the barrier is high enough.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices, potentials
from sde_sgd.theory.critical_points import CriticalPoint, barrier, find_minimum, find_saddle
from sde_sgd.theory.line_diffusion import LineDiffusion, refined
from sde_sgd.theory.panels import Panels
from sde_sgd.theory.prediction import Prediction, judged, low_barrier


def kramers_time(
    potential: Callable[[Any], Any],
    temperature: float | Callable[[Any], Any],
    minimum: float,
    saddle: float,
    *,
    next_order: bool = False,
) -> Prediction:
    r"""Return Kramers' mean escape time of an overdamped diffusion on a line.

    .. math:: \tau = \frac{2\pi}{\sqrt{U''(a)\, |U''(b)|}}\, e^{(U(b) - U(a)) / T}\, [1 + c\,T]

    to a target **well beyond the saddle b, in the next basin; to the saddle itself it takes half of this**. The bracket
    is left out unless ``next_order``; c is `kramers_correction`. With state-dependent noise in Itô's sense

    .. math:: \tau = \frac{2\pi \sqrt{D(b) / D(a)}}{\sqrt{U''(a)\, |U''(b)|}} \exp \int_a^b \frac{U'}{D}\, dx

    Without the bracket the quartic double well is 8 % low at barrier / T = 6 and still 2 % at 20:
    `mean_first_passage_time` is exact.

    Parameters
    ----------
    potential
        U(x), of operators or jax.numpy.
    temperature
        T, or D(x) as an elementwise function; for SGD eta s^2 / 2 and eta C(x) / 2.
    minimum, saddle
        a and b; guesses are polished by Newton's method.
    next_order
        Whether to multiply by 1 + c T; for a constant temperature only.

    Returns
    -------
    Prediction
        Valid if the barrier is at least 5 T.

    Raises
    ------
    TypeError, ValueError
        If there is no such minimum or saddle, the barrier is not positive, D is not positive between the two, or the
        next order is asked for with D(x).

    References
    ----------
    Kramers (1940). Hänggi, Talkner, Borkovec (1990), Rev. Mod. Phys. 62.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> time = ss.theory.kramers_time(lambda x: (x**2 - 1) ** 2, temperature=0.1, minimum=-1.0, saddle=0.0)
    >>> round(time.value, 2), time.valid
    (24465.25, True)
    """
    a, b = find_minimum(potential, minimum), find_saddle(potential, saddle)
    low = barrier(a, b)
    factor = 2 * np.pi / np.sqrt(a.eigenvalues[0] * -b.eigenvalues[0])
    if callable(temperature):
        if next_order:
            raise ValueError("next_order must be False for a temperature that is a function: no such term is known "
                             "here. Use mean_first_passage_time, which is exact.")
        exponent, ratio = _ito_action(potential, temperature, float(a.position[0]), float(b.position[0]))
        factor *= np.sqrt(ratio)
    else:
        checks.positive("temperature", temperature)
        exponent = low / float(temperature)
        if next_order:
            factor *= 1 + float(temperature) * _correction(potential, a, b)
    return judged(factor * np.exp(exponent), low_barrier(exponent))


def kramers_correction(potential: Callable[[Any], Any], minimum: float, saddle: float) -> float:
    r"""Return the coefficient of the next term of Kramers' law on a line.

    .. math::
        \tau = \tau_{\text{Kramers}} [1 + c\,T + O(T^2)], \qquad
        c = \frac{5 U'''(a)^2}{24\, U''(a)^3} - \frac{U''''(a)}{8\, U''(a)^2}
        + \frac{5 U'''(b)^2}{24\, |U''(b)|^3} + \frac{U''''(b)}{8\, U''(b)^2}

    Parameters
    ----------
    potential
        U(x), of operators or jax.numpy, four times differentiable.
    minimum, saddle
        a and b; guesses are polished by Newton's method.

    Returns
    -------
    coefficient : float
        c, in units of 1 / T.

    Raises
    ------
    TypeError, ValueError
        As `kramers_time`.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> round(ss.theory.kramers_correction(lambda x: (x**2 - 1) ** 2, -1.0, 0.0), 6)
    0.375
    """
    a, b = find_minimum(potential, minimum), find_saddle(potential, saddle)
    barrier(a, b)
    return _correction(potential, a, b)


def eyring_kramers_time(
    potential: Callable[[Any], Any],
    temperature: float,
    minimum: ArrayLike,
    saddles: ArrayLike,
    *,
    preconditioner: ArrayLike | None = None,
) -> Prediction:
    r"""Return the Eyring-Kramers mean escape time of a gradient diffusion in any dimension.

    .. math::
        \frac1\tau = \sum_s \frac{\lambda_s}{2\pi} \sqrt{\frac{\det H_a}{|\det H_s|}}\, e^{-(U(s) - U(a)) / T}

    for dX = -grad U dt + sqrt(2T) dW, with lambda_s minus the one negative eigenvalue of the Hessian at a saddle, to
    small balls about the minima beyond, none of them higher than a. Rates over several saddles add. With a
    constant preconditioner, dX = -P grad U dt + sqrt(2 T P) dW, lambda_s is that of P H_s. The relative error is
    O(T). A basin lower than a behind the next asks for the highest saddle on the way; saddles that are flat to second
    order, and valleys without a unique minimum, change the power of T and are refused.

    Parameters
    ----------
    potential
        U(x) of a vector, of operators or jax.numpy.
    temperature
        T > 0.
    minimum
        a, shape (d,); polished by Newton's method.
    saddles
        One saddle, shape (d,), or several, shape (m, d); polished by eigenvector following.
    preconditioner
        P, symmetric positive definite, shape (d, d); None for the identity.

    Returns
    -------
    Prediction
        Valid if the lowest barrier is at least 5 T.

    Raises
    ------
    TypeError, ValueError
        If a saddle does not have exactly one negative eigenvalue or is not above the minimum, two of the saddles are
        the same, or P is not positive definite.

    References
    ----------
    Bovier, Eckhoff, Gayrard, Klein (2004), J. Eur. Math. Soc. 6. Berglund (2013), Kramers' law: validity, derivations
    and generalisations.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> time = ss.theory.eyring_kramers_time(
    ...     lambda x: (x[0] ** 2 - 1) ** 2 + 2 * x[1] ** 2, 0.1, minimum=[-1.0, 0.0], saddles=[0.0, 0.0])
    >>> round(time.value, 2), time.valid
    (24465.25, True)
    """
    checks.positive("temperature", temperature)
    a = find_minimum(potential, potentials.vector("minimum", minimum))
    dim = len(a.position)
    guesses = matrices.finite_array("saddles", np.atleast_2d(np.asarray(saddles, dtype=np.float64)), (None, dim))
    found = distinct([find_saddle(potential, guess) for guess in guesses])
    metric = np.eye(dim) if preconditioner is None else _positive_definite(preconditioner, dim)
    rate = sum(_unstable_rate(metric, s.hessian) * boltzmann(a, s, float(temperature)) for s in found)
    lowest = min(barrier(a, s) for s in found) / float(temperature)
    return judged(2 * np.pi / rate, low_barrier(lowest))


def boltzmann(minimum: CriticalPoint, saddle: CriticalPoint, temperature: float) -> float:
    """Return sqrt(det H_a / |det H_s|) exp(-barrier / T): equilibrium's share of every escape rate."""
    determinants = np.prod(minimum.eigenvalues / np.abs(saddle.eigenvalues))
    return float(np.sqrt(determinants) * np.exp(-barrier(minimum, saddle) / temperature))


def distinct(points: list[CriticalPoint]) -> list[CriticalPoint]:
    """Return the critical points; raise if two guesses have led to the same."""
    for index, point in enumerate(points):
        for other in points[:index]:
            if np.linalg.norm(point.position - other.position) < 1e-6 * (1 + np.linalg.norm(point.position)):
                raise ValueError(f"saddles must differ, but two of the guesses lead to {point.position}. Each saddle "
                                 "counts once.")
    return points


def _unstable_rate(metric: np.ndarray, hessian: np.ndarray) -> float:
    """Return minus the negative eigenvalue of P H, which is that of the symmetric L^T H L for P = L L^T."""
    root = np.linalg.cholesky(metric)
    return -float(np.linalg.eigvalsh(root.T @ hessian @ root)[0])


def _positive_definite(preconditioner: ArrayLike, dim: int) -> np.ndarray:
    metric = matrices.symmetric("preconditioner", preconditioner, dim)
    if np.linalg.eigvalsh(metric)[0] <= 0:
        raise ValueError("preconditioner must be positive definite. Add a multiple of the identity.")
    return metric


def _correction(potential: Callable[[Any], Any], a: CriticalPoint, b: CriticalPoint) -> float:
    points = np.concatenate([a.position, b.position])
    second, third, fourth = (potentials.derivative(potential, points, order) for order in (2, 3, 4))
    cubic = 5 * third**2 / (24 * np.abs(second) ** 3)
    return float(np.sum(cubic - np.sign(second) * fourth / (8 * second**2)))


def _ito_action(potential: Any, diffusion: Callable[[Any], Any], a: float, b: float) -> tuple[float, float]:
    """Return the integral of U'/D from the minimum to the saddle, and D(b) / D(a)."""
    line = LineDiffusion(potential, diffusion) if a < b else LineDiffusion(potential, diffusion).mirrored()
    ends = (a, b) if a < b else (-a, -b)

    def rise(panels: Panels) -> np.ndarray:
        return line.exponent(panels).edges[-1:]

    coefficients = line.coefficient(np.array(ends))
    return float(refined(line.resolve(*ends), rise)[0]), float(coefficients[1] / coefficients[0])
