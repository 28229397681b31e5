r"""How gradient noise aligns with curvature, and the bound on the sharpness of stable minima that follows.

The noise is measured against 2 L H, twice the loss times the Hessian, to which it is close near a minimum of the
squared loss: Sigma is the covariance of one example's gradient (1/N), L the loss.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices
from sde_sgd.theory.gaussian_features import positive_definite_features


def loss_alignment(hessian: ArrayLike, noise_covariance: ArrayLike, loss: float) -> float:
    r"""Return the alignment of the noise with the curvature, in units of the loss.

    .. math:: \mu = \frac{\mathrm{Tr}\, \Sigma H}{2 L |H|_F^2}

    One step of SGD then changes the expected quadratic loss by exactly
    -eta |g|^2 + (eta^2 / 2) g^T H g + (eta^2 / B) mu L |H|_F^2.

    Parameters
    ----------
    hessian
        H, shape (d, d).
    noise_covariance
        Sigma, the covariance of one example's gradient, shape (d, d).
    loss
        L > 0.

    Returns
    -------
    alignment : float
        mu: 1 for noise 2 L H.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, or H is zero.

    References
    ----------
    Wu, Wang, Su (2022), The alignment property of SGD noise and how it helps select flat minima, NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> h = np.diag([1.0, 2.0])
    >>> ss.theory.loss_alignment(h, 2 * 0.3 * h, loss=0.3)
    1.0
    """
    h = matrices.symmetric("hessian", hessian)
    noise = matrices.covariance("noise_covariance", noise_covariance, len(h))
    checks.positive("loss", loss)
    if not np.any(h):
        raise ValueError("hessian is zero: there is no curvature to align with. Evaluate it elsewhere.")
    return float(np.sum(noise * h) / (2 * float(loss) * np.sum(h**2)))


def directional_alignment(
    hessian: ArrayLike, noise_covariance: ArrayLike, loss: float, direction: ArrayLike
) -> float:
    r"""Return the alignment of the noise with the curvature along one direction, in units of the loss.

    .. math:: g(v) = \frac{v^\top \Sigma v}{2 L\, v^\top H v}

    Parameters
    ----------
    hessian
        H, shape (d, d).
    noise_covariance
        Sigma, the covariance of one example's gradient, shape (d, d).
    loss
        L > 0.
    direction
        v, shape (d,), of any length; its curvature v^T H v must be positive.

    Returns
    -------
    alignment : float
        g(v): 1 for noise 2 L H.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, or the curvature along v is not positive.

    References
    ----------
    Wang, Wu (2023), A theoretical analysis of noise geometry in stochastic gradient descent.

    Examples
    --------
    >>> import numpy as np
    >>> ss.theory.directional_alignment(np.diag([1.0, 2.0]), np.eye(2), loss=0.5, direction=[0.0, 1.0])
    0.5
    """
    h = matrices.symmetric("hessian", hessian)
    noise = matrices.covariance("noise_covariance", noise_covariance, len(h))
    checks.positive("loss", loss)
    v = matrices.finite_array("direction", direction, (len(h),))
    curvature = float(v @ h @ v)
    if curvature <= 0:
        raise ValueError(f"direction must have positive curvature, got {curvature:.6g}. Take another.")
    return float(v @ noise @ v) / (2 * float(loss) * curvature)


def online_noise_covariance(
    feature_covariance: ArrayLike, displacement: ArrayLike, label_noise: float = 0.0
) -> Float[np.ndarray, "d d"]:
    r"""Return the covariance of one example's gradient on Gaussian features, at a given distance from the teacher.

    .. math:: \Sigma = A e e^\top A + (e^\top A e + \sigma^2) A, \qquad e = w - u

    Without label noise 2 L = e^T A e, and both alignments have closed forms:

    .. math:: \mu = 1 + \frac{e^\top A^3 e}{2 L |A|_F^2}, \qquad
        g(v) = 1 + \frac{(v^\top A e)^2}{2 L\, v^\top A v} \in [1, 2]

    Parameters
    ----------
    feature_covariance
        A, positive definite, shape (d, d).
    displacement
        e, shape (d,).
    label_noise
        sigma, the standard deviation of the label noise.

    Returns
    -------
    noise_covariance : numpy.ndarray
        Sigma, shape (d, d); a batch of B has Sigma / B.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, or A is not positive definite.

    Examples
    --------
    >>> import numpy as np
    >>> noise = ss.theory.online_noise_covariance(np.eye(2), [1.0, 0.0])
    >>> ss.theory.directional_alignment(np.eye(2), noise, loss=0.5, direction=[1.0, 0.0])
    2.0
    """
    features = positive_definite_features(feature_covariance)
    checks.non_negative("label_noise", label_noise)
    force = features @ matrices.finite_array("displacement", displacement, (len(features),))
    square = float(force @ np.linalg.solve(features, force)) + float(label_noise) ** 2
    return np.outer(force, force) + square * features


def max_stable_hessian_norm(learning_rate: float, batch_size: int, alignment: float = 1.0) -> float:
    r"""Return a bound on the Frobenius norm of the Hessian at any minimum where SGD is stable in mean square.

    .. math:: |H|_F \le \frac1\eta \sqrt{\frac{B}{\mu}}

    for noise whose alignment is at least mu wherever SGD goes. It does not depend on the dimension as the full
    gradient's 2 / eta does. Necessary, and not tight.

    Parameters
    ----------
    learning_rate
        eta > 0.
    batch_size
        B.
    alignment
        mu > 0, a lower bound of `loss_alignment`; 1 for Gaussian features.

    Returns
    -------
    norm : float
        The bound.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    References
    ----------
    Wu, Wang, Su (2022), The alignment property of SGD noise and how it helps select flat minima, NeurIPS.

    Examples
    --------
    >>> ss.theory.max_stable_hessian_norm(0.1, batch_size=4)
    20.0
    """
    checks.positive("learning_rate", learning_rate)
    checks.integer("batch_size", batch_size)
    checks.positive("alignment", alignment)
    return float(np.sqrt(batch_size / float(alignment))) / float(learning_rate)
