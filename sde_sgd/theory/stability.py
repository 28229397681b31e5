"""Largest stable learning rates: of the full gradient, and of SGD in mean square on a finite data set."""

import dataclasses

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices
from sde_sgd.theory.affine_gradients import AffineGradients, sampling_factor
from sde_sgd.theory.moment_maps import check_problem, check_size
from sde_sgd.theory.moments import sgd_step_map

# Directions with less than this share of the largest curvature count as flat: what curvature the data leave there
# cannot be told from the rounding of the mean over the examples.
_FLAT = 1e-12


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
    """
    checks.in_half_open_unit("momentum", momentum)
    curvatures = np.linalg.eigvalsh(matrices.symmetric("hessian", hessian))
    _require_semi_definite("hessian", curvatures)
    return 2 * (1 + float(momentum)) / float(curvatures[-1]) if curvatures[-1] > 0 else np.inf


def max_mean_square_learning_rate(
    problem: AffineGradients, batch_size: int, *, replacement: bool = True
) -> float:
    r"""Return the learning rate at which the second moment of SGD stops being bounded.

    .. math::
        \eta^* = \frac{2}{\lambda_{\max}(\mathcal{C}^+ \mathcal{D})}, \qquad
        \mathcal{C} = \tfrac12 (H \otimes I + I \otimes H), \qquad
        \mathcal{D} = (1 - \varphi)\, H \otimes H + \varphi\, \frac1N \sum_i H_i \otimes H_i

    with phi of `sampling_factor`, both schemes. Exact for quadratic losses of the examples. It is a threshold in *mean
    square*: almost every single run may still converge beyond it, by factors of three and more in the learning rate,
    while rare runs carry the second moment away. At B = N without replacement it is 2 / lambda_max.

    Parameters
    ----------
    problem
        Per-example affine gradients; their offsets play no part.
    batch_size
        B.
    replacement
        Whether examples are drawn with replacement within a batch.

    Returns
    -------
    learning_rate : float
        The threshold; infinite if there is no curvature at all.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, the mean Hessian has a negative eigenvalue, the curvature fluctuates along a
        direction that is flat on average (no learning rate is stable then), or the problem is too large.

    References
    ----------
    Mulayoff, Michaeli (2023), Exact mean square linear stability analysis for SGD (without replacement).
    """
    check_problem(problem)
    check_size(problem, 1 + problem.dim)
    factor = sampling_factor(problem.num_examples, batch_size, replacement=replacement)
    curvatures, hessians = _curved_directions(problem)
    rank = len(curvatures)
    if rank == 0:
        return np.inf
    flat = hessians.reshape(problem.num_examples, -1)
    mean_square = (flat.T @ flat / problem.num_examples).reshape((rank,) * 4).transpose(0, 2, 1, 3)
    squares = factor * mean_square.reshape(rank**2, rank**2)
    squares[np.diag_indices(rank**2)] += (1 - factor) * np.kron(curvatures, curvatures)
    # In the eigenbasis of H the operator C is diagonal, so its inverse root makes the problem symmetric.
    root = np.sqrt((curvatures[:, None] + curvatures).ravel() / 2)
    return 2 / float(np.linalg.eigvalsh(squares / root / root[:, None])[-1])


def mean_square_growth(
    problem: AffineGradients,
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
    flat directions, where nothing moves, contribute exactly 1. With momentum, for which there is no closed threshold,
    find the root of this minus 1.

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
    """
    check_problem(problem)
    checks.positive("learning_rate", learning_rate)
    homogeneous = dataclasses.replace(problem, offsets=np.zeros_like(problem.offsets))
    one_step = sgd_step_map(homogeneous, float(learning_rate), batch_size, float(momentum), replacement)
    # Without offsets the second moment evolves by itself: drop the coordinates of the leading one and of the mean.
    state_size = 1 + problem.dim * (2 if momentum else 1)
    second = np.triu_indices(state_size)[0] > 0
    return float(np.max(np.abs(np.linalg.eigvals(one_step[np.ix_(second, second)]))))


def _require_semi_definite(name: str, curvatures: Float[np.ndarray, " d"]) -> None:
    if curvatures[0] < -matrices.rank_tolerance(curvatures):
        raise ValueError(f"{name} must be positive semi-definite, got smallest eigenvalue {curvatures[0]:.6g}: at a "
                         "saddle no learning rate is stable. Restrict it to the directions of positive curvature.")


def _curved_directions(problem: AffineGradients) -> tuple[Float[np.ndarray, " r"], Float[np.ndarray, "n r r"]]:
    """Return the positive eigenvalues of H, and every H_i in the basis of their eigenvectors."""
    curvatures, basis = np.linalg.eigh(problem.hessian)
    _require_semi_definite("the mean of problem.hessians", curvatures)
    curved = curvatures > _FLAT * curvatures[-1]
    # An eigenvector that is flat to rounding in H is so to the root of it in features x_i: hence the looser bound.
    leakage = np.max(np.abs(problem.hessians @ basis[:, ~curved]), initial=0.0)
    if leakage > np.sqrt(_FLAT) * np.max(np.abs(problem.hessians)):
        raise ValueError(f"problem.hessians fluctuate by {leakage:.3g} along a direction that is flat on average, "
                         "where no learning rate is stable in mean square. Remove that direction from the problem.")
    return curvatures[curved], basis[:, curved].T @ problem.hessians @ basis[:, curved]
