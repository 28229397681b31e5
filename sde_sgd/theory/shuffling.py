r"""Epoch shuffling: noise that adds up to zero over every epoch, and what it does to fluctuations and to the mean.

An epoch of M batches visits every example once. Its noises sum to zero, so successive batches are anti-correlated: slow
modes, which average over an epoch, hardly fluctuate. **No standard SDE has these correlations**, and what is seen
depends on the phase within the epoch.

C is the covariance of one batch's gradient, (N - B)/(B (N - 1)) Sigma; batches are of one size, N = M B.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices
from sde_sgd.theory.affine_gradients import AffineGradients, sampling_factor


def epoch_noise_autocovariance(num_batches: int, lag: ArrayLike) -> Float[np.ndarray, "*shape"]:
    r"""Return the covariance of the noise at two steps of reshuffled SGD, in units of that at one.

    .. math::
        \frac{\mathrm{Cov}(\xi_k, \xi_{k+h})}{C} = -\frac{M - h}{M (M - 1)}, \quad 1 \le h < M; \qquad 0,\ h \ge M

    averaged over the phase k within the epoch. Exact for a fresh random order in every epoch, at fixed parameters.

    Parameters
    ----------
    num_batches
        M >= 2, the batches of an epoch.
    lag
        h, integers of either sign, of any shape.

    Returns
    -------
    correlation : numpy.ndarray
        1 at lag 0; the sum over all lags is 0.

    Raises
    ------
    TypeError, ValueError
        If M is below 2 or a lag is not an integer.

    References
    ----------
    Kuhn, Rosenow (2023), Correlated noise in epoch-based stochastic gradient descent.

    Examples
    --------
    >>> epoch_noise_autocovariance(3, [0, 1, 2, 3])
    array([ 1.        , -0.33333333, -0.16666667,  0.        ])
    """
    _check_batches(num_batches)
    h = np.abs(np.asarray(lag))
    if not np.issubdtype(h.dtype, np.integer):
        raise TypeError(f"lag must hold integers, got dtype {h.dtype}. Count steps.")
    m = int(num_batches)
    return np.where(h == 0, 1.0, -np.maximum(m - h, 0) / (m * (m - 1)))


def epoch_noise_spectrum(num_batches: int, frequency: ArrayLike) -> Float[np.ndarray, "*shape"]:
    r"""Return the power spectrum of the noise of reshuffled SGD, in units of that of independent batches.

    .. math::
        S(\omega) = \frac{M - F_M(\omega)}{M - 1}, \qquad
        F_M(\omega) = \frac1M \Bigl(\frac{\sin(M\omega/2)}{\sin(\omega/2)}\Bigr)^2

    with Fejer's kernel F_M. It vanishes at frequency zero, and at the lowest frequencies as
    :math:`(M + 1)\,\omega^2 M / 12`.

    Parameters
    ----------
    num_batches
        M >= 2.
    frequency
        omega in radians per step, of any shape.

    Raises
    ------
    TypeError, ValueError
        If M is below 2.

    References
    ----------
    Kuhn, Rosenow (2023), Correlated noise in epoch-based stochastic gradient descent.

    Examples
    --------
    >>> epoch_noise_spectrum(4, [0.0, np.pi]).round(6)
    array([0.      , 1.333333])
    """
    _check_batches(num_batches)
    m = int(num_batches)
    lags = np.arange(1, m)
    omega = np.asarray(frequency, np.float64)
    cosines = np.cos(omega[..., None] * lags)
    return 1 + 2 * cosines @ epoch_noise_autocovariance(m, lags)


def epoch_stationary_variance(
    curvature: float, noise_variance: float, learning_rate: float, num_batches: int, momentum: float = 0.0
) -> float:
    r"""Return the stationary variance of reshuffled SGD along one mode, averaged over the phase of the epoch.

    .. math::
        \mathrm{Var} = \frac{c}{2\pi} \int_0^{2\pi}
        \frac{\eta^2\, S(\omega)}{|e^{i\omega} - (1 + \beta - \eta\lambda) + \beta e^{-i\omega}|^2}\,d\omega

    with S of `epoch_noise_spectrum`. Exact for a quadratic loss with noise that does not depend on the parameters. Of
    flat directions (no momentum) it tends to :math:`\eta^2 c\,(M + 1)/6`, whatever the curvature, where independent
    batches have :math:`\eta c / (2\lambda)`.

    Parameters
    ----------
    curvature
        lambda > 0.
    noise_variance
        c >= 0, the variance of one batch's gradient along the mode.
    learning_rate
        eta, with eta lambda below 2 (1 + beta).
    num_batches
        M >= 2.
    momentum
        beta in [0, 1) of heavy ball in optax's convention.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range or the mode is unstable.

    References
    ----------
    Kuhn, Rosenow (2023), Correlated noise in epoch-based stochastic gradient descent.

    Examples
    --------
    >>> epoch_stationary_variance(1e-6, 6.0, 0.1, 20)
    0.2099...
    """
    return float(np.mean(epoch_phase_variance(curvature, noise_variance, learning_rate, num_batches, momentum)))


def epoch_phase_variance(
    curvature: float, noise_variance: float, learning_rate: float, num_batches: int, momentum: float = 0.0
) -> Float[np.ndarray, " m"]:
    r"""Return the stationary variance of reshuffled SGD along one mode after each step of an epoch.

    The noises of one epoch have covariance :math:`c\,(\delta_{ij} - 1/M)\,M/(M - 1)`, those of different epochs none.
    In flat directions without momentum the variance is that of a bridge,

    .. math:: \mathrm{Var}_k = \eta^2 c\,\frac{k (M - k)}{M - 1}, \qquad
              \mathrm{Var}_M = \eta^2 c\,\eta\lambda\,\frac{M (M + 1)}{24}:

    **records at the ends of epochs only show next to nothing of it.** Exact for a quadratic loss with noise that does
    not depend on the parameters.

    Parameters
    ----------
    curvature
        lambda > 0.
    noise_variance
        c >= 0, the variance of one batch's gradient along the mode.
    learning_rate
        eta, with eta lambda below 2 (1 + beta).
    num_batches
        M >= 2.
    momentum
        beta in [0, 1) of heavy ball in optax's convention.

    Returns
    -------
    variances : numpy.ndarray
        After steps 1 to M of an epoch, shape (M,). Their mean is `epoch_stationary_variance`.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range or the mode is unstable.

    References
    ----------
    Kuhn, Rosenow (2023), Correlated noise in epoch-based stochastic gradient descent.

    Examples
    --------
    >>> epoch_phase_variance(1e-9, 3.0, 0.1, 4).round(14)
    array([3.0e-02, 4.0e-02, 3.0e-02, 2.5e-12])
    """
    _check_batches(num_batches)
    step, m = _step_matrix(curvature, noise_variance, learning_rate, momentum), int(num_batches)
    # Responses of the state (w_k, w_{k-1}) at phase k to the noise at phase j <= k of the same epoch.
    powers = [np.array([1.0, 0.0])]
    for _ in range(m - 1):
        powers.append(step @ powers[-1])
    responses = np.array(powers)
    white = np.cumsum(responses[:, :, None] * responses[:, None, :], axis=0)
    sums = np.cumsum(responses, axis=0)
    gathered = m / (m - 1) * (white - sums[:, :, None] * sums[:, None, :] / m)
    deviations = responses - responses.mean(axis=0)
    gathered[-1] = m / (m - 1) * deviations.T @ deviations  # as above, where in flat directions the terms cancel
    epoch = np.linalg.matrix_power(step, m)
    start = np.linalg.solve(np.eye(4) - np.kron(epoch, epoch), gathered[-1].ravel()).reshape(2, 2)
    variances, propagated = np.empty(m), start
    for phase in range(m):
        propagated = step @ propagated @ step.T
        variances[phase] = propagated[0, 0] + gathered[phase, 0, 0]
    return variances * float(noise_variance) * float(learning_rate) ** 2


def epoch_crossover_curvature(learning_rate: float, num_batches: int, momentum: float = 0.0) -> float:
    r"""Return the curvature below which reshuffling suppresses fluctuations.

    .. math:: \lambda_c = \frac{3 (1 - \beta)}{\eta (M + 1)}

    where the two limits of `epoch_stationary_variance` meet; the variance there is about 0.55 of that of independent
    batches. For M (1 - beta) much above 1.

    Parameters
    ----------
    learning_rate
        eta > 0.
    num_batches
        M >= 2.
    momentum
        beta in [0, 1).

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    References
    ----------
    Kuhn, Rosenow (2023), Correlated noise in epoch-based stochastic gradient descent.

    Examples
    --------
    >>> round(epoch_crossover_curvature(0.1, 29), 12)
    1.0
    """
    _check_batches(num_batches)
    checks.positive("learning_rate", learning_rate)
    checks.in_half_open_unit("momentum", momentum)
    return 3 * (1 - float(momentum)) / (float(learning_rate) * (int(num_batches) + 1))


def shuffled_modified_loss(
    problem: AffineGradients, params: ArrayLike, learning_rate: float, batch_size: int
) -> float:
    r"""Return the loss whose gradient flow the mean of reshuffled SGD follows from epoch to epoch.

    .. math::
        \tilde f = f + \frac{\eta}{4M} \sum_k |\nabla f_k|^2, \qquad
        \mathrm{E} \tilde f = f + \frac{\eta}{4} \bigl[|\nabla f|^2 + \varphi\,\mathrm{tr}\,\Sigma\bigr], \quad
        \varphi = \frac{N - B}{B (N - 1)}

    f_k the mean loss of batch k; the second form, which is returned, is its mean over the ways to cut
    the data into batches. The mean over all orders follows the flow with an error of O((M eta)^3) in an epoch; that of
    f alone leaves O((M eta)^2). Beside full-batch descent, whose modified loss lacks tr Sigma, reshuffling favours
    parameters at which the gradients of the batches agree.

    Parameters
    ----------
    problem
        Per-example affine gradients; the formula itself holds for any smooth losses.
    params
        w, shape (d,).
    learning_rate
        eta > 0.
    batch_size
        B, a divisor of N.

    Raises
    ------
    TypeError, ValueError
        If a number or shape is wrong, or batches are not of one size.

    References
    ----------
    Smith, Dherin, Barrett, De (2021), On the origin of implicit regularization in stochastic gradient descent, ICLR.

    Examples
    --------
    >>> problem = sde_sgd.theory.affine_gradients([[[1.0]], [[1.0]]], [[1.0], [-1.0]])
    >>> shuffled_modified_loss(problem, [0.0], 0.4, 1)
    0.1
    """
    checks.positive("learning_rate", learning_rate)
    factor = sampling_factor(problem.num_examples, batch_size, replacement=False)
    if problem.num_examples % int(batch_size):
        raise ValueError(f"batch_size must divide the {problem.num_examples} examples, got {batch_size}.")
    w = matrices.finite_array("params", params, (problem.dim,))
    gradient = problem.hessian @ w - problem.offset
    loss = w @ problem.hessian @ w / 2 - problem.offset @ w + problem.loss_constant
    noise = factor * np.trace(problem.noise_covariance(w))
    return float(loss + float(learning_rate) / 4 * (gradient @ gradient + noise))


def _check_batches(num_batches: int) -> None:
    checks.integer("num_batches", num_batches, 2, fix="With one batch an epoch there is no noise.")


def _step_matrix(
    curvature: float, noise_variance: float, learning_rate: float, momentum: float
) -> Float[np.ndarray, "2 2"]:
    """Return the map of (w_k, w_{k-1}) over one step."""
    checks.positive("curvature", curvature)
    checks.non_negative("noise_variance", noise_variance)
    checks.positive("learning_rate", learning_rate)
    checks.in_half_open_unit("momentum", momentum)
    beta, pull = float(momentum), float(learning_rate) * float(curvature)
    if pull >= 2 * (1 + beta):
        raise ValueError(f"learning_rate must be below 2 (1 + momentum) / curvature = {2 * (1 + beta) / curvature:.6g},"
                         f" got {learning_rate}: beyond it SGD has no stationary law. Lower it.")
    return np.array([[1 + beta - pull, -beta], [1.0, 0.0]])

