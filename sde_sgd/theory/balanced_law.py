"""Stationary laws of a balanced product of parameters under the noise of SGD; see `sde_sgd.theory.balance`."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory.balance import ProductMoments, critical_temperature


class GammaLaw(NamedTuple):
    """The law of ``scipy.stats.gamma(shape, scale=scale)``."""

    shape: float
    scale: float

    @property
    def mean(self) -> float:
        """The mean."""
        return self.shape * self.scale

    @property
    def variance(self) -> float:
        """The variance."""
        return self.shape * self.scale**2


def balanced_gamma_law(signal: float, label_noise: float, temperature: float) -> GammaLaw:
    r"""Return the stationary law of the balanced product for features x = 1, a Gamma law.

    .. math::
        y = k + \sigma\epsilon: \qquad v \sim \Gamma\Bigl(\text{shape } \frac{T_c}{2T} - \frac12,\ \text{scale }
        2 T \sigma^2\Bigr), \qquad T_c = \frac{k}{\sigma^2}, \qquad \mathrm{E} v = k - T\sigma^2

    Exact for the first-order SDE of the loss (u w - y)^2 with u = w.

    Parameters
    ----------
    signal
        k > 0.
    label_noise
        sigma > 0.
    temperature
        T = eta/B > 0, below T_c.

    Returns
    -------
    law : GammaLaw
        Shape and scale.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or T is not below T_c, where the product is 0.

    Examples
    --------
    >>> law = balanced_gamma_law(1.0, 5.0, 0.01)
    >>> law.mean
    0.75
    """
    for name, value in (("signal", signal), ("label_noise", label_noise), ("temperature", temperature)):
        checks.positive(name, value)
    critical = float(signal) / float(label_noise) ** 2
    _check_below(temperature, critical)
    return GammaLaw(critical / (2 * float(temperature)) - 0.5, 2 * float(temperature) * float(label_noise) ** 2)


class BalancedLaw(NamedTuple):
    """The stationary law of a balanced product, normalised; made by `balanced_product_law`."""

    moments: ProductMoments
    temperature: float
    log_norm: float
    mean: float
    variance: float
    mode: float

    def density(self, product: ArrayLike) -> Float[np.ndarray, "*shape"]:
        """Return the density at v, 0 for v < 0."""
        v = np.asarray(product, np.float64)
        logs = _log_density(self.moments, self.temperature, np.log(np.where(v > 0, v, 1.0)))
        return np.where(v > 0, np.exp(logs - self.log_norm), 0.0)


def balanced_product_law(moments: ProductMoments, temperature: float) -> BalancedLaw:
    r"""Return the stationary law of the balanced product v = u w of one hidden layer.

    .. math::
        p(v) \propto v^{\frac{b_2}{2 a_3 T} - \frac32}\, g(v)^{-1 - \frac{b_2}{4 T a_3}}
        \exp\Bigl[-\frac{1}{2T} \frac{a_3 b_1 - a_2 b_2}{a_3 \sqrt\Delta} \arctan\frac{a_1 v - a_2}{\sqrt\Delta}\Bigr],
        \qquad v > 0

    with :math:`\Delta = a_1 a_3 - a_2^2`. Exact for the first-order SDE with |u| = |w|, at any width of the layer. The
    tail is v^(-7/2) at every temperature: the variance is finite, the moment of order 5/2 is not. SGD has this law as
    eta tends to 0 at fixed eta/B, up to a shift of the critical temperature of order eta.

    Parameters
    ----------
    moments
        Of the data, with b_2 > 0 and Delta > 0; for features of one size, Delta = 0, see `balanced_gamma_law`.
    temperature
        T = eta/B > 0, below `critical_temperature`.

    Returns
    -------
    law : BalancedLaw
        ``density``, ``mean``, ``variance`` and ``mode``; the mode is 0 above a third of the critical temperature.

    Raises
    ------
    TypeError, ValueError
        If the temperature is not in (0, T_c), or the moments do not allow a law.

    References
    ----------
    Ziyin, Li, Ueda (2023), Law of balance and stationary distribution of stochastic gradient descent.

    Examples
    --------
    >>> law = balanced_product_law(sde_sgd.theory.gaussian_product_moments(1.0, 1.0), 0.05)
    >>> round(law.mean, 5), round(law.variance, 4)
    (0.93763, 0.1198)
    """
    checks.positive("temperature", temperature)
    _check_below(temperature, critical_temperature(moments))
    a1, a2, a3, b1, b2 = moments
    if a1 * a3 - a2**2 <= 1e-12 * a1 * a3:
        raise ValueError("moments must have a_1 a_3 above a_2^2: here the noise vanishes at some v, or the features "
                         "are of one size, for which see balanced_gamma_law.")
    heat = float(temperature)
    # The mode of ln v solves -5/2 a1 v^2 + linear v + constant = 0, with constant > 0: one positive root. About it the
    # trapezoidal rule in t, ln v = ln mode + width sinh t, converges exponentially.
    constant = a3 * (b2 / (2 * a3 * heat) - 0.5)
    linear = -2 * a2 * constant / a3 + 2 * a2 * (1 + b2 / (4 * heat * a3)) - (a3 * b1 - a2 * b2) / (2 * heat * a3)
    centre = (linear + math.sqrt(linear**2 + 10 * a1 * constant)) / (5 * a1)
    width = math.sqrt(float(moments.noise(centre)) / (centre * math.sqrt(linear**2 + 10 * a1 * constant)))
    rates = (constant / a3, 0.5)  # v p(v) falls to the left, v^3 p(v) to the right, in powers of v
    below, above = (math.asinh(40 * (1 / (rate * width) + 1)) for rate in rates)
    steps = np.linspace(-below, above, 4001)
    logs = math.log(centre) + width * np.sinh(steps)
    points = np.exp(logs)
    weights = _log_density(moments, heat, logs) + logs + np.log(width * np.cosh(steps) * (steps[1] - steps[0]))
    log_norm = float(np.logaddexp.reduce(weights))
    shares = np.exp(weights - log_norm)
    mean = float(shares @ points)
    return BalancedLaw(moments, heat, log_norm, mean, float(shares @ (points - mean) ** 2), _mode(moments, heat))


def _log_density(moments: ProductMoments, heat: float, logs: np.ndarray) -> np.ndarray:
    a1, a2, a3, b1, b2 = moments
    v = np.exp(logs)
    root = math.sqrt(a1 * a3 - a2**2)
    angle = (a3 * b1 - a2 * b2) / (a3 * root) * np.arctan((a1 * v - a2) / root) / (2 * heat)
    return (b2 / (2 * a3 * heat) - 1.5) * logs - (1 + b2 / (4 * heat * a3)) * np.log(moments.noise(v)) - angle


def _mode(moments: ProductMoments, heat: float) -> float:
    a1, a2, a3, b1, b2 = moments
    if heat >= b2 / (3 * a3):
        return 0.0
    linear = b1 - 10 * a2 * heat
    return (-linear + math.sqrt(linear**2 + 28 * a1 * heat * (b2 - 3 * a3 * heat))) / (14 * a1 * heat)


def _check_below(temperature: float, critical: float) -> None:
    if float(temperature) >= critical:
        raise ValueError(f"temperature must be below the critical one, {critical:.6g}, got {temperature}: beyond it "
                         "the product collapses to 0 and there is no density. Lower it.")
