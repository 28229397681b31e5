r"""Stationary covariances about a quadratic minimum: SGD's own, and those of its continuous-time models.

Around a minimum with Hessian H, let every step's gradient be H x plus noise of constant covariance C. Each stationary
equation below is a sum of terms H^a S H^b, so it is diagonal in the eigenbasis of H: one symmetric eigendecomposition
solves it, whether or not H and C commute, at O(d^3) and without forming a d^2 x d^2 system.

**C is the covariance of one step's gradient**, phi Sigma for a minibatch (`sampling_factor` times
`AffineGradients.noise_covariance`), not the single-example Sigma.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices
from sde_sgd.theory.modes import Modes, minimum_modes


class MatchedOU(NamedTuple):
    """An Ornstein-Uhlenbeck process dX = -drift X dt + diffusion^(1/2) dW."""

    drift: Float[np.ndarray, "d d"]
    diffusion: Float[np.ndarray, "d d"]


def sgd_stationary_covariance(
    hessian: ArrayLike, noise_covariance: ArrayLike, learning_rate: float, momentum: float = 0.0
) -> Float[np.ndarray, "d d"]:
    r"""Return the exact stationary covariance of SGD about a quadratic minimum.

    .. math::
        (1-\beta)(HS + SH) - \eta\,\frac{1+\beta^2}{1-\beta^2}\, HSH + \frac{\eta\beta}{1-\beta^2}(H^2 S + S H^2)
        = \eta\, C

    which without momentum is H S + S H - eta H S H = eta C. Exact at every stable learning rate for a quadratic loss,
    H and C commuting or not, and noise that does not depend on the parameters. Noise that grows away from the minimum,
    as in least squares, adds to it: `sgd_moments` over many steps includes that.

    Parameters
    ----------
    hessian
        H, positive definite, shape (d, d).
    noise_covariance
        C, the covariance of one step's gradient: phi Sigma, not the single-example Sigma.
    learning_rate
        eta > 0.
    momentum
        beta in [0, 1) of heavy ball in optax's convention.

    Returns
    -------
    covariance : numpy.ndarray
        S, shape (d, d).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, H is not positive definite, or the learning rate is not
        below 2 (1 + beta) / lambda_max.

    References
    ----------
    Liu, Ziyin, Ueda (2021), Noise and fluctuation of finite learning rate stochastic gradient descent, ICML.
    """
    checks.positive("learning_rate", learning_rate)
    checks.in_half_open_unit("momentum", momentum)
    eta, beta = float(learning_rate), float(momentum)
    modes = minimum_modes(hessian, noise_covariance)
    threshold = 2 * (1 + beta) / modes.curvatures[-1]
    if eta >= threshold:
        raise ValueError(f"learning_rate must be below 2 (1 + momentum) / lambda_max = {threshold:.6g}, got {eta}: "
                         "beyond it SGD has no stationary law. Lower it.")
    # The terms of second order in H, regrouped so that they do not cancel where two curvatures are close.
    differences = np.subtract.outer(modes.curvatures, modes.curvatures)
    products = np.outer(modes.curvatures, modes.curvatures)
    second_order = (beta * differences**2 - (1 - beta) ** 2 * products) / (1 - beta**2)
    return modes.restore(eta * modes.noise / ((1 - beta) * modes.sums + eta * second_order))


def heavy_ball_velocity_covariance(
    hessian: ArrayLike, noise_covariance: ArrayLike, learning_rate: float, momentum: float
) -> Float[np.ndarray, "d d"]:
    r"""Return the exact stationary covariance of the displacement of one heavy-ball step.

    .. math:: \mathrm{Cov}(w_{k+1} - w_k) = \frac{\eta}{1+\beta} (HS + SH)

    with S of `sgd_stationary_covariance`. Optax's trace is the displacement over -eta: divide by eta^2 for it.

    Parameters
    ----------
    hessian
        H, positive definite, shape (d, d).
    noise_covariance
        C, the covariance of one step's gradient: phi Sigma, not the single-example Sigma.
    learning_rate
        eta > 0.
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
    """
    position = sgd_stationary_covariance(hessian, noise_covariance, learning_rate, momentum)
    product = matrices.symmetric("hessian", hessian) @ position
    return float(learning_rate) / (1 + float(momentum)) * (product + product.T)


def ou_stationary_covariance(
    hessian: ArrayLike, noise_covariance: ArrayLike, learning_rate: float, momentum: float = 0.0
) -> Float[np.ndarray, "d d"]:
    r"""Return the stationary covariance of the first-order SDE, an Ornstein-Uhlenbeck process.

    .. math:: HS + SH = \frac{\eta}{1-\beta}\, C

    The leading order in eta. Without momentum, and where H and C commute, it is a relative eta lambda / 2 below SGD's
    own, which diverges at the edge of stability where this one does not. With momentum it is the overdamped equation;
    the position of kinetic Langevin dynamics has this covariance only where H and C commute.

    Parameters
    ----------
    hessian
        H, positive definite, shape (d, d).
    noise_covariance
        C, the covariance of one step's gradient: phi Sigma, not the single-example Sigma.
    learning_rate
        eta > 0; no threshold, as the SDE is stable at any.
    momentum
        beta in [0, 1).

    Returns
    -------
    covariance : numpy.ndarray
        S, shape (d, d).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, or H is not positive definite.

    References
    ----------
    Mandt, Hoffman, Blei (2017), Stochastic gradient descent as approximate Bayesian inference, JMLR.
    """
    checks.positive("learning_rate", learning_rate)
    checks.in_half_open_unit("momentum", momentum)
    modes = minimum_modes(hessian, noise_covariance)
    return modes.restore(float(learning_rate) / (1 - float(momentum)) * modes.noise / modes.sums)


def sme2_stationary_covariance(
    hessian: ArrayLike, noise_covariance: ArrayLike, learning_rate: float
) -> Float[np.ndarray, "d d"]:
    r"""Return the stationary covariance of the second-order stochastic modified equation.

    .. math:: AS + SA = \eta\, C, \qquad A = H + \tfrac{\eta}{2} H^2

    Of second order as a weak approximation at fixed time, and yet **worse than the first-order SDE here**: low by a
    relative eta lambda, against eta lambda / 2. No theorem is broken, as S itself is O(eta).

    Parameters
    ----------
    hessian
        H, positive definite, shape (d, d).
    noise_covariance
        C, the covariance of one step's gradient: phi Sigma, not the single-example Sigma.
    learning_rate
        eta > 0.

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
    """
    checks.positive("learning_rate", learning_rate)
    modes = minimum_modes(hessian, noise_covariance)
    return modes.restore(float(learning_rate) * modes.noise / _sme2_rates(modes, learning_rate))


def sme2_corrected_stationary_covariance(
    hessian: ArrayLike, noise_covariance: ArrayLike, learning_rate: float
) -> Float[np.ndarray, "d d"]:
    r"""Return the stationary covariance of the second-order equation with a corrected diffusion.

    .. math::
        AS + SA = \eta \left[C + \tfrac{\eta}{2}(HC + CH)\right], \qquad A = H + \tfrac{\eta}{2} H^2

    The one-step covariance of the SDE then agrees with SGD's to O(eta^4), so that S has a relative error of O(eta^2).
    For quadratic losses. The bracket need not be positive semi-definite where C is close to singular; the variant
    (I + eta H/2) C (I + eta H/2) is, and agrees with it to this order.

    Parameters
    ----------
    hessian
        H, positive definite, shape (d, d).
    noise_covariance
        C, the covariance of one step's gradient: phi Sigma, not the single-example Sigma.
    learning_rate
        eta > 0.

    Returns
    -------
    covariance : numpy.ndarray
        S, shape (d, d).

    Raises
    ------
    TypeError, ValueError
        As `ou_stationary_covariance`.
    """
    checks.positive("learning_rate", learning_rate)
    eta = float(learning_rate)
    modes = minimum_modes(hessian, noise_covariance)
    return modes.restore(eta * modes.noise * (1 + eta / 2 * modes.sums) / _sme2_rates(modes, eta))


def _sme2_rates(modes: Modes, learning_rate: float) -> Float[np.ndarray, "d d"]:
    rates = modes.curvatures + float(learning_rate) / 2 * modes.curvatures**2
    return np.add.outer(rates, rates)


def matched_ou(hessian: ArrayLike, noise_covariance: ArrayLike, learning_rate: float) -> MatchedOU:
    r"""Return the Ornstein-Uhlenbeck process whose law at t = k eta is SGD's at step k.

    .. math::
        dX = -M X\,dt + D^{1/2}\,dW, \qquad M = -\tfrac1\eta \log(I - \eta H), \qquad D = MS + SM

    with S of `sgd_stationary_covariance`. Means and covariances at the step times, correlations between them included,
    are SGD's own, exactly, for a quadratic loss and constant C; the logarithm asks for eta lambda_max < 1. Such a
    process need not exist: with C close to singular and not commuting with H, D can have a negative eigenvalue.

    Parameters
    ----------
    hessian
        H, positive definite, shape (d, d).
    noise_covariance
        C, the covariance of one step's gradient: phi Sigma, not the single-example Sigma.
    learning_rate
        eta > 0, below 1 / lambda_max.

    Returns
    -------
    process : MatchedOU
        The matrices ``drift`` M and ``diffusion`` D, D the covariance per unit time.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, H is not positive definite, eta lambda_max is not below
        1, or no such process exists.
    """
    checks.positive("learning_rate", learning_rate)
    eta = float(learning_rate)
    modes = minimum_modes(hessian, noise_covariance)
    threshold = 1 / modes.curvatures[-1]
    if eta >= threshold:
        raise ValueError(f"learning_rate must be below 1 / lambda_max = {threshold:.6g}, got {eta}: beyond it SGD "
                         "overshoots the minimum at each step, which no real OU process does. Lower it.")
    rates = -np.log1p(-eta * modes.curvatures) / eta
    stationary = eta * modes.noise / (modes.sums - eta * np.outer(modes.curvatures, modes.curvatures))
    diffusion = modes.restore(np.add.outer(rates, rates) * stationary)
    eigenvalues = np.linalg.eigvalsh(diffusion)
    if eigenvalues[0] < -np.sqrt(np.finfo(np.float64).eps) * eigenvalues[-1]:
        raise ValueError(f"noise_covariance is too close to singular for this hessian: the matching diffusion would "
                         f"have the eigenvalue {eigenvalues[0]:.6g}, so no OU process has SGD's law at every step. "
                         "Lower learning_rate, or use ou_stationary_covariance.")
    return MatchedOU(modes.restore(np.diag(rates)), diffusion)
