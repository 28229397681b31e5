"""Regression with noisy labels: SGD's fluctuation, its threshold, its SDEs, and the fixed point of natural gradient."""

import functools

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices
from sde_sgd.theory.gaussian_features import (
    feature_modes,
    loading,
    positive_definite_features,
    second_moment,
    stability_scale,
)
from sde_sgd.theory.modes import sgd_operator, sme1_operator, sme2_operator
from sde_sgd.theory.online_regression import online_regression


def label_noise_covariance(
    feature_covariance: ArrayLike,
    label_noise: float,
    learning_rate: ArrayLike,
    batch_size: int,
    momentum: float = 0.0,
) -> Float[np.ndarray, "d d"]:
    r"""Return the stationary covariance of SGD on linear regression with noisy labels and fresh Gaussian data.

    .. math::
        \Sigma = \frac{\sigma^2}{S} \frac{\Lambda G^{-1}}{1 - \tau / S}, \qquad
        G = 2(1-\mu) - \left(\frac{1-\mu}{1+\mu} + \frac1S\right) \Lambda A, \qquad
        \tau = \mathrm{Tr}\, \Lambda A G^{-1}

    Exact at every learning rate with tau < S and G > 0; Lambda and A need not commute. For small rates it tends to
    sigma^2 lambda / (2 S (1 - mu)), isotropic whatever the features are.

    Parameters
    ----------
    feature_covariance
        A, positive definite, shape (d, d): the Hessian.
    label_noise
        sigma, the standard deviation of the label noise.
    learning_rate
        lambda > 0; or Lambda, a positive definite matrix of shape (d, d), such as lambda A^-1 for Newton's method.
    batch_size
        S, fresh examples per step.
    momentum
        mu in [0, 1) of heavy ball in optax's convention.

    Returns
    -------
    covariance : numpy.ndarray
        Sigma, shape (d, d). `online_regression` gives noise and losses beside it.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, A or Lambda is not positive definite, or the second moment
        does not exist; the error names the threshold.

    References
    ----------
    Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, ICLR.

    Examples
    --------
    >>> ss.theory.label_noise_covariance([[1.5]], label_noise=1.0, learning_rate=1.0, batch_size=40)
    array([[0.0588...]])
    """
    state = online_regression(feature_covariance, learning_rate, batch_size, label_noise=label_noise, momentum=momentum)
    if state.reason:
        raise ValueError(state.reason)
    return state.covariance


def label_noise_sme_covariance(
    feature_covariance: ArrayLike, label_noise: float, learning_rate: ArrayLike, batch_size: int, *, order: int
) -> Float[np.ndarray, "d d"]:
    r"""Return the stationary covariance of an SDE of SGD under label noise, its noise C(w) kept exact.

    In one dimension, with the order-2 equation the worse of the two again,

    .. math::
        \Sigma_1 = \frac{\lambda \sigma^2}{2 (S - \lambda a)}, \qquad
        \Sigma_2 = \frac{\lambda \sigma^2}{S (2 + \lambda a) - 2 \lambda a} .

    Parameters
    ----------
    feature_covariance
        A, positive definite, shape (d, d).
    label_noise
        sigma, the standard deviation of the label noise.
    learning_rate
        lambda > 0; or Lambda, a positive definite matrix of shape (d, d).
    batch_size
        S, fresh examples per step.
    order
        1 or 2, the weak order of the stochastic modified equation.

    Returns
    -------
    covariance : numpy.ndarray
        Sigma, shape (d, d).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, A or Lambda is not positive definite, or the SDE's second
        moment does not exist, which takes a far larger learning rate than for SGD.

    Examples
    --------
    >>> ss.theory.label_noise_sme_covariance([[1.0]], 1.0, learning_rate=0.5, batch_size=1, order=1)
    array([[0.5]])
    """
    features = positive_definite_features(feature_covariance)
    checks.non_negative("label_noise", label_noise)
    checks.integer("batch_size", batch_size)
    checks.one_of("order", order, (1, 2))
    modes = feature_modes(features, np.zeros_like(features), learning_rate)
    operator = sme2_operator if order == 2 else sme1_operator
    if loading(modes, operator, batch_size) >= batch_size:
        scale = stability_scale(modes, operator, batch_size)
        raise ValueError(f"learning_rate must be below {scale:.6g} times what was passed: beyond that the SDE's "
                         "second moment is infinite. Lower it.")
    in_modes, _ = second_moment(modes, operator, batch_size, float(label_noise) ** 2)
    return modes.restore(in_modes)


