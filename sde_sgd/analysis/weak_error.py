"""Differences of expectations between processes, their weak order, each with a standard error and a verdict."""

from typing import TYPE_CHECKING

import numpy as np

from sde_sgd._core import checks
from sde_sgd.analysis.intervals import floor_in_stderrs, halfwidth_in_stderrs, mean_and_stderr, spread_and_stderr

if TYPE_CHECKING:
    import xarray

# Verdicts of weak_error. A difference that is not resolved is never called agreement: that takes a tolerance.
REFERENCE = "reference"
IDENTICAL = "identical on every seed"
AGREES = "agrees within "  # then the tolerance
DIFFERS = "differs"
INCONCLUSIVE = "inconclusive: below the Monte-Carlo floor"
DIVERGED = "diverged: "  # then "k of n lanes" or, from weak_order, "k of n learning rates"
REFERENCE_DIVERGED = "reference diverged: "  # then "k of n lanes"

# Verdicts of weak_order, beside REFERENCE, INCONCLUSIVE and DIVERGED.
FITTED = "fitted"
CHANGES_SIGN = "inconclusive: the error changes sign"

_FEWEST_POINTS = 3  # two points always lie on a line


def weak_error(quantity: "xarray.DataArray", reference: str, *, tolerance: float | None = None,
               relative_tolerance: float | None = None, confidence: float = 0.95) -> "xarray.Dataset":
    r"""Compare the mean of every process with the mean of a reference.

    With X_i the quantity of a process and R_i that of the reference on seed i of n,

    .. math:: e = \frac{1}{n} \sum_i (X_i - R_i), \qquad
              \mathrm{se}(e)^2 = \frac{1}{n (n - 1)} \sum_i (X_i - R_i - e)^2

    Lanes of equal seed draw from equal random addresses, hence the pairs. The standard error holds whether they are
    correlated or not, and when one of the two has no spread.

    Parameters
    ----------
    quantity
        A recorded variable with dims ``process`` and ``seed`` and any others, as ``sweep`` returns it.
    reference
        Name of the process to compare with.
    tolerance
        Largest difference that counts as agreement, in units of the quantity.
    relative_tolerance
        The same as a fraction of the mean of the reference. Give at most one of the two.
    confidence
        Probability with which ``error`` +- ``error_halfwidth`` covers the true difference.

    Returns
    -------
    errors : xarray.Dataset
        Dims of ``quantity`` without ``seed``; float64. ``error``, ``error_stderr``, ``error_halfwidth`` (of the
        confidence interval) and ``floor`` (the smallest difference these seeds resolve); ``mean``, ``mean_stderr``,
        ``spread`` (standard deviation over seeds) and ``spread_stderr``. ``verdict`` is the first that holds of

        - ``"diverged: k of n lanes"``, ``"reference diverged: k of n lanes"``: k are not finite. A mean over the others
          would be one given survival, so the numbers are NaN.
        - ``"reference"``: the row of the reference itself, its ``error`` 0.
        - ``"identical on every seed"``: no difference on any seed, as at a common start.
        - ``"agrees within <tolerance>"``: the whole confidence interval lies within the tolerance. The difference may
          be resolved all the same.
        - ``"differs"``: the difference is at least ``floor``.
        - ``"inconclusive: below the Monte-Carlo floor"``: none of these; more seeds would tell.

    Raises
    ------
    TypeError
        If ``quantity`` is not a DataArray.
    ValueError
        If a dim is missing, there are fewer than two seeds, ``reference`` is unknown or an option is out of range.

    Notes
    -----
    The floor is three standard errors, for few seeds the Student-t quantile of the same probability. A verdict is for
    one cell: of a thousand cells without a difference about three are called ``"differs"``, and the largest of many
    noisy differences, over times say, exceeds any true one. The relative tolerance is tested on the contrasts
    X - (1 +- tolerance) R, so that the error of the reference mean counts. Rounding is not modelled: where neither
    process has spread, the standard error is zero and any difference is resolved.
    """
    import xarray

    _check_quantity(quantity, reference)
    _check_options(tolerance, relative_tolerance, confidence)
    num_seeds = quantity.sizes["seed"]
    finite = abs(quantity) < np.inf
    samples = quantity.astype(np.float64).where(finite)
    # The reference goes in without its coordinates: its time, where it differs, would drop everyone's time.
    reference_samples = samples.sel(process=reference, drop=True).reset_coords(drop=True)
    differences = samples - reference_samples
    with np.errstate(over="ignore", invalid="ignore"):  # lanes about to diverge may have squares beyond float64
        error, stderr = mean_and_stderr(differences)
        mean, mean_stderr = mean_and_stderr(samples)
        spread, spread_stderr = spread_and_stderr(samples)
    halfwidth = halfwidth_in_stderrs(confidence, num_seeds)
    errors = xarray.Dataset(
        {"error": error, "error_stderr": stderr, "error_halfwidth": halfwidth * stderr,
         "floor": floor_in_stderrs(num_seeds) * stderr, "mean": mean, "mean_stderr": mean_stderr, "spread": spread,
         "spread_stderr": spread_stderr},
        attrs={"quantity": str(quantity.name), "reference": reference, "num_seeds": num_seeds,
               "confidence": confidence})
    margin, label = _margin(tolerance, relative_tolerance, reference_samples)
    agrees = xarray.zeros_like(error, bool) if margin is None else _within(differences, margin, halfwidth)
    return errors.assign(verdict=(error.dims, _verdicts(errors, ~finite, agrees, label)))


