r"""Laws of one-dimensional gradient noise: density and tail for the exact chain, cumulants for large deviations.

Noise counts **along the step**: x' = x - eta U'(x) + eta xi, so that positive noise pushes to the right and a positive
skewness is a long tail to the right. Every law has mean zero, and laws of one standard deviation have one SDE.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices

Function = Callable[[np.ndarray], np.ndarray]

_NEGLIGIBLE = 45.0  # tails of probability e^-45 are left out


@dataclasses.dataclass(frozen=True, eq=False)
class NoiseLaw:
    """A law of mean zero. Make one with `gaussian_noise`, `laplace_noise` and so on, or by hand.

    Attributes
    ----------
    standard_deviation
        s > 0.
    skewness
        E xi^3 / s^3.
    support
        Smallest and largest value.
    exponential_range
        The open interval of theta, with 0 inside, on which E exp(theta xi) is finite.
    cumulant_generating_function
        Lambda(theta) = log E exp(theta xi), elementwise on that interval.
    density, below, above
        The density, P(xi <= x) and P(xi >= x), elementwise, the probabilities right in relative terms where they are
        small; None for a law without a density, which has no exact chain here.
    reach
        The interval outside of which the mass is negligible.
    kinks
        Where the density or its slope jumps, in ascending order.
    """

    standard_deviation: float
    skewness: float
    support: tuple[float, float]
    exponential_range: tuple[float, float]
    cumulant_generating_function: Function
    density: Function | None = None
    below: Function | None = None
    above: Function | None = None
    reach: tuple[float, float] = (-np.inf, np.inf)
    kinks: tuple[float, ...] = ()

    def mirrored(self) -> "NoiseLaw":
        """Return the law of -xi."""
        def flipped(function: Function | None) -> Function | None:
            return None if function is None else lambda noise: function(-noise)

        return NoiseLaw(
            self.standard_deviation, -self.skewness, _negated(self.support), _negated(self.exponential_range),
            lambda theta: self.cumulant_generating_function(-theta),
            flipped(self.density), flipped(self.above), flipped(self.below),
            _negated(self.reach), tuple(-kink for kink in reversed(self.kinks)),
        )


def _negated(interval: tuple[float, float]) -> tuple[float, float]:
    return -interval[1], -interval[0]


def gaussian_noise(standard_deviation: float) -> NoiseLaw:
    """Return the normal law: Lambda = s^2 theta^2 / 2.

    Parameters
    ----------
    standard_deviation
        s > 0.

    Raises
    ------
    TypeError, ValueError
        If it is not positive.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> float(ss.theory.gaussian_noise(2.0).cumulant_generating_function(0.5))
    0.5
    """
    from scipy import special

    s = _scale(standard_deviation)
    reach = s * np.sqrt(2 * _NEGLIGIBLE)
    return NoiseLaw(
        s, 0.0, (-np.inf, np.inf), (-np.inf, np.inf), lambda theta: (s * theta) ** 2 / 2,
        density=lambda noise: np.exp(-((noise / s) ** 2) / 2) / (s * np.sqrt(2 * np.pi)),
        below=lambda noise: special.ndtr(noise / s), above=lambda noise: special.ndtr(-noise / s),
        reach=(-reach, reach),
    )


def laplace_noise(standard_deviation: float) -> NoiseLaw:
    """Return the two-sided exponential law: Lambda = -log(1 - s^2 theta^2 / 2).

    Parameters
    ----------
    standard_deviation
        s > 0.

    Raises
    ------
    TypeError, ValueError
        If it is not positive.
    """
    s = _scale(standard_deviation)
    rate = np.sqrt(2) / s

    def above(noise: np.ndarray) -> np.ndarray:
        small = np.exp(-rate * np.abs(noise)) / 2
        return np.where(noise > 0, small, 1 - small)

    return NoiseLaw(
        s, 0.0, (-np.inf, np.inf), (-rate, rate), lambda theta: -np.log1p(-((theta / rate) ** 2)),
        density=lambda noise: rate / 2 * np.exp(-rate * np.abs(noise)),
        below=lambda noise: above(-noise), above=above, reach=(-_NEGLIGIBLE / rate, _NEGLIGIBLE / rate),
        kinks=(0.0,),
    )


def uniform_noise(standard_deviation: float) -> NoiseLaw:
    """Return the uniform law on [-w, w], w = sqrt(3) s: Lambda = log(sinh(w theta) / (w theta)).

    Parameters
    ----------
    standard_deviation
        s > 0.

    Raises
    ------
    TypeError, ValueError
        If it is not positive.
    """
    s = _scale(standard_deviation)
    w = np.sqrt(3) * s

    def cumulants(theta: np.ndarray) -> np.ndarray:
        z = np.maximum(np.abs(w * theta), 1e-300)
        # log(sinh z / z) cancels to a relative eps / z^2 for small z, where its series takes over.
        return np.where(z < 1e-2, z**2 / 6 - z**4 / 180, z + np.log(-np.expm1(-2 * z) / (2 * z)))

    return NoiseLaw(
        s, 0.0, (-w, w), (-np.inf, np.inf), cumulants,
        density=lambda noise: np.where(np.abs(noise) <= w, 1 / (2 * w), 0.0),
        below=lambda noise: np.clip((w + noise) / (2 * w), 0.0, 1.0),
        above=lambda noise: np.clip((w - noise) / (2 * w), 0.0, 1.0), reach=(-w, w), kinks=(-w, w),
    )


def exponential_noise(standard_deviation: float) -> NoiseLaw:
    """Return the exponential law less its mean, tail to the right: Lambda = -s theta - log(1 - s theta).

    Its skewness is 2. For a tail to the left take ``.mirrored()``.

    Parameters
    ----------
    standard_deviation
        s > 0.

    Raises
    ------
    TypeError, ValueError
        If it is not positive.
    """
    s = _scale(standard_deviation)
    return NoiseLaw(
        s, 2.0, (-s, np.inf), (-np.inf, 1 / s), lambda theta: -s * theta - np.log1p(-s * theta),
        density=lambda noise: np.where(noise >= -s, np.exp(-np.maximum(noise / s + 1, 0)) / s, 0.0),
        below=lambda noise: -np.expm1(-np.maximum(noise / s + 1, 0)),
        above=lambda noise: np.exp(-np.maximum(noise / s + 1, 0)), reach=(-s, _NEGLIGIBLE * s), kinks=(-s,),
    )


def gamma_noise(standard_deviation: float, shape: int) -> NoiseLaw:
    r"""Return the law of the mean of ``shape`` independent exponential numbers, less its mean, tail to the right.

    .. math:: \Lambda(\theta) = -s\sqrt k\,\theta - k \log\Bigl(1 - \frac{s\theta}{\sqrt k}\Bigr)

    The noise of a minibatch of k examples with exponential noise. Its skewness is 2 / sqrt(k).

    Parameters
    ----------
    standard_deviation
        s > 0, of the mean.
    shape
        k, at least 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.
    """
    from scipy.stats import gamma

    s = _scale(standard_deviation)
    checks.integer("shape", shape)
    width = s / np.sqrt(shape)
    low, high = -shape * width, float(gamma.isf(np.exp(-_NEGLIGIBLE), shape)) * width - shape * width
    return NoiseLaw(
        s, 2 / np.sqrt(shape), (low, np.inf), (-np.inf, 1 / width),
        lambda theta: -shape * width * theta - shape * np.log1p(-width * theta),
        density=lambda noise: gamma.pdf((noise - low) / width, shape) / width,
        below=lambda noise: gamma.cdf((noise - low) / width, shape),
        above=lambda noise: gamma.sf((noise - low) / width, shape), reach=(low, high), kinks=(low,),
    )


def empirical_noise(gradients: ArrayLike) -> NoiseLaw:
    """Return the law of the gradient noise of one example drawn from a finite data set.

    Lambda(theta) is the log of the mean over the examples of exp(theta (mean - gradient)). Minibatches come in by the
    ``batch_size`` of the functions that take it. It has no density, hence no exact chain here.

    Parameters
    ----------
    gradients
        The gradients of the examples at one place, shape (N,); noise along the step is the mean less each of them.

    Raises
    ------
    TypeError, ValueError
        If they are not finite numbers, or all equal.
    """
    gradients = matrices.finite_array("gradients", gradients, (None,))
    noise = np.mean(gradients) - gradients
    s = float(np.std(noise))
    if s <= 1e-12 * float(np.max(np.abs(gradients))):
        raise ValueError("gradients must differ from one another: without noise there is no escape.")

    def cumulants(theta: np.ndarray) -> np.ndarray:
        scaled = np.multiply.outer(theta, noise)
        # E exp(z) - 1 = E (exp(z) - 1 - z), whose terms are all positive: small theta lose no digits.
        largest = np.max(scaled, axis=-1)
        excess = np.mean(np.expm1(scaled) - scaled, axis=-1)
        shifted = largest + np.log(np.mean(np.exp(scaled - largest[..., None]), axis=-1))
        return np.where(largest < 1, np.log1p(excess), shifted)

    return NoiseLaw(s, float(np.mean(noise**3)) / s**3, (float(np.min(noise)), float(np.max(noise))),
                    (-np.inf, np.inf), cumulants)


def _scale(standard_deviation: float) -> float:
    checks.positive("standard_deviation", standard_deviation)
    return float(standard_deviation)
