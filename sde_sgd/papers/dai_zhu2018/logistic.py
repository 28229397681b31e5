"""Xie, Sato, Sugiyama (2021) in logistic regression: escape through a level of the loss, under SGD's own noise.

The settings of the paper are not known here. The model is the noise that they assume: at the minimum of a
well-specified model the covariance of the noise is the Hessian over B, so the exponent should be
2 B dL / (eta H_max), along the stiffest direction.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sde_sgd import theory
from sde_sgd.analysis import Claim, escape_time
from sde_sgd.curvature import noise_covariance
from sde_sgd.noise import WithReplacement
from sde_sgd.papers.dai_zhu2018.measured import Times, times
from sde_sgd.papers.dai_zhu2018.size import Size
from sde_sgd.papers.paper import Findings
from sde_sgd.problems import Problem, logistic_regression
from sde_sgd.processes import SGD
from sde_sgd.run import first_passage

_NUM_EXAMPLES, _BATCH, _RATE = 64, 4, 0.1
_NEWTON_STEPS = 8
_BARRIER = 5.0  # the exponent at batch size 4, learning rate 0.1 and sharpness 1
_FACTORS = np.array([3 / 4, 1.0, 5 / 4])  # of the exponent
_ACCURACY = 0.2  # of a slope: the prefactor of an exit through a level is a power of the exponent, about x^(-1/2)
_SOURCE = "Xie et al. (2021), from memory"


class _Setting(NamedTuple):
    """A problem with its minimum, the Hessian there and the covariance of one example's gradient."""

    problem: Problem
    minimum: Float[np.ndarray, " d"]
    hessian: Float[np.ndarray, "d d"]
    noise: Float[np.ndarray, "d d"]

    def exponent(self, level: float, batch_size: int, rate: float) -> float:
        """Return lim log(time): twice the action over the learning rate."""
        return 2 * theory.level_action(self.hessian, self.noise / batch_size, level).action / rate


@dataclasses.dataclass(frozen=True, eq=False)
class _AboveLevel:
    problem: Problem
    level: float

    def __call__(self, params: Array) -> Array:
        return self.problem.loss(params) > self.level


def _setting(sharpness: float, key: Any) -> _Setting:
    """Return logistic regression whose features are scaled so that every Hessian is ``sharpness`` times as large."""
    feature_key, label_key = jax.random.split(key)
    scales = np.sqrt(sharpness) * np.array([1.0, 0.4], np.float32)
    features = np.asarray(jax.random.normal(feature_key, (_NUM_EXAMPLES, 2), jnp.float32)) * scales
    teacher = np.array([0.5, -1.0]) / np.sqrt(sharpness)
    uniforms = np.asarray(jax.random.uniform(label_key, (_NUM_EXAMPLES,)))
    problem = logistic_regression(features, (uniforms < 1 / (1 + np.exp(-features @ teacher))).astype(np.int32))
    minimum = jnp.zeros(2, jnp.float32)
    for _ in range(_NEWTON_STEPS):
        minimum = minimum - jnp.linalg.solve(jax.hessian(problem.loss)(minimum), problem.gradient(minimum))
    hessian = np.asarray(jax.hessian(problem.loss)(minimum), np.float64)
    noise = np.asarray(noise_covariance(problem, minimum), np.float64)
    return _Setting(problem, np.asarray(minimum), hessian, noise)


def escape_slopes(size: Size, key: Any) -> Findings:
    """Vary batch size, learning rate and sharpness at a fixed level of the loss."""
    import xarray

    data_key, run_key = jax.random.split(key)
    base = _setting(1.0, data_key)
    level = _BARRIER / base.exponent(1.0, _BATCH, _RATE)
    region = _AboveLevel(base.problem, float(base.problem.loss(base.minimum)) + level)
    by_batch = [(base, region, round(_BATCH * factor), _RATE) for factor in _FACTORS]
    by_rate = [(base, region, _BATCH, _RATE / factor) for factor in _FACTORS]
    by_sharpness = []
    for factor in _FACTORS:
        scaled = _setting(1 / factor, data_key)
        above = _AboveLevel(scaled.problem, float(scaled.problem.loss(scaled.minimum)) + level)
        by_sharpness.append((scaled, above, _BATCH, _RATE))
    claims = []
    for place, (name, cases) in enumerate({"B": by_batch, "eta": by_rate, "sharpness": by_sharpness}.items()):
        exponents = np.array([setting.exponent(level, batch, rate) for setting, _, batch, rate in cases])
        found = _measure(cases, exponents, size, jax.random.fold_in(run_key, place))
        # Time in units of the relaxation, which is what sharpness and learning rate change beside the exponent.
        bare = Times(*(column * [setting.hessian[0, 0] for setting, *_ in cases] for column in found))
        claims.append(Claim(f"logistic regression, {name} varied: slope of log time against 2 B dL / (eta H), to "
                            f"{100 * _ACCURACY:g} %", _SOURCE, 1.0, *bare.slope(exponents), tolerance=_ACCURACY,
                            resolution=0.1))
    return Findings(claims, xarray.Dataset())


def _measure(cases: Any, exponents: Float[np.ndarray, " m"], size: Size, key: Any) -> Times:
    found = []
    for place, ((setting, region, batch, rate), exponent) in enumerate(zip(cases, exponents, strict=True)):
        life = np.exp(exponent) / (rate * np.linalg.eigvalsh(setting.hessian)[0])
        exits = first_passage(setting.problem, SGD(rate, WithReplacement(batch)), region=region, params=setting.minimum,
                              num_lanes=size.num_exits // 4, max_steps=int(50 * life),
                              key=jax.random.fold_in(key, place), progress=False)
        found.append(escape_time(exits))
    return times(found)
