"""Largest stable learning rates: of the full gradient, and of SGD in mean square on a finite data set."""

import numpy as np
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices
from sde_sgd.theory.affine_gradients import AbstractAffineGradients, AffineGradients, sampling_factor
from sde_sgd.theory.mean_square import curved_directions, mean_square_threshold, require_semi_definite
from sde_sgd.theory.modes import sgd_operator
from sde_sgd.theory.moment_maps import check_problem
from sde_sgd.theory.moments import sgd_step_map


def max_stable_learning_rate(hessian: ArrayLike, momentum: float = 0.0) -> float:
    r"""Return the learning rate at which full-batch gradient descent stops converging.

    .. math:: \eta_{\max} = \frac{2 (1 + \beta)}{\lambda_{\max}(H)}

    For a quadratic loss. SGD whose noise does not depend on the parameters has the same threshold; with noise that
    grows with the distance from the minimum its mean-square threshold is lower (`max_mean_square_learning_rate`).

    Parameters
    ----------
    hessian
        H, positive semi-definite, shape (d, d). Flat directions neither converge nor diverge and are left out.
    momentum
        beta in [0, 1) of heavy ball in optax's convention.

    Returns
    -------
    learning_rate : float
        The threshold; infinite if H is zero.

    Raises
    ------
    TypeError, ValueError
        If H is not symmetric or has a negative eigenvalue (at a saddle no learning rate is stable), or the momentum
        is not in [0, 1).

    Examples
    --------
    >>> ss.theory.max_stable_learning_rate([[4.0]], momentum=0.5)
    0.75
    """
    checks.in_half_open_unit("momentum", momentum)
    curvatures = np.linalg.eigvalsh(matrices.symmetric("hessian", hessian))
    require_semi_definite("hessian", curvatures)
    return 2 * (1 + float(momentum)) / float(curvatures[-1]) if curvatures[-1] > 0 else np.inf


def max_mean_square_learning_rate(
    problem: AbstractAffineGradients, batch_size: int, *, momentum: float = 0.0, replacement: bool = True
) -> float:
    r"""Return the learning rate at which the second moment of SGD stops being bounded.

    .. math::
        \eta^* = \frac{2 (1 - \beta)}{\lambda_{\max}(\mathcal{C}^+ \mathcal{D})}, \qquad
        \mathcal{C} = \tfrac12 (H \otimes I + I \otimes H), \qquad
        \mathcal{D} = \varphi\, \frac1N \sum_i (H_i \otimes H_i - H \otimes H)
        + \frac{1 + \beta^2}{1 - \beta^2} H \otimes H
        - \frac{\beta}{1 - \beta^2} (H^2 \otimes I + I \otimes H^2)

    with phi of `sampling_factor`, both schemes; without momentum D is (1 - phi) H x H plus phi times the mean of H_i x
    H_i. Exact for quadratic losses of the examples. It is a threshold in *mean square*: almost every single run may
    still converge beyond it, by factors of three and more in the learning rate, while rare runs carry the second moment
    away. At B = N without replacement it is 2 (1 + beta) / lambda_max.

    Parameters
    ----------
    problem
        Per-example affine gradients; their offsets play no part.
    batch_size
        B; without replacement at most N.
    momentum
        beta in [0, 1) of heavy ball in optax's convention.
    replacement
        Whether examples are drawn with replacement within a batch.

    Returns
    -------
    learning_rate : float
        The threshold; infinite if there is no curvature at all.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, the mean Hessian has a negative eigenvalue, or the curvature fluctuates along a
        direction that is flat on average (no learning rate is stable then).

    Notes
    -----
    Lanczos on d x d matrices: some tens of products of O(N d^2) for least squares.

    References
    ----------
    Mulayoff, Michaeli (2023), Exact mean square linear stability analysis for SGD: without momentum. With it the
    formula follows from the stationary equation of `sgd_stationary_covariance`, whose noise then depends on S.

    Examples
    --------
    >>> problem = ss.theory.least_squares([[1.0], [2.0]], [0.0, 1.0])
    >>> ss.theory.max_mean_square_learning_rate(problem, 1), ss.theory.max_stable_learning_rate(problem.hessian)
    (0.588..., 0.8)
    """
    check_problem(problem)
    checks.in_half_open_unit("momentum", momentum)
    beta, factor = float(momentum), sampling_factor(problem.num_examples, batch_size, replacement=replacement)
    curved = curved_directions(problem)
    if len(curved.curvatures) == 0:
        return np.inf
    linear = (1 - beta) * curved.sums
    return mean_square_threshold(curved, factor, linear, sgd_operator(curved.curvatures, beta) - linear)


def mean_square_growth(
    problem: AbstractAffineGradients,
    learning_rate: float,
    batch_size: int,
    *,
    momentum: float = 0.0,
    replacement: bool = True,
) -> float:
    r"""Return the factor by which the second moment about the minimum grows in one SGD step, in the long run.

    The spectral radius of the homogeneous second-moment recursion, for SGD

    .. math:: S \mapsto (I - \eta H) S (I - \eta H) + \eta^2 \varphi\, \frac1N \sum_i (H_i - H) S (H_i - H),

    and of its joint recursion with the trace for heavy ball. Below 1 the second moment converges, above it diverges;
    flat directions, where nothing moves, contribute exactly 1. For more parameters, `escape_direction` gives the growth
    without momentum.

    Parameters
    ----------
    problem
        Per-example affine gradients; their offsets play no part.
    learning_rate
        eta > 0.
    batch_size
        B.
    momentum
        beta in [0, 1) of heavy ball in optax's convention.
    replacement
        Whether examples are drawn with replacement within a batch.

    Returns
    -------
    factor : float
        Growth of E[(w - w*)(w - w*)^T] per step.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or the problem is too large.

    Examples
    --------
    >>> problem = ss.theory.least_squares([[1.0], [2.0]], [0.0, 1.0])
    >>> ss.theory.mean_square_growth(problem, 10 / 17, batch_size=1)
    1.0...
    """
    check_problem(problem)
    checks.positive("learning_rate", learning_rate)
    homogeneous = AffineGradients(problem.gradients[:, :, 1:], np.zeros((problem.num_examples, problem.dim)))
    one_step = sgd_step_map(homogeneous, float(learning_rate), batch_size, float(momentum), replacement)
    # Without offsets the second moment evolves by itself: drop the coordinates of the leading one and of the mean.
    state_size = 1 + problem.dim * (2 if momentum else 1)
    second = np.triu_indices(state_size)[0] > 0
    return float(np.max(np.abs(np.linalg.eigvals(one_step[np.ix_(second, second)]))))
