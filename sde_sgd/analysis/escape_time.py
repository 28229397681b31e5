"""The mean escape time from censored first passages: with an interval, or a bound where the data resolve no mean."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sde_sgd._core import checks
from sde_sgd.analysis.exits import NO_CAUSE, Lanes, read_exits
from sde_sgd.analysis.exponentiality import coefficient_of_variation, exponentiality_pvalue
from sde_sgd.analysis.risk_sets import restricted_mean, risk_sets

if TYPE_CHECKING:
    import xarray

# Verdicts of escape_time.
EXPONENTIAL = "exponential"
NOT_EXPONENTIAL_COMPLETE = "not exponential: mean of a complete sample"
NOT_EXPONENTIAL = "not exponential: lower bound only"
NO_EVENT = "no event: lower bound only"
NOBODY_AT_RISK = "nobody at risk after the relaxation"


def escape_time(exits: "xarray.Dataset", *, duration: str = "durations", relaxation: float = 0.0,
                confidence: float = 0.95) -> "xarray.Dataset":
    r"""Estimate the mean escape time from first passages, censored and diverged lanes included.

    With D escapes in the time at risk S (the sum of all durations, of lanes that escaped or not) the maximum-likelihood
    estimate under an exponential law, and its interval from the chi-squared law, are

    .. math:: \tau = \frac{S}{D}, \qquad
              \frac{2S}{\chi^2_{1-\alpha/2}(2D + 2)} \le \tau \le \frac{2S}{\chi^2_{\alpha/2}(2D)}

    Escape over a barrier well above the temperature is exponential once the start is forgotten. Whether these lanes are
    is tested, and where they are not, S/D is returned only if no lane is censored: it is then the sample mean.

    Parameters
    ----------
    exits
        Result of ``first_passage``, or several of them concatenated along further dims, which are kept.
    duration
        Variable that says how long a lane was at risk: ``"durations"``, for a result in units of the process's own
        time, or ``"steps"``, for one in iterations.
    relaxation
        Time by which the start is forgotten, a few 1 / U'' at the minimum, in the same units. Lanes that ended before
        are left out and the clock of the others starts then: their mean *further* time is estimated.
    confidence
        Probability with which the intervals cover; those of a fixed horizon cover at least that often.

    Returns
    -------
    estimates : xarray.Dataset
        Over the further dims:

        - ``escape_time``, with ``_stderr``, ``_lower``, ``_upper``: to any of the target regions.
        - ``rate`` with the same three, over ``cause`` too, the regions and then ``"diverged"``: events by that cause
          over the time at risk, the other causes counted as censoring. ``num_events``, over ``cause``.
        - ``time_at_risk``, ``num_lanes``, ``num_censored``.
        - ``exponentiality``: p-value of the test; ``cv`` and ``cv_stderr``: standard deviation over mean of the
          durations, 1 for an exponential law; NaN where lanes are censored.
        - ``restricted_mean``, ``restricted_mean_stderr``, ``restricted_to``: as ``survival`` gives it.
        - ``verdict``: ``"exponential"``: not rejected. ``"not exponential: mean of a complete sample"``: all lanes
          escaped, standard error and interval of a sample mean. ``"not exponential: lower bound only"`` and ``"no
          event: lower bound only"``: the mean is NaN, the upper end infinite and ``escape_time_lower`` holds with the
          given confidence, one-sided; rates are NaN or 0. ``"nobody at risk after the relaxation"``: all is NaN.

    Raises
    ------
    TypeError, ValueError
        If ``exits`` is no dataset of first passages, the relaxation is negative or ``confidence`` not in (0, 1).

    Notes
    -----
    The mean of the completed durations alone is no estimate of anything: it grows with the horizon, and is given
    nowhere. Without a censored lane, 2S/tau is chi-squared with 2D degrees of freedom and the lower end uses that. A
    lane that diverges is censored for the escapes: ``escape_time`` is that of a process that does not diverge. One
    exponential sample in 370 is rejected, as at three standard errors of a normal; few events reject nothing. What is
    rejected in truth is mostly a start that is not forgotten: pass ``relaxation``.

    References
    ----------
    Epstein, Sobel (1953), Life testing, J. Am. Statist. Assoc. 48, 486. Barlow, Campo (1975), Total time on test
    processes, SIAM.

    Examples
    --------
    >>> import numpy as np, sde_sgd as ss, xarray
    >>> region = ("lane", np.array([0, 0, -1], np.int8), {"flag_values": [-1, 0], "flag_meanings": "none right"})
    >>> exits = xarray.Dataset({
    ...     "durations": ("lane", [1.0, 3.0, 4.0]), "status": ("lane", [0, 0, 1]), "region": region,
    ...     "event_observed": ("lane", [True, True, False]), "time_per_step": 0.01})
    >>> estimate = ss.analysis.escape_time(exits)
    >>> estimate.escape_time.item(), estimate.escape_time_stderr.round(3).item(), estimate.verdict.item()
    (4.0, 2.828, 'exponential')
    """
    import xarray

    checks.in_open_unit("confidence", confidence)
    checks.non_negative("relaxation", relaxation)
    data = read_exits(exits, duration)
    rows = [_estimate(_after(lanes, float(relaxation)), len(data.names), confidence) for lanes in data.cells()]
    dims, shape = data.cell.dims, data.cell.shape
    variables = {name: (dims if np.ndim(first) == 0 else (*dims, "cause"),
                        np.array([row[name] for row in rows]).reshape(shape + np.shape(first)))
                 for name, first in rows[0].items()}
    attrs = {"confidence": confidence, "relaxation": float(relaxation), "time_units": data.units}
    return xarray.Dataset(variables, dict(data.cell.coords) | {"cause": data.names}, attrs)


class _Mean(NamedTuple):
    value: float
    stderr: float
    lower: float
    upper: float


def _after(lanes: Lanes, relaxation: float) -> Lanes:
    """Return the lanes that are at risk after the relaxation, their clocks set to zero then."""
    kept = lanes.durations > relaxation
    return Lanes(lanes.durations[kept] - relaxation, lanes.causes[kept], lanes.resolution)


def _estimate(lanes: Lanes, num_causes: int, confidence: float) -> dict[str, Any]:
    """Return the estimates of one cell by name."""
    counts = np.array([np.count_nonzero(lanes.causes == cause) for cause in range(num_causes)])
    num_escaped, num_lanes = int(counts[:-1].sum()), len(lanes.durations)
    at_risk, complete = float(lanes.durations.sum()), num_lanes == num_escaped > 0
    escaped = (lanes.causes != NO_CAUSE) & (lanes.causes != num_causes - 1)
    pvalue = exponentiality_pvalue(lanes.durations, escaped, lanes.resolution)
    spread = coefficient_of_variation(lanes.durations) if complete and num_escaped > 1 else (np.nan, np.nan)
    restricted = restricted_mean(risk_sets(lanes, num_causes))
    verdict = _verdict(num_lanes, num_escaped, pvalue, complete)
    mean = _mean(verdict, lanes.durations, num_escaped, restricted, confidence)
    rates = _rates(counts, at_risk, confidence, known=verdict in (EXPONENTIAL, NO_EVENT))
    return {
        "escape_time": mean.value, "escape_time_stderr": mean.stderr, "escape_time_lower": mean.lower,
        "escape_time_upper": mean.upper, **rates, "num_events": counts, "time_at_risk": at_risk,
        "num_lanes": num_lanes, "num_censored": num_lanes - counts.sum(), "exponentiality": pvalue,
        "cv": spread[0], "cv_stderr": spread[1], "restricted_mean": restricted[0],
        "restricted_mean_stderr": restricted[1], "restricted_to": restricted[2], "verdict": verdict}


def _verdict(num_lanes: int, num_escaped: int, pvalue: float, complete: bool) -> str:
    from scipy import special

    if not num_lanes:
        return NOBODY_AT_RISK
    if not num_escaped:
        return NO_EVENT
    if pvalue < 2 * special.ndtr(-3.0):
        return NOT_EXPONENTIAL_COMPLETE if complete else NOT_EXPONENTIAL
    return EXPONENTIAL


def _mean(verdict: str, durations: np.ndarray, num_escaped: int, restricted: tuple[float, float, float],
          confidence: float) -> _Mean:
    """Return the mean with standard error and interval that the verdict allows."""
    from scipy import special

    at_risk, num_lanes = durations.sum(), len(durations)
    if verdict == EXPONENTIAL:
        lower, upper = _exponential_interval(at_risk, num_escaped, confidence, complete=num_escaped == num_lanes)
        return _Mean(at_risk / num_escaped, at_risk / num_escaped**1.5, lower, upper)
    if verdict == NOT_EXPONENTIAL_COMPLETE:
        stderr = durations.std(ddof=1) / np.sqrt(num_lanes)
        width = float(special.stdtrit(num_lanes - 1, (1 + confidence) / 2)) * stderr
        return _Mean(durations.mean(), stderr, durations.mean() - width, durations.mean() + width)
    if verdict == NOT_EXPONENTIAL:
        bound = max(restricted[0] - special.ndtri(confidence) * restricted[1], 0.0)
    else:
        bound = at_risk / -np.log1p(-confidence) if num_lanes else np.nan
    return _Mean(np.nan, np.nan, bound, np.inf if num_lanes else np.nan)


def _rates(counts: np.ndarray, at_risk: float, confidence: float, known: bool) -> dict[str, np.ndarray]:
    """Return the rate of every cause, NaN where the hazard is not constant."""
    if not known or at_risk <= 0:
        return {name: np.full(len(counts), np.nan) for name in ("rate", "rate_stderr", "rate_lower", "rate_upper")}
    ends = np.array([_exponential_interval(at_risk, count, confidence, complete=False) if count
                     else (at_risk / -np.log1p(-confidence), np.inf) for count in counts])
    return {"rate": counts / at_risk, "rate_stderr": np.sqrt(counts) / at_risk, "rate_lower": 1 / ends[:, 1],
            "rate_upper": 1 / ends[:, 0]}


def _exponential_interval(at_risk: float, num_events: int, confidence: float, complete: bool) -> tuple[float, float]:
    """Return the interval of an exponential mean: exact if all lanes ended, conservative if some were censored."""
    from scipy import special

    # Half a quantile of the chi-squared law is one of the gamma law with half as many degrees of freedom.
    most = num_events if complete else num_events + 1
    return (at_risk / float(special.gammaincinv(most, (1 + confidence) / 2)),
            at_risk / float(special.gammaincinv(num_events, (1 - confidence) / 2)))
