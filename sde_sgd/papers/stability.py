"""Mean-square stability of SGD on least squares: the threshold found by simulation, beside the closed form.

The threshold is one of the second moment, which rare runs carry: beyond it nearly every single run still converges, and
the average over any number of plain runs goes to zero too. So divergence is looked for in a `Population`, whose members
are the runs that matter.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sde_sgd import theory
from sde_sgd.analysis import Claim, Relation
from sde_sgd.noise import AbstractMinibatch, WithoutReplacement, WithReplacement
from sde_sgd.papers.paper import Findings, Paper
from sde_sgd.papers.population import Population, PopulationState
from sde_sgd.problems import Problem
from sde_sgd.processes import SGD
from sde_sgd.run import simulate, sweep

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray

NUM_EXAMPLES, DIM = 48, 4
_FACTORS = (0.25, 40.0)  # of the first bracket, in units of 1 / mean |x|^2, which is a property of the data alone
_BEYOND = 1.2  # a learning rate beyond the mean-square threshold, in units of it


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is simulated."""

    num_populations: int
    num_members: int
    num_steps: int
    burn_in: int
    num_rates: int
    num_rounds: int
    num_lanes: int


def _residual(params: Array, features: Array) -> Array:
    return 0.5 * jnp.square(features @ params)


def _direction(key: Array) -> Array:
    return jax.random.normal(key, (DIM,), jnp.float32)


def data(key: Array) -> Problem:
    """Return interpolating regression on Gaussian features: the minimum is the origin, where all gradients vanish."""
    scales = jnp.linspace(1.0, 0.5, DIM, dtype=jnp.float32)
    features = jax.random.normal(key, (NUM_EXAMPLES, DIM), jnp.float32) * scales
    return Problem(example_loss=_residual, data=features, init=_direction)


class Scheme(NamedTuple):
    """A sampling scheme and its label."""

    label: str
    noise: AbstractMinibatch
    replacement: bool

    @property
    def batch_size(self) -> int:
        """B."""
        return int(self.noise.batch_size)

    def num_members(self, size: Size) -> int:
        """Return how many runs a population takes: without noise all are one."""
        return 1 if self.batch_size == NUM_EXAMPLES and not self.replacement else size.num_members


SCHEMES = (
    *(Scheme(f"B = {size}", WithReplacement(size), True) for size in (1, 3, 12)),
    Scheme("B = 12 without replacement", WithoutReplacement(12), False),
    Scheme("full batch", WithoutReplacement(NUM_EXAMPLES), False),
)


def _log_growth(problem: Problem, params: Array, state: PopulationState) -> Array:
    return state.log_growth


def growth_rates(problem: Problem, scheme: Scheme, rates: np.ndarray, size: Size, key: Array) -> np.ndarray:
    """Return the logarithmic growth per step of the mean square, shape (rates, populations).

    The mean over populations of the growth factor G is exact, that of log G too low by half its variance, of the order
    of 1 / members: the cumulant is added to every population.
    """
    found = sweep(
        problem,
        {scheme.label: lambda rate, _: Population(rate, scheme.noise, scheme.num_members(size))},
        learning_rates=rates.tolist(),
        batch_sizes=(scheme.batch_size,),
        num_seeds=size.num_populations,
        num_steps=size.num_steps + size.burn_in,
        record_every=size.burn_in,
        record={"log_growth": _log_growth},
        key=key,
        progress=False,
    ).log_growth.isel(process=0, batch_size=0)
    logs = found.transpose("step", "learning_rate", "seed").astype(np.float64)
    begin, end = (_with_cumulant(logs.sel(step=step).values) for step in (size.burn_in, logs.step.values[-1]))
    return (end - begin) / size.num_steps


def _with_cumulant(logs: np.ndarray) -> np.ndarray:
    """Return numbers with the mean log E G, to second order in the spread of log G over the last axis."""
    deviations = logs - logs.mean(axis=-1, keepdims=True)
    return logs + deviations**2 / 2 * logs.shape[-1] / (logs.shape[-1] - 1)


class Threshold(NamedTuple):
    """A threshold found by bisection, with its standard error, and all growth rates seen on the way."""

    value: float
    stderr: float
    rates: np.ndarray
    growth: np.ndarray


