"""Adaptive methods near a minimum: RMSprop, whose step is divided by the size of the noise, and signSGD."""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices


def rmsprop_stationary_variance(
    curvature: ArrayLike, noise_scale: ArrayLike, learning_rate: float, batch_size: int = 1
) -> Float[np.ndarray, "*shape"]:
    r"""Return the stationary variance of RMSprop about a quadratic minimum, mode by mode, to leading order.

    .. math:: \mathrm{Var} = \frac{\eta\,\sigma}{2 \lambda \sqrt B}

    of the SDE, with the second moment at its stationary value sigma^2/B. Constant under the square-root rule; the
    linear rule makes it grow as sqrt(B'/B). For noise that dominates the gradient, sigma^2/B well above
    lambda^2 Var, and axes that diagonalise both.

    Parameters
    ----------
    curvature
        lambda > 0, of any shape.
    noise_scale
        sigma, the standard deviation of one example's gradient.
    learning_rate
        eta > 0.
    batch_size
        B.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    References
    ----------
    Malladi, Lyu, Panigrahi, Arora (2022), On the SDEs and scaling rules for adaptive gradient algorithms, NeurIPS.

    Examples
    --------
    >>> float(rmsprop_stationary_variance(0.5, 2.0, 0.01, batch_size=4))
    0.01
    """
    checks.integer("batch_size", batch_size)
    lam, sigma = _modes(curvature, noise_scale, learning_rate)
    return float(learning_rate) * sigma / (2 * lam * math.sqrt(batch_size))


def sign_sgd_drift(gradient: ArrayLike, noise_scale: ArrayLike) -> Float[np.ndarray, "*shape"]:
    r"""Return the mean of the sign of a Gaussian gradient, coordinate by coordinate.

    .. math:: \mathrm{E}\,\mathrm{sign}(g) = \mathrm{erf}\Bigl(\frac{\nabla f}{\sqrt2\, s}\Bigr)

    The SDE of signSGD, of weak order 1, is
    :math:`dX = -\mathrm{erf}(\cdot)\,dt + \sqrt{\eta\,(1 - \mathrm{erf}^2(\cdot))}\,dW` with t = k eta. Far
    above the noise it follows the sign of the gradient at unit speed; far below it is gradient flow, slowed by the
    noise to the rate sqrt(2/pi)/s.

    Parameters
    ----------
    gradient
        The full gradient, of any shape.
    noise_scale
        s > 0, the standard deviation of one minibatch gradient's coordinates.

    Raises
    ------
    ValueError
        If a scale is not positive or a value is not finite.

    References
    ----------
    Compagnoni, Liu, Islamov, Proske, Orvieto, Lucchi (2024), Adaptive methods through the lens of SDEs.

    Examples
    --------
    >>> round(float(sign_sgd_drift(0.7, 1.3)), 5)
    0.40974
    """
    from scipy.special import erf

    gradients = _finite("gradient", gradient)
    scales = _finite("noise_scale", noise_scale)
    if np.any(scales <= 0):
        raise ValueError(f"noise_scale must be positive, got {scales.min()}. Without noise the drift is the sign.")
    return erf(gradients / (math.sqrt(2) * scales))


def sign_sgd_stationary_variance(
    curvature: ArrayLike, noise_scale: ArrayLike, learning_rate: float
) -> Float[np.ndarray, "*shape"]:
    r"""Return the stationary variance of signSGD about a quadratic minimum, mode by mode, to leading order.

    .. math:: \mathrm{Var} = \frac{\eta\, s}{2 \lambda} \sqrt{\frac{\pi}{2}}

    *Linear* in the noise, where SGD's, eta s^2/(2 lambda), is quadratic. For small learning rates, eta lambda well
    below s, and Gaussian noise independent in every coordinate.

    Parameters
    ----------
    curvature
        lambda > 0, of any shape.
    noise_scale
        s, the standard deviation of one *minibatch* gradient's coordinates.
    learning_rate
        eta > 0.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    References
    ----------
    Compagnoni, Liu, Islamov, Proske, Orvieto, Lucchi (2024), Adaptive methods through the lens of SDEs.

    Examples
    --------
    >>> round(float(sign_sgd_stationary_variance(1.0, 2.0, 0.01)), 6)
    0.012533
    """
    lam, scale = _modes(curvature, noise_scale, learning_rate)
    return float(learning_rate) * scale / (2 * lam) * math.sqrt(math.pi / 2)


def _finite(name: str, value: ArrayLike) -> np.ndarray:
    return matrices.finite_array(name, value, (None,) * np.ndim(value))


def _modes(curvature: ArrayLike, noise_scale: ArrayLike, learning_rate: float) -> tuple[np.ndarray, np.ndarray]:
    checks.positive("learning_rate", learning_rate)
    curvatures, scales = _finite("curvature", curvature), _finite("noise_scale", noise_scale)
    if np.any(curvatures <= 0) or np.any(scales < 0):
        raise ValueError(f"curvature must be positive and noise_scale not negative, got {curvatures.min()} and "
                         f"{scales.min()}: elsewhere there is no stationary law.")
    return curvatures, scales
