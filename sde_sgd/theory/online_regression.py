"""Linear regression on fresh Gaussian data: noise, fluctuation and losses of SGD, exactly, at any learning rate."""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices
from sde_sgd.theory.gaussian_features import (
    FeatureModes,
    feature_modes,
    loading,
    positive_definite_features,
    second_moment,
    stability_scale,
)
from sde_sgd.theory.modes import sgd_operator


class RegressionFluctuation(NamedTuple):
    """What SGD on linear regression settles to.

    Attributes
    ----------
    mean
        w*, the mean of the iterates, the minimum of the (regularised) loss.
    covariance
        Sigma, the stationary covariance of the iterates, shape (d, d).
    noise_covariance
        C, the stationary mean of the covariance of one step's gradient, shape (d, d).
    training_loss
        Expected loss, label noise and weight decay included.
    test_loss
        Expected loss on clean inputs and labels, E (w - u)^T A (w - u) / 2.
    reason
        Empty; or why the second moment does not exist, and then all of the above but the mean are infinite.
    """

    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]
    noise_covariance: Float[np.ndarray, "d d"]
    training_loss: float
    test_loss: float
    reason: str


def online_regression(
    feature_covariance: ArrayLike,
    learning_rate: ArrayLike,
    batch_size: int,
    *,
    label_noise: float = 0.0,
    weight_decay: ArrayLike = 0.0,
    teacher: ArrayLike | None = None,
    momentum: float = 0.0,
) -> RegressionFluctuation:
    r"""Return the stationary state of SGD on linear regression with fresh Gaussian data.

    .. math::
        L(w) = \tfrac12 \mathrm{E}\left[(w \cdot x - y)^2\right] + \tfrac12 w^\top \Gamma w, \qquad
        x \sim N(0, A), \quad y = u \cdot x + \epsilon, \quad \mathrm{Var}\,\epsilon = \sigma^2

    The mean squared residual is

    .. math:: 2 L_{\rm data} = \frac{\sigma^2 + q^\top A q + \rho / S}{1 - \tau / S}, \qquad
        \tau = \sum_i \frac{\lambda a_i^2}{k_i G_i}, \qquad
        G_i = 2(1-\mu) - \frac{1-\mu}{1+\mu} \lambda k_i - \frac{\lambda a_i^2}{S k_i},

    k_i = a_i + gamma_i, q = w* - u, rho = sum_i lambda a_i^3 q_i^2 / (k_i G_i); the covariance follows mode by mode.
    Without weight decay this is Sigma = (sigma^2 / S) Lambda G^-1 / (1 - tau / S). Exact at every learning rate and
    momentum where the second moment exists: tau < S and every G_i > 0. The labels' noise need not be Gaussian, the
    features must be. Newton's method is the learning rate lambda A^-1.

    Parameters
    ----------
    feature_covariance
        A, positive definite, shape (d, d).
    learning_rate
        lambda > 0; or Lambda, a positive definite matrix of shape (d, d).
    batch_size
        S, fresh examples per step.
    label_noise
        sigma, the standard deviation of the label noise.
    weight_decay
        gamma for Gamma = gamma I, or Gamma itself. It may be negative.
    teacher
        u, shape (d,); None for zero, which with weight decay means that there is nothing to learn.
    momentum
        mu in [0, 1) of heavy ball in optax's convention.

    Returns
    -------
    RegressionFluctuation
        Mean, fluctuation, noise and losses; infinite, with the reason, where the second moment does not exist.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, A or Lambda is not positive definite, or the weight decay
        does not commute with A in the coordinates of Lambda.

    References
    ----------
    Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, ICLR. There the covariance with weight decay is
    for a teacher along one eigenvector; here for any.

    Examples
    --------
    >>> import numpy as np
    >>> state = ss.theory.online_regression(np.diag([1.0, 0.5]), 1.5, batch_size=50, label_noise=1.0)
    >>> state.covariance.diagonal(), round(state.training_loss, 5)
    (array([0.0690..., 0.0262...]), 0.54111)
    >>> ss.theory.online_regression([[1.0]], 1.7, batch_size=10, label_noise=1.0).reason
    'learning_rate must be below the mean-square threshold 1.66667, got 1.7: ...'
    """
    features = positive_definite_features(feature_covariance)
    checks.integer("batch_size", batch_size)
    checks.non_negative("label_noise", label_noise)
    checks.in_half_open_unit("momentum", momentum)
    dim = len(features)
    decay = _decay_matrix(weight_decay, dim)
    u = np.zeros(dim) if teacher is None else matrices.finite_array("teacher", teacher, (dim,))
    modes = feature_modes(features, decay, learning_rate)
    curvatures = np.linalg.eigvalsh(features + decay)
    if np.min(np.abs(curvatures)) <= matrices.rank_tolerance(curvatures):
        raise ValueError("weight_decay makes feature_covariance + weight_decay singular: the loss has no single "
                         "minimum. Change it.")
    reason = divergence(modes, learning_rate, batch_size, float(momentum))
    q = -np.linalg.solve(features + decay, decay @ u)
    if reason:
        infinite = np.full((dim, dim), np.inf)
        return RegressionFluctuation(u + q, infinite, infinite.copy(), np.inf, np.inf, reason)
    operator = functools.partial(sgd_operator, momentum=float(momentum))
    in_modes, residual = second_moment(modes, operator, batch_size, float(label_noise) ** 2,
                                       np.linalg.solve(modes.basis, q))
    covariance = modes.restore(in_modes)
    moment = covariance + np.outer(q, q)
    noise = (features @ moment @ features + residual * features) / batch_size
    ridge = np.sum(decay * (covariance + np.outer(u + q, u + q)))
    return RegressionFluctuation(u + q, covariance, noise, float(residual + ridge) / 2,
                                 float(np.sum(features * moment)) / 2, "")


