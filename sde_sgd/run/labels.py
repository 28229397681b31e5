"""From the arrays of a run to its labelled dataset."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sde_sgd.problems.problem import float_dtype
from sde_sgd.results.dataset import build
from sde_sgd.results.provenance import provenance
from sde_sgd.run.ensemble import Ensemble
from sde_sgd.run.program import example_params
from sde_sgd.run.schedule import Records

if TYPE_CHECKING:
    import xarray


def labelled(
    ensemble: Ensemble,
    *,
    grid: Mapping[str, np.ndarray],
    clocks: tuple[tuple[str, ...], np.ndarray],
    records: Records,
    config: Mapping[str, Any],
) -> "xarray.Dataset":
    """Return the dataset of a run.

    ``grid`` holds the coordinates that the cells run over, in their order; ``clocks`` the time of one step with its
    dims; ``records`` the common axis of the records.
    """
    lead, shape = tuple(grid), tuple(len(values) for values in grid.values())
    diverged_at = ensemble.diverged_at.reshape(shape + ensemble.diverged_at.shape[1:])
    coords = {name: ((name,), values) for name, values in grid.items()}
    coords["seed"] = (("seed",), np.arange(diverged_at.shape[-1], dtype=np.int64))
    coords |= _record_coords(clocks, records)
    for name, accumulator in ensemble.quantities.accumulators.items():
        coords |= accumulator.coordinates(name)
    entries = {}
    for name, (dims, values) in ensemble.variables.items():
        own = (records.dim if dim == "record" else dim for dim in dims)
        entries[name] = ((*lead, *own), values.reshape(shape + values.shape[1:]))
    entries["status"] = ((*lead, "seed"), (diverged_at >= 0).astype(np.int8))
    entries["diverged_at"] = ((*lead, "seed"), diverged_at)
    return build(entries, coords, _attrs(ensemble, {**config, **{name: grid[name] for name in grid}}))


def _record_coords(clocks: tuple[tuple[str, ...], np.ndarray], records: Records) -> dict[str, Any]:
    """Return the coordinates of the records: their own, and the steps or the time on the process's own clock."""
    coords: dict[str, Any] = {records.dim: ((records.dim,), records.values)}
    if records.dim != "step":
        coords["step"] = ((*records.step_dims, records.dim), records.steps)
    if records.dim != "time":
        dims, time = _product(clocks, (records.step_dims, records.steps))
        coords["time"] = ((*dims, records.dim), time, {"long_name": "time on the process's own clock", "units": "1"})
    return coords


def _product(
    clocks: tuple[tuple[str, ...], np.ndarray], steps: tuple[tuple[str, ...], np.ndarray]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the time at every record, and its dims in front of the record's own."""
    new = [dim for dim in steps[0] if dim not in clocks[0]]
    dims = (*clocks[0], *new)
    clock = clocks[1].reshape(clocks[1].shape + (1,) * (len(new) + 1))
    return dims, clock * steps[1].reshape(*(steps[1].shape[0] if dim in steps[0] else 1 for dim in dims), -1)


def _attrs(ensemble: Ensemble, config: Mapping[str, Any]) -> dict[str, str]:
    problem, params = ensemble.problem, ensemble.params
    example = example_params(problem, params)
    shared = {"problem": problem, "params": params, "record": ensemble.record,
              "num_seeds": ensemble.diverged_at.shape[-1]}
    return provenance({**config, **shared}, ensemble.key, dtype=float_dtype(example),
                      tile_size=ensemble.tile_sizes)
