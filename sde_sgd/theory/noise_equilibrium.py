r"""Noise equilibrium: where SGD settles along directions in which the loss is flat by a symmetry.

If every example's loss is unchanged by theta -> exp(s A) theta, A symmetric, then gradient flow conserves the charge
theta^T A theta, and SGD moves it by the noise alone, towards one point of the orbit, whatever the start.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices


class TwoLayerWeights(NamedTuple):
    """The weights of f(x) = second_layer @ first_layer @ x."""

    first_layer: Float[np.ndarray, "h dx"]
    second_layer: Float[np.ndarray, "dy h"]


def charge_change(learning_rate: float, generator: ArrayLike, gradient: ArrayLike) -> float:
    r"""Return by how much one SGD step changes a charge, exactly.

    .. math:: \theta'^\top A\,\theta' = \theta^\top A\,\theta + \eta^2\, g^\top A\, g

    for any minibatch gradient g, because the symmetry makes :math:`\theta^\top A g = 0`. A = I is scale invariance: the
    norm grows at every step, by eta^2 |g|^2. Without momentum or weight decay.

    Parameters
    ----------
    learning_rate
        eta > 0.
    generator
        A, symmetric, shape (d, d).
    gradient
        g, shape (d,).

    Raises
    ------
    TypeError, ValueError
        If a shape or number is wrong, or A is not symmetric.

    References
    ----------
    Ziyin, Wang, Li, Wu (2024), Parameter symmetry and noise equilibrium of stochastic gradient descent, NeurIPS.

    Examples
    --------
    >>> charge_change(0.1, [[1.0, 0.0], [0.0, -1.0]], [2.0, 1.0])
    0.0300...
    """
    checks.positive("learning_rate", learning_rate)
    a = matrices.symmetric("generator", generator)
    g = matrices.finite_array("gradient", gradient, (len(a),))
    return float(learning_rate) ** 2 * float(g @ a @ g)


def noise_imbalance(
    weights: TwoLayerWeights, input_covariance: ArrayLike, residual_covariance: ArrayLike
) -> Float[np.ndarray, "h h"]:
    r"""Return the drift of the charge :math:`W W^\top - U^\top U` of a two-layer linear net at a minimum.

    .. math::
        \frac{1}{\eta^2}\, \mathrm{E}\,\delta(W W^\top - U^\top U)
        = \mathrm{tr}(S_x)\, U^\top S_r U - \mathrm{tr}(S_r)\, W S_x W^\top

    for f(x) = U W x, the loss |f(x) - y|^2 / 2, batches of one, residuals r independent of the inputs x. To leading
    order in the learning rate: at a minimum of a well-specified model, where the residual is the label noise. A batch
    of B divides it by B. Zero at the noise equilibrium.

    Parameters
    ----------
    weights
        W, shape (h, dx), and U, shape (dy, h).
    input_covariance
        S_x = E[x x^T], shape (dx, dx).
    residual_covariance
        S_r = E[r r^T], shape (dy, dy).

    Raises
    ------
    ValueError
        If shapes disagree or a matrix is no covariance.

    References
    ----------
    Ziyin, Wang, Li, Wu (2024), Parameter symmetry and noise equilibrium of stochastic gradient descent, NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> noise_imbalance(TwoLayerWeights([[3.0**0.5, 0, 0]], [[2.0**0.5], [0]]), np.eye(3), np.eye(2)).round(12)
    array([[0.]])
    """
    first, second, inputs, residuals = _checked(weights, input_covariance, residual_covariance)
    return np.trace(inputs) * second.T @ residuals @ second - np.trace(residuals) * first @ inputs @ first.T


def noise_equilibrium(
    weights: TwoLayerWeights, input_covariance: ArrayLike, residual_covariance: ArrayLike
) -> TwoLayerWeights:
    r"""Return the weights of the same map U W at which the noise is in equilibrium.

    .. math::
        U = U_0 P^{1/2}, \quad W = P^{-1/2} W_0, \qquad
        P = M^{-1/2} \bigl(M^{1/2} N M^{1/2}\bigr)^{1/2} M^{-1/2}

    with :math:`M = \mathrm{tr}(S_x)\, U_0^\top S_r U_0` and :math:`N = \mathrm{tr}(S_r)\, W_0 S_x W_0^\top`: P is the
    one positive definite solution of P M P = N, so that the equilibrium does not depend on the start, up to rotations
    of the hidden units.

    Parameters
    ----------
    weights
        Any W_0 and U_0 of the map, of full rank h <= min(dx, dy).
    input_covariance
        S_x, shape (dx, dx).
    residual_covariance
        S_r, shape (dy, dy).

    Raises
    ------
    ValueError
        If shapes disagree, a matrix is no covariance, or M or N is singular: more hidden units than the map has rank.

    References
    ----------
    Ziyin, Wang, Li, Wu (2024), Parameter symmetry and noise equilibrium of stochastic gradient descent, NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> balanced = noise_equilibrium(TwoLayerWeights([[1.0, 0, 0]], [[6.0**0.5], [0]]), np.eye(3), np.eye(2))
    >>> [float(np.sum(layer**2).round(12)) for layer in balanced]
    [3.0, 2.0]
    """
    first, second, inputs, residuals = _checked(weights, input_covariance, residual_covariance)
    m = np.trace(inputs) * second.T @ residuals @ second
    n = np.trace(residuals) * first @ inputs @ first.T
    for name, matrix in (("second_layer", m), ("first_layer", n)):
        values = np.linalg.eigvalsh(matrix)
        if values[0] <= matrices.rank_tolerance(values):
            raise ValueError(f"{name} must have full rank and see the noise, but its moment matrix has the eigenvalue "
                             f"{values[0]:.3g}. Use no more hidden units than the map has rank.")
    root = _power(m, 0.5)
    inverse = _power(m, -0.5)
    scaling = inverse @ _power(root @ n @ root, 0.5) @ inverse
    return TwoLayerWeights(_power(scaling, -0.5) @ first, second @ _power(scaling, 0.5))


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return vectors * values**exponent @ vectors.T


def _checked(
    weights: TwoLayerWeights, input_covariance: ArrayLike, residual_covariance: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    first = matrices.finite_array("first_layer", weights[0], (None, None))
    second = matrices.finite_array("second_layer", weights[1], (None, len(first)))
    inputs = matrices.covariance("input_covariance", input_covariance, first.shape[1])
    return first, second, inputs, matrices.covariance("residual_covariance", residual_covariance, len(second))
