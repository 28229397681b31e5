"""Mori, Ziyin, Liu, Ueda (2022): the power law of escape in linear regression on fresh data, d = 1, B = 1."""

import dataclasses
from typing import Any

import jax
import numpy as np

from sde_sgd import theory
from sde_sgd.analysis import Claim, escape_time
from sde_sgd.papers.dai_zhu2018.measured import Times, slope, times
from sde_sgd.papers.dai_zhu2018.size import Size
from sde_sgd.papers.paper import Findings
from sde_sgd.papers.ziyin2021.fresh_data import FreshData
from sde_sgd.processes import SGD
from sde_sgd.run import first_passage

LEVELS = np.array([1.3, 1.6, 2.0, 2.5])  # of the loss over that of the minimum
_RATE, _BATCH = 0.1, 1
_SOURCE = "Mori et al. (2022)"
_LEVELS_NOTE = "the law is one of slopes, not of levels: the noise is not Gaussian, and it is watched at steps."


def exponent() -> float:
    """Return B / (eta h) + 1 - n / 2 for h = n = 1."""
    return _BATCH / _RATE + 1 - 0.5


@dataclasses.dataclass(frozen=True)
class _Above:
    """A loss above a level; a value, so that equal regions share their compiled programs."""

    level: float

    def __call__(self, params: Any) -> Any:
        return 1 + (params**2).sum() - self.level


def _bowl(x: Any) -> Any:
    return 0.5 * x**2


def _decoupled(x: Any) -> Any:
    """Return D(x) = eta C / 2 with C = 2 L(x) H / B, residual and feature taken as independent."""
    return _RATE * (x**2 + 1) / (2 * _BATCH)


def _exact_covariance(x: Any) -> Any:
    """Return D(x) with the covariance as it is, (2 x^2 + 1) / B."""
    return _RATE * (2 * x**2 + 1) / (2 * _BATCH)


def sde_times(diffusion: Any) -> np.ndarray:
    """Return the exact mean times of the SDE until the loss exceeds each level."""
    return np.array([theory.mean_exit_time(_bowl, diffusion, 0.0, -edge, edge) for edge in np.sqrt(LEVELS - 1)])


def _measure(size: Size, key: Any) -> Times:
    data, found = FreshData((1.0,), label_noise=1.0), []
    for place, (level, longest) in enumerate(zip(LEVELS, sde_times(_decoupled), strict=True)):
        exits = first_passage(data.problem(), SGD(_RATE, data.batch(_BATCH)), region=_Above(float(level)),
                              num_lanes=size.num_power_exits, max_steps=int(500 * longest / _RATE),
                              key=jax.random.fold_in(key, place), progress=False)
        found.append(escape_time(exits))
    return times(found)


def power_law(size: Size, key: Any) -> Findings:
    """Measure the time until the loss exceeds a level, and hold it against the power law and two SDEs."""
    import xarray

    found, logs, predicted = _measure(size, key), np.log(LEVELS), exponent()
    decoupled, exact = sde_times(_decoupled), sde_times(_exact_covariance)
    where = f"eta = {_RATE:g}, B = {_BATCH}, d = 1"
    claims = []
    for place in range(len(LEVELS) - 1):
        pair = slice(place, place + 2)
        measured = Times(*(column[pair] for column in found)).slope(logs[pair])
        claims.append(Claim(f"slope of log time over log loss, {LEVELS[place]:g} to {LEVELS[place + 1]:g} times that "
                            f"of the minimum, to 30 %; {where}", _SOURCE, predicted, *measured,
                            tolerance=0.3 * predicted))
    overall, last = found.slope(logs), (found.mean[-1], found.stderr[-1])
    claims += [
        Claim("slope over all levels", _SOURCE, predicted, *overall, resolution=0.1 * predicted,
              note=f"off by {100 * abs(overall.value / predicted - 1):.0f} %, and no more because errors cancel: the "
              "exact covariance lowers the slope, a law that is not Gaussian and the watching at steps raise it."),
        Claim("slope of the SDE with decoupled noise, to 10 %", f"{_SOURCE}, quadrature", predicted,
              slope(decoupled, logs), tolerance=0.1 * predicted),
        Claim("slope of the SDE with the exact covariance", f"{_SOURCE}, quadrature", predicted, slope(exact, logs),
              note="mean and covariance of SGD, and yet another power."),
        Claim(f"time to {LEVELS[-1]:g} of the minimum's loss, SDE with decoupled noise", f"{_SOURCE}, quadrature",
              decoupled[-1], *last, note=_LEVELS_NOTE),
        Claim(f"time to {LEVELS[-1]:g} of the minimum's loss, SDE with the exact covariance", "quadrature", exact[-1],
              *last, note=_LEVELS_NOTE),
    ]
    return Findings(claims, xarray.Dataset(
        {"mean": ("level", found.mean), "lower": ("level", found.lower), "upper": ("level", found.upper),
         "decoupled": ("level", decoupled), "exact": ("level", exact)}, {"level": LEVELS}))
