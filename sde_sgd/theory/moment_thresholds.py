"""The learning rates at which moments of SGD in one dimension become infinite, one after the other."""

import itertools
import math

import numpy as np

from sde_sgd._core import checks
from sde_sgd.theory.roots import bracketed_root


def max_moment_learning_rate(feature_variance: float, batch_size: int, moment: float) -> float:
    r"""Return the learning rate at which a moment of SGD on one-dimensional regression becomes infinite.

    .. math::
        \mathrm{E}\,|1 - \lambda a s|^p = 1 \quad (p > 0), \qquad \mathrm{E} \ln |1 - \lambda a s| = 0 \quad (p = 0),
        \qquad s = \chi^2_S / S

    A step multiplies the distance from the minimum by 1 - lambda a s, s the mean square of S fresh Gaussian features.
    Up to the rate of p = 0 a stationary law exists; up to that of p = 2 it has a variance; up to that of p = 4 the
    variance can be *estimated* with a finite standard error. They differ by factors: always say which is meant.

    Parameters
    ----------
    feature_variance
        a > 0.
    batch_size
        S.
    moment
        p >= 0; 0 for stability of almost every run.

    Returns
    -------
    learning_rate : float
        The threshold lambda.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> [round(ss.theory.max_moment_learning_rate(1.0, 10, moment), 3) for moment in (4, 2, 0)]
    [1.326, 1.667, 2.428]
    """
    checks.positive("feature_variance", feature_variance)
    checks.integer("batch_size", batch_size)
    checks.non_negative("moment", moment)
    power = float(moment)

    def at(log_rate: float) -> float:
        return _growth(np.exp(log_rate), int(batch_size), power)

    # Growth is negative for small rates, where the mean contracts, and has a single zero.
    low, high = float(np.log(1e-3 / (1 + power))), 0.0
    while at(high) <= 0:
        high += 0.5
    return float(np.exp(bracketed_root(at, low, high))) / float(feature_variance)


def _growth(rate: float, batch_size: int, power: float) -> float:
    """Return E|1 - rate s|^p - 1, or E ln|1 - rate s| for p = 0."""
    import scipy.integrate
    import scipy.special

    half = batch_size / 2
    normalisation = (1 - half) * math.log(2) - float(scipy.special.gammaln(half))

    def integrand(root: float) -> float:
        density = math.exp(normalisation + (batch_size - 1) * math.log(root) - root**2 / 2)
        distance = abs(1 - rate * root**2 / batch_size)
        if power:
            return density * distance**power
        return density * math.log(distance) if distance else 0.0

    # The integrand is singular where a step lands on the minimum; quad takes a singularity at an end.
    landing, end = math.sqrt(batch_size / rate), math.sqrt(batch_size) + 12.0
    edges = sorted({0.0, min(landing, end), end})
    total = sum(scipy.integrate.quad(integrand, *piece, epsabs=1e-12, epsrel=1e-11, limit=200)[0]
                for piece in itertools.pairwise(edges))
    return total - 1 if power else total
