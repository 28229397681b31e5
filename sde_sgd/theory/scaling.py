r"""Scaling rules: how the learning rate has to follow the batch size for SGD to do the same."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices


def linear_scaling(learning_rate: float, batch_size: int, new_batch_size: int) -> float:
    r"""Return the learning rate of the linear scaling rule.

    .. math:: \eta' = \eta\,\frac{B'}{B}

    Keeps the temperature eta/B, hence the first-order SDE at equal *time*. Valid while the learning rate is small in
    the curvature, eta' lambda_max well below 2 B'/(B' + 2) for label noise, and while the noise dominates the gradient;
    see `constant_fluctuation_learning_rate` for where it breaks and what replaces it.

    Parameters
    ----------
    learning_rate
        eta > 0.
    batch_size, new_batch_size
        B and B'.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Examples
    --------
    >>> linear_scaling(0.1, 32, 256)
    0.8
    """
    return float(learning_rate) * _ratio(learning_rate, batch_size, new_batch_size)


def constant_fluctuation_learning_rate(
    fluctuation: float, batch_size: int, *, feature_variance: float = 1.0, momentum: float = 0.0
) -> float:
    r"""Return the learning rate at which label noise makes a given fluctuation, in one dimension.

    .. math::
        X = \frac{\mathrm{Var}\,w}{\sigma^2}, \qquad
        \eta = \frac{2 (1 - \beta) B X}{1 + a X \bigl[B \frac{1-\beta}{1+\beta} + 2\bigr]}

    What the linear rule becomes at large learning rates: it agrees where the bracket is small and saturates at
    2 (1 + beta)/a, where the linear rule diverges. Exact for streaming least squares with Gaussian features.

    Parameters
    ----------
    fluctuation
        X > 0, from `label_noise_fluctuation` of a reference run.
    batch_size
        B.
    feature_variance
        a > 0.
    momentum
        beta in [0, 1).

    Returns
    -------
    learning_rate : float
        The learning rate; there is one for every fluctuation and batch size.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    References
    ----------
    Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, ICLR.

    Examples
    --------
    >>> reference = label_noise_fluctuation(0.2, 4)
    >>> round(constant_fluctuation_learning_rate(reference, 64), 4), linear_scaling(0.2, 4, 64)
    (1.28, 3.2)
    """
    checks.positive("fluctuation", fluctuation)
    a, beta = _checked(batch_size, feature_variance, momentum)
    size = float(fluctuation)
    return 2 * (1 - beta) * batch_size * size / (1 + a * size * (batch_size * (1 - beta) / (1 + beta) + 2))


def label_noise_fluctuation(
    learning_rate: float, batch_size: int, *, feature_variance: float = 1.0, momentum: float = 0.0
) -> float:
    r"""Return the stationary variance that label noise of variance 1 makes in one dimension.

    .. math::
        X = \frac{\eta}{B \bigl[2 (1 - \beta) - \bigl(\frac{1-\beta}{1+\beta} + \frac2B\bigr)\,\eta a\bigr]}

    Exact for streaming least squares with Gaussian features of variance a. Proportional to eta/B to leading order only.

    Parameters
    ----------
    learning_rate
        eta > 0.
    batch_size
        B.
    feature_variance
        a > 0.
    momentum
        beta in [0, 1).

    Returns
    -------
    fluctuation : float
        X; infinite from the threshold in mean square on.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    References
    ----------
    Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, ICLR.

    Examples
    --------
    >>> round(label_noise_fluctuation(0.2, 4), 6)
    0.029412
    """
    checks.positive("learning_rate", learning_rate)
    a, beta = _checked(batch_size, feature_variance, momentum)
    gap = 2 * (1 - beta) - ((1 - beta) / (1 + beta) + 2 / batch_size) * float(learning_rate) * a
    return float(learning_rate) / (batch_size * gap) if gap > 0 else math.inf


class AdaptiveHyperparameters(NamedTuple):
    """The hyperparameters of RMSprop or Adam; RMSprop has no ``b1``, here 0."""

    learning_rate: float
    b1: float
    b2: float
    eps: float


def square_root_scaling(
    hyperparameters: AdaptiveHyperparameters, batch_size: int, new_batch_size: int
) -> AdaptiveHyperparameters:
    r"""Return the hyperparameters of an adaptive method at another batch size, by the square-root rule.

    .. math::
        \kappa = \frac{B'}{B}: \qquad \eta' = \sqrt\kappa\,\eta, \quad 1 - \beta_i' = \kappa\,(1 - \beta_i), \quad
        \epsilon' = \epsilon / \sqrt\kappa

    Keeps the SDE of RMSprop and Adam, whose clock is k eta^2: B' / B times fewer steps. Valid where the noise dominates
    the gradient, so that the second moment measures the noise; near the full batch the methods follow the sign of the
    gradient, and no rule of this kind holds. A b1 of 0 (no averaging) stays 0.

    Parameters
    ----------
    hyperparameters
        At batch size B.
    batch_size, new_batch_size
        B and B'.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or kappa (1 - beta_i) exceeds 1: there is no such average.

    References
    ----------
    Malladi, Lyu, Panigrahi, Arora (2022), On the SDEs and scaling rules for adaptive gradient algorithms, NeurIPS.

    Examples
    --------
    >>> base = AdaptiveHyperparameters(learning_rate=1e-3, b1=0.9, b2=0.99, eps=1e-8)
    >>> [round(number, 12) for number in square_root_scaling(base, 64, 256)]
    [0.002, 0.6, 0.96, 5e-09]
    """
    kappa = _ratio(hyperparameters.learning_rate, batch_size, new_batch_size)
    checks.non_negative("eps", hyperparameters.eps)
    decays = {}
    for name in ("b1", "b2"):
        decay = getattr(hyperparameters, name)
        checks.in_half_open_unit(name, decay)
        decays[name] = 1 - kappa * (1 - decay) if decay else 0.0
        if decays[name] < 0:
            raise ValueError(f"{name} must be at least 1 - batch_size/new_batch_size = {1 - 1 / kappa:.6g} for the "
                             f"square-root rule, got {decay}. Raise it, or change the batch size by less.")
    rate, eps = hyperparameters.learning_rate * math.sqrt(kappa), hyperparameters.eps / math.sqrt(kappa)
    return AdaptiveHyperparameters(float(rate), decays["b1"], decays["b2"], float(eps))


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
    :math:`dX = -\mathrm{erf}(\cdot)\,dt + \sqrt{\eta\,(1 - \mathrm{erf}^2(\cdot))}\,dW` with t = k eta. Beyond
    |grad f| of about 3/2 sqrt(2) s it follows the sign of the gradient, below it is gradient flow slowed by the noise,
    of rate sqrt(2/pi)/s.

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


def _ratio(learning_rate: float, batch_size: int, new_batch_size: int) -> float:
    checks.positive("learning_rate", learning_rate)
    checks.integer("batch_size", batch_size)
    checks.integer("new_batch_size", new_batch_size)
    return int(new_batch_size) / int(batch_size)


def _checked(batch_size: int, feature_variance: float, momentum: float) -> tuple[float, float]:
    checks.integer("batch_size", batch_size)
    checks.positive("feature_variance", feature_variance)
    checks.in_half_open_unit("momentum", momentum)
    return float(feature_variance), float(momentum)


def _finite(name: str, value: ArrayLike) -> np.ndarray:
    return matrices.finite_array(name, value, (None,) * np.ndim(value))


def _modes(curvature: ArrayLike, noise_scale: ArrayLike, learning_rate: float) -> tuple[np.ndarray, np.ndarray]:
    checks.positive("learning_rate", learning_rate)
    curvatures, scales = _finite("curvature", curvature), _finite("noise_scale", noise_scale)
    if np.any(curvatures <= 0) or np.any(scales < 0):
        raise ValueError(f"curvature must be positive and noise_scale not negative, got {curvatures.min()} and "
                         f"{scales.min()}: elsewhere there is no stationary law.")
    return curvatures, scales