def input_noise_regression(
    feature_covariance: ArrayLike,
    input_noise_covariance: ArrayLike,
    teacher: ArrayLike,
    learning_rate: ArrayLike,
    batch_size: int,
    *,
    label_noise: float = 0.0,
    momentum: float = 0.0,
) -> RegressionFluctuation:
    r"""Return the stationary state of SGD on linear regression whose inputs are seen through noise.

    .. math::
        \tilde x = x + n, \quad n \sim N(0, B), \quad y = u \cdot x + \epsilon: \qquad
        A \to K = A + B, \qquad \sigma^2 \to \sigma^2 + u^\top A K^{-1} B u, \qquad w_* = K^{-1} A u

    The residual at the minimum is Gaussian and independent of the noisy input, so noise on the inputs is noise on the
    labels of another regression, exactly.

    Parameters
    ----------
    feature_covariance
        A of the clean inputs, positive definite, shape (d, d).
    input_noise_covariance
        B, shape (d, d). It need not commute with A.
    teacher
        u, shape (d,).
    learning_rate
        lambda > 0; or Lambda, a positive definite matrix of shape (d, d).
    batch_size
        S, fresh examples per step.
    label_noise
        sigma, the standard deviation of noise on the labels, beside that on the inputs.
    momentum
        mu in [0, 1) of heavy ball in optax's convention.

    Returns
    -------
    RegressionFluctuation
        As `online_regression`; the training loss is on noisy inputs, the test loss on clean ones.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, or A or Lambda is not positive definite.

    References
    ----------
    Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> state = ss.theory.input_noise_regression(np.diag([1.0, 0.5]), np.diag([0.2, 0.7]), [1.0, -1.0], 0.4, 4)
    >>> round(state.training_loss, 5), round(state.test_loss, 5)
    (0.27658, 0.12859)
    """
    features = positive_definite_features(feature_covariance)
    blur = matrices.covariance("input_noise_covariance", input_noise_covariance, len(features))
    u = matrices.finite_array("teacher", teacher, (len(features),))
    checks.non_negative("label_noise", label_noise)
    seen = features + blur
    minimum = np.linalg.solve(seen, features @ u)
    effective = float(np.sqrt(float(label_noise) ** 2 + max(minimum @ blur @ u, 0.0)))
    state = online_regression(seen, learning_rate, batch_size, label_noise=effective, teacher=minimum,
                              momentum=momentum)
    if state.reason:
        return state
    q = minimum - u
    return state._replace(test_loss=float(np.sum(features * (state.covariance + np.outer(q, q)))) / 2)


def divergence(modes: FeatureModes, learning_rate: ArrayLike, batch_size: int, momentum: float) -> str:
    """Return why SGD has no stationary second moment, naming the threshold; empty if it has one."""
    operator = functools.partial(sgd_operator, momentum=momentum)
    if loading(modes, operator, batch_size) < batch_size:
        return ""
    if np.min(modes.rates) <= 0:
        return ("weight_decay must keep feature_covariance + weight_decay positive definite: along a direction of "
                "negative curvature the mean itself diverges.")
    scale = stability_scale(modes, operator, batch_size)
    what = "beyond it the second moment of SGD is infinite, even where single runs settle. Lower it."
    if np.ndim(learning_rate) == 0:
        eta = float(learning_rate)  # pyright: ignore[reportArgumentType]
        return f"learning_rate must be below the mean-square threshold {scale * eta:.6g}, got {eta:.6g}: {what}"
    return (f"learning_rate must be below {scale:.6g} times the matrix that was passed, the mean-square threshold: "
            f"{what}")


def _decay_matrix(weight_decay: ArrayLike, dim: int) -> Float[np.ndarray, "d d"]:
    if np.ndim(weight_decay) == 0:
        return float(matrices.finite_array("weight_decay", weight_decay, ())) * np.eye(dim)
    return matrices.symmetric("weight_decay", weight_decay, dim)
