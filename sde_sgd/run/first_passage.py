"""Escape times: many runs of one process until each enters a region."""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import PyTree

from sde_sgd._core import checks
from sde_sgd.problems.problem import Problem, float_dtype
from sde_sgd.processes import AbstractProcess
from sde_sgd.results import build, provenance
from sde_sgd.run.ensemble import check_problem, check_start, sort_quantities
from sde_sgd.run.motion import AbstractMotion, motion
from sde_sgd.run.passage import DIVERGED, AbstractSource, GivenParams, OwnStarts, Passage, example_state
from sde_sgd.run.progress import progress_bar
from sde_sgd.run.queue import Ended, run_queue
from sde_sgd.run.records import Snapshots
from sde_sgd.run.shares import lane_mesh
from sde_sgd.run.statistics import AbstractRecord, joined, trailing
from sde_sgd.run.targets import Regions, check_regions, named_regions
from sde_sgd.run.tiles import tile_size

if TYPE_CHECKING:
    import xarray


def first_passage(
    problem: Problem,
    process: AbstractProcess,
    *,
    region: Any,
    num_lanes: int,
    max_steps: int,
    params: PyTree = None,
    observe: str = "iterates",
    look_every: int = 1,
    record: Mapping[str, Any] | None = None,
    key: Any,
    progress: bool | None = None,
) -> "xarray.Dataset":
    """Run lanes until each enters a region, diverges, or has made ``max_steps`` steps.

    The runs are fixed in advance and every one of them is seen to its end, so the durations are independent, equally
    distributed and right-censored at ``max_steps``: what `analysis.escape_time` and `analysis.survival` need. Lanes
    that are done leave; their room goes to those that wait.

    Parameters
    ----------
    problem
        What is minimised.
    process
        How: any process.
    region
        Where a lane has escaped to: a function of ``(params)`` or of ``(problem, params)`` that returns a truth value,
        or a level that is positive inside. A dict of them for several regions; a lane stops at the first it enters.
        So ``problems.loss_below(0.02)`` is training until a loss is reached.
    num_lanes
        Number of independent runs.
    max_steps
        Steps after which a run is given up and censored.
    params
        Start of all runs, or their starts along a leading axis of length ``num_lanes``, such as a sample of the law
        within a basin. By default every run starts from its own ``problem.init(key)``.
    observe
        ``"iterates"``: a lane has escaped when an iterate lies in the region. This *is* the definition for a discrete
        process. ``"continuous"``: when the path did, at the end of a substep or in between; for continuous-time
        processes, whose barrier seen only at steps would be crossed late (by 4 to 14 % at a saddle). It needs levels.
    look_every
        Steps between two looks at an iterate: a run ends at the first look, not at the first step, inside the region,
        and also divergence is seen at looks alone. For regions that cost much more than a step, such as a training
        loss. It must divide ``max_steps``.
    record
        Name -> function of ``(problem, params)``, as in `simulate`, evaluated where a run stops, be it in the region or
        at ``max_steps``. By default the params.
    key
        Typed key. A run is a function of the key and its number.
    progress
        Whether to show a bar; by default only on a terminal.

    Returns
    -------
    xarray.Dataset
        Dim ``lane``, the number of the run. ``durations`` on the process's own clock, ``steps``, ``event_observed``
        (whether a region was entered), ``status`` (0 escaped, 1 censored, 2 diverged), ``region`` (which one was
        entered, -1 for none), ``exit_<name>`` for what was recorded, and the scalar ``time_per_step``.

    Raises
    ------
    TypeError, ValueError
        On bad input, before anything is compiled; and, as soon as it is seen, if a run starts inside the region.

    Warns
    -----
    UserWarning
        If no run escaped: the durations then give a lower bound only.

    Notes
    -----
    Never average the durations of the runs that escaped: the slow ones are missing. `analysis.escape_time` does not.
    Every process sees the randomness that it sees in `simulate`, so a run is the trajectory of the same seed there, up
    to rounding: the two are different programs.

    Examples
    --------
    >>> import jax, sde_sgd as ss
    >>> well = ss.problems.potential(lambda w: (w**2 - 1) ** 2, start=-1.0)
    >>> exits = ss.first_passage(well, ss.Langevin(0.01, temperature=0.5), region=lambda w: w > 0.5, num_lanes=64,
    ...                          max_steps=100_000, key=jax.random.key(0))
    >>> int(exits.event_observed.sum())
    64
    """
    check_problem(problem)
    if not isinstance(process, AbstractProcess):
        raise TypeError(f"process must be a process such as sde_sgd.SGD, got {type(process).__name__}.")
    checks.typed_key(key)
    checks.integer("num_lanes", num_lanes, maximum=2**31 - 1)
    process.check(problem)
    moving = motion(process, observe, look_every)
    _check_length(max_steps, moving.looks_per_step, look_every)
    named = named_regions(region)
    check_regions(named, problem, need_levels=observe == "continuous")
    source, starts = source_of(problem, params, num_lanes)
    passage = Passage(problem, moving, Regions(tuple(named.values())), source, _records(problem, process, record),
                      jax.random.key_data(key))
    example = jax.eval_shape(problem.init, jax.random.key(0))
    tile = tile_size(problem, example, process, lanes_leave=True)
    max_looks = int(max_steps) * moving.looks_per_step // look_every
    with progress_bar(float(num_lanes), "first passage", progress, "runs") as report:
        ended, _ = run_queue(passage, starts, max_looks, mesh=lane_mesh(), tile=tile, report=report,
                             check=_check_starts)
    _warn_of_no_event(ended, max_steps)
    config = {"run": "first_passage", "problem": problem, "process": process, "region": named, "observe": observe,
              "look_every": look_every, "num_lanes": num_lanes, "max_steps": max_steps, "params": params,
              "record": record}
    attrs = provenance(config, key, dtype=float_dtype(example_state(passage).params), tile_size=tile)
    return _labelled(ended, list(named), float(process.time_per_step), moving, attrs)


