"""From the arrays of a run to its labelled dataset."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from sde_sgd.problems.problem import float_dtype
from sde_sgd.results.dataset import build
from sde_sgd.results.provenance import provenance
from sde_sgd.run.ensemble import Ensemble
from sde_sgd.run.schedule import Schedule
from sde_sgd.run.tiles import tile_size

if TYPE_CHECKING:
    import xarray


def labelled(
    ensemble: Ensemble,
    *,
    grid: Mapping[str, np.ndarray],
    clocks: tuple[tuple[str, ...], np.ndarray],
    schedules: Sequence[Schedule],
    record_times: float | None,
    config: Mapping[str, Any],
) -> "xarray.Dataset":
    """Return the dataset of a run.

    ``grid`` holds the coordinates that the cells run over, in their order; ``clocks`` the time of one step with its
    dims; ``record_times`` the distance of the records where they are equally spaced in time, else None and
    ``schedules`` has one schedule for all.
    """
    record_dim = "step" if record_times is None else "time"
    lead, shape = tuple(grid), tuple(len(values) for values in grid.values())
    diverged_at = ensemble.diverged_at.reshape(shape + ensemble.diverged_at.shape[1:])
    coords = {name: ((name,), values) for name, values in grid.items()}
    coords["seed"] = (("seed",), np.arange(diverged_at.shape[-1], dtype=np.int64))
    coords |= _record_coords(clocks, schedules, record_times)
    for name, accumulator in ensemble.quantities.accumulators.items():
        coords |= accumulator.coordinates(name)
    entries = {}
    for name, (dims, values) in ensemble.variables.items():
        own = (record_dim if dim == "record" else dim for dim in dims)
        entries[name] = ((*lead, *own), values.reshape(shape + values.shape[1:]))
    entries["status"] = ((*lead, "seed"), (diverged_at >= 0).astype(np.int8))
    entries["diverged_at"] = ((*lead, "seed"), diverged_at)
    return build(entries, coords, _attrs(ensemble, {**config, **{name: grid[name] for name in grid}}))


def _record_coords(
    clocks: tuple[tuple[str, ...], np.ndarray], schedules: Sequence[Schedule], record_times: float | None
) -> dict[str, Any]:
    if record_times is None:
        steps = schedules[0].steps
        time = clocks[1][..., None] * steps.astype(np.float64)
        own = {"long_name": "time on the process's own clock", "units": "1"}
        return {"step": (("step",), steps), "time": ((*clocks[0], "step"), time, own)}
    time = np.arange(schedules[0].num_records, dtype=np.float64) * float(record_times)
    steps = np.stack([schedule.steps for schedule in schedules])
    return {"time": (("time",), time), "step": (("learning_rate", "time"), steps)}


def _attrs(ensemble: Ensemble, config: Mapping[str, Any]) -> dict[str, str]:
    problem, params = ensemble.problem, ensemble.params
    example = jax.eval_shape(problem.init, jax.random.key(0)) if params is None else params
    shared = {"problem": problem, "params": params, "record": ensemble.record,
              "num_seeds": ensemble.diverged_at.shape[-1]}
    return provenance({**config, **shared}, ensemble.key, dtype=float_dtype(example),
                      tile_size=tile_size(problem, example))
