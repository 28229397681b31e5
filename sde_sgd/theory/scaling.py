r"""Scaling rules: how the learning rate has to follow the batch size for SGD to do the same."""

import math
from typing import NamedTuple

from sde_sgd._core import checks


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
