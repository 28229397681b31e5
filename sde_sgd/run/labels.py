"""From the arrays of a run to its labelled dataset."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from sde_sgd.problems.problem import Problem, float_dtype
from sde_sgd.results.dataset import build
from sde_sgd.results.provenance import provenance
from sde_sgd.run.lanes import Variables
from sde_sgd.run.program import Quantities
from sde_sgd.run.schedule import Schedule
from sde_sgd.run.tiles import tile_size

if TYPE_CHECKING:
    import xarray


def labelled(
    problem: Problem,
    variables: Variables,
    diverged_at: np.ndarray,
    *,
    grid: Mapping[str, Any],
    clocks: tuple[tuple[str, ...], np.ndarray],
    schedules: Sequence[Schedule],
    record_times: float | None,
    quantities: Quantities,
    config: Mapping[str, Any],
    key: Any,
) -> "xarray.Dataset":
    """Return the dataset of a run.

    ``grid`` holds the coordinates of the leading axes; ``clocks`` the time of one step with its dims; ``record_times``
    the distance of the records where they are equally spaced in time, else None and ``schedules`` has one schedule for
    all.
    """
    record_dim = "step" if record_times is None else "time"
    coords = dict(grid) | {"seed": (("seed",), np.arange(diverged_at.shape[-1], dtype=np.int64))}
    if record_times is None:
        steps = schedules[0].steps
        coords["step"] = (("step",), steps)
        coords["time"] = ((*clocks[0], "step"), clocks[1][..., None] * steps.astype(np.float64))
    else:
        count = schedules[0].num_records
        coords["time"] = (("time",), np.arange(count, dtype=np.float64) * float(record_times))
        coords["step"] = (("learning_rate", "time"), np.stack([schedule.steps for schedule in schedules]))
    for name, accumulator in quantities.accumulators.items():
        coords.update(accumulator.coordinates(name))
    lead = tuple(grid)
    entries = {}
    for name, (dims, values) in variables.items():
        entries[name] = ((*lead, *(record_dim if dim == "record" else dim for dim in dims)), values)
    entries["status"] = ((*lead, "seed"), (diverged_at >= 0).astype(np.int8))
    entries["diverged_at"] = ((*lead, "seed"), diverged_at)
    params = config["params"]
    example = jax.eval_shape(problem.init, jax.random.key(0)) if params is None else params
    attrs = provenance(config, key, dtype=float_dtype(example), tile_size=tile_size(problem, example))
    return build(entries, coords, attrs)
