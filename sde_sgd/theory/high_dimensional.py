r"""Linear regression on a fixed data set in high dimension, N and D large at a fixed ratio alpha = N / D.

Examples are drawn again and again, and the fourth moment of the features decouples with the other sign than for fresh
Gaussian data: C = [(Tr[A Sigma] + r^2) A - A Sigma A] / S with the sample covariance A and the mean squared residual
r^2. For one data set of any size `sgd_limit_covariance` is exact; here the data enter by two summaries only.
"""

import functools

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices
from sde_sgd.theory.gaussian_features import FeatureModes, loading, second_moment, stability_scale
from sde_sgd.theory.modes import sgd_operator

_PAIRING = -1.0
_OPERATOR = functools.partial(sgd_operator, momentum=0.0)


def high_dimensional_covariance(
    sample_covariance: ArrayLike, mean_square_residual: float, learning_rate: float, batch_size: int
) -> Float[np.ndarray, "d d"]:
    r"""Return the stationary covariance of SGD on a large linear regression, under- or overparametrised.

    .. math::
        \Sigma = \frac{\lambda r^2}{S} \frac{\hat G^{-1}}{1 - \tau / S}, \qquad
        \hat G = 2 - \lambda \left(1 - \frac1S\right) \hat A, \qquad \tau = \lambda\, \mathrm{Tr}\, \hat G^{-1} \hat A,

    on the directions that the features span. r^2 is the mean squared residual at the minimum. It is sigma^2 (1 - 1 /
    alpha) on average over data sets with label noise sigma and alpha = N / D > 1; a realised one follows its own within
    about 7 % at D = 50 to 100. Overparametrised, alpha < 1, the residual is zero, and so is the covariance wherever SGD
    is stable: there is no noise where all examples are fitted.

    Parameters
    ----------
    sample_covariance
        A hat = X^T X / N, positive semi-definite, shape (d, d).
    mean_square_residual
        r^2 >= 0 at the minimum.
    learning_rate
        lambda > 0.
    batch_size
        S; the data set is supposed to be much larger.

    Returns
    -------
    covariance : numpy.ndarray
        Sigma, shape (d, d); zero along directions that the features do not span.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, or the learning rate is not below
        `max_high_dimensional_learning_rate`.

    References
    ----------
    Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> covariance = ss.theory.high_dimensional_covariance(np.eye(50), 0.75, learning_rate=0.05, batch_size=5)
    >>> round(float(np.trace(covariance)), 5)
    0.25685
    """
    checks.non_negative("mean_square_residual", mean_square_residual)
    checks.positive("learning_rate", learning_rate)
    modes = _spanned_modes(sample_covariance, batch_size).scaled(float(learning_rate))
    if len(modes.rates) == 0:
        return np.zeros((len(modes.basis), len(modes.basis)))
    if loading(modes, _OPERATOR, batch_size, _PAIRING) >= batch_size:
        threshold = float(learning_rate) * stability_scale(modes, _OPERATOR, batch_size, _PAIRING)
        raise ValueError(f"learning_rate must be below the mean-square threshold {threshold:.6g}, got {learning_rate}: "
                         "beyond it the second moment of SGD is infinite. Lower it.")
    return modes.restore(second_moment(modes, _OPERATOR, batch_size, float(mean_square_residual), pairing=_PAIRING)[0])


def max_high_dimensional_learning_rate(sample_covariance: ArrayLike, batch_size: int) -> float:
    r"""Return the learning rate at which SGD on a large linear regression loses its second moment.

    .. math:: \sum_i \left[\frac{2}{\lambda a_i} - 1 + \frac1S\right]^{-1} = S

    over the positive eigenvalues a_i of the sample covariance: of the order 2 S / (a D). It decides about convergence
    when overparametrised too. `max_mean_square_learning_rate` is the exact one for a data set, 5 to 20 % lower at D of
    50 to 100, the more so the fewer the examples.

    Parameters
    ----------
    sample_covariance
        A hat = X^T X / N, positive semi-definite, shape (d, d).
    batch_size
        S.

    Returns
    -------
    learning_rate : float
        The threshold; infinite if there is no curvature at all.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape.

    References
    ----------
    Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> round(ss.theory.max_high_dimensional_learning_rate(np.eye(100), batch_size=10), 5)
    0.18349
    """
    modes = _spanned_modes(sample_covariance, batch_size)
    return stability_scale(modes, _OPERATOR, batch_size, _PAIRING) if len(modes.rates) else np.inf


def _spanned_modes(sample_covariance: ArrayLike, batch_size: int) -> FeatureModes:
    checks.integer("batch_size", batch_size)
    sample = matrices.symmetric("sample_covariance", sample_covariance)
    matrices.covariance("sample_covariance", sample, len(sample))
    eigenvalues, basis = np.linalg.eigh(sample)
    spanned = eigenvalues > matrices.rank_tolerance(eigenvalues)
    return FeatureModes(eigenvalues[spanned], eigenvalues[spanned], basis[:, spanned])