def threshold(problem: Problem, scheme: Scheme, size: Size, key: Array) -> Threshold:
    """Find the learning rate at which the population begins to grow.

    Every round cuts the bracket into ``num_rates - 1`` parts, all of them lanes of one sweep, and keeps the part where
    the mean growth changes sign. In the last bracket every population interpolates to a threshold of its own.
    """
    unit = 1.0 / float(jnp.mean(jnp.sum(problem.data**2, axis=1)))
    rates = unit * np.geomspace(*_FACTORS, size.num_rates)
    seen_rates, seen_growth, roots = [], [], np.empty(0)
    for place in range(size.num_rounds):
        growth = growth_rates(problem, scheme, rates, size, jax.random.fold_in(key, place))
        seen_rates.append(rates)
        seen_growth.append(growth.mean(axis=1))
        if place == 0:
            _check_bracket(growth.mean(axis=1), scheme.label)
        # A later bracket is narrow: where noise hides the change of sign, its end is taken, and extrapolated from.
        above = growth.mean(axis=1) > 0
        first = max(int(np.argmax(above)), 1) if above.any() else len(rates) - 1
        low, high = rates[first - 1], rates[first]
        left, right = growth[first - 1], growth[first]
        roots = low - left * (high - low) / np.mean(right - left)
        rates = np.linspace(low, high, size.num_rates)
    order = np.argsort(np.concatenate(seen_rates))
    return Threshold(float(roots.mean()), _stderr(roots), np.concatenate(seen_rates)[order],
                     np.concatenate(seen_growth)[order])


def _check_bracket(growth: np.ndarray, label: str) -> None:
    """Raise unless the growth is negative at the smallest learning rate and positive at some other."""
    if growth[0] > 0 or not np.any(growth > 0):
        raise RuntimeError(f"the first bracket of learning rates does not hold the threshold of {label}: the growth "
                           f"per step is {growth.tolist()}. Widen _FACTORS.")


def thresholds(size: Size, key: Array) -> Findings:
    """Find the threshold of every scheme and hold it against the closed form."""
    import xarray

    problem = data(key)
    known = theory.least_squares(np.asarray(problem.data, np.float64), np.zeros(NUM_EXAMPLES))
    claims, columns = [], []
    for place, scheme in enumerate(SCHEMES):
        found = threshold(problem, scheme, size, jax.random.fold_in(key, place))
        exact = theory.max_mean_square_learning_rate(known, scheme.batch_size, replacement=scheme.replacement)
        claims.append(Claim(
            f"learning rate at which E|w|\N{SUPERSCRIPT TWO} begins to grow, to 1 %, {scheme.label}",
            f"N = {NUM_EXAMPLES}, d = {DIM}", exact, found.value, found.stderr, tolerance=0.01 * exact))
        columns.append((exact, found))
    limit = theory.max_stable_learning_rate(known.hessian)
    full = columns[-1][1]
    claims.append(Claim("at full batch it is 2 / largest curvature", "gradient descent", limit, full.value, full.stderr,
                        tolerance=0.01 * limit))
    return Findings(claims, xarray.Dataset(
        {"theory": ("scheme", [exact for exact, _ in columns]),
         "measured": ("scheme", [found.value for _, found in columns]),
         "measured_stderr": ("scheme", [found.stderr for _, found in columns]),
         "learning_rate": (("scheme", "rate"), np.stack([found.rates for _, found in columns])),
         "log_growth": (("scheme", "rate"), np.stack([found.growth for _, found in columns]))},
        {"scheme": [scheme.label for scheme in SCHEMES]}))


def _log_norm(problem: Problem, params: Array) -> Array:
    return jnp.log(jnp.linalg.norm(params))


