"""Survival curves of first passages: who is still inside, and by which way the others left."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.analysis.exits import Exits, Lanes, read_exits
from sde_sgd.analysis.risk_sets import (
    Curve,
    before_events,
    cumulative_incidence,
    kaplan_meier,
    log_log_interval,
    restricted_mean,
    risk_sets,
)

if TYPE_CHECKING:
    import xarray

_NUM_TIMES = 513


def survival(exits: "xarray.Dataset", *, duration: str = "durations", times: ArrayLike | None = None,
             confidence: float = 0.95) -> "xarray.Dataset":
    r"""Estimate survival curves and cumulative incidences from first passages, censored lanes included.

    The estimate of Kaplan and Meier of the probability that a lane is still inside and finite, and those of Aalen and
    Johansen that it has left by each way,

    .. math:: S(t) = \prod_{t_j \le t} \Bigl(1 - \frac{d_j}{n_j}\Bigr), \qquad
              F_c(t) = \sum_{t_j \le t} S(t_{j-1}) \frac{d_{cj}}{n_j}, \qquad S + \sum_c F_c = 1

    with n_j lanes at risk and d_cj ended by cause c at time t_j. No law is assumed, only that lanes are censored
    regardless of what they are about to do.

    Parameters
    ----------
    exits
        Result of ``first_passage``, or several of them concatenated along further dims, which are kept.
    duration
        Variable that says how long a lane was at risk: ``"durations"``, in units of the process's own time, or
        ``"steps"``, in iterations.
    times
        Where to evaluate the curves; by default 0 and quantiles of all durations, up to 513 of them.
    confidence
        Probability of each interval, at one time.

    Returns
    -------
    curves : xarray.Dataset
        Over ``time`` and the further dims, float64: ``survival``, with ``_stderr`` (Greenwood's), ``_lower`` and
        ``_upper`` (from the normal law of log(-log S); exact binomial before the first event); ``num_at_risk``, before
        the events of that time. Over ``cause`` (the regions, then ``"diverged"``) too: ``incidence`` with the same
        three. Values are NaN after the last lane was seen. ``restricted_mean`` and ``_stderr``: the mean of min(T, L)
        with L, ``restricted_to``, the time of the last event; what can be said of the mean without a law.

    Raises
    ------
    TypeError, ValueError
        If ``exits`` is no dataset of first passages, ``times`` are negative or not rising, or ``confidence`` is not in
        (0, 1).

    References
    ----------
    Kaplan, Meier (1958), J. Am. Statist. Assoc. 53, 457. Aalen, Johansen (1978), Scand. J. Statist. 5, 141.

    Examples
    --------
    >>> import numpy as np, sde_sgd as ss, xarray
    >>> region = ("lane", np.array([0, 0, -1], np.int8), {"flag_values": [-1, 0], "flag_meanings": "none right"})
    >>> exits = xarray.Dataset({
    ...     "durations": ("lane", [1.0, 3.0, 2.0]), "status": ("lane", [0, 0, 1]), "region": region,
    ...     "event_observed": ("lane", [True, True, False]), "time_per_step": 0.01})
    >>> ss.analysis.survival(exits, times=[0.5, 1.5, 2.5]).survival.values.round(3).tolist()
    [1.0, 0.667, 0.667]
    """
    import xarray

    checks.in_open_unit("confidence", confidence)
    data = read_exits(exits, duration)
    grid = _times(data, times)
    rows = [_curves(lanes, len(data.names), grid, confidence) for lanes in data.cells()]
    dims, shape = data.cell.dims, data.cell.shape
    variables = {}
    for name, first in rows[0].items():
        inner = {0: (), 1: ("time",), 2: ("cause", "time")}[np.ndim(first)]
        values = np.array([row[name] for row in rows]).reshape(shape + np.shape(first))
        variables[name] = ((*dims, *inner), values)
    coords = dict(data.cell.coords) | {"time": ("time", grid, {"units": data.units}), "cause": data.names}
    return xarray.Dataset(variables, coords, {"confidence": confidence})


def _times(data: Exits, times: ArrayLike | None) -> np.ndarray:
    if times is None:
        quantiles = np.quantile(data.durations[data.present], np.linspace(0, 1, _NUM_TIMES - 1), method="higher")
        return np.unique(np.concatenate([[0.0], quantiles]))
    grid = np.asarray(times, np.float64)
    if grid.ndim != 1 or not grid.size or not np.all(grid >= 0) or np.any(np.diff(grid) <= 0):
        raise ValueError(f"times must be one rising row of numbers that are not negative, got shape {grid.shape}.")
    return grid


def _curves(lanes: Lanes, num_causes: int, grid: np.ndarray, confidence: float) -> dict[str, Any]:
    """Return the curves of one cell at the times of the grid."""
    sets, num_lanes = risk_sets(lanes, num_causes), len(lanes.durations)
    place = np.searchsorted(sets.times, grid, side="right")  # how many event times are not later
    num_ended = sets.events.sum(axis=0)
    nobody_left = bool(len(sets.times)) and num_ended[-1] == sets.at_risk[-1]
    known = (grid <= lanes.durations.max(initial=0.0)) | nobody_left
    unharmed = before_events(confidence, num_lanes)

    def at_grid(values: np.ndarray, before: float) -> np.ndarray:
        return np.where(known, np.concatenate([[before], values])[place], np.nan)

    inside = kaplan_meier(sets)
    lower, upper = log_log_interval(inside, confidence, num_lanes)
    variables: dict[str, Any] = {
        "survival": at_grid(inside.values, 1.0), "survival_stderr": at_grid(inside.stderr, 0.0),
        "survival_lower": at_grid(lower, unharmed[0]), "survival_upper": at_grid(upper, unharmed[1]),
        "num_at_risk": num_lanes - np.searchsorted(np.sort(lanes.durations), grid, side="left")}
    names = ("incidence", "incidence_stderr", "incidence_lower", "incidence_upper")
    variables |= {name: np.empty((num_causes, len(grid))) for name in names}
    for cause, left in enumerate(cumulative_incidence(sets)):
        lower, upper = log_log_interval(Curve(1 - left.values, left.stderr), confidence, num_lanes)
        curves = (left.values, left.stderr, 1 - upper, 1 - lower)
        for name, values, before in zip(names, curves, (0.0, 0.0, 0.0, 1 - unharmed[0]), strict=True):
            variables[name][cause] = at_grid(values, before)
    mean = zip(("restricted_mean", "restricted_mean_stderr", "restricted_to"), restricted_mean(sets), strict=True)
    return variables | dict(mean)
