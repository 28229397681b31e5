"""Flat against sharp: the stationary share of two minima of equal depth, and the rate at which it is reached."""

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from sde_sgd import theory
from sde_sgd.analysis import Claim, Relation
from sde_sgd.noise import WithReplacement
from sde_sgd.papers.dai_zhu2018.landscape import landscape
from sde_sgd.papers.dai_zhu2018.measured import Measured
from sde_sgd.papers.dai_zhu2018.size import Size
from sde_sgd.papers.paper import Findings
from sde_sgd.problems import NormalLaw, Problem, asymmetric_well, finite_sum
from sde_sgd.processes import SGD, Langevin
from sde_sgd.run import Histogram, Moments, simulate

if TYPE_CHECKING:
    import xarray

BATCH_SIZES = (2, 3, 4)
_RATE, _SUBSTEPS = 0.01, 8
_STRENGTH = (2.4 / _RATE) ** 0.5  # of one example's gradient
_SHARP, _SHARPEST = 1.0, 17.14  # the sharp minimum and the curvature there
_EDGES = tuple(np.linspace(-2.2, 1.8, 81).tolist())
_TOLERANCE = _SHARPEST * _RATE / _SUBSTEPS / 4  # of the share ratio: what the substeps leave
_RELAXED = 6  # relaxation times before the stationary law is looked at
_FIT = (0.2, 1.5)  # relaxation times between which the decay is fitted


def temperature(batch_size: int) -> float:
    """Return T = eta s^2 / (2 B) with eta s^2 = 2.4."""
    return 1.2 / batch_size


def _process(batch_size: int) -> Langevin:
    """Return the SDE of SGD with isotropic noise, in steps that the sharp minimum does not notice."""
    return Langevin(_RATE, temperature=temperature(batch_size), substeps=_SUBSTEPS)


def _position(problem: Problem, params: Any) -> Any:
    return params


def _is_flat(problem: Problem, params: Any) -> Any:
    return (params < problem.saddle).astype(params.dtype)


def _steps(time: float) -> int:
    return 100 * int(np.ceil(time / _RATE / 100))


@functools.cache
def _exact(batch_size: int) -> tuple[float, float]:
    """Return the exact ratio of the shares, flat over sharp, and the exact rate at which it is reached."""
    well, noise = landscape(asymmetric_well()), temperature(batch_size)
    flat, sharp = theory.occupation(well.potential, noise, [well.saddle])
    return float(flat / sharp), theory.relaxation_rate(well.potential, noise, well.saddle)


def shares(size: Size, key: Any) -> Findings:
    """Measure the share of the flat minimum at several batch sizes, started in the sharp one."""
    import xarray

    well, found, densities = asymmetric_well(), [], []
    for batch in BATCH_SIZES:
        ends = _stationary(well, _process(batch), batch, size.num_lanes, size.horizon, jax.random.fold_in(key, batch))
        found.append(_share_ratio(ends))
        densities.append((ends.position_density.values, ends.position_density_stderr.values))
    sgd = SGD(_RATE, WithReplacement(BATCH_SIZES[-1]))
    noisy = finite_sum(well, NormalLaw(), strength=_STRENGTH, num_examples=8192)
    # Without substeps four times as many lanes cost less than those of the SDE, and show what they change.
    discrete = _share_ratio(_stationary(noisy, sgd, BATCH_SIZES[-1], 4 * size.num_lanes, size.horizon,
                                        jax.random.fold_in(key, 0)))
    dims = ("batch_size", "position")
    data = xarray.Dataset({"density": (dims, np.stack([row[0] for row in densities])),
                           "density_stderr": (dims, np.stack([row[1] for row in densities]))},
                          {"batch_size": list(BATCH_SIZES), "position": ends.position_bin.values})
    return Findings([*_share_claims(found), *_discrete_claims(discrete)], data)


def _stationary(problem: Problem, process: Any, batch_size: int, num_lanes: int, horizon: float,
                key: Any) -> "xarray.Dataset":
    """Run lanes from the sharp minimum into the stationary law and through the horizon."""
    burn_in = _steps(_RELAXED / _exact(batch_size)[1])
    return simulate(
        problem, process, num_seeds=num_lanes, num_steps=burn_in + _steps(horizon),
        params=jnp.float32(_SHARP),
        record={"flat": Moments(_is_flat, every=20, burn_in=burn_in),
                "position": Histogram(_position, edges=_EDGES, every=20, burn_in=burn_in)},
        key=key, progress=False)


def _share_ratio(ends: "xarray.Dataset") -> Measured:
    """Return the share of the flat minimum over that of the sharp one."""
    share, stderr = ends.flat_mean.item(), ends.flat_mean_stderr.item()
    return Measured(share / (1 - share), stderr / (1 - share) ** 2)


