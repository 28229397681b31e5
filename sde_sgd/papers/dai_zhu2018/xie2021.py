"""Xie, Sato, Sugiyama (2021): escape from the shallow minimum of Styblinski and Tang's function.

Their formulas are recalled, not read: slopes of the logarithm are tested, levels are not.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sde_sgd import theory
from sde_sgd.analysis import Claim, escape_time
from sde_sgd.papers.dai_zhu2018.landscape import landscape
from sde_sgd.papers.dai_zhu2018.measured import Measured, Times, slope, times
from sde_sgd.papers.dai_zhu2018.size import Size
from sde_sgd.papers.paper import Findings
from sde_sgd.problems import styblinski_tang
from sde_sgd.processes import Langevin
from sde_sgd.run import first_passage

_RATE = 0.001
_BARRIERS = np.array([4.0, 5.0, 6.0])  # over the temperature
_STEEP = 4.0
_TARGET = -2.0  # in the deep basin of sharpness 1
_SOURCE = "Xie et al. (2021), from memory"
_ACCURACY = 0.04  # of a slope, at barriers this low
_WIDTH, _STRENGTH = 0.05, 0.0075  # of the step in the noise of the prefactor, and its scale


@dataclasses.dataclass(frozen=True)
class _Beyond:
    """The deep basin; a value, so that equal regions share their compiled programs."""

    edge: float

    def __call__(self, params: Any) -> Any:
        return self.edge - params


def _measure(
    sharpness: Float[np.ndarray, " m"], rates: Float[np.ndarray, " m"], barriers: Float[np.ndarray, " m"], size: Size,
    key: Any
) -> Times:
    """Measure escape times at barrier / T = ``barriers``."""
    found = []
    for place, (steepness, rate, barrier) in enumerate(zip(sharpness, rates, barriers, strict=True)):
        well = landscape(styblinski_tang(sharpness=float(steepness)))
        temperature, edge = well.barrier / float(barrier), float(_TARGET / np.sqrt(steepness))
        exact = theory.mean_first_passage_time(well.potential, temperature, well.minimum, edge)
        exits = first_passage(well.problem, Langevin(float(rate), temperature=temperature), region=_Beyond(edge),
                              num_lanes=size.num_exits, max_steps=int(50 * exact / rate),
                              key=jax.random.fold_in(key, place), progress=False)
        found.append(escape_time(exits))
    return times(found)


def white_noise(size: Size, key: Any) -> Findings:
    """Vary batch size, learning rate and sharpness with noise that does not know the Hessian."""
    import xarray

    ones = np.ones(len(_BARRIERS))
    keys = [jax.random.fold_in(key, place) for place in range(3)]
    by_batch = _measure(ones, _RATE * ones, _BARRIERS, size, keys[0])
    # At a fixed batch size the temperature is proportional to the learning rate.
    by_rate = _measure(ones, _RATE * _BARRIERS[0] / _BARRIERS, _BARRIERS, size, keys[1])
    steep = _measure(_STEEP * ones, _RATE / _STEEP * ones, _BARRIERS, size, keys[2])
    well = landscape(styblinski_tang())
    exact = np.array([theory.mean_first_passage_time(well.potential, well.barrier / barrier, well.minimum, _TARGET)
                      for barrier in _BARRIERS])
    unit = "slope of log time against 2 B dL / (eta s\N{SUPERSCRIPT TWO})"
    flatter = _quotient(by_batch, steep)
    return Findings([
        _slope_claim(f"white noise, B varied: {unit}", by_batch.slope(_BARRIERS)),
        Claim(f"white noise, B varied: {unit}", "exact quadrature", slope(exact, _BARRIERS),
              *by_batch.slope(_BARRIERS), resolution=0.05),
        _slope_claim(f"white noise, eta varied: {unit}", by_rate.slope(_BARRIERS)),
        _slope_claim(f"white noise, {_STEEP:g} times as sharp: {unit}", steep.slope(_BARRIERS)),
        Claim(f"white noise: time over that of a minimum {_STEEP:g} times as sharp, a power and no exponential",
              _SOURCE, _STEEP, *flatter, resolution=0.1 * _STEEP),
    ], xarray.Dataset())


def hessian_noise(size: Size, key: Any) -> Findings:
    """Let the noise grow with the sharpness k, and look at the prefactor where it changes along the way."""
    import xarray

    sharpness = np.array([1.0, 1.25, 1.5])
    barriers = _BARRIERS[-1] / sharpness
    found = _measure(sharpness, _RATE / sharpness, barriers, size, key)
    # The prefactor, an inverse curvature, is a power of k; the exponent is what the claim is about.
    bare = Times(*(column * sharpness for column in found))
    ratio = _prefactor_ratio()
    return Findings([
        _slope_claim("noise in proportion to the sharpness k, k varied: slope of log(k time) against 2 B dL / (eta k)",
                     bare.slope(barriers)),
        Claim(f"noise H(x): exact time over 2 pi / H_a exp(action), to {100 * _ACCURACY:g} %", "exact quadrature, Itô",
              1.0, 1 / ratio, tolerance=_ACCURACY),
        Claim(f"noise H(x): exact time over 2 pi / |H_b| exp(action), to {100 * _ACCURACY:g} %", _SOURCE, 1.0,
              0.5 / ratio, tolerance=_ACCURACY,
              note="the prefactor belongs to another reading of the noise than Itô's, which is that of SGD."),
        Claim("escape rates of small networks on four data sets", _SOURCE, 0.0, None,
              note="the settings are not known here."),
    ], xarray.Dataset())


def _slope_claim(statement: str, found: Measured) -> Claim:
    return Claim(f"{statement}, to {100 * _ACCURACY:g} %", _SOURCE, 1.0, *found, tolerance=_ACCURACY, resolution=0.05)


def _quotient(upper: Times, lower: Times) -> Measured:
    """Return the ratio of the times of two series, averaged over their members."""
    ratios = upper.mean / lower.mean
    stderrs = ratios * np.hypot(upper.stderr / upper.mean, lower.stderr / lower.mean)
    return Measured(float(ratios.mean()), float(np.linalg.norm(stderrs) / len(ratios)))


def _prefactor_ratio() -> float:
    """Return 2 pi / H_a exp(action) over the exact time, for noise H_a = 8 at the minimum and |H_b| = 4 at the saddle.

    The double well's own |H(x)| vanishes on the way, where no noise could cross: a smooth step takes its place.
    """
    def potential(x: Any) -> Any:
        return (x**2 - 1) ** 2

    def diffusion(x: Any) -> Any:
        return _STRENGTH * (6 - 2 * jnp.tanh((x + 0.5) / _WIDTH))

    exact = theory.mean_first_passage_time(potential, diffusion, -1.0, 0.8)
    return float(theory.kramers_time(potential, diffusion, -1.0, 0.0)) / exact