def weak_order(errors: "xarray.Dataset") -> "xarray.Dataset":
    r"""Fit the weak order: the slope of log |error| against log learning rate, at equal time.

    Weighted least squares, with the relative standard errors of the points as those of their logarithms. Points
    under the floor of ``weak_error`` are refused, and every smaller learning rate with them: at small rates the noise
    *is* the error, it does not shrink, and a fit through it yields a wrong order with a small standard error.

    Parameters
    ----------
    errors
        What ``weak_error`` returns, with at least three learning rates, all at the same time.

    Returns
    -------
    orders : xarray.Dataset
        Dims of ``errors`` without ``learning_rate``: ``order`` and ``order_stderr`` (NaN unless fitted), ``num_points``
        used, and ``verdict``: ``"fitted"``; ``"inconclusive: below the Monte-Carlo floor"`` with fewer than three
        points left; ``"inconclusive: the error changes sign"``, where no power law can hold;
        ``"diverged: k of n learning rates"``, to be selected away by hand if at all; or ``"reference"``. Times are
        fitted one by one: the largest of noisy differences over time has no order.

    Raises
    ------
    ValueError
        If there are fewer than three learning rates or they are compared at equal steps.

    Notes
    -----
    The standard error is widened where the points scatter about the line more than their own errors allow, as they do
    before the asymptotic regime. It takes the learning rates as independent, which lanes that share random addresses
    across learning rates need not be. A slope of one certifies little: a doubled noise covariance has it too.
    """
    import xarray

    _check_equal_time(errors)
    columns = errors[["error", "error_stderr", "floor", "verdict"]].sortby("learning_rate", ascending=False)
    columns = columns.transpose(..., "learning_rate")
    log_rates = np.log(columns.learning_rate.values)
    fits = [_fit_order(log_rates, columns.error.values[row], columns.error_stderr.values[row],
                       columns.floor.values[row], columns.verdict.values[row])
            for row in np.ndindex(columns.error.shape[:-1])]
    template = columns.error.isel(learning_rate=0, drop=True)
    names = ("order", "order_stderr", "num_points", "verdict")
    fitted = {name: (template.dims, np.array(values).reshape(template.shape))
              for name, values in zip(names, zip(*fits, strict=True), strict=True)}
    labels = {dim: template[dim] for dim in template.dims if dim in template.coords}
    return xarray.Dataset(fitted, labels, errors.attrs)


def _margin(tolerance: float | None, relative_tolerance: float | None,
            reference_samples: "xarray.DataArray") -> "tuple[float | xarray.DataArray | None, str]":
    """Return the tolerated difference, for every seed if it is relative, and the verdict of those that pass."""
    import xarray

    if relative_tolerance is not None:
        mean = reference_samples.mean("seed", skipna=False)
        sign = xarray.where(mean < 0, -1.0, 1.0)
        return relative_tolerance * sign * reference_samples, f"{AGREES}{100 * relative_tolerance:g} %"
    return tolerance, "" if tolerance is None else f"{AGREES}{tolerance:g}"


def _within(differences: "xarray.DataArray", margin: "float | xarray.DataArray",
            halfwidth: float) -> "xarray.DataArray":
    """Return whether both ends of the confidence interval lie within the margin (two one-sided tests)."""
    above, above_stderr = mean_and_stderr(differences - margin)
    below, below_stderr = mean_and_stderr(differences + margin)
    return (above + halfwidth * above_stderr <= 0) & (below - halfwidth * below_stderr >= 0)


