"""Means and spreads over seeds with standard errors, and how many standard errors make a statement."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray


def mean_and_stderr(samples: "xarray.DataArray") -> "tuple[xarray.DataArray, xarray.DataArray]":
    """Return the mean over ``seed`` and its standard error s / sqrt(n), s with n - 1; NaN where any sample is."""
    origin, shifted = _shifted(samples)
    stderr = shifted.std("seed", ddof=1, skipna=False) / samples.sizes["seed"] ** 0.5
    return origin + shifted.mean("seed", skipna=False), stderr


def spread_and_stderr(samples: "xarray.DataArray") -> "tuple[xarray.DataArray, xarray.DataArray]":
    r"""Return the standard deviation over ``seed`` and its standard error, for samples of any law.

    .. math:: \mathrm{se}(s) = \frac{s}{2} \sqrt{\frac{1}{n} \left(\kappa - \frac{n - 3}{n - 1}\right)}

    with kappa the fourth central moment in units of s^4.
    """
    num = samples.sizes["seed"]
    _, shifted = _shifted(samples)
    spread = shifted.std("seed", ddof=1, skipna=False)
    scaled = (shifted - shifted.mean("seed", skipna=False)) / spread.where(spread != 0, 1.0)
    kurtosis = (scaled**4).mean("seed", skipna=False).where(spread != 0, 1.0)
    return spread, spread / 2 * ((kurtosis - (num - 3) / (num - 1)) / num) ** 0.5


def _shifted(samples: "xarray.DataArray") -> "tuple[xarray.DataArray, xarray.DataArray]":
    """Return the first seed and all seeds minus it: equal samples then have exactly no spread."""
    origin = samples.isel(seed=0, drop=True).reset_coords(drop=True)
    return origin, samples - origin


def halfwidth_in_stderrs(confidence: float, num_seeds: int) -> float:
    """Return how many standard errors of a mean over seeds make a two-sided interval (Student's t)."""
    from scipy import stats

    return float(stats.t.ppf((1 + confidence) / 2, num_seeds - 1))


def floor_in_stderrs(num_seeds: int) -> float:
    """Return the multiple of a standard error that is as rare as three for a normal: 3.1 for 64 seeds, 19 for 3."""
    return as_rare_in_stderrs(3.0, num_seeds - 1)


def as_rare_in_stderrs(number: float, degrees_of_freedom: float) -> float:
    """Return the quantile of Student's t that is as rare as ``number`` standard deviations of a normal."""
    if math.isinf(degrees_of_freedom):
        return number
    from scipy import stats

    return float(stats.t.isf(stats.norm.sf(number), degrees_of_freedom))
