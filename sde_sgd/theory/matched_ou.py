"""The Ornstein-Uhlenbeck process that has SGD's own law at every step, where there is one."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory.modes import minimum_modes


class MatchedOU(NamedTuple):
    """An Ornstein-Uhlenbeck process dX = -drift X dt + diffusion^(1/2) dW."""

    drift: Float[np.ndarray, "d d"]
    diffusion: Float[np.ndarray, "d d"]


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

    Examples
    --------
    >>> process = ss.theory.matched_ou([[2.0]], [[1.0]], learning_rate=0.25)
    >>> process.drift, process.diffusion
    (array([[2.7725...]]), array([[0.4620...]]))
    """
    checks.positive("learning_rate", learning_rate)
    eta = float(learning_rate)
    modes = minimum_modes(hessian, noise_covariance, eta)
    if modes.rates[-1] >= 1:
        raise ValueError(f"learning_rate must be below 1 / lambda_max = {eta / modes.rates[-1]:.6g}, got {eta}: beyond "
                         "it SGD overshoots the minimum at each step, which no real OU process does. Lower it.")
    decays = -np.log1p(-modes.rates)
    stationary = modes.noise / (modes.sums - np.outer(modes.rates, modes.rates))
    diffusion = modes.restore(np.add.outer(decays, decays) * stationary) / eta
    eigenvalues = np.linalg.eigvalsh(diffusion)
    if eigenvalues[0] < -np.sqrt(np.finfo(np.float64).eps) * eigenvalues[-1]:
        raise ValueError(f"noise_covariance is too close to singular for this hessian: the matching diffusion would "
                         f"have the eigenvalue {eigenvalues[0]:.6g}, so no OU process has SGD's law at every step. "
                         "Lower learning_rate, or use ou_stationary_covariance.")
    # basis @ basis.T is eta times the identity for a scalar rate.
    return MatchedOU(modes.restore(np.diag(decays)) / eta**2, diffusion)