def max_online_learning_rate(
    feature_covariance: ArrayLike,
    batch_size: int,
    *,
    momentum: float = 0.0,
    preconditioner: ArrayLike | None = None,
) -> float:
    r"""Return the learning rate at which SGD on fresh Gaussian data loses its second moment.

    .. math:: \sum_i \frac{\lambda a_i}{G_i} = S, \qquad
        G_i = 2(1-\mu) - \left(\frac{1-\mu}{1+\mu} + \frac1S\right) \lambda a_i

    In one dimension without momentum 2 S / (a (S + 2)). The threshold is in *mean square* and the same with label noise
    or without; almost every run settles up to a larger one. Momentum lowers it at small batches and raises it at large.

    Parameters
    ----------
    feature_covariance
        A, positive definite, shape (d, d).
    batch_size
        S, fresh examples per step.
    momentum
        mu in [0, 1) of heavy ball in optax's convention.
    preconditioner
        P, positive definite, shape (d, d), for the matrix rate lambda P; None for the identity. a_i are then the
        eigenvalues of P A.

    Returns
    -------
    learning_rate : float
        The threshold lambda.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, or A or P is not positive definite.

    References
    ----------
    Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, ICLR.

    Examples
    --------
    >>> round(ss.theory.max_online_learning_rate([[1.0]], batch_size=10), 4)
    1.6667
    """
    features = positive_definite_features(feature_covariance)
    checks.integer("batch_size", batch_size)
    checks.in_half_open_unit("momentum", momentum)
    modes = feature_modes(features, np.zeros_like(features), 1.0 if preconditioner is None else preconditioner)
    return stability_scale(modes, functools.partial(sgd_operator, momentum=float(momentum)), batch_size)


def natural_gradient_covariance(
    feature_covariance: ArrayLike, learning_rate: float, batch_size: int, momentum: float = 0.0
) -> Float[np.ndarray, "d d"]:
    r"""Return the fixed point of natural-gradient descent on regression without label noise.

    .. math::
        \Lambda = \frac{\lambda}{S} C^{-1}, \qquad \Sigma = c A^{-1}, \qquad
        c = \frac{\lambda}{2} \left[ \frac{1}{(1+D)(1+\mu)} + \frac{1}{(1-\mu) S} \right]

    The preconditioner is the inverse of the noise, which shrinks as the parameters approach the teacher, so that steps
    in units of the distance grow until the second moment stops shrinking: the fixed point sits exactly on the
    mean-square threshold. It is therefore heavy-tailed, out of reach of sampling, and attracts the recursion of second
    moments only for S < D + 1 (without momentum).

    Parameters
    ----------
    feature_covariance
        A, positive definite, shape (D, D).
    learning_rate
        lambda > 0.
    batch_size
        S, fresh examples per step.
    momentum
        mu in [0, 1) of heavy ball in optax's convention.

    Returns
    -------
    covariance : numpy.ndarray
        Sigma, shape (D, D).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, or A is not positive definite.

    References
    ----------
    Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, ICLR.

    Examples
    --------
    >>> ss.theory.natural_gradient_covariance([[2.0]], learning_rate=0.1, batch_size=1)
    array([[0.0375]])
    """
    features = positive_definite_features(feature_covariance)
    checks.positive("learning_rate", learning_rate)
    checks.integer("batch_size", batch_size)
    checks.in_half_open_unit("momentum", momentum)
    rate, mu, dim = float(learning_rate), float(momentum), len(features)
    scale = rate / 2 * (1 / ((1 + dim) * (1 + mu)) + 1 / ((1 - mu) * batch_size))
    return matrices.symmetric("inverse of feature_covariance", scale * np.linalg.inv(features))
