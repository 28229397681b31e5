"""Exact stationary covariances on a finite data set, noise that grows away from the minimum included."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from sde_sgd._core import checks
from sde_sgd.theory.affine_gradients import AbstractAffineGradients, sampling_factor
from sde_sgd.theory.mean_square import curved_directions, mean_square_threshold, solve_definite
from sde_sgd.theory.modes import sgd_operator, sme1_operator, sme2_operator
from sde_sgd.theory.moment_maps import check_problem


def sgd_limit_covariance(
    problem: AbstractAffineGradients,
    learning_rate: float,
    batch_size: int,
    *,
    momentum: float = 0.0,
    replacement: bool = True,
) -> Float[np.ndarray, "d d"]:
    r"""Return the exact stationary covariance of minibatch SGD on a finite data set.

    .. math::
        HS + SH - \eta HSH = \eta \varphi \left[\Sigma(w_*) + \frac1N \sum_i H_i S H_i - H S H\right]

    and, with momentum, the left-hand side of `sgd_stationary_covariance`. Exact for quadratic losses of the examples
    at every learning rate below `max_mean_square_learning_rate`, batches drawn afresh at each step. It exceeds the
    covariance under the noise frozen at the minimum by the last two terms, and grows without bound at the threshold.

    Parameters
    ----------
    problem
        Per-example affine gradients, from `least_squares` or `affine_gradients`.
    learning_rate
        eta > 0.
    batch_size
        B; without replacement at most N.
    momentum
        beta in [0, 1) of heavy ball in optax's convention.
    replacement
        Whether examples are drawn with replacement within a batch.

    Returns
    -------
    covariance : numpy.ndarray
        S, shape (d, d). Zero along directions that are flat for every example, in which SGD does not move.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, the learning rate is not below the threshold (named), the mean Hessian has a
        negative eigenvalue, or noise acts along a flat direction, where it adds up for ever.

    Notes
    -----
    Conjugate gradients on d x d matrices to a relative residual of 1e-13: O(N d^2) an iteration for least squares, so
    hundreds of parameters take seconds.

    References
    ----------
    Mulayoff, Michaeli (2023), Exact mean square linear stability analysis for SGD.

    Examples
    --------
    >>> problem = ss.theory.least_squares([[1.0], [2.0]], [0.0, 1.0])
    >>> ss.theory.sgd_limit_covariance(problem, 0.3, batch_size=1)
    array([[0.0195...]])
    """
    checks.in_half_open_unit("momentum", momentum)
    beta = float(momentum)
    return _limit(problem, learning_rate, batch_size, replacement, lambda rates: sgd_operator(rates, beta))


def sme_limit_covariance(
    problem: AbstractAffineGradients, learning_rate: float, batch_size: int, *, order: int, replacement: bool = True
) -> Float[np.ndarray, "d d"]:
    r"""Return the exact stationary covariance of a stochastic modified equation on a finite data set.

    .. math::
        AS + SA = \eta \varphi \left[\Sigma(w_*) + \frac1N \sum_i H_i S H_i - H S H\right], \qquad
        A = H \;\text{(order 1)}, \quad A = H + \tfrac{\eta}{2} H^2 \;\text{(order 2)}

    Of the SDE with SGD's own state-dependent noise, not of a scheme for it. What remains between it and
    `sgd_limit_covariance` is continuous time alone: it is low by up to a third well within stability, and order 2 by
    more than order 1.

    Parameters
    ----------
    problem
        Per-example affine gradients, from `least_squares` or `affine_gradients`.
    learning_rate
        eta > 0.
    batch_size
        B; without replacement at most N.
    order
        1 or 2, the weak order of the equation.
    replacement
        Whether examples are drawn with replacement within a batch.

    Returns
    -------
    covariance : numpy.ndarray
        S, shape (d, d). Zero along directions that are flat for every example.

    Raises
    ------
    TypeError, ValueError
        As `sgd_limit_covariance`, with the threshold of the SDE.

    References
    ----------
    Li, Tai, E (2019), Stochastic modified equations and dynamics of stochastic gradient algorithms I, JMLR.

    Examples
    --------
    >>> problem = ss.theory.least_squares([[1.0], [2.0]], [0.0, 1.0])
    >>> ss.theory.sme_limit_covariance(problem, 0.3, batch_size=1, order=1)
    array([[0.0110...]])
    """
    checks.one_of("order", order, (1, 2))
    operator = sme2_operator if order == 2 else sme1_operator
    return _limit(problem, learning_rate, batch_size, replacement, operator)


def _limit(
    problem: AbstractAffineGradients,
    learning_rate: float,
    batch_size: int,
    replacement: bool,
    operator: Callable[[Float[np.ndarray, " r"]], Float[np.ndarray, "r r"]],
) -> Float[np.ndarray, "d d"]:
    """Solve l_ij S_ij - eta^2 phi K(S)_ij = eta^2 phi Sigma_ij for the l of a model."""
    check_problem(problem)
    checks.positive("learning_rate", learning_rate)
    eta, factor = float(learning_rate), sampling_factor(problem.num_examples, batch_size, replacement=replacement)
    curved = curved_directions(problem)
    minimum = curved.basis @ ((problem.offset @ curved.basis) / curved.curvatures)
    noise = problem.noise_covariance(minimum)
    inner = curved.basis.T @ noise @ curved.basis
    if np.trace(noise) - np.trace(inner) > 1e-12 * np.trace(problem.noise_covariance(np.zeros(problem.dim)) + noise):
        raise ValueError("problem has gradient noise along a direction that is flat for every example: it adds up for "
                         "ever, and no stationary law exists. Remove that direction from the problem.")
    if len(curved.curvatures) == 0:
        return np.zeros((problem.dim, problem.dim))
    # The operators are polynomials of degree two in the rate: l(r) at r and at -r tells their parts.
    left, mirrored = operator(eta * curved.curvatures), operator(-eta * curved.curvatures)
    linear, second = (left - mirrored) / (2 * eta), (left + mirrored) / (2 * eta**2)
    threshold = mean_square_threshold(curved, factor, linear, second)
    if eta >= threshold:
        raise ValueError(f"learning_rate must be below the mean-square threshold {threshold:.6g}, got {eta}: beyond it "
                         "the second moment is infinite, even where single runs settle. Lower it.")
    strength = eta**2 * factor
    covariance = solve_definite(lambda s: left * s - strength * curved.hessian_noise(s), strength * inner, left)
    return curved.restore(covariance)
