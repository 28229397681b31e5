r"""Stationary covariances of SGD's continuous-time models about a quadratic minimum, constant noise.

The rungs of a ladder whose top is `sgd_stationary_covariance`: each is linear in S and diagonal in the eigenbasis of
`modes`. As there, C is the covariance of one step's gradient, phi Sigma for a minibatch.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory.modes import minimum_modes, sme2_operator


def ou_stationary_covariance(
    hessian: ArrayLike, noise_covariance: ArrayLike, learning_rate: ArrayLike, momentum: float = 0.0
) -> Float[np.ndarray, "d d"]:
    r"""Return the stationary covariance of the first-order SDE, an Ornstein-Uhlenbeck process.

    .. math:: \Lambda HS + SH\Lambda = \frac{1}{1-\beta}\, \Lambda C \Lambda

    which for a scalar rate is H S + S H = eta C / (1 - beta). The leading order in eta. Without momentum, and where H
    and C commute, it is a relative eta lambda / 2 below SGD's own, which diverges at the edge of stability where this
    one does not. With momentum it is the overdamped equation; the position of kinetic Langevin dynamics has this
    covariance only where H and C commute.

    Parameters
    ----------
    hessian
        H, positive definite, shape (d, d).
    noise_covariance
        C, the covariance of one step's gradient: phi Sigma, not the single-example Sigma.
    learning_rate
        eta > 0; or Lambda, a positive definite matrix of shape (d, d). No threshold, as the SDE is stable at any.
    momentum
        beta in [0, 1).

    Returns
    -------
    covariance : numpy.ndarray
        S, shape (d, d).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, or H or Lambda is not positive definite.

    References
    ----------
    Mandt, Hoffman, Blei (2017), Stochastic gradient descent as approximate Bayesian inference, JMLR.

    Examples
    --------
    >>> ss.theory.ou_stationary_covariance([[2.0]], [[1.0]], learning_rate=0.1)
    array([[0.025]])
    """
    checks.in_half_open_unit("momentum", momentum)
    modes = minimum_modes(hessian, noise_covariance, learning_rate)
    return modes.restore(modes.noise / ((1 - float(momentum)) * modes.sums))


def sme2_stationary_covariance(
    hessian: ArrayLike, noise_covariance: ArrayLike, learning_rate: ArrayLike
) -> Float[np.ndarray, "d d"]:
    r"""Return the stationary covariance of the second-order stochastic modified equation.

    .. math:: AS + SA^\top = \Lambda C \Lambda, \qquad A = \Lambda H + \tfrac12 (\Lambda H)^2

    with time in steps; for a scalar rate A S + S A = eta C with A = H + eta/2 H^2. Of second order as a weak
    approximation at fixed time, and yet **worse than the first-order SDE here**: low by a relative eta lambda, against
    eta lambda / 2. No theorem is broken, as S itself is O(eta).

    Parameters
    ----------
    hessian
        H, positive definite, shape (d, d).
    noise_covariance
        C, the covariance of one step's gradient: phi Sigma, not the single-example Sigma.
    learning_rate
        eta > 0; or Lambda, a positive definite matrix of shape (d, d).

    Returns
    -------
    covariance : numpy.ndarray
        S, shape (d, d).

    Raises
    ------
    TypeError, ValueError
        As `ou_stationary_covariance`.

    References
    ----------
    Li, Tai, E (2019), Stochastic modified equations and dynamics of stochastic gradient algorithms I, JMLR.

    Examples
    --------
    >>> ss.theory.sme2_stationary_covariance([[2.0]], [[1.0]], learning_rate=0.1)
    array([[0.0227...]])
    """
    modes = minimum_modes(hessian, noise_covariance, learning_rate)
    return modes.restore(modes.noise / sme2_operator(modes.rates))


def sme2_corrected_stationary_covariance(
    hessian: ArrayLike, noise_covariance: ArrayLike, learning_rate: ArrayLike
) -> Float[np.ndarray, "d d"]:
    r"""Return the stationary covariance of the second-order equation with a corrected diffusion.

    .. math::
        AS + SA^\top = D + \tfrac12 (\Lambda H D + D H \Lambda), \qquad D = \Lambda C \Lambda, \qquad
        A = \Lambda H + \tfrac12 (\Lambda H)^2

    for a scalar rate A S + S A = eta [C + eta/2 (H C + C H)]. The one-step covariance of the SDE then agrees with SGD's
    to O(eta^4), so that S has a relative error of O(eta^2). For quadratic losses. The right-hand side need not be
    positive semi-definite where C is close to singular; (I + eta H/2) C (I + eta H/2) is, and agrees with it to this
    order.

    Parameters
    ----------
    hessian
        H, positive definite, shape (d, d).
    noise_covariance
        C, the covariance of one step's gradient: phi Sigma, not the single-example Sigma.
    learning_rate
        eta > 0; or Lambda, a positive definite matrix of shape (d, d).

    Returns
    -------
    covariance : numpy.ndarray
        S, shape (d, d).

    Raises
    ------
    TypeError, ValueError
        As `ou_stationary_covariance`.

    Examples
    --------
    >>> ss.theory.sme2_corrected_stationary_covariance([[2.0]], [[1.0]], learning_rate=0.1)
    array([[0.0272...]])
    """
    modes = minimum_modes(hessian, noise_covariance, learning_rate)
    return modes.restore(modes.noise * (1 + modes.sums / 2) / sme2_operator(modes.rates))
