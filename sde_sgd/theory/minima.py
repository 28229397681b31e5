r"""Minibatch noise and fluctuation at a minimum of any model, from its Hessian and its loss.

Near a minimum of the squared loss (f - y)^2 / 2 the noise is not the Hessian but the Hessian times twice the loss. Both
formulas hold to leading order in 1/S, for residuals that are about independent of the gradients of the model; on linear
regression `online_regression` is exact.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices
from sde_sgd.theory.stationary import sgd_stationary_covariance


def minimum_noise_covariance(
    hessian: ArrayLike,
    loss: float,
    batch_size: int,
    *,
    gradient: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
) -> Float[np.ndarray, "d d"]:
    r"""Return the covariance of one step's gradient near a minimum of any model with squared loss.

    .. math::
        C = \frac1S \left[ \left(2 L_0 + \mathrm{Tr} H \Sigma\right) H - g g^\top - H \Sigma H \right]

    L_0, g and H are loss, gradient and Hessian of the data, without regularisation, at one point; Sigma is the
    fluctuation about it over which the noise is averaged. Three cases:

    - weight decay Gamma at its minimum w*: pass g = -Gamma w*;
    - a minimum of the data loss above zero: C = (2 L_0 / S) H;
    - interpolation, L_0 = 0: the noise is that of the fluctuation alone, (Tr[H Sigma] H - H Sigma H) / S. It vanishes
      at the minimum. With many examples of high dimension and the mean squared residual 2 L_0 this is also the noise
      of linear regression with `high_dimensional_covariance`.

    The bare Hessian C = H / S, often assumed, misses the factor 2 L_0 and noise at L_0 = 0 is predicted where there is
    none. For linear regression on Gaussian features the exact C has + g g^T where this has - g g^T, a rank-one
    difference that large dimension hides.

    Parameters
    ----------
    hessian
        H of the data loss, positive semi-definite, shape (d, d).
    loss
        L_0 >= 0 of the data at the point.
    batch_size
        S.
    gradient
        g, the gradient of the data loss at the point, shape (d,); None for zero.
    covariance
        Sigma, shape (d, d); None for none.

    Returns
    -------
    noise_covariance : numpy.ndarray
        C, shape (d, d).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, or H is not positive semi-definite.

    References
    ----------
    Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, ICLR. Its formula for C(w) is averaged here.

    Examples
    --------
    >>> ss.theory.minimum_noise_covariance([[2.0]], loss=0.25, batch_size=5)
    array([[0.2]])
    """
    h = matrices.symmetric("hessian", hessian)
    matrices.covariance("hessian", h, len(h))
    checks.non_negative("loss", loss)
    checks.integer("batch_size", batch_size)
    sigma = np.zeros_like(h) if covariance is None else matrices.covariance("covariance", covariance, len(h))
    g = np.zeros(len(h)) if gradient is None else matrices.finite_array("gradient", gradient, (len(h),))
    squared_residual = 2 * float(loss) + float(np.sum(h * sigma))
    return (squared_residual * h - np.outer(g, g) - h @ sigma @ h) / batch_size


def minimum_covariance(
    hessian: ArrayLike,
    loss: float,
    learning_rate: ArrayLike,
    batch_size: int,
    *,
    weight_decay: float = 0.0,
    minimum: ArrayLike | None = None,
    momentum: float = 0.0,
) -> Float[np.ndarray, "d d"]:
    r"""Return the stationary covariance of SGD at a minimum of any model with squared loss.

    .. math::
        \Sigma = \frac{1}{S (1-\mu)} \Lambda \left(2 L_0 H - \gamma^2 w_* w_*^\top\right) (H + \gamma)^+
        \left[2 - \frac{\Lambda (H + \gamma)}{1+\mu}\right]^{-1}

    where everything commutes, and the solution of the stationary equation in general. Along flat directions, H + gamma
    = 0, there is no stationary law: those entries are left at zero. At interpolation, L_0 = 0 without weight decay, all
    are zero. The noise is that at the minimum itself, so this is the leading order in 1/S.

    Parameters
    ----------
    hessian
        H of the data loss, positive semi-definite, shape (d, d).
    loss
        L_0 >= 0 of the data at the minimum.
    learning_rate
        lambda > 0; or Lambda, a positive definite matrix of shape (d, d).
    batch_size
        S.
    weight_decay
        gamma; with it, ``minimum`` is needed.
    minimum
        w*, shape (d,), the minimum of the regularised loss.
    momentum
        mu in [0, 1) of heavy ball in optax's convention.

    Returns
    -------
    covariance : numpy.ndarray
        Sigma, shape (d, d).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, H is not positive semi-definite, H + gamma has a negative
        eigenvalue, the noise is not a covariance, or the learning rate is beyond stability.

    References
    ----------
    Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> ss.theory.minimum_covariance(np.diag([2.0, 0.0]), 0.5, 0.1, batch_size=5).diagonal()
    array([0.0111..., 0. ])
    """
    h = matrices.symmetric("hessian", hessian)
    decay = float(matrices.finite_array("weight_decay", weight_decay, ()))
    gradient = None
    if decay:
        if minimum is None:
            raise ValueError(f"minimum is missing: with weight_decay {decay:.6g} the data's gradient there is "
                             "-weight_decay * minimum. Pass it.")
        gradient = -decay * matrices.finite_array("minimum", minimum, (len(h),))
    noise = _covariance_or_raise(minimum_noise_covariance(h, loss, batch_size, gradient=gradient), h, loss, batch_size)
    curved = h + decay * np.eye(len(h))
    curvatures, basis = np.linalg.eigh(curved)
    tolerance = matrices.rank_tolerance(curvatures)
    if curvatures[0] < -tolerance:
        raise ValueError(f"hessian + weight_decay has the negative eigenvalue {curvatures[0]:.6g}: no minimum.")
    span = basis[:, curvatures > tolerance]
    if span.shape[1] == 0:
        return np.zeros_like(h)
    rate = learning_rate
    if np.ndim(learning_rate):
        # Gradients lie in the span, so only this block of the rate moves what lies in it.
        rate = span.T @ matrices.symmetric("learning_rate", learning_rate, len(h)) @ span
    inner = sgd_stationary_covariance(span.T @ curved @ span, span.T @ noise @ span, rate, momentum)
    return span @ inner @ span.T


def _covariance_or_raise(
    noise: Float[np.ndarray, "d d"], hessian: Float[np.ndarray, "d d"], loss: float, batch_size: int
) -> Float[np.ndarray, "d d"]:
    """Return the noise with negative eigenvalues of rounding size removed; raise if they are larger."""
    eigenvalues, vectors = np.linalg.eigh(noise)
    size = 2 * loss * np.linalg.norm(hessian) / batch_size
    if eigenvalues[0] < -1e-10 * size:
        raise ValueError(f"loss {loss:.6g} is too small for this hessian, weight_decay and minimum: the noise would "
                         f"have the negative eigenvalue {eigenvalues[0]:.6g}. Pass the data's loss at the minimum; in "
                         "few dimensions the formula itself can fail, and online_regression is exact.")
    return (vectors * np.maximum(eigenvalues, 0.0)) @ vectors.T
