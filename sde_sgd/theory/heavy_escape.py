"""Escape laws that are powers and not exponentials: jumps of a Levy process, and noise that grows with the loss."""

import math

import numpy as np
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices
from sde_sgd.theory.prediction import MIN_BARRIER, Prediction, judged

_MAX_SCALE = 0.1  # noise scale over the width of the interval up to which the width law was checked


def levy_exit_time(scale: float, stability: float, left_width: float, right_width: float) -> Prediction:
    r"""Return the mean time a Levy-driven flow takes to leave an interval inside one basin.

    .. math::
        \tau = \frac{1}{\epsilon^\alpha c_\alpha (a^{-\alpha} + b^{-\alpha})}, \qquad
        c_\alpha = \frac{\Gamma(\alpha) \sin(\pi \alpha / 2)}{\pi}

    for dX = -U'(X) dt + epsilon dL, L symmetric stable with characteristic function exp(-t |k|^alpha), as epsilon goes
    to 0: one large jump does it, so that the width counts and the height does not. SGD of learning rate eta with stable
    noise, x' = x - eta U' + epsilon eta^(1/alpha) S, leaves after the same time t = eta k. At alpha = 2 the law breaks
    down, and Kramers' takes over.

    Parameters
    ----------
    scale
        epsilon > 0.
    stability
        alpha in (0, 2).
    left_width, right_width
        a and b, distances from the minimum to the ends.

    Returns
    -------
    Prediction
        Valid if epsilon is at most a tenth of the smaller width.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    References
    ----------
    Imkeller, Pavlyukevich (2006), Stoch. Proc. Appl. 116. Simsekli, Sagun, Gurbuzbalaban (2019), ICML.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> round(ss.theory.levy_exit_time(0.03, 1.5, left_width=1.0, right_width=2.0).value, 1)
    712.8
    """
    for name, value in (("scale", scale), ("left_width", left_width), ("right_width", right_width)):
        checks.positive(name, value)
    checks.positive("stability", stability)
    if stability >= 2:
        raise ValueError(f"stability must be below 2, got {stability}: Gaussian noise does not jump. Use kramers_time.")
    alpha = float(stability)
    rate = float(scale) ** alpha * math.gamma(alpha) * math.sin(math.pi * alpha / 2) / math.pi
    rate *= float(left_width) ** -alpha + float(right_width) ** -alpha
    relative = float(scale) / min(float(left_width), float(right_width))
    return judged(1 / rate, f"scale / width = {relative:.3g} is above {_MAX_SCALE:g}" if relative > _MAX_SCALE else "")


def power_law_escape_time(
    minimum_loss: float,
    saddle_loss: float,
    minimum_hessian: ArrayLike,
    saddle_hessian: ArrayLike,
    learning_rate: float,
    batch_size: int,
) -> Prediction:
    r"""Return the mean escape time of SGD whose noise is proportional to the loss: a power of the loss ratio.

    .. math::
        \frac1\tau = \frac{|h_e|}{2\pi} \sqrt{\frac{\det H_a}{|\det H_s|}}
        \Big[\frac{L_s}{L_a}\Big]^{-(B / (\eta h) + 1 - n/2)}

    for a mean-square loss within one valley, where the gradient covariance is 2 L(x) H_a / B. The Hessians are those of
    the n outlying directions, in which alone SGD moves; h_e is the negative eigenvalue at the saddle, and h the
    curvature of the minimum along its eigenvector. Small learning rates, and noise that is isotropic within the
    outlying space or has the axes of the Hessian along the way. Compare slopes, never levels: decoupling of residual
    and feature, Gaussian noise and continuous watching are all assumed.

    Parameters
    ----------
    minimum_loss, saddle_loss
        0 < L_a < L_s.
    minimum_hessian, saddle_hessian
        H_a and H_s, shape (n, n), or numbers for n = 1.
    learning_rate
        eta > 0.
    batch_size
        B, much below the number of examples.

    Returns
    -------
    Prediction
        In units of t = eta k. Valid if (B / (eta h)) log(L_s / L_a), the barrier of log L in units of its
        temperature, is at least 5, and if n is below the 2 (B / (eta h) + 1) at which the minimum stops holding.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, H_a is not positive definite or H_s has not exactly one negative eigenvalue.

    References
    ----------
    Mori, Ziyin, Liu, Ueda (2022), Power-law escape rate of SGD, ICML.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> time = ss.theory.power_law_escape_time(0.05, 0.175, 1.0, -0.5, learning_rate=0.1, batch_size=1)
    >>> round(time.value / 1e6, 3), time.valid
    (4.586, True)
    """
    checks.positive("minimum_loss", minimum_loss)
    checks.positive("saddle_loss", saddle_loss)
    checks.positive("learning_rate", learning_rate)
    checks.integer("batch_size", batch_size)
    if saddle_loss <= minimum_loss:
        raise ValueError(f"saddle_loss must be above minimum_loss, got {saddle_loss} and {minimum_loss}. Swap them.")
    at_minimum = matrices.symmetric("minimum_hessian", np.atleast_2d(np.asarray(minimum_hessian, dtype=np.float64)))
    size = len(at_minimum)
    at_saddle = matrices.symmetric("saddle_hessian", np.atleast_2d(np.asarray(saddle_hessian, dtype=np.float64)), size)
    curvatures, (unstable, axes) = np.linalg.eigvalsh(at_minimum), np.linalg.eigh(at_saddle)
    if curvatures[0] <= 0 or np.sum(unstable < 0) != 1 or 0 in unstable:
        raise ValueError(f"minimum_hessian must be positive definite and saddle_hessian have one negative eigenvalue, "
                         f"got {curvatures} and {unstable}. Restrict both to the outlying directions.")
    inverse_temperature = int(batch_size) / (float(learning_rate) * float(axes[:, 0] @ at_minimum @ axes[:, 0]))
    log_ratio = math.log(saddle_loss / minimum_loss)
    prefactor = -unstable[0] / (2 * np.pi) * np.sqrt(np.prod(curvatures) / np.abs(np.prod(unstable)))
    time = np.exp((inverse_temperature + 1 - size / 2) * log_ratio) / prefactor
    barrier, critical = inverse_temperature * log_ratio, 2 * (inverse_temperature + 1)
    return judged(
        time, f"log barrier / temperature = {barrier:.3g} is below {MIN_BARRIER:g}" if barrier < MIN_BARRIER else "",
        f"{size} outlying directions are at least the critical number {critical:.3g}" if size >= critical else "")
