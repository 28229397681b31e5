"""Escape from a double well: SGD with skewed minibatch noise, its Gaussian twin and its SDE, beside exact theory."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Array

from sde_sgd import theory
from sde_sgd._core import checks
from sde_sgd.analysis import Claim, Relation, escape_time, format_claims, survival
from sde_sgd.noise import WithReplacement
from sde_sgd.problems import ExponentialLaw, Problem, double_well, finite_sum
from sde_sgd.processes import SGD, AbstractProcess, Langevin
from sde_sgd.run import FixedEffort, first_passage, splitting

if TYPE_CHECKING:
    import xarray

STRENGTH = 10.0  # standard deviation of one example's gradient
TARGET = 0.8  # within the next basin, where iterates and paths are seen alike
_NUM_EXAMPLES = 8192
_BRUTE_FORCE_BELOW = 9.0  # barrier over temperature
_HIGHEST_BARRIER = 25.0  # what this many particles resolve
_SUBSTEPS = 8
_RELAXATION = 0.5  # a few relaxation times, 1 / U'' = 1/8


def _score(params: Array) -> Array:
    return params


def _in_next_basin(params: Array) -> Array:
    return params > TARGET


def _potential(x: Any) -> Any:
    return (x**2 - 1) ** 2


@dataclasses.dataclass(frozen=True)
class Settings:
    """The size of an escape experiment."""

    learning_rate: float
    batch_sizes: tuple[int, ...]
    num_lanes: int
    num_particles: int
    num_replicas: int
    seed: int

    def temperature(self, batch_size: int) -> float:
        """Return T = eta s^2 / (2 B)."""
        return self.learning_rate * STRENGTH**2 / (2 * batch_size)


def settings(
    *,
    quick: bool = False,
    learning_rate: float | None = None,
    batch_sizes: Sequence[int] | None = None,
    num_lanes: int | None = None,
    seed: int = 0,
) -> Settings:
    """Return the settings of an escape experiment, the defaults filled in; raise on bad input before anything runs."""
    checks.integer("seed", seed, minimum=0, maximum=2**32 - 1)
    rate = 0.01 if learning_rate is None else learning_rate
    checks.positive("learning_rate", rate)
    batches = ((2, 3, 6) if quick else (2, 3, 4, 6, 10)) if batch_sizes is None else tuple(batch_sizes)
    for batch in batches:
        checks.integer("batch_size", batch)
    if len(set(batches)) < len(batches) or not batches:
        raise ValueError(f"batch_sizes must be different numbers, got {list(batches)}.")
    lanes = (200 if quick else 2000) if num_lanes is None else num_lanes
    checks.integer("num_lanes", lanes, minimum=10)
    chosen = Settings(rate, batches, lanes, 64 if quick else 256, 16 if quick else 32, seed)
    highest = 1 / min(chosen.temperature(batch) for batch in batches)
    lowest = 1 / max(chosen.temperature(batch) for batch in batches)
    if highest > _HIGHEST_BARRIER or lowest < 2:
        raise ValueError(f"learning_rate={rate:g} and batch_sizes={list(batches)} give barriers of {lowest:.3g} to "
                         f"{highest:.3g} temperatures, T = learning_rate * {STRENGTH**2:g} / (2 B). Choose them "
                         f"between 2 and {_HIGHEST_BARRIER:g}.")
    return chosen


def problem() -> Problem:
    """Return the double well as a sum of examples whose noise is skewed towards the exit."""
    return finite_sum(double_well(), ExponentialLaw(tail=1), strength=STRENGTH, num_examples=_NUM_EXAMPLES)


PROCESSES: dict[str, Callable[[Settings, int], AbstractProcess]] = {
    "SGD": lambda chosen, batch: SGD(chosen.learning_rate, WithReplacement(batch)),
    # The covariance is the same everywhere, so Langevin dynamics of this temperature is SGD's own Gaussian twin at one
    # substep, and its SDE at many.
    "Gaussian GD": lambda chosen, batch: Langevin(chosen.learning_rate, temperature=chosen.temperature(batch)),
    "SDE": lambda chosen, batch: Langevin(
        chosen.learning_rate, temperature=chosen.temperature(batch), substeps=_SUBSTEPS
    ),
}


@functools.cache
def exact_time(name: str, chosen: Settings, batch_size: int) -> float:
    """Return the exact mean escape time of a process: of the chain for what is discrete, of the diffusion else."""
    if name == "SDE":
        return theory.mean_first_passage_time(_potential, chosen.temperature(batch_size), -1.0, TARGET)
    spread = STRENGTH / np.sqrt(batch_size)
    noise = theory.gamma_noise(spread, batch_size) if name == "SGD" else theory.gaussian_noise(spread)
    return theory.SGDChain(_potential, chosen.learning_rate, noise).mean_first_passage_time(-1.0, TARGET)


def measure(
    well: Problem, chosen: Settings, name: str, batch_size: int, key: Any
) -> "tuple[xarray.Dataset, xarray.Dataset | None]":
    """Return the estimate of a mean escape time and, where lanes were run to their end, the first passages."""
    process = PROCESSES[name](chosen, batch_size)
    barrier = 1 / chosen.temperature(batch_size)
    if barrier < _BRUTE_FORCE_BELOW:
        max_steps = int(50 * exact_time("SDE", chosen, batch_size) / chosen.learning_rate)
        exits = first_passage(well, process, region=_in_next_basin, num_lanes=chosen.num_lanes, max_steps=max_steps,
                              key=key)
        return escape_time(exits, relaxation=_RELAXATION), exits
    rare = splitting(well, process, score=_score, region=_in_next_basin, key=key,
                     method=FixedEffort(chosen.num_particles), num_replicas=chosen.num_replicas)
    return rare, None


def run(chosen: Settings, out: pathlib.Path) -> "xarray.Dataset":
    """Run the experiment, print its table, write ``escape.nc`` and ``escape.png`` to ``out`` and say where."""
    import xarray

    from sde_sgd.results import check_writable, provenance, save

    out.mkdir(parents=True, exist_ok=True)
    data_path, figure_path = out / "escape.nc", out / "escape.png"
    check_writable(data_path)
    check_writable(figure_path)
    root = jax.random.key(chosen.seed)
    well, found, exits = problem(), {}, {}
    for number, batch_size in enumerate(chosen.batch_sizes):
        for name in PROCESSES:
            key = jax.random.fold_in(root, number)
            found[name, batch_size], exits[name, batch_size] = measure(well, chosen, name, batch_size, key)
    claims = _claims(chosen, found)
    print(f"\nmean escape time from a double well, noise of one example: exponential, standard deviation {STRENGTH:g}, "
          f"learning rate {chosen.learning_rate:g}\n\n{format_claims(claims)}")
    dataset = _dataset(chosen, found)
    attrs = provenance({"run": "escape", "settings": dataclasses.asdict(chosen)}, root, dtype=np.float32,
                       tile_size=None)
    save(dataset.assign_attrs(attrs | dataset.attrs), data_path)
    _figure(chosen, dataset, _survival(chosen, exits)).savefig(figure_path, dpi=200)
    print(f"\nwrote {data_path} and {figure_path}")
    return xarray.load_dataset(data_path)


def _claims(chosen: Settings, found: "dict[tuple[str, int], xarray.Dataset]") -> list[Claim]:
    claims = []
    for batch_size in chosen.batch_sizes:
        barrier = 1 / chosen.temperature(batch_size)
        for name in PROCESSES:
            row, exact = found[name, batch_size], exact_time(name, chosen, batch_size)
            source = "quadrature" if name == "SDE" else "exact chain"
            claims.append(Claim(f"{name}, B = {batch_size}, barrier {barrier:.3g} T", source, exact,
                                row.escape_time.item(), row.escape_time_stderr.item(), resolution=0.1 * exact,
                                tolerance=_finite_step(name, chosen) * exact))
        sgd, sde = (found[name, batch_size] for name in ("SGD", "SDE"))
        ratio = (sgd.escape_time / sde.escape_time).item()
        relative = [(row.escape_time_stderr / row.escape_time).item() for row in (sgd, sde)]
        claims.append(Claim(f"SGD leaves sooner than its SDE, B = {batch_size}", "same mean and covariance", 1.0, ratio,
                            ratio * float(np.hypot(*relative)), relation=Relation.BELOW))
    return claims


def _finite_step(name: str, chosen: Settings) -> float:
    """Return the relative error that the substeps of the SDE leave: the finite-learning-rate law at eta / substeps."""
    return 1.2 * chosen.learning_rate / _SUBSTEPS if name == "SDE" else 1e-3


def _dataset(chosen: Settings, found: "dict[tuple[str, int], xarray.Dataset]") -> "xarray.Dataset":
    """Return estimates and theory over process and batch size."""
    import xarray

    names = ("escape_time", "escape_time_stderr", "escape_time_lower", "escape_time_upper")
    batches = list(chosen.batch_sizes)
    shape = (len(PROCESSES), len(batches))
    values = {
        name: np.array([[found[process, batch][name].item() for batch in batches] for process in PROCESSES])
        for name in names
    }
    values["exact"] = np.array([[exact_time(process, chosen, batch) for batch in batches] for process in PROCESSES])
    barriers = np.array([1 / chosen.temperature(batch) for batch in batches])
    values["kramers"] = np.broadcast_to(
        [float(theory.kramers_time(_potential, 1 / barrier, -1.0, 0.0)) for barrier in barriers], shape
    )
    coords = {"process": list(PROCESSES), "batch_size": np.asarray(batches, np.int64),
              "barrier": ("batch_size", barriers, {"long_name": "barrier / T"})}
    return xarray.Dataset({name: (("process", "batch_size"), array) for name, array in values.items()}, coords,
                          {"confidence": 0.95, "time_units": "learning_rate x step"})


def _survival(chosen: Settings, exits: "dict[tuple[str, int], xarray.Dataset | None]") -> "tuple[Any, ...] | None":
    """Return the survival curves and their exponential laws at the highest barrier that was run to the end."""
    import xarray

    complete = [batch for (_, batch), found in exits.items() if found is not None]
    if not complete:
        return None
    batch = max(complete)
    found = {name: exits[name, batch] for name in PROCESSES}
    lanes = xarray.concat([one for one in found.values() if one is not None], dim="process", join="exact",
                          combine_attrs="drop_conflicts", coords="minimal", compat="override")  # fmt: skip
    lanes = lanes.assign_coords(process=list(found))
    return batch, survival(lanes), escape_time(lanes, relaxation=_RELAXATION)


def _figure(chosen: Settings, dataset: "xarray.Dataset", curves: "tuple[Any, ...] | None") -> Any:
    """Draw escape times over the barrier with the exact theory, and survival curves."""
    from sde_sgd.plotting import escape_figure

    over_barrier = dataset.swap_dims(batch_size="barrier").drop_vars("batch_size")
    lines = {name: over_barrier.exact.sel(process=name, drop=True) for name in PROCESSES}
    lines["Kramers"] = over_barrier.kramers.isel(process=0, drop=True)
    return escape_figure(over_barrier.drop_vars(["exact", "kramers"]), lines, curves)
