"""What reshuffling does to the mean of SGD: the loss that whole epochs descend."""

import numpy as np
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices
from sde_sgd.theory.affine_gradients import AffineGradients, sampling_factor


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