def _verdicts(errors: "xarray.Dataset", lost: "xarray.DataArray", agrees: "xarray.DataArray", label: str) -> np.ndarray:
    """Return the verdict of every cell; later lines overrule earlier ones."""
    error, reference = errors.error, errors.attrs["reference"]
    num_lost = lost.sum("seed").transpose(*error.dims)
    reference_lost = num_lost.sel(process=reference, drop=True).broadcast_like(error).transpose(*error.dims)
    verdicts = np.full(error.shape, INCONCLUSIVE, object)
    verdicts[(abs(error) >= errors.floor).values] = DIFFERS
    verdicts[agrees.transpose(*error.dims).values] = label
    verdicts[((error == 0) & (errors.error_stderr == 0)).values] = IDENTICAL
    verdicts[(errors.process == reference).broadcast_like(error).transpose(*error.dims).values] = REFERENCE
    for prefix, counts in ((REFERENCE_DIVERGED, reference_lost.values), (DIVERGED, num_lost.values)):
        for cell in zip(*np.nonzero(counts), strict=True):
            verdicts[cell] = f"{prefix}{counts[cell]} of {lost.sizes['seed']} lanes"
    return verdicts.astype(str)


def _fit_order(log_rates: np.ndarray, errors: np.ndarray, stderrs: np.ndarray, floors: np.ndarray,
               verdicts: np.ndarray) -> tuple[float, float, int, str]:
    """Fit one line through points sorted by falling learning rate; return slope, stderr, points used, verdict."""
    if REFERENCE in verdicts:
        return np.nan, np.nan, 0, REFERENCE
    num_lost = int(np.count_nonzero(np.isnan(errors)))
    if num_lost:
        return np.nan, np.nan, 0, f"{DIVERGED}{num_lost} of {len(errors)} learning rates"
    size = abs(errors)
    used = np.logical_and.accumulate((size >= floors) & (size > 0))
    num_points = int(np.count_nonzero(used))
    if num_points < _FEWEST_POINTS:
        return np.nan, np.nan, num_points, INCONCLUSIVE
    if len(set(np.sign(errors[used]))) > 1:
        return np.nan, np.nan, num_points, CHANGES_SIGN
    x, y = log_rates[used], np.log(size[used])
    weights = np.maximum(stderrs[used] / size[used], np.finfo(np.float64).eps) ** -2
    x = x - np.average(x, weights=weights)
    y = y - np.average(y, weights=weights)
    curvature = np.sum(weights * x**2)
    slope = np.sum(weights * x * y) / curvature
    misfit = np.sum(weights * (y - slope * x) ** 2) / (num_points - 2)
    return slope, np.sqrt(max(1.0, misfit) / curvature), num_points, FITTED


def _check_quantity(quantity: "xarray.DataArray", reference: str) -> None:
    import xarray

    if not isinstance(quantity, xarray.DataArray):
        raise TypeError(f"quantity must be an xarray.DataArray, got {type(quantity).__name__}. Pass one variable, for "
                        "example dataset.loss.")
    for dim, fix in (("process", "Pass a variable of sweep's dataset, with at least two processes."),
                     ("seed", "Pass a quantity recorded for every seed, not an ensemble mean.")):
        if dim not in quantity.dims:
            raise ValueError(f"quantity {quantity.name!r} has no dim {dim!r}, its dims are {quantity.dims}. {fix}")
    checks.one_of("reference", reference, [str(name) for name in quantity.process.values])
    if quantity.sizes["seed"] < 2:
        raise ValueError("quantity must have at least 2 seeds for a standard error, got 1. Run with num_seeds above 1.")


def _check_options(tolerance: float | None, relative_tolerance: float | None, confidence: float) -> None:
    if tolerance is not None and relative_tolerance is not None:
        raise ValueError(f"tolerance and relative_tolerance exclude each other, got {tolerance} and "
                         f"{relative_tolerance}. Pass one of them.")
    for name, value in (("tolerance", tolerance), ("relative_tolerance", relative_tolerance)):
        if value is not None:
            checks.positive(name, value)
    checks.in_open_unit("confidence", confidence)


def _check_equal_time(errors: "xarray.Dataset") -> None:
    num_rates = errors.sizes.get("learning_rate", 1)
    if num_rates < _FEWEST_POINTS:
        raise ValueError(f"errors must hold at least {_FEWEST_POINTS} learning rates for an order, got {num_rates}. "
                         "Add learning rates to the sweep.")
    fix = "Run the sweep with time= instead of num_steps=, or select records of equal time before comparing."
    if "step" in errors.dims:
        raise ValueError(f"errors are at equal steps, so every learning rate is at another time. {fix}")
    if "time" in errors.coords and "learning_rate" in errors.time.dims:
        earliest, latest = errors.time.min("learning_rate"), errors.time.max("learning_rate")
        if not np.allclose(earliest, latest, rtol=1e-6):
            times = f"{earliest.values.min():g} to {latest.values.max():g}"
            raise ValueError(f"errors are at unequal times, {times}. {fix}")