def source_of(problem: Problem, params: PyTree, num_runs: int) -> tuple[AbstractSource, np.ndarray]:
    """Return where runs start, and which start each uses; raise unless ``params`` are one start or one a run."""
    if params is None:
        return OwnStarts(), np.zeros(num_runs, np.int64)
    params, has_axis = check_start(problem, params, num_runs)
    if has_axis:
        return GivenParams(params), np.arange(num_runs, dtype=np.int64)
    return GivenParams(jax.tree.map(lambda leaf: leaf[None], params)), np.zeros(num_runs, np.int64)


def _check_length(max_steps: Any, looks_per_step: int, look_every: int) -> None:
    checks.integer("max_steps", max_steps, maximum=2**62 // looks_per_step if look_every == 1 else 2**32 - 1)
    if max_steps % look_every:
        raise ValueError(f"look_every must divide max_steps, got {look_every} and {max_steps}. Pass for example "
                         f"max_steps={-(-max_steps // look_every) * look_every}.")


def _records(problem: Problem, process: AbstractProcess, record: Any) -> dict[str, AbstractRecord]:
    quantities = sort_quantities(problem, [process], None, {"params": _params} if record is None else record, [])
    for name, statistic in {**quantities.records, **quantities.accumulators}.items():
        if not isinstance(statistic, Snapshots):
            raise TypeError(f"record[{name!r}] of first_passage must be a function of (problem, params), got "
                            f"{type(statistic).__name__}: the runs end at different times.")
    return quantities.records


def _params(problem: Problem, params: PyTree) -> PyTree:
    return params


def _check_starts(ended: Ended) -> None:
    inside = int(np.sum((ended.code > 0) & (ended.looks == 0)))
    if inside:
        raise ValueError(f"{inside} of {len(ended.code)} runs start inside the region. Start outside, or pass another "
                         "region.")


def _warn_of_no_event(ended: Ended, max_steps: int) -> None:
    if not np.any(ended.code > 0):
        diverged = int(np.sum(ended.code == DIVERGED))
        warnings.warn(
            f"none of {len(ended.code)} runs entered the region within {max_steps} steps ({diverged} "
            "diverged): an escape time can only be bounded from below. Pass a larger max_steps, more lanes, or use "
            "sde_sgd.splitting.",
            stacklevel=3,
        )


def _labelled(
    ended: Ended, names: list[str], time_per_step: float, moving: AbstractMotion, attrs: Mapping[str, str]
) -> "xarray.Dataset":
    num_lanes = len(ended.code)
    looks_per_step, steps_per_look = moving.looks_per_step, int(moving.steps_per_look)
    steps = -(-ended.looks // looks_per_step) * steps_per_look
    status = np.where(ended.code > 0, 0, np.where(ended.code == DIVERGED, 2, 1)).astype(np.int8)
    flags = {"flag_values": np.arange(3, dtype=np.int8), "flag_meanings": "escaped censored diverged"}
    regions = {"long_name": "region entered, -1 for none", "flag_values": np.arange(len(names), dtype=np.int32),
               "flag_meanings": " ".join(name.replace(" ", "_") for name in names)}
    own_clock = {"long_name": "time from the start to the end of the run, on the process's own clock", "units": "1"}
    entries = {
        "durations": ("lane", ended.looks / looks_per_step * steps_per_look * time_per_step, own_clock),
        "steps": ("lane", steps, {"long_name": "steps begun", "units": "1"}),
        "event_observed": ("lane", ended.code > 0, {"long_name": "whether a region was entered"}),
        "status": ("lane", status, flags),
        "region": ("lane", np.where(ended.code > 0, ended.code - 1, -1).astype(np.int32), regions),
        "time_per_step": ((), np.asarray(time_per_step), {"long_name": "time of one step", "units": "1"}),
    }
    for name, parts in ended.exits.items():
        for part, values in parts.items():
            full = joined(f"exit_{name}", part)
            entries[full] = (("lane", *trailing(full, values.ndim - 1)), values)
    lane = {"long_name": "number of the run"}
    return build(entries, {"lane": (("lane",), np.arange(num_lanes, dtype=np.int64), lane)}, attrs)
