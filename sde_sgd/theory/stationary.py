r"""Stationary covariances of SGD and heavy ball about a quadratic minimum, exact at any stable learning rate.

Around a minimum with Hessian H, let every step's gradient be H x plus noise of constant covariance C. The equations
are sums of terms (Lambda H)^a S (H Lambda)^b, so they are diagonal in the eigenbasis of `modes`: one symmetric
eigendecomposition solves them, whether or not the matrices commute, at O(d^3) and without a d^2 x d^2 system.

**C is the covariance of one step's gradient**, phi Sigma for a minibatch (`sampling_factor` times
`AffineGradients.noise_covariance`), not the single-example Sigma.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory.modes import minimum_modes, require_stable_mean, sgd_operator


def sgd_stationary_covariance(
    hessian: ArrayLike, noise_covariance: ArrayLike, learning_rate: ArrayLike, momentum: float = 0.0
) -> Float[np.ndarray, "d d"]:
    r"""Return the exact stationary covariance of SGD about a quadratic minimum.

    .. math::
        (1-\beta)(\Lambda HS + SH\Lambda) - \frac{1+\beta^2}{1-\beta^2}\, \Lambda HSH\Lambda
        + \frac{\beta}{1-\beta^2}(\Lambda H \Lambda H S + S H \Lambda H \Lambda) = \Lambda C \Lambda

    which for a scalar rate and no momentum is H S + S H - eta H S H = eta C. Exact at every stable learning rate for a
    quadratic loss, Lambda, H and C commuting or not, and noise that does not depend on the parameters. Noise that grows
    away from the minimum, as in least squares, adds to it: `sgd_limit_covariance` includes that.

    Parameters
    ----------
    hessian
        H, positive definite, shape (d, d).
    noise_covariance
        C, the covariance of one step's gradient: phi Sigma, not the single-example Sigma.
    learning_rate
        eta > 0; or Lambda, a positive definite matrix of shape (d, d), the rate times a preconditioner.
    momentum
        beta in [0, 1) of heavy ball in optax's convention.

    Returns
    -------
    covariance : numpy.ndarray
        S, shape (d, d).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, H or Lambda is not positive definite, or the largest
        eigenvalue of Lambda H is not below 2 (1 + beta).

    References
    ----------
    Liu, Ziyin, Ueda (2021), Noise and fluctuation of finite learning rate stochastic gradient descent, ICML.

    Examples
    --------
    >>> import numpy as np
    >>> ss.theory.sgd_stationary_covariance(np.diag([1.0, 2.0]), np.eye(2), learning_rate=0.5).diagonal()
    array([0.333..., 0.25  ...])

    Newton's preconditioner makes all directions relax alike:

    >>> ss.theory.sgd_stationary_covariance(np.diag([1.0, 2.0]), np.eye(2), 0.5 * np.diag([1.0, 0.5])).diagonal()
    array([0.333..., 0.083...])
    """
    checks.in_half_open_unit("momentum", momentum)
    modes = minimum_modes(hessian, noise_covariance, learning_rate)
    require_stable_mean(modes.rates, learning_rate, float(momentum))
    return modes.restore(modes.noise / sgd_operator(modes.rates, float(momentum)))


def heavy_ball_velocity_covariance(
    hessian: ArrayLike, noise_covariance: ArrayLike, learning_rate: ArrayLike, momentum: float
) -> Float[np.ndarray, "d d"]:
    r"""Return the exact stationary covariance of the displacement of one heavy-ball step.

    .. math:: \mathrm{Cov}(w_{k+1} - w_k) = \frac{1}{1+\beta} (\Lambda HS + SH\Lambda)

    with S of `sgd_stationary_covariance`. To leading order in the rate it is Lambda C Lambda / (1 - beta^2), whatever
    the curvature. Optax's trace is the displacement over -eta: divide by eta^2 for it.

    Parameters
    ----------
    hessian
        H, positive definite, shape (d, d).
    noise_covariance
        C, the covariance of one step's gradient: phi Sigma, not the single-example Sigma.
    learning_rate
        eta > 0; or Lambda, a positive definite matrix of shape (d, d).
    momentum
        beta in [0, 1).

    Returns
    -------
    covariance : numpy.ndarray
        The covariance of the displacement, shape (d, d).

    Raises
    ------
    TypeError, ValueError
        As `sgd_stationary_covariance`.

    Examples
    --------
    >>> ss.theory.heavy_ball_velocity_covariance([[2.0]], [[1.0]], learning_rate=0.1, momentum=0.5)
    array([[0.0142...]])
    """
    checks.in_half_open_unit("momentum", momentum)
    modes = minimum_modes(hessian, noise_covariance, learning_rate)
    require_stable_mean(modes.rates, learning_rate, float(momentum))
    position = modes.noise / sgd_operator(modes.rates, float(momentum))
    return modes.restore(modes.sums * position / (1 + float(momentum)))
