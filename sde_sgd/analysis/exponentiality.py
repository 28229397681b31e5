"""Whether first passages, censored ones among them, look like those of a constant rate."""

import numpy as np


def exponentiality_pvalue(durations: np.ndarray, observed: np.ndarray, resolution: float) -> float:
    r"""Return the p-value of an exponential law by the total time on test, NaN for fewer than two events.

    Run the clock as fast as there are lanes at risk: to time t it then shows

    .. math:: V(t) = \sum_i \min(T_i, t)

    and the events of a constant rate are a Poisson process on it. So the readings at the events, over that at the last
    one, are uniform whatever the rate and the censoring. The statistic of Kolmogorov and Smirnov tests that, by its
    limit law with the finite-sample correction of Stephens, which is for small p-values. A rate that is low at first,
    as from a start in the depth of a well, shows as readings that are too large.

    Parameters
    ----------
    durations, observed
        How long each lane was at risk and whether an event ended that.
    resolution
        Spacing of possible durations. The events of one time are spread evenly over the interval before it.

    References
    ----------
    Stephens (1970), Use of the Kolmogorov-Smirnov, Cramer-von Mises and related statistics without extensive tables,
    J. R. Statist. Soc. B 32, 115.
    """
    from scipy import special

    order = np.sort(durations)
    below = np.concatenate([[0.0], np.cumsum(order)])
    times, first, counts = np.unique(np.sort(durations[observed]), return_index=True, return_counts=True)
    if counts.sum() < 2:
        return np.nan
    num_ended = np.searchsorted(order, times, side="left")
    at_risk = len(order) - num_ended
    width = np.minimum(resolution, np.diff(times, prepend=0.0))
    start = below[num_ended] + at_risk * (times - width)
    rank = np.arange(counts.sum()) - np.repeat(first, counts)
    share = (rank + 0.5) / np.repeat(counts, counts)
    readings = np.repeat(start, counts) + share * np.repeat(at_risk * width, counts)
    uniforms = readings[:-1] / readings[-1]
    num = len(uniforms)
    steps = np.arange(num + 1) / num
    distance = max(np.max(uniforms - steps[:-1]), np.max(steps[1:] - uniforms))
    return float(special.kolmogorov((np.sqrt(num) + 0.12 + 0.11 / np.sqrt(num)) * distance))


def coefficient_of_variation(durations: np.ndarray) -> tuple[float, float]:
    r"""Return the standard deviation over the mean of a complete sample, and its standard error for any law.

    .. math:: n\, \mathrm{Var}(c) = c^2\, \mathrm{Var}\Bigl(\frac{z^2}{2} - c z\Bigr), \qquad z = \frac{T - m}{s}

    by the delta method: 1/n for the exponential law, of which c is 1.
    """
    spread, mean = durations.std(ddof=1), durations.mean()
    if spread == 0:
        return 0.0, 0.0
    ratio, z = spread / mean, (durations - mean) / spread
    return ratio, ratio * float(np.std(z * z / 2 - ratio * z, ddof=1)) / np.sqrt(len(durations))
