"""Along which directions SGD leaves a minimum that it cannot hold, and how fast."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory.affine_gradients import AbstractAffineGradients, sampling_factor
from sde_sgd.theory.gaussian_features import positive_definite_features
from sde_sgd.theory.mean_square import curved_directions, largest_eigenvalue
from sde_sgd.theory.moment_maps import check_problem
from sde_sgd.theory.roots import bracketed_root


class EscapeDirection(NamedTuple):
    """The second moment that dominates in the long run: its growth per step, and its shape, of trace one."""

    growth: float
    second_moment: Float[np.ndarray, "d d"]


def escape_direction(
    problem: AbstractAffineGradients, learning_rate: float, batch_size: int, *, replacement: bool = True
) -> EscapeDirection:
    r"""Return the leading eigen-matrix of SGD's second moment about the minimum of a finite data set.

    .. math::
        \rho M = (I - \eta H) M (I - \eta H) + \eta^2 \varphi \left[\frac1N \sum_i H_i M H_i - H M H\right]

    For growth above 1 it is how the distance from the minimum is spread over the directions while SGD escapes: along
    flat ones too, because noise couples them, where gradient descent leaves along the sharpest alone.

    Parameters
    ----------
    problem
        Per-example affine gradients; their offsets play no part.
    learning_rate
        eta > 0.
    batch_size
        B; without replacement at most N.
    replacement
        Whether examples are drawn with replacement within a batch.

    Returns
    -------
    EscapeDirection
        rho, and M, positive semi-definite with trace one. Its diagonal in the eigenbasis of H are the shares.
        Directions flat for every example are left out.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or the mean Hessian has no positive or a negative eigenvalue.

    References
    ----------
    Wu, Wang (2023) measure such shares; the eigen-matrix is that of the exact recursion.

    Examples
    --------
    >>> problem = ss.theory.least_squares([[2.0, 0.0], [1.0, 1.0]], [0.0, 0.0])
    >>> escape = ss.theory.escape_direction(problem, learning_rate=1.0, batch_size=1)
    >>> round(escape.growth, 3), escape.second_moment.diagonal().round(3)
    (4.562, array([0.89, 0.11]))
    """
    check_problem(problem)
    checks.positive("learning_rate", learning_rate)
    eta, factor = float(learning_rate), sampling_factor(problem.num_examples, batch_size, replacement=replacement)
    curved = curved_directions(problem)
    if len(curved.curvatures) == 0:
        raise ValueError("problem has no curvature: nothing moves, and nothing escapes. Pass other examples.")
    contraction = 1 - eta * curved.curvatures

    def step(moment: Float[np.ndarray, "r r"]) -> Float[np.ndarray, "r r"]:
        return np.outer(contraction, contraction) * moment + eta**2 * factor * curved.hessian_noise(moment)

    growth, moment = largest_eigenvalue(step, np.eye(len(contraction)))
    return EscapeDirection(growth, curved.restore(moment / np.trace(moment)))


def online_escape_direction(feature_covariance: ArrayLike, learning_rate: float, batch_size: int) -> EscapeDirection:
    r"""Return the leading eigen-matrix of SGD's second moment on fresh Gaussian features.

    .. math::
        M \propto A \left[\rho - (1 - \eta A)^2 - \frac{\eta^2}{B} A^2\right]^{-1}, \qquad
        \frac{\eta^2}{B} \sum_j \frac{a_j^2}{\rho - (1 - \eta a_j)^2 - \eta^2 a_j^2 / B} = 1

    At the mean-square threshold, rho = 1, the shares are as 1 / (2 - eta (1 + 1/B) a_j).

    Parameters
    ----------
    feature_covariance
        A, positive definite, shape (d, d).
    learning_rate
        eta > 0.
    batch_size
        B, fresh examples per step.

    Returns
    -------
    EscapeDirection
        rho, and M with trace one.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, or A is not positive definite.

    Examples
    --------
    >>> import numpy as np
    >>> escape = ss.theory.online_escape_direction(np.diag([2.0, 0.5]), 0.4, batch_size=1)
    >>> round(escape.growth, 3), escape.second_moment.diagonal().round(2)
    (1.36, array([0.8, 0.2]))
    """
    features = positive_definite_features(feature_covariance)
    checks.positive("learning_rate", learning_rate)
    checks.integer("batch_size", batch_size)
    variances, basis = np.linalg.eigh(features)
    rates = float(learning_rate) * variances
    alone = (1 - rates) ** 2 + rates**2 / batch_size

    def excess(growth: float) -> float:
        return float(np.sum(rates**2 / (growth - alone))) / batch_size - 1

    # Every term is positive beyond the last pole; there the sum falls from +inf to 0.
    pole, size = float(np.max(alone)), float(np.sum(rates**2)) / batch_size
    growth = bracketed_root(excess, pole + np.finfo(np.float64).eps * pole, pole + size)
    shares = rates / (growth - alone)
    return EscapeDirection(growth, basis * (shares / np.sum(shares)) @ basis.T)
