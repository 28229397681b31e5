"""Means and spreads over seeds with standard errors, and how many standard errors make a statement."""

import math
from typing import TYPE_CHECKING

from sde_sgd._core import checks

if TYPE_CHECKING:
    import xarray


def confidence_interval(dataset: "xarray.Dataset", name: str, *, confidence: float = 0.95) -> "xarray.Dataset":
    r"""Return the interval of an estimate that was pooled over the seeds of a run.

    .. math:: \hat\theta \pm t_{n-1}\, \mathrm{se}(\hat\theta)

    with Student's quantile for n seeds, entry by entry: a mean, a variance, an entry of a covariance matrix, a
    histogram's density. Each interval covers on its own, not all entries of a matrix at once.

    Parameters
    ----------
    dataset
        The result of `simulate` or `sweep`; it holds ``<name>_stderr`` from independent seeds.
    name
        The estimate, for example ``"w_covariance"``.
    confidence
        Probability with which an interval covers the truth.

    Returns
    -------
    interval : xarray.Dataset
        ``<name>``, ``<name>_lower`` and ``<name>_upper``, of the dims of the estimate.

    Raises
    ------
    ValueError
        If there is no such estimate, it has no standard error, there are fewer than two seeds, or ``confidence`` is
        out of range.

    Notes
    -----
    Measured coverage of the 95 % interval over 200 repetitions of 32 seeds at stationarity: 93 to 97 % for the mean and
    every entry of the covariance. Of the variance over few seeds at a single time it is less, 90 to 93 % at 32.

    Examples
    --------
    >>> import jax
    >>> well = ss.problems.potential(lambda w: w**2 / 2, start=0.0)
    >>> ds = ss.simulate(well, ss.Langevin(0.1, temperature=1.0), num_seeds=64, num_steps=200,
    ...                  record={"w": ss.Moments(lambda problem, w: w, every=5, burn_in=50)}, key=jax.random.key(1))
    >>> found = ss.analysis.confidence_interval(ds, "w_variance")
    >>> bool(found.w_variance_lower < 1 / (1 - 0.1 / 2) < found.w_variance_upper)
    True
    """
    import xarray

    check_confidence(confidence)
    for needed in (name, f"{name}_stderr"):
        checks.one_of("name", needed, sorted(map(str, dataset.data_vars)))
    num_seeds = dataset.sizes.get("seed", 0)
    if num_seeds < 2:
        raise ValueError(f"dataset has {num_seeds} seeds: a standard error needs at least two. Run more seeds.")
    estimate = dataset[name]
    reach = dataset[f"{name}_stderr"] * halfwidth_in_stderrs(confidence, num_seeds)
    columns = {name: estimate, f"{name}_lower": estimate - reach, f"{name}_upper": estimate + reach}
    return xarray.Dataset(columns).assign_attrs(confidence=confidence)


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


def check_confidence(confidence: float) -> None:
    """Raise unless a probability lies strictly between 0 and 1."""
    checks.positive("confidence", confidence)
    if confidence >= 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}. Pass 0.95 for 95 %.")
