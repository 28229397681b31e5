"""Steps to a training loss against the batch size: the hyperbola, its critical batch size, and the noise scale."""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from sde_sgd.analysis import Claim, Measured, Relation, grid_minimum
from sde_sgd.curvature import critical_batch_size, gradient_noise_scale
from sde_sgd.noise import WithReplacement
from sde_sgd.papers.paper import Findings
from sde_sgd.papers.smith2020.data import task
from sde_sgd.papers.smith2020.size import Size
from sde_sgd.papers.smith2020.training import divergence_expected, grid, measured, of, saturation, slope
from sde_sgd.problems import Problem
from sde_sgd.processes import SGD
from sde_sgd.run import simulate, sweep

if TYPE_CHECKING:
    import xarray

_NUM_EXAMPLES, _TARGET, _WIDTHS = 1000, 0.15, (64, 64)
_LOOKS = 60  # at the loss in the longest run, so that steps are known to a few percent
_SOURCE = "McCandlish et al. (2018)"
_MIDDLE = 32  # the batch size along whose runs the noise scales are measured


def steps_to_target(size: Size, key: Any) -> Findings:
    """Train until the loss of all examples is at most 0.15, over a grid of learning rates at every batch size."""
    import xarray

    rates = grid(-6, 1, size.octaves)
    steps = np.stack([_steps(batch, rates, size, key) for batch in size.target_batches], axis=1)  # (seed, batch, rate)
    found = _Found(np.log2(steps), rates, size.target_batches)
    scales = _along_a_run(found, size, key)
    claims = [*_hyperbola_claims(found), *_scale_claims(found, scales)]
    best = grid_minimum(np.log2(rates), found.logs.mean(axis=0))
    fit = found.fit(found.logs.mean(axis=0))
    data = xarray.Dataset(
        {"steps": ("batch_size", 2**best.value), "learning_rate": ("batch_size", 2**best.position),
         "at_edge": ("batch_size", best.at_edge), "least_steps": fit[0], "critical_batch_size": fit[1]},
        {"batch_size": list(size.target_batches)})
    return Findings(claims, data.merge(scales))


class _Found(NamedTuple):
    """log2 of the steps over (seed, batch size, learning rate); infinite where the target was not reached."""

    logs: np.ndarray
    rates: tuple[float, ...]
    batches: tuple[int, ...]

    def fit(self, mean: np.ndarray) -> tuple[float, float]:
        """Return the least steps and the critical batch size of a hyperbola through the best of every batch size."""
        fitted = saturation(self.batches, self.least(mean), rising=False)
        return fitted.limit, fitted.batch_size

    def least(self, mean: np.ndarray) -> np.ndarray:
        """Return log2 of the least steps of mean curves, NaN where they are at the edge of the grid."""
        found = grid_minimum(np.log2(self.rates), mean)
        return np.where(found.at_edge, np.nan, found.value)

    def slope(self, low: int, high: int) -> Any:
        """Return the exponent of the steps in the batch size."""
        inside = [place for place, batch in enumerate(self.batches) if low <= batch <= high]
        logs = np.log2(self.batches)[inside]
        return measured(lambda mean: slope(logs, self.least(mean)), self.logs[:, inside])


def _steps(batch: int, rates: tuple[float, ...], size: Size, key: Any) -> np.ndarray:
    """Return the steps at which the target was seen to be reached, (seed, rate)."""
    longest = 75 * (1 + 45 / batch)  # three times what the best learning rate takes
    every = max(round(longest / _LOOKS), 1)
    with divergence_expected():
        runs = sweep(task(_NUM_EXAMPLES, widths=_WIDTHS).problem,
                     {"SGD": lambda rate, batch: SGD(rate, WithReplacement(batch))}, learning_rates=rates,
                     batch_sizes=(batch,), num_seeds=size.target_seeds, num_steps=every * round(longest / every),
                     record_every=every, key=key, progress=False)
    loss = runs.loss.squeeze(["process", "batch_size"], drop=True).transpose("seed", "learning_rate", "step")
    below = (loss <= _TARGET).values
    first = runs.step.values[np.argmax(below, axis=-1)].astype(np.float64)
    return np.where(below.any(axis=-1), first, np.inf)


