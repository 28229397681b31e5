"""Tests that a reproduction needs: equivalence, trend, and many tests at once."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks


class Equivalence(NamedTuple):
    """Whether a mean difference lies within a margin: `equivalence_test`."""

    difference: float
    """The mean difference."""
    stderr: float
    """Its standard error."""
    low: float
    """Lower end of the 90 % interval."""
    high: float
    """Upper end of the 90 % interval; the two are equivalent at level 5 % where it lies within the margin."""
    p_value: float
    """Of the hypothesis that the difference is as large as the margin or larger."""


def equivalence_test(differences: ArrayLike, margin: float) -> Equivalence:
    r"""Test whether two means are equal to within a margin, from paired differences: two one-sided t-tests.

    .. math:: p = \Pr\bigl[t_{n-1} > (\delta - |\bar d|) / s\bigr]

    with s the standard error of the mean difference. Not rejecting a difference shows nothing; this shows agreement.

    Parameters
    ----------
    differences
        One for each seed, shape (n,), n at least 2.
    margin
        delta > 0, the largest difference that does not matter, set before looking.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than two differences or the margin is not positive.

    References
    ----------
    Schuirmann (1987), A comparison of the two one-sided tests procedure and the power approach for assessing the
    equivalence of average bioavailability, J. Pharmacokinet. Biopharm. 15.

    Examples
    --------
    >>> found = ss.analysis.equivalence_test([0.001, -0.002, 0.002, 0.000, -0.001], margin=0.01)
    >>> found.p_value < 0.05, -0.01 < found.low < found.high < 0.01
    (True, True)
    """
    from scipy import stats

    checks.positive("margin", margin)
    samples = _samples("differences", differences, 1)
    mean, stderr = float(samples.mean()), float(samples.std(ddof=1) / len(samples) ** 0.5)
    half = float(stats.t.ppf(0.95, len(samples) - 1)) * stderr
    room = float(margin) - abs(mean)
    p_value = float(stats.t.sf(room / stderr, len(samples) - 1)) if stderr else float(room <= 0)
    return Equivalence(mean, stderr, mean - half, mean + half, p_value)


class Trend(NamedTuple):
    """Whether values rise from level to level: `trend_test`."""

    correlation: float
    """Mean over the seeds of Spearman's rank correlation with the order of the levels."""
    stderr: float
    """Its standard error."""
    p_value: float
    """Page's, of the hypothesis that the levels are exchangeable, against a rise."""


def trend_test(values: ArrayLike) -> Trend:
    r"""Test whether values rise with the level, within seeds: Page's test and Spearman's correlation.

    .. math:: L = \sum_j j R_j

    with R_j the sum over the seeds of the rank of level j. Seeds differ from each other freely; only the order of the
    levels within a seed counts. The correlation is the size of the trend, the p-value its significance.

    Parameters
    ----------
    values
        Shape (n seeds, m levels), n at least 2 and m at least 3, the levels in the order of the expected rise. For a
        fall pass their negatives.

    Raises
    ------
    TypeError, ValueError
        If the shape is another one or a value is not finite.

    References
    ----------
    Page (1963), Ordered hypotheses for multiple treatments, J. Am. Stat. Assoc. 58.

    Examples
    --------
    >>> found = ss.analysis.trend_test([[1, 2, 3, 4], [1, 3, 2, 4], [2, 3, 4, 5]])
    >>> found.p_value < 0.01, round(found.correlation, 3)
    (True, 0.933)
    """
    from scipy import stats

    samples = _samples("values", values, 2)
    if samples.shape[1] < 3:
        raise ValueError(f"values must have at least 3 levels along the second axis, got {samples.shape[1]}.")
    ranks = stats.rankdata(samples, axis=1)
    levels = np.arange(samples.shape[1]) - (samples.shape[1] - 1) / 2
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    spread = np.sqrt(np.sum(centred**2, axis=1) * np.sum(levels**2))
    each = np.divide(centred @ levels, spread, out=np.zeros(len(samples)), where=spread > 0)
    p_value = float(stats.page_trend_test(samples).pvalue)
    return Trend(float(each.mean()), float(each.std(ddof=1) / len(each) ** 0.5), p_value)


def holm(p_values: ArrayLike) -> Float[np.ndarray, " m"]:
    r"""Return p-values adjusted for testing many hypotheses at once.

    .. math:: \tilde p_{(k)} = \max_{j \le k} \min\bigl(1, (m - j + 1)\, p_{(j)}\bigr)

    Rejecting where the adjusted value is below alpha is wrong anywhere with probability alpha at most, whatever the
    dependence between the tests.

    Parameters
    ----------
    p_values
        In [0, 1], shape (m,). NaN, no test, stays NaN and does not count.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6.

    Examples
    --------
    >>> ss.analysis.holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    values = np.asarray(p_values, np.float64)
    if values.ndim != 1:
        raise ValueError(f"p_values must have shape (m,), got {values.shape}.")
    if np.any((values < 0) | (values > 1)):
        raise ValueError(f"p_values must lie in [0, 1], got {values}.")
    order = np.argsort(values)[: int(np.sum(~np.isnan(values)))]  # NaN is sorted to the end
    raised = np.maximum.accumulate(np.minimum(1.0, values[order] * np.arange(len(order), 0, -1)))
    adjusted = np.full(len(values), np.nan)
    adjusted[order] = raised
    return adjusted


def _samples(name: str, values: ArrayLike, num_axes: int) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != num_axes or len(array) < 2:
        raise ValueError(f"{name} must have {num_axes} axes, the first over at least 2 seeds, got shape "
                         f"{array.shape}.")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} holds NaN or infinite values: a diverged run has no place in a test of means.")
    return array
