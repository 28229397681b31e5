r"""The law of the factor by which one step of streaming least squares multiplies the distance from the minimum.

By isotropy the distances are multiplied by independent numbers m. Moments and the mean logarithm of m are integrals
over one or two chi laws, whose integrands can vanish like a power at one point: tanh-sinh panels end there.
"""

import numpy as np
from jaxtyping import Float

# Beyond so many standard deviations of its peak an integrand is left out.
_REACH = 12.0
# Spacing of the tanh-sinh rule on a panel twice as wide as the reach.
_SPACING = 1 / 32


def log_sum_exp(logs: Float[np.ndarray, "*shape"]) -> float:
    """Return ln sum exp of all entries."""
    top = np.max(logs)
    return float(top + np.log(np.sum(np.exp(logs - top))))


def log_moment(alpha: float, rate: float, batch_size: int, dim: int) -> float:
    """Return ln E m^alpha, divided by the same rule's value of E 1 so that rounding of the weights drops out."""
    log_sizes, log_weights = _multipliers(alpha, rate, batch_size, dim)
    return log_sum_exp(log_weights + alpha * log_sizes) - log_sum_exp(log_weights)


def mean_log(rate: float, batch_size: int, dim: int) -> float:
    """Return E ln m."""
    log_sizes, log_weights = _multipliers(0.0, rate, batch_size, dim)
    weights = np.exp(log_weights - np.max(log_weights))
    return float(np.sum(weights * log_sizes) / np.sum(weights))


def _multipliers(
    alpha: float, rate: float, batch_size: int, dim: int
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    r"""Return quadrature nodes ln m and log weights for E m^alpha.

    With the projections of the B features on e, a vector of length v, and the rest r of the features orthogonal to it,

    .. math:: m^2 = (1 - l v^2 / B)^2 + (l v r / B)^2, \qquad v \sim \chi_B, \quad r \sim \chi_{d-1}

    which can vanish at v^2 = B / l, r = 0: panels end there.
    """
    centre = np.sqrt(batch_size / rate)
    start, stop = max(0.0, np.sqrt(batch_size) - _REACH), np.sqrt(2 * alpha + batch_size) + _REACH
    panels = [(start, centre), (centre, stop)] if start < centre < stop else [(start, stop)]
    length, gap, log_weights = (np.concatenate(parts) for parts in
                                zip(*(_panel(low, high, centre) for low, high in panels), strict=True))
    log_weights = log_weights + (batch_size - 1) * np.log(length) - length**2 / 2
    along = rate / batch_size * gap * (centre + length)
    if dim == 1:
        return np.log(np.abs(along)), log_weights
    across_start = max(0.0, np.sqrt(dim) - _REACH)
    rest, _, rest_weights = _panel(across_start, np.sqrt(alpha + dim) + _REACH, 0.0)
    rest_weights = rest_weights + (dim - 2) * np.log(rest) - rest**2 / 2
    across = rate / batch_size * length[:, None] * rest
    return np.log(np.hypot(along[:, None], across)), log_weights[:, None] + rest_weights


def _panel(low: float, high: float, centre: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return tanh-sinh nodes, their distances from ``centre`` (exact if it is an end) and log weights."""
    width = high - low
    spacing = _SPACING * min(1.0, 2 * _REACH / width)
    sinh = np.pi * np.sinh(np.arange(-3.6, 3.6, spacing))
    cosh = np.pi * np.cosh(np.arange(-3.6, 3.6, spacing))
    from_low, from_high = width / (1 + np.exp(-sinh)), width / (1 + np.exp(sinh))
    gap = {low: -from_low, high: from_high}.get(centre, centre - (low + from_low))
    return low + from_low, gap, np.log(spacing * cosh) + np.log(from_low) + np.log(from_high) - np.log(width)