def beyond(size: Size, key: Array) -> Findings:
    """Look at single runs beyond the threshold: they converge, although their second moment diverges."""
    import xarray

    problem = data(key)
    known = theory.least_squares(np.asarray(problem.data, np.float64), np.zeros(NUM_EXAMPLES))
    scheme = SCHEMES[0]
    rate = _BEYOND * theory.max_mean_square_learning_rate(known, scheme.batch_size)
    steps = size.num_steps
    found = simulate(problem, SGD(rate, scheme.noise), num_seeds=size.num_lanes, num_steps=steps,
                     record_every=steps // 10, record={"log_norm": _log_norm}, key=jax.random.fold_in(key, 1),
                     progress=False).log_norm.astype(np.float64)
    moved = (found - found.isel(step=0)).rename("log_distance")
    single = 2 * moved.isel(step=-1).values / steps
    # Far beyond the threshold few members matter: the population must be larger for the same spread.
    larger = dataclasses.replace(size, num_members=8 * size.num_members)
    growth = growth_rates(problem, scheme, np.asarray([rate]), larger, jax.random.fold_in(key, 2))[0]
    exact = float(np.log(theory.mean_square_growth(known, rate, scheme.batch_size)))
    where = f"at {_BEYOND:g} of the threshold, B = 1"
    claims = [
        Claim(f"log growth of E|w|\N{SUPERSCRIPT TWO} per step, to 3 %, {where}", "recursion", exact, growth.mean(),
              _stderr(growth), tolerance=0.03 * abs(exact)),
        Claim(f"log growth of |w|\N{SUPERSCRIPT TWO} of a single run per step, {where}", "almost surely stable", 0.0,
              single.mean(), _stderr(single), relation=Relation.BELOW),
    ]
    spread = xarray.Dataset({"log_distance": moved.quantile((0.1, 0.5, 0.9), "seed")})
    plain = np.log(np.exp(2 * moved).mean("seed"))
    return Findings(claims, spread.assign(plain_average=plain, exact_growth=exact))


def _stderr(samples: np.ndarray) -> float:
    return float(samples.std(ddof=1) / np.sqrt(len(samples)))


def figure(found: "Mapping[str, xarray.Dataset]") -> "matplotlib.figure.Figure":
    """Draw the growth rate against the learning rate for every scheme, and single runs beyond the threshold."""
    from matplotlib.figure import Figure

    from sde_sgd.plotting.marks import PAGE, marks, paper_style

    with paper_style():
        drawn = Figure(figsize=(PAGE, 2.8), layout="constrained")
        left, right = drawn.subplots(1, 2)
        growth = found["thresholds"]
        left.axhline(0, color="0.6", linewidth=0.6)
        for (colour, _, marker), label in zip(marks(), growth.scheme.values, strict=False):
            row = growth.sel(scheme=label)
            shares = row.learning_rate / row.theory
            near = (shares > 0.6) & (shares < 1.5)
            left.plot(shares[near], row.log_growth[near], color=colour, marker=marker, linewidth=0.8,
                      label=str(label).replace(" without ", " without\n"))
        left.axvline(1, color="0.6", linewidth=0.6)
        left.set(xlabel="learning rate / threshold in closed form", ylabel="log growth of E|w|\N{SUPERSCRIPT TWO} per "
                 "step, measured")
        left.legend(loc="lower right")
        _draw_beyond(right, found["beyond"])
    return drawn


def _draw_beyond(ax: Any, runs: "xarray.Dataset") -> None:
    steps = runs.step.values
    low, middle, high = (2 * runs.log_distance.sel(quantile=level).values for level in (0.1, 0.5, 0.9))
    ax.fill_between(steps, low, high, color="0.85", linewidth=0, label="single runs, 10 to 90 %")
    ax.plot(steps, middle, color="black", label="median of single runs")
    ax.plot(steps, runs.plain_average, color="#0072B2", linestyle=(0, (5, 2)), label="average of all runs")
    ax.plot(steps, steps * runs.exact_growth.item(), color="#D55E00", linestyle=(0, (5, 1.5, 1, 1.5)),
            label="second moment, exact")
    ax.set_ylim(top=1.7 * steps[-1] * runs.exact_growth.item())  # room for the legend
    ax.set(xlabel="step", ylabel="log |w|\N{SUPERSCRIPT TWO} from the start")
    ax.set_title(f"B = 1 at {_BEYOND:g} of the threshold", loc="left")
    ax.legend(loc="upper left")


PAPER = Paper(
    name="stability",
    title="Mulayoff, Michaeli (2023), Exact mean square linear stability analysis for SGD",
    experiments={"thresholds": thresholds, "beyond": beyond},
    figure=figure,
    full=Size(num_populations=16, num_members=1024, num_steps=400, burn_in=50, num_rates=8, num_rounds=3,
              num_lanes=4096),
    quick=Size(num_populations=16, num_members=256, num_steps=100, burn_in=25, num_rates=8, num_rounds=3,
               num_lanes=1024),
)
