"""Who is at risk when something happens: the counts that every estimate of a survival curve is made of."""

from typing import NamedTuple

import numpy as np

from sde_sgd.analysis.exits import NO_CAUSE, Lanes

_ROUNDING = 1e-9  # a share of lanes closer to 0 or 1 is there


class RiskSets(NamedTuple):
    """Counts at every distinct time of an event, in rising order."""

    times: np.ndarray
    at_risk: np.ndarray  # lanes that had not ended before that time
    events: np.ndarray  # (causes, times): how many ended then, by cause


class Curve(NamedTuple):
    """A step function of time, right-continuous: its values from each event time on, and their standard errors."""

    values: np.ndarray
    stderr: np.ndarray


def risk_sets(lanes: Lanes, num_causes: int) -> RiskSets:
    """Count lanes at risk and events by cause. A lane censored at the time of an event was still at risk then."""
    ended = lanes.causes != NO_CAUSE
    times, index = np.unique(lanes.durations[ended], return_inverse=True)
    events = np.zeros((num_causes, len(times)))
    np.add.at(events, (lanes.causes[ended], index), 1)
    at_risk = len(lanes.durations) - np.searchsorted(np.sort(lanes.durations), times, side="left")
    return RiskSets(times, at_risk.astype(np.float64), events)


def kaplan_meier(sets: RiskSets) -> Curve:
    r"""Return the share of lanes not yet ended by any cause, with Greenwood's standard error.

    .. math:: S(t) = \prod_{t_j \le t} (1 - d_j / n_j), \qquad
              \mathrm{Var}\, S(t) = S(t)^2 \sum_{t_j \le t} \frac{d_j}{n_j (n_j - d_j)}
    """
    deaths = sets.events.sum(axis=0)
    survival = np.cumprod(1 - deaths / sets.at_risk)
    return Curve(survival, survival * np.sqrt(np.cumsum(_greenwood(sets))))


def restricted_mean(sets: RiskSets) -> tuple[float, float, float]:
    r"""Return the mean of min(T, L) with L the time of the last event, its standard error, and L.

    .. math:: \mu_L = \int_0^L S\,dt, \qquad
              \mathrm{Var}\,\mu_L = \sum_j \Bigl(\int_{t_j}^L S\,dt\Bigr)^2 \frac{d_j}{n_j (n_j - d_j)}
    """
    if not len(sets.times):
        return np.nan, np.nan, np.nan
    survival = kaplan_meier(sets).values
    areas = np.concatenate([[1.0], survival[:-1]]) * np.diff(sets.times, prepend=0.0)
    remaining = areas.sum() - np.cumsum(areas)
    return areas.sum(), float(np.sqrt(np.sum(remaining**2 * _greenwood(sets)))), sets.times[-1]


def cumulative_incidence(sets: RiskSets) -> list[Curve]:
    r"""Return, for every cause, the share of lanes that it has ended: the estimate of Aalen and Johansen.

    .. math:: F_c(t) = \sum_{t_j \le t} S(t_{j-1}) \frac{d_{cj}}{n_j}

    The variance is that of the delta method, with S' for S(t_{j-1}) and the counts as binomials:

    .. math:: \sum_{t_j \le t} \bigl[F_c(t) - F_c(t_j)\bigr]^2 \frac{d_j}{n_j (n_j - d_j)}
              + S'^2 \frac{d_{cj} (n_j - d_{cj})}{n_j^3} - 2 \bigl[F_c(t) - F_c(t_j)\bigr] S' \frac{d_{cj}}{n_j^2}

    References
    ----------
    Aalen, Johansen (1978), Scand. J. Statist. 5, 141. Marubini, Valsecchi (1995), Analysing survival data from clinical
    trials and observational studies.
    """
    before = np.concatenate([[1.0], kaplan_meier(sets).values[:-1]])
    spread, curves = _greenwood(sets), []
    for events in sets.events:
        share = np.cumsum(before * events / sets.at_risk)
        own = before**2 * events * (sets.at_risk - events) / sets.at_risk**3
        mixed = before * events / sets.at_risk**2
        # [F(t) - F(t_j)] written out, so that sums to t are cumulative sums.
        variance = (share**2 * np.cumsum(spread) - 2 * share * np.cumsum(spread * share)
                    + np.cumsum(spread * share**2) + np.cumsum(own)
                    - 2 * (share * np.cumsum(mixed) - np.cumsum(mixed * share)))
        curves.append(Curve(share, np.sqrt(np.maximum(variance, 0.0))))
    return curves


def log_log_interval(curve: Curve, confidence: float, num_lanes: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Return a pointwise confidence interval of a survival curve, from the normal law of :math:`\log(-\log S)`.

    Where S is 0 the last upper end is kept. Before the first event there is no spread to go by: see `before_events`.
    """
    from scipy import special

    z = special.ndtri((1 + confidence) / 2)
    inside = (curve.values > _ROUNDING) & (curve.values < 1 - _ROUNDING)
    values = np.where(inside, curve.values, 0.5)
    width = np.exp(z * np.where(inside, curve.stderr, 0.0) / (values * -np.log(values)))
    first_lower, first_upper = before_events(confidence, num_lanes)
    lower = np.where(inside, values**width, np.where(curve.values < 0.5, 0.0, first_lower))
    upper = np.where(inside, values ** (1 / width), np.where(curve.values < 0.5, np.nan, first_upper))
    for index in np.flatnonzero(np.isnan(upper)):
        upper[index] = upper[index - 1] if index else 1.0
    return lower, upper


def before_events(confidence: float, num_lanes: int) -> tuple[float, float]:
    """Return the exact interval of a share of which no lane of ``num_lanes`` is missing yet."""
    return ((1 - confidence) / 2) ** (1 / max(num_lanes, 1)), 1.0


def _greenwood(sets: RiskSets) -> np.ndarray:
    """Return d / (n (n - d)); 0 where all that are left end, as no curve has spread from there on."""
    deaths = sets.events.sum(axis=0)
    left = sets.at_risk - deaths
    return np.where(left > 0, deaths / (sets.at_risk * np.where(left > 0, left, 1.0)), 0.0)