def _hyperbola_claims(found: _Found) -> list[Claim]:
    mean = found.logs.mean(axis=0)
    edge = grid_minimum(np.log2(found.rates), mean).at_edge
    note = "".join(f"at B = {batch} the best learning rate is at the edge of the grid. "
                   for batch, flag in zip(found.batches, edge, strict=True) if flag).rstrip()
    least, critical = found.fit(mean)
    miss = measured(lambda mean: saturation(found.batches, found.least(mean), rising=False).residual, found.logs)
    return [
        found.slope(2, 8)("exponent of the steps to the target in B, B = 2 to 8: perfect scaling", _SOURCE, -0.8,
                          relation=Relation.BELOW, note=note),
        found.slope(128, 512)("the same, B = 128 to 512: a floor", _SOURCE, -0.3, relation=Relation.ABOVE),
        miss(f"largest deviation from S = S_min (1 + B_crit / B), octaves: S_min = {least:.0f}, B_crit = "
             f"{critical:.0f}", _SOURCE, 0.5, relation=Relation.BELOW),
    ]


def _along_a_run(found: _Found, size: Size, key: Any) -> "xarray.Dataset":
    """Record loss and noise scales along runs at one batch size and its best learning rate, until the target."""
    place = found.batches.index(_MIDDLE)
    best = grid_minimum(np.log2(found.rates), found.logs.mean(axis=0)[place])
    every = max(round(float(2**best.value) / 12), 1)

    def with_hessian(problem: Problem, params: Any, *, key: Any) -> Any:
        return critical_batch_size(problem, params, key=key, num_probes=size.noise_probes).value

    runs = simulate(task(_NUM_EXAMPLES, widths=_WIDTHS).problem, SGD(float(2**best.position), WithReplacement(_MIDDLE)),
                    num_seeds=size.target_seeds, num_steps=15 * every, record_every=every,
                    record={"loss": Problem.loss, "simple": gradient_noise_scale, "with_hessian": with_hessian},
                    key=jax.random.fold_in(key, 1), progress=False)
    kept = runs[["loss", "simple", "with_hessian"]].astype(np.float64)
    return kept.where(kept.loss > _TARGET / 2).drop_vars("time", errors="ignore").rename(loss="loss_along")


def _scale_claims(found: _Found, scales: "xarray.Dataset") -> list[Claim]:
    """Hold the critical batch size against the noise scales of the gradient."""
    seeds = scales.sizes["seed"]
    claims = []
    for name, text in (("simple", "tr Sigma / |g|^2"), ("with_hessian", "tr(H Sigma) / g H g")):
        logs = np.log2(scales[name].median("step").values)
        ratio = measured(lambda mean, scale: np.log2(found.fit(mean)[1]) - scale, found.logs, logs)
        claims.append(ratio(f"B_crit over the median of {text} along the run (B = {_MIDDLE}), octaves: equal to a "
                            "factor of four", _SOURCE, 0.0, relation=Relation.WITHIN, tolerance=2.0))
    ranks = np.array([_rank_correlation(*pair) for pair in zip(scales.simple.values, scales.loss_along.values,
                                                               strict=True)])
    correlation = Measured(float(ranks.mean()), float(ranks.std(ddof=1) / seeds**0.5))
    claims.append(of(correlation, seeds)("rank correlation of the noise scale with the loss along the run: it grows as "
                                         "the loss falls", _SOURCE, -0.5, relation=Relation.BELOW))
    return claims


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    from scipy import stats

    known = np.isfinite(one) & np.isfinite(other)
    ranks = (stats.rankdata(values[known]) for values in (one, other))
    return float(np.corrcoef(*ranks)[0, 1])