def _discrete_claims(found: Measured) -> list[Claim]:
    """Hold SGD itself against the stationary law to first order in the learning rate."""
    batch = BATCH_SIZES[-1]
    well, noise = landscape(asymmetric_well()), temperature(batch)
    slope = jax.grad(lambda x: jnp.sum(well.potential(x)))
    bend = jax.grad(lambda x: jnp.sum(slope(x)))

    @jax.jit
    def effective(x: Any) -> Any:
        return well.potential(x) - _RATE / 4 * slope(x) ** 2 + _RATE * noise / 2 * bend(x)

    flat, sharp = theory.occupation(effective, noise, [well.saddle])
    # What is left out is of relative order (eta h)^2, h the curvature of the sharp minimum.
    tolerance = (_RATE * float(bend(jnp.asarray(1.0)))) ** 2
    exact, statement = float(flat / sharp), f"SGD at eta = {_RATE:g}: share of the flat minimum over the sharp"
    return [
        Claim(f"{statement}, to first order in eta, left out (eta h)^2 = {100 * tolerance:.1f} %; T = {noise:g}",
              "reconstruction, discrete", exact, *found, tolerance=tolerance * exact, resolution=0.05 * exact),
        Claim(f"{statement}, of its SDE; T = {noise:g}", "reconstruction, continuous", _exact(batch)[0], *found,
              resolution=abs(_exact(batch)[0] - exact) / 4,
              note="at a finite learning rate a sharp minimum is left sooner than by the SDE."),
    ]


def _share_claims(found: list[Measured]) -> list[Claim]:
    claims = []
    for batch, measured in zip(BATCH_SIZES, found, strict=True):
        exact = _exact(batch)[0]
        claims.append(Claim(f"share of the flat minimum over the sharp, exact; T = {temperature(batch):g}",
                            "reconstruction", exact, *measured, tolerance=_TOLERANCE * exact, resolution=0.05 * exact))
    limit = float(np.sqrt(np.exp(2 * np.tanh(1.0))))
    claims.append(Claim("share of the flat minimum over the sharp at the smallest T, to 10 %: square root of the ratio "
                        "of curvatures", "abstract, reconstruction", limit, *found[-1], tolerance=0.1 * limit))
    claims.append(Claim("the flat minimum is preferred at the largest batch size", "abstract", 1.0, *found[-1],
                        relation=Relation.ABOVE))
    change = found[-1].value / found[0].value
    relative = float(np.hypot(found[0].stderr / found[0].value, found[-1].stderr / found[-1].value))
    claims.append(Claim(f"ratio of shares at B = {BATCH_SIZES[-1]} over that at B = {BATCH_SIZES[0]}: the preference "
                        "does not depend on the batch size, to 15 %", "abstract", 1.0, change, change * relative,
                        tolerance=0.15))
    return claims


def convergence(size: Size, key: Any) -> Findings:
    """Measure how fast the share is reached: the decay of the mean sign from the sharp minimum."""
    import xarray

    well, claims, measured_rates = asymmetric_well(), [], []
    for batch in (BATCH_SIZES[0], BATCH_SIZES[-1]):
        ratio, rate = _exact(batch)
        every = _steps(_FIT[0] / rate)
        num_records = int(_FIT[1] / _FIT[0])
        runs = simulate(well, _process(batch), num_seeds=size.num_relaxing, num_steps=every * num_records,
                        record_every=every, record={"flat": _is_flat}, params=jnp.float32(_SHARP),
                        key=jax.random.fold_in(key, batch), progress=False)
        away = ratio / (1 + ratio) - runs.flat.isel(step=slice(1, None)).values.astype(np.float64)
        measured = _decay_rate(away, runs.time.values[1:])
        measured_rates.append(measured)
        claims.append(Claim(f"rate of convergence, the spectral gap; T = {temperature(batch):g}",
                            "reconstruction", rate, *measured, tolerance=_TOLERANCE * rate, resolution=0.05 * rate))
    slow, fast = measured_rates[1], measured_rates[0]
    gain = slow.value / fast.value
    claims.append(Claim(f"the rate falls with the batch size: that at B = {BATCH_SIZES[-1]} over that at "
                        f"B = {BATCH_SIZES[0]}", "abstract", 1.0, gain,
                        gain * float(np.hypot(slow.stderr / slow.value, fast.stderr / fast.value)),
                        relation=Relation.BELOW))
    return Findings(claims, xarray.Dataset())


def _decay_rate(away: np.ndarray, times: np.ndarray) -> Measured:
    """Return the decay rate of the mean over lanes by least squares on its logarithm, the error by a jackknife."""
    blocks = away.reshape(32, -1, len(times)).mean(axis=1)
    centred = times - times.mean()
    weights = -centred / np.sum(centred**2)

    def rate(means: np.ndarray) -> np.ndarray:
        return np.log(means) @ weights

    left_out = (blocks.sum(axis=0) - blocks) / (len(blocks) - 1)
    deviations = rate(left_out) - rate(left_out).mean()
    stderr = np.sqrt((len(blocks) - 1) / len(blocks) * np.sum(deviations**2))
    return Measured(float(rate(blocks.mean(axis=0))), float(stderr))
