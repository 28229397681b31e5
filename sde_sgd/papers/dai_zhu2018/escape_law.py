"""The escape time of SGD from a double well: its dependence on B / eta, its law, iterations against time."""

import functools
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from sde_sgd import theory
from sde_sgd.analysis import Claim, escape_time, survival
from sde_sgd.noise import WithReplacement
from sde_sgd.papers.dai_zhu2018.measured import Times, slope, times
from sde_sgd.papers.dai_zhu2018.size import Size
from sde_sgd.papers.paper import Findings
from sde_sgd.problems import NormalLaw, Problem, double_well, finite_sum
from sde_sgd.processes import SGD
from sde_sgd.run import FixedEffort, first_passage, splitting

if TYPE_CHECKING:
    import xarray

LEARNING_RATE = 0.01
STRENGTH = (2 / LEARNING_RATE) ** 0.5  # of one example's gradient, such that 1 / T = B at this learning rate
BATCH_SIZES = (3, 4, 6, 8)
TARGET = 0.8  # within the next basin, where iterates and paths are seen alike
_NUM_EXAMPLES = 8192
_BRUTE_FORCE_UP_TO = 6  # barrier / T
_LAW_AT = 6  # the batch size whose law is looked at


def well() -> Problem:
    """Return the double well as a sum of examples with isotropic, nearly normal noise."""
    return finite_sum(double_well(), NormalLaw(), strength=STRENGTH, num_examples=_NUM_EXAMPLES)


def _potential(x: Any) -> Any:
    return (x**2 - 1) ** 2


def _beyond(params: Any) -> Any:
    return params - TARGET


def _score(params: Any) -> Any:
    return params


@functools.cache
def exact_time(learning_rate: float, batch_size: int) -> float:
    """Return the exact mean escape time of the chain, in units of t = eta k."""
    noise = theory.gaussian_noise(STRENGTH / np.sqrt(batch_size))
    return theory.SGDChain(_potential, learning_rate, noise).mean_first_passage_time(-1.0, TARGET)


def exits(learning_rate: float, batch_size: int, size: Size, key: Any) -> "xarray.Dataset":
    """Return first passages of SGD into the next basin, none censored."""
    max_steps = int(50 * exact_time(learning_rate, batch_size) / learning_rate)  # none is censored
    return first_passage(well(), SGD(learning_rate, WithReplacement(batch_size)), region=_beyond,
                         num_lanes=size.num_exits, max_steps=max_steps, key=key, progress=False)


def _rare(batch_size: int, size: Size, key: Any) -> "xarray.Dataset":
    return splitting(well(), SGD(LEARNING_RATE, WithReplacement(batch_size)), score=_score, region=_beyond,
                     method=FixedEffort(size.num_particles), num_replicas=size.num_replicas, key=key, progress=False)


def escape_times(size: Size, key: Any) -> Findings:
    """Measure escape times against the batch size, and the law of one of them."""
    import xarray

    estimates, law = [], None
    for batch in BATCH_SIZES:
        own = jax.random.fold_in(key, batch)
        if batch > _BRUTE_FORCE_UP_TO:
            estimates.append(_rare(batch, size, own))
            continue
        lanes = exits(LEARNING_RATE, batch, size, own)
        estimates.append(escape_time(lanes))
        if batch == _LAW_AT:
            law = lanes
    assert law is not None
    found, barriers = times(estimates), np.array(BATCH_SIZES, np.float64)
    exact = np.array([exact_time(LEARNING_RATE, batch) for batch in BATCH_SIZES])
    kramers = np.array([float(theory.kramers_time(_potential, 1 / barrier, -1.0, 0.0)) for barrier in barriers])
    fitted, curves = escape_time(law), survival(law)
    columns = {"mean": found.mean, "lower": found.lower, "upper": found.upper, "exact": exact, "kramers": kramers}
    data = xarray.Dataset({name: ("batch_size", column) for name, column in columns.items()},
                          {"batch_size": list(BATCH_SIZES)})
    data = data.merge(curves[["survival", "survival_lower", "survival_upper"]].reset_coords(drop=True))
    data = data.assign(mean_of_law=fitted.escape_time.item())
    return Findings([*_time_claims(found, exact, kramers), *_slope_claims(found, exact, barriers), _law_claim(fitted)],
                    data)


def _time_claims(found: Times, exact: np.ndarray, kramers: np.ndarray) -> list[Claim]:
    claims = []
    for place, batch in enumerate(BATCH_SIZES):
        measured, where = (found.mean[place], found.stderr[place]), f"B = {batch}, barrier {batch} T"
        claims.append(Claim(f"mean escape time, exact chain; {where}", "reconstruction", exact[place], *measured,
                            resolution=0.1 * exact[place]))
        claims.append(Claim(f"mean escape time, Kramers; {where}", "reconstruction", kramers[place], *measured,
                            resolution=abs(exact[place] - kramers[place]) / 4,
                            note="the law for T to 0; its next term is of relative size 3 T / 8 in this well."))
    return claims


def _slope_claims(found: Times, exact: np.ndarray, barriers: np.ndarray) -> list[Claim]:
    measured, statement = found.slope(barriers), "slope of log time against 2 B / (eta s\N{SUPERSCRIPT TWO})"
    own = slope(exact, barriers)
    return [
        Claim(f"{statement}, exact chain", "abstract, reconstruction", own, *measured, resolution=0.02),
        Claim(f"{statement}, barrier height to 4 %", "abstract, reconstruction", 1.0, *measured, tolerance=0.04),
        Claim(f"{statement}, barrier height", "reconstruction, Kramers", 1.0, *measured, resolution=(1 - own) / 4,
              note=f"the exact chain gives {own:.4f} between barriers of {barriers[0]:g} and {barriers[-1]:g} T."),
    ]


def _law_claim(fitted: "xarray.Dataset") -> Claim:
    exact = theory.first_passage_moments(_potential, 1 / _LAW_AT, -1.0, TARGET, order=2)
    spread = float(np.sqrt(exact[1] - exact[0] ** 2) / exact[0])
    return Claim(f"exponential law: standard deviation over mean is 1, of the SDE {spread:.4f}; barrier {_LAW_AT} T",
                 "reconstruction", 1.0, fitted.cv.item(), fitted.cv_stderr.item(), tolerance=abs(1 - spread),
                 resolution=0.05)


def iterations_and_time(size: Size, key: Any) -> Findings:
    """Halve learning rate and batch size together: the temperature and the time stay, the iterations double."""
    import xarray

    batch = 4
    rates, batches = (LEARNING_RATE, LEARNING_RATE / 2), (batch, batch // 2)
    found = times([escape_time(exits(rate, size_, size, jax.random.fold_in(key, size_)))
                   for rate, size_ in zip(rates, batches, strict=True)])
    measured = found.ratio(1, 0)
    factors = [float(theory.finite_rate_factor(_potential, 1 / batch, rate, -1.0, 0.0)) for rate in rates]
    allowed = abs(factors[1] / factors[0] - 1)  # what the finite learning rate leaves
    where = f"eta and B halved from {LEARNING_RATE:g} and {batch}"
    return Findings([
        Claim(f"the time stays; {where}", "reconstruction", 1.0, *measured, tolerance=allowed, resolution=0.05),
        Claim(f"the iterations double; {where}", "reconstruction", 2.0, 2 * measured.value, 2 * measured.stderr,
              tolerance=2 * allowed, resolution=0.1),
    ], xarray.Dataset())
