r"""Tails of the stationary law of SGD on least squares: power laws, whose exponent the noise of the curvature decides.

A step of SGD multiplies the distance from the minimum by a random matrix and adds a random vector. Products of such
factors are rarely large, but often enough for a power law :math:`P(|w| > r) \sim r^{-\alpha}` (Kesten): at every
learning rate some moments are infinite. **A weak approximation does not keep the tail**: the SDE has another exponent,
too small or too large (`sde_tail_exponent`).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory.distance_factor import log_moment, log_sum_exp, mean_log
from sde_sgd.theory.multiplicative import batch_curvatures
from sde_sgd.theory.roots import bracketed_root


def tail_exponent(
    learning_rate: float, batch_size: int, *, feature_variance: float = 1.0, dim: int = 1
) -> float:
    r"""Return the tail exponent of SGD on streaming least squares with isotropic Gaussian features.

    .. math::
        \mathrm{E}\Bigl|\Bigl(I - \frac{\eta}{B} \sum_{b=1}^B x_b x_b^\top\Bigr) e\Bigr|^\alpha = 1, \qquad |e| = 1,
        \qquad x_b \sim N(0, a I_d)

    The positive root alpha: the stationary law of w - w* has :math:`P(|w - w_*| > r) \sim r^{-\alpha}`, and moments of
    order alpha and above are infinite. Exact at every learning rate with a stationary law, for fresh Gaussian data at
    each step and label noise of any law with lighter tails. By isotropy the norm is itself a product of independent
    factors; features of unequal variance have no such equation.

    Parameters
    ----------
    learning_rate
        eta > 0.
    batch_size
        B.
    feature_variance
        a > 0, the curvature.
    dim
        d.

    Returns
    -------
    exponent : float
        alpha > 0. It is 2 where the mean square diverges, at eta a = 2 B / (d + B + 1). For small learning rates it
        tends to 1.7956 B / (eta a), 1.7956 half the root of ln x = 1 + 1/x: the tail is then made by single batches of
        huge features, and the SDE, which has B / (eta a), never gets it right.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or the learning rate is so large that there is no stationary law.

    Notes
    -----
    By quadrature, relative error about 1e-10. Milliseconds in one dimension; about a second in more.

    References
    ----------
    Kesten (1973), Random difference equations and renewal theory for products of random matrices, Acta Math. 131;
    Gurbuzbalaban, Simsekli, Zhu (2021), The heavy-tail phenomenon in SGD, ICML.

    Examples
    --------
    >>> round(tail_exponent(1.0, 4), 4), round(sde_tail_exponent(1.0, 4), 4)
    (3.5047, 5.0)
    """
    rate = _reduced_rate(learning_rate, batch_size, feature_variance, dim)
    if rate < 2 * batch_size / (dim + batch_size + 1) or mean_log(rate, batch_size, dim) < 0:
        return _kesten_root(lambda alpha: log_moment(alpha, rate, batch_size, dim))
    threshold = max_almost_sure_learning_rate(batch_size, feature_variance=feature_variance, dim=dim)
    raise ValueError(f"learning_rate must be below {threshold:.6g}, got {learning_rate}: beyond it almost every run "
                     "diverges and there is no stationary law. Lower it.")


def empirical_tail_exponent(
    curvatures: ArrayLike, learning_rate: float, batch_size: int = 1, *, replacement: bool = True
) -> float:
    r"""Return the tail exponent of SGD in one dimension on a finite data set.

    .. math:: \mathrm{E}|1 - \eta h|^\alpha = 1

    with h the curvature of a minibatch, x_i^2 for least squares. Exact for batches drawn afresh at each step and
    gradients h_i w - b_i whose offsets do not vanish at one point. As the data set grows it tends to `tail_exponent`,
    with a scatter of order 1/sqrt(N).

    Parameters
    ----------
    curvatures
        h_i of the N examples, a vector.
    learning_rate
        eta > 0.
    batch_size
        B.
    replacement
        Whether an example may occur twice in a batch.

    Returns
    -------
    exponent : float
        alpha; infinite if no batch expands, :math:`|1 - \eta h| \le 1`: the law then has bounded support.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, there are too many batches to enumerate, or there is no stationary law.

    References
    ----------
    Pavasovic, Durmus, Simsekli (2023), Approximate heavy tails in offline (multi-pass) stochastic gradient descent,
    NeurIPS.

    Examples
    --------
    >>> empirical_tail_exponent([0.5, 1.0, 4.5], 0.5)
    4.4026...
    """
    checks.positive("learning_rate", learning_rate)
    values, probabilities = batch_curvatures(curvatures, batch_size, replacement=replacement)
    sizes = np.abs(1 - float(learning_rate) * values)
    used = sizes > 0
    log_sizes, log_weights = np.log(sizes[used]), np.log(probabilities[used])
    if used.all() and np.exp(log_weights) @ log_sizes >= 0:
        raise ValueError(f"learning_rate must be such that E ln|1 - eta h| is negative, got {learning_rate}: almost "
                         "every run diverges and there is no stationary law. Take one of convergent_learning_rates.")
    if log_sizes.max() <= 0:
        return np.inf
    return _kesten_root(lambda alpha: log_sum_exp(log_weights + alpha * log_sizes))


def sde_tail_exponent(
    learning_rate: float, batch_size: int, *, feature_variance: float = 1.0, dim: int = 1
) -> float:
    r"""Return the tail exponent of the first-order SDE of the same problem.

    .. math::
        dX = -a X\,dt + \sqrt{\eta C(X)}\,dW, \quad
        C(x) = \frac{a}{B}\bigl[(a|x|^2 + \sigma^2) I + a\,x x^\top\bigr], \qquad
        \alpha = \frac{B}{\eta a} + \frac{3 - d}{2}

    Exact for the SDE. It is *not* SGD's exponent, which is 1.8 times as large at small learning rates and smaller at
    large ones: 17.3 against 11.0 at eta a = 0.1, 1.09 against 2.0 at 1 (d = B = 1).

    Parameters
    ----------
    learning_rate
        eta > 0.
    batch_size
        B.
    feature_variance
        a > 0.
    dim
        d.

    Returns
    -------
    exponent : float
        alpha.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or for d > 3 the learning rate is not below 2 B / (a (d - 3)), where alpha
        vanishes and with it the stationary law.

    References
    ----------
    Schertzer, Pillaud-Vivien (2024), Stochastic differential equations models for least-squares SGD.

    Examples
    --------
    >>> sde_tail_exponent(0.5, 1)
    3.0
    """
    rate = _reduced_rate(learning_rate, batch_size, feature_variance, dim)
    exponent = batch_size / rate + (3 - dim) / 2
    if exponent <= 0:
        raise ValueError(f"learning_rate must be below 2 B / (a (d - 3)) = "
                         f"{2 * batch_size / (feature_variance * (dim - 3)):.6g}, got {learning_rate}: beyond it the "
                         "SDE has no stationary law. Lower it.")
    return float(exponent)


def max_almost_sure_learning_rate(batch_size: int, *, feature_variance: float = 1.0, dim: int = 1) -> float:
    r"""Return the learning rate beyond which SGD on streaming least squares has no stationary law.

    .. math:: \mathrm{E} \ln\Bigl|\Bigl(I - \frac{\eta}{B} \sum_b x_b x_b^\top\Bigr) e\Bigr| = 0

    for isotropic Gaussian features. Below it runs settle to one law, whose variance may be infinite; the threshold in
    mean square, eta a = 2 B / (d + B + 1), is lower by a factor of up to 3.6.

    Parameters
    ----------
    batch_size
        B.
    feature_variance
        a > 0.
    dim
        d.

    Returns
    -------
    learning_rate : float
        The threshold.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> round(max_almost_sure_learning_rate(1), 4)
    2.4212
    """
    _reduced_rate(1.0, batch_size, feature_variance, dim)
    # At the threshold in mean square the exponent is negative, by Jensen's inequality.
    low = 2 * batch_size / (dim + batch_size + 1)
    high = 2 * low
    while mean_log(high, batch_size, dim) <= 0:
        low, high = high, 2 * high
    return bracketed_root(lambda rate: mean_log(rate, batch_size, dim), low, high) / float(feature_variance)


def _reduced_rate(learning_rate: float, batch_size: int, feature_variance: float, dim: int) -> float:
    checks.positive("learning_rate", learning_rate)
    checks.integer("batch_size", batch_size)
    checks.positive("feature_variance", feature_variance)
    checks.integer("dim", dim)
    return float(learning_rate) * float(feature_variance)


def _kesten_root(logarithm: Callable[[float], float]) -> float:
    """Return the positive root of ln E m^alpha, a convex function that falls from 0 at alpha = 0."""
    # Divided by alpha it grows throughout, from E ln m at 0.
    high = 1.0
    while logarithm(high) <= 0:
        high *= 2
    return bracketed_root(lambda alpha: logarithm(alpha) / alpha, 1e-9, high)
