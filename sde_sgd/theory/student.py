r"""Student laws for SGD on least squares in one dimension: those of its SDEs, and one matched to SGD's variance.

Streaming Gaussian features of variance a, label noise sigma, batch size B, l = eta a.
"""

import math
from typing import NamedTuple

from sde_sgd._core import checks


class StudentLaw(NamedTuple):
    """Student's law centred at the minimum: ``scale`` times a number of ``scipy.stats.t(degrees_of_freedom)``.

    Its tail exponent, P(|w| > r) ~ r^-alpha, is ``degrees_of_freedom``.
    """

    degrees_of_freedom: float
    scale: float

    @property
    def variance(self) -> float:
        """The variance; infinite with two degrees of freedom or fewer."""
        nu = self.degrees_of_freedom
        return self.scale**2 * nu / (nu - 2) if nu > 2 else math.inf


def sde_student_law(
    learning_rate: float, batch_size: int, *, label_noise: float, feature_variance: float = 1.0
) -> StudentLaw:
    r"""Return the stationary law of the first-order SDE with the exact noise, C(w) = (a/B)(2 a w^2 + sigma^2).

    .. math:: p(w) \propto (2 a w^2 + \sigma^2)^{-1 - B/(2\eta a)}, \qquad \nu = 1 + \frac{B}{\eta a}

    Exact for the SDE at any learning rate. Beside SGD: its variance is finite for eta a < B only, its tail is another
    (`tail_exponent`).

    Parameters
    ----------
    learning_rate
        eta > 0.
    batch_size
        B.
    label_noise
        sigma > 0, a standard deviation.
    feature_variance
        a > 0.

    Returns
    -------
    law : StudentLaw
        Degrees of freedom and scale.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    References
    ----------
    Schertzer, Pillaud-Vivien (2024), Stochastic differential equations models for least-squares SGD.

    Examples
    --------
    >>> sde_student_law(0.5, 4, label_noise=1.0).variance
    0.0714...
    """
    rate, sigma, a = _checked(learning_rate, batch_size, label_noise, feature_variance)
    nu = 1 + batch_size / rate
    return StudentLaw(nu, sigma / math.sqrt(2 * a * nu))


def decoupled_student_law(
    learning_rate: float, batch_size: int, *, label_noise: float, feature_variance: float = 1.0
) -> StudentLaw:
    r"""Return the stationary law of the first-order SDE with decoupled noise, C(w) = (a/B)(a w^2 + sigma^2).

    .. math:: p(w) \propto (a w^2 + \sigma^2)^{-1 - B/(\eta a)}, \qquad \nu = 1 + \frac{2B}{\eta a}

    Decoupled: the noise is the loss times the curvature, C = 2 L a / B, as if the residual and the feature of an
    example were independent. For Gaussian features the fluctuating part of C is half the true one in one dimension.

    Parameters
    ----------
    learning_rate
        eta > 0.
    batch_size
        B.
    label_noise
        sigma > 0, a standard deviation.
    feature_variance
        a > 0.

    Returns
    -------
    law : StudentLaw
        Degrees of freedom and scale.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    References
    ----------
    Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, ICLR.

    Examples
    --------
    >>> decoupled_student_law(0.5, 4, label_noise=1.0).degrees_of_freedom
    17.0
    """
    rate, sigma, a = _checked(learning_rate, batch_size, label_noise, feature_variance)
    nu = 1 + 2 * batch_size / rate
    return StudentLaw(nu, sigma / math.sqrt(a * nu))


def matched_student_law(
    learning_rate: float, batch_size: int, *, label_noise: float, feature_variance: float = 1.0
) -> StudentLaw:
    r"""Return the Student law in a w^2 + sigma^2 that has SGD's own variance.

    .. math::
        p(w) \propto (a w^2 + \sigma^2)^{-(1+\nu)/2}, \qquad \nu = \frac{2B}{\eta a} - B, \qquad
        \mathrm{Var} = \frac{\eta\sigma^2}{B\,[2 - (1 + 2/B)\,\eta a]}

    An excellent description of the bulk (Kolmogorov distance about 0.005 at eta a = 1), **not of the far tail**, whose
    exponent is `tail_exponent`: they agree where nu = 2 only, and for eta a = 1, B = 10 they are 10 and 7.51.

    Parameters
    ----------
    learning_rate
        eta > 0.
    batch_size
        B.
    label_noise
        sigma > 0, a standard deviation.
    feature_variance
        a > 0.

    Returns
    -------
    law : StudentLaw
        Degrees of freedom and scale.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or eta a is not below 2, where nu vanishes.

    References
    ----------
    Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, ICLR.

    Examples
    --------
    >>> matched_student_law(1.0, 10, label_noise=1.0).degrees_of_freedom
    10.0
    """
    rate, sigma, a = _checked(learning_rate, batch_size, label_noise, feature_variance)
    if rate >= 2:
        raise ValueError(f"learning_rate must be below 2 / feature_variance = {2 / a:.6g}, got {learning_rate}: beyond "
                         "it there is no such law. Lower it.")
    nu = 2 * batch_size / rate - batch_size
    return StudentLaw(nu, sigma / math.sqrt(a * nu))


def _checked(
    learning_rate: float, batch_size: int, label_noise: float, feature_variance: float
) -> tuple[float, float, float]:
    checks.positive("learning_rate", learning_rate)
    checks.integer("batch_size", batch_size)
    checks.positive("label_noise", label_noise)
    checks.positive("feature_variance", feature_variance)
    return float(learning_rate) * float(feature_variance), float(label_noise), float(feature_variance)
