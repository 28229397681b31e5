"""Tail indices of samples: Hill's estimator, Clauset's threshold, and an interval that allows for their bias."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sde_sgd._core import checks
from sde_sgd.analysis.intervals import check_confidence

if TYPE_CHECKING:
    import xarray

_FEWEST_SAMPLES = 1000
_LARGEST_SHARE = 0.25  # of the samples, beyond which no tail is looked for
_SMALLEST_TAIL = 100
_NUM_TAILS = 16  # sizes of tail that tail_index compares
_AGREE = 3.0  # standard errors of a difference within which two tails agree
_KEPT_SHARE = 0.2  # of the largest tail that agrees with all smaller ones
_SMALLEST_ORDER = 0.15  # of the second term, relative to the first, in powers of the rank


class _Tail(NamedTuple):
    """One column of samples, judged."""

    tail_index: float
    tail_index_lower: float
    tail_index_upper: float
    threshold: float
    num_tail: int
    distance: float


def tail_index(samples: "xarray.DataArray", *, dim: str = "seed", confidence: float = 0.95) -> "xarray.Dataset":
    r"""Estimate the index alpha of a power-law tail, :math:`P(|X| > x) \sim x^{-\alpha}`, from independent samples.

    Laws met in practice are power laws only to leading order,

    .. math:: P(|X| > x) = c\,x^{-\alpha}\,(1 + d\,x^{-\min(\alpha, 2)} + \dots),

    stable laws with a relative correction :math:`x^{-\alpha}`, Student's law and those of SGD with :math:`x^{-2}`. The
    k largest samples have scaled log spacings :math:`j \ln(x_{(j)}/x_{(j+1)})`, independent and exponential with mean
    :math:`\gamma + b\,(j/k)^{r}`, :math:`\gamma = 1/\alpha`, r = min(1, 2 gamma), to which gamma and b are fitted.
    k grows as long as every smaller tail agrees within three standard errors of the difference; a fifth of it is kept,
    so that what bias is left is small beside the standard error.

    Parameters
    ----------
    samples
        Independent samples along ``dim``, at least 1000; other dims are kept. Signs do not matter.
    dim
        Where the samples run: ``"seed"``, the lanes of a run. Records of one lane in time are not independent.
    confidence
        Probability with which the interval covers alpha.

    Returns
    -------
    tails : xarray.Dataset
        ``tail_index``; ``tail_index_lower`` and ``tail_index_upper``, the upper end infinite where a tail lighter than
        any power is not excluded; ``threshold``, beyond which the ``num_tail`` samples lie; ``distance``, the
        Kolmogorov-Smirnov distance of these from the fitted second-order law.

    Raises
    ------
    TypeError
        If ``samples`` is not a DataArray.
    ValueError
        If there are fewer than 1000 samples, some are not finite (a lane that diverged is not a sample of the law), the
        tail holds equal values or zeros, or ``confidence`` is out of range.

    Notes
    -----
    Measured coverage of the 95 % interval over 200 repetitions: 91 to 97 % with 10,000 samples of Pareto, Frechet,
    stable (1.5, 1.8), Student (1 to 4) and Kesten laws (2 to 3.5). Indices above about 5 take more samples: of
    Student's law with 8 degrees of freedom 10,000 tell little, and the interval, though wide, comes out low.

    References
    ----------
    Feuerverger, Hall (1999), Estimating a tail exponent by modelling departure from a Pareto distribution, Ann.
    Statist. 27; Drees, Kaufmann (1998), Selecting the optimal sample fraction in univariate extreme value estimation,
    Stoch. Process. Appl. 75.

    Examples
    --------
    >>> import numpy as np, xarray
    >>> x = xarray.DataArray(np.random.default_rng(0).standard_t(2, size=20_000), dims="seed")
    >>> tails = sde_sgd.analysis.tail_index(x)
    >>> bool(tails.tail_index_lower < 2 < tails.tail_index_upper)
    True
    """
    check_confidence(confidence)
    tails = _of_columns(samples, dim, lambda values: _second_order(values, confidence))
    return tails.assign_attrs(confidence=confidence)


def hill(
    samples: "xarray.DataArray", *, num_tail: int | None = None, dim: str = "seed", confidence: float = 0.95
) -> "xarray.Dataset":
    r"""Estimate a tail index by maximum likelihood of a pure power law beyond a threshold: Hill's estimator.

    .. math:: \hat\alpha = \frac{k}{\sum_{j \le k} \ln(x_{(j)} / x_{(k+1)})}

    The threshold is the (k+1)-th largest sample. **The interval is right for a law that is a pure power beyond the
    threshold**, where :math:`2 k \alpha / \hat\alpha` is chi-square with 2 k degrees of freedom, and for a ``num_tail``
    chosen beforehand. For Student's or Kesten's law with Clauset's threshold it covered 1 to 70 % at nominal 95 %:
    what is read off as a tail is then still the bulk. `tail_index` allows for that.

    Parameters
    ----------
    samples
        Independent samples along ``dim``, at least 1000; other dims are kept. Signs do not matter.
    num_tail
        k. None: the one of 100 sizes, in geometric progression from 30 to half the samples, whose tail is nearest to
        its fitted power law in Kolmogorov-Smirnov distance (Clauset's choice).
    dim
        Where the samples run.
    confidence
        Probability with which the interval covers alpha.

    Returns
    -------
    tails : xarray.Dataset
        As `tail_index`; ``distance`` is that from the fitted power law.

    Raises
    ------
    TypeError, ValueError
        As `tail_index`; or if ``num_tail`` is not below the number of samples.

    References
    ----------
    Hill (1975), A simple general approach to inference about the tail of a distribution, Ann. Statist. 3; Clauset,
    Shalizi, Newman (2009), Power-law distributions in empirical data, SIAM Review 51.

    Examples
    --------
    >>> import numpy as np, xarray
    >>> x = xarray.DataArray(1 + np.random.default_rng(0).pareto(2.5, size=20_000), dims="seed")
    >>> tails = sde_sgd.analysis.hill(x, num_tail=10_000)
    >>> bool(tails.tail_index_lower < 2.5 < tails.tail_index_upper)
    True
    """
    check_confidence(confidence)
    tails = _of_columns(samples, dim, lambda values: _pure_power(values, num_tail, confidence))
    return tails.assign_attrs(confidence=confidence)


def _second_order(values: np.ndarray, confidence: float) -> _Tail:
    from scipy import stats

    largest = int(_LARGEST_SHARE * len(values))
    top = _largest(values, largest)
    logs = np.log(top)
    spacings = np.arange(1, largest + 1) * (logs[:-1] - logs[1:])
    sizes = np.unique(np.round(np.geomspace(_SMALLEST_TAIL, largest, _NUM_TAILS)).astype(int))
    fits = [_fitted(spacings[:size]) for size in sizes]
    inverse, stderr = (np.array([fit[column] for fit in fits]) for column in (0, 1))
    kept = sizes[np.searchsorted(sizes, _KEPT_SHARE * sizes[_last_agreement(inverse, stderr)])]
    gamma, stderr, means = _fitted(spacings[:kept])
    reach = float(stats.norm.ppf((1 + confidence) / 2)) * stderr
    uniforms = np.sort(-np.expm1(-spacings[:kept] / means))
    return _Tail(_inverse(gamma), _inverse(gamma + reach), _inverse(gamma - reach), float(top[kept]), int(kept),
                 _distance(uniforms))


def _last_agreement(estimates: np.ndarray, stderrs: np.ndarray) -> int:
    """Return the largest tail before one that disagrees with a smaller one.

    Nested tails: the variance of the difference is about the difference of the variances.
    """
    for i in range(1, len(estimates)):
        allowed = _AGREE * np.sqrt(np.abs(stderrs[:i] ** 2 - stderrs[i] ** 2))
        if np.any(np.abs(estimates[i] - estimates[:i]) > allowed):
            return i - 1
    return len(estimates) - 1


def _fitted(spacings: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Fit means gamma + b u^r to exponential numbers by least squares; return gamma, its error and the means."""
    ranks = np.arange(1, len(spacings) + 1) / (len(spacings) + 1)
    order, gamma, stderr, means = 1.0, np.nan, np.nan, spacings
    for _ in range(3):  # r goes by gamma, and the fit by r
        trend = ranks**order
        centred = trend - trend.mean()
        weights = 1 / len(spacings) - trend.mean() * centred / (centred @ centred)
        gamma = float(weights @ spacings)
        slope = float(centred @ spacings / (centred @ centred))
        means = np.maximum(gamma + slope * trend, np.finfo(np.float64).tiny)
        stderr = float(np.sqrt(weights**2 @ means**2))
        order = float(np.clip(2 * gamma, _SMALLEST_ORDER, 1.0))
    return gamma, stderr, means


def _pure_power(values: np.ndarray, num_tail: int | None, confidence: float) -> _Tail:
    from scipy import stats

    if num_tail is not None:
        checks.integer("num_tail", num_tail, 2, len(values) - 1, f"There are {len(values)} samples.")
    sizes = [int(num_tail)] if num_tail is not None else _clauset_sizes(len(values))
    top = _largest(values, sizes[-1])
    logs = np.log(top)
    candidates = []
    for size in sizes:
        excess = logs[:size] - logs[size]
        alpha = size / np.sum(excess)
        candidates.append((_distance(-np.expm1(-alpha * excess[::-1])), size, alpha))
    distance, size, alpha = min(candidates)
    lower, upper = (float(stats.chi2.ppf(p, 2 * size)) for p in ((1 - confidence) / 2, (1 + confidence) / 2))
    return _Tail(float(alpha), float(alpha * lower / (2 * size)), float(alpha * upper / (2 * size)),
                 float(top[size]), size, distance)


def _clauset_sizes(num: int) -> list[int]:
    return [int(size) for size in np.unique(np.round(np.geomspace(30, num // 2, 100)))]


def _distance(uniforms: np.ndarray) -> float:
    """Return the Kolmogorov-Smirnov distance of sorted numbers from the uniform law."""
    steps = np.arange(len(uniforms) + 1) / len(uniforms)
    return float(max(np.max(steps[1:] - uniforms), np.max(uniforms - steps[:-1])))


def _inverse(gamma: float) -> float:
    return float(1 / gamma) if gamma > 0 else np.inf


def _largest(values: np.ndarray, num: int) -> np.ndarray:
    """Return the ``num`` + 1 largest absolute values, the largest first."""
    sizes = np.abs(values)
    top = np.sort(np.partition(sizes, len(sizes) - num - 1)[len(sizes) - num - 1:])[::-1]
    if top[-1] <= 0 or np.unique(top).size < 0.9 * top.size:
        raise ValueError(f"samples hold zeros or many equal values among the {num} largest: no tail can be fitted. "
                         "Pass a continuous quantity, in its full precision.")
    return top


def _of_columns(samples: "xarray.DataArray", dim: str, judge: Any) -> "xarray.Dataset":
    import xarray

    if not isinstance(samples, xarray.DataArray):
        raise TypeError(f"samples must be an xarray.DataArray, got {type(samples).__name__}. Pass one variable, for "
                        "example dataset.params.")
    checks.one_of("dim", dim, samples.dims)
    if samples.sizes[dim] < _FEWEST_SAMPLES:
        raise ValueError(f"samples must hold at least {_FEWEST_SAMPLES} along {dim!r} for a tail, got "
                         f"{samples.sizes[dim]}. Run more seeds.")
    values = np.asarray(samples.transpose(..., dim).values, np.float64)
    lost = np.count_nonzero(~np.isfinite(values))
    if lost:
        raise ValueError(f"samples hold {lost} values that are not finite: lanes that diverged are not samples of the "
                         "law. Lower the learning rate, or select the lanes away if that is what you want.")
    template = samples.isel({dim: 0}, drop=True)
    tails = [judge(values[index]) for index in np.ndindex(values.shape[:-1])]
    columns = {name: (template.dims, np.array([getattr(tail, name) for tail in tails]).reshape(template.shape))
               for name in _Tail._fields}
    labels = {name: template[name] for name in template.dims if name in template.coords}
    return xarray.Dataset(columns, labels, {"quantity": str(samples.name)})
