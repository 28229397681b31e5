"""Many cells as few compiled programs: cells of one structure run together, equal cells run once."""

import collections
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from sde_sgd._core import checks
from sde_sgd.problems.problem import Problem
from sde_sgd.processes import AbstractProcess
from sde_sgd.run.lanes import Variables, run_cells
from sde_sgd.run.program import Quantities, example_params, example_records
from sde_sgd.run.progress import progress_bar
from sde_sgd.run.records import Snapshots
from sde_sgd.run.schedule import Schedule
from sde_sgd.run.statistics import AbstractAccumulator, AbstractRecord, joined, trailing
from sde_sgd.run.tiles import tile_size


class Cell(NamedTuple):
    """One process and its schedule; runs for every seed."""

    process: AbstractProcess
    schedule: Schedule


class Ensemble(NamedTuple):
    """What came of the cells: arrays with a leading cell axis, and what they were made from."""

    variables: Variables
    diverged_at: np.ndarray
    problem: Problem
    params: PyTree
    record: Mapping[str, Any]
    quantities: Quantities
    key: Any
    tile_sizes: tuple[int, ...]


def run_ensemble(
    problem: Problem,
    cells: Sequence[Cell],
    *,
    num_seeds: int,
    record: Mapping[str, Any] | None,
    params: PyTree,
    key: Any,
    progress: bool | None,
    description: str,
) -> Ensemble:
    """Check what all cells share, then run them for every seed; results in the order of the cells."""
    checks.typed_key(key)
    checks.integer("num_seeds", num_seeds, maximum=2**32 - 1)
    for cell in cells:
        cell.process.check(problem)
    params = check_params(problem, params)
    record = {"loss": Problem.loss} if record is None else record
    processes, schedules = zip(*cells, strict=True)
    quantities = sort_quantities(problem, processes, params, record, schedules)
    unique, where = _without_repeats(cells)
    total = float(sum(cell.schedule.num_steps * num_seeds for cell in unique))
    with progress_bar(total, description, progress) as report:
        variables, diverged_at = _run_unique(problem, unique, num_seeds, quantities, params, key, report)
    diverged_at = diverged_at[where]
    _warn_of_divergence(diverged_at)
    variables = {name: (dims, values[where]) for name, (dims, values) in variables.items()}
    kinds = {_structure(process): process for process in processes}.values()
    example = example_params(problem, params)
    sizes = tuple(sorted({tile_size(problem, example, process) for process in kinds}))
    return Ensemble(variables, diverged_at, problem, params, record, quantities, key, sizes)


def _run_unique(
    problem: Problem,
    cells: Sequence[Cell],
    num_seeds: int,
    quantities: Quantities,
    params: PyTree,
    key: Any,
    report: Callable[[float], None],
) -> tuple[Variables, np.ndarray]:
    """Run cells that differ from each other, those of one program together."""
    groups: dict[tuple[Hashable, Schedule], list[int]] = collections.defaultdict(list)
    for index, cell in enumerate(cells):
        groups[_structure(cell.process), cell.schedule].append(index)
    found: dict[str, tuple[tuple[str, ...], list[Any]]] = {}
    diverged_at = np.empty((len(cells), num_seeds), np.int64)
    for (_, schedule), members in groups.items():
        variables, diverged = run_cells(
            problem,
            [cells[index].process for index in members],
            num_seeds=num_seeds,
            schedule=schedule,
            quantities=quantities,
            params=params,
            key=key,
            report=report,
        )
        diverged_at[members] = diverged
        for name, (dims, values) in variables.items():
            found.setdefault(name, (dims, [None] * len(cells)))
            for position, index in enumerate(members):
                found[name][1][index] = values[position]
    return {name: (dims, np.stack(values)) for name, (dims, values) in found.items()}, diverged_at


def _structure(process: AbstractProcess) -> Hashable:
    """Return what decides the compiled program of a process: all but the numbers in its leaves."""
    leaves, structure = jax.tree.flatten(process)
    return structure, tuple((np.shape(leaf), str(np.asarray(leaf).dtype)) for leaf in leaves)


def _without_repeats(cells: Sequence[Cell]) -> tuple[list[Cell], np.ndarray]:
    """Return the distinct cells and, for every cell, which of them it is: a process blind to B runs once for all B."""
    unique: dict[Hashable, int] = {}
    kept, where = [], []
    for cell in cells:
        values = tuple(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(cell.process))
        identity = (_structure(cell.process), values, cell.schedule)
        if identity not in unique:
            unique[identity] = len(kept)
            kept.append(cell)
        where.append(unique[identity])
    return kept, np.asarray(where)


def _warn_of_divergence(diverged_at: np.ndarray) -> None:
    count = int(np.sum(diverged_at >= 0))
    if count:
        warnings.warn(
            f"{count} of {diverged_at.size} lanes diverged: their records are NaN from then on (see status and "
            "diverged_at); the other lanes are not affected.",
            stacklevel=4,
        )


def check_problem(problem: Any) -> None:
    """Raise unless ``problem`` is a `Problem`."""
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a sde_sgd.Problem, got {type(problem).__name__}. See sde_sgd.problems.")


def check_params(problem: Problem, params: Any) -> PyTree:
    """Return ``params`` as arrays; raise unless they fit the problem and are finite. None passes."""
    return None if params is None else check_start(problem, params, None)[0]


def check_start(problem: Problem, params: Any, num_runs: int | None) -> tuple[PyTree, bool]:
    """Return ``params`` as arrays, and whether they are one start for each of ``num_runs`` runs; raise unless they fit.

    With ``num_runs`` None they must be one start for all.
    """
    params = jax.tree.map(jax.numpy.asarray, params)
    checks.floating_params(params)
    expected = jax.eval_shape(problem.init, jax.random.key(0))
    wanted, got = (jax.tree.map(lambda leaf: leaf.shape, tree) for tree in (expected, params))
    each = jax.tree.map(lambda leaf: (num_runs, *leaf.shape), expected)
    if got != wanted and (num_runs is None or got != each):
        also = "" if num_runs is None else f" or, for a start of each run, {each}"
        raise ValueError(f"params must have the shapes of problem.init(key), {wanted}{also}, got {got}.")
    if not all(bool(jax.numpy.all(jax.numpy.isfinite(leaf))) for leaf in jax.tree.leaves(params)):
        raise ValueError("params hold NaN or infinite values. Start from finite params.")
    return params, got != wanted


def sort_quantities(
    problem: Problem, processes: Sequence[AbstractProcess], params: PyTree, record: Any, schedules: Sequence[Schedule]
) -> Quantities:
    """Return the recorded quantities by kind; raise, before compilation, if one cannot be evaluated or named."""
    if not isinstance(record, Mapping) or not record:
        raise TypeError("record must be a dict from names to functions of (problem, params) or statistics, got "
                        f"{record!r}. Pass for example record={{'loss': sde_sgd.Problem.loss}}.")
    quantities = Quantities({}, {})
    taken = set(_TAKEN)
    for name, value in record.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"a recorded quantity cannot be called {name!r}. Pass another name.")
        if isinstance(value, AbstractAccumulator):
            _check_cadence(name, value, schedules)
            quantities.accumulators[name] = statistic = value
        else:
            quantities.records[name] = statistic = value if isinstance(value, AbstractRecord) else Snapshots(value)
        shapes = _shapes(name, statistic.function, problem, processes, params)
        taken |= _new_names(name, statistic, shapes, taken)
    return quantities


_TAKEN = {"process", "learning_rate", "batch_size", "seed", "step", "time", "epoch", "status", "diverged_at"}


def _shapes(
    name: str, function: Any, problem: Problem, processes: Sequence[AbstractProcess], params: PyTree
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a quantity's arrays, found by tracing it for one process of each kind."""
    kinds = {_structure(process): process for process in processes}
    shapes = {}
    for process in kinds.values():
        try:
            # The value of an accumulator is found as a record's would be.
            traced = example_records(problem, process, Quantities({name: Snapshots(function)}, {}), params)
        except Exception as error:
            raise ValueError(f"record[{name!r}] could not be evaluated at (problem, params) of "
                             f"{type(process).__name__}: {error}") from error
        shapes = {part: value.shape for part, value in traced[name].items()}
    return shapes


def _new_names(
    name: str, statistic: AbstractRecord | AbstractAccumulator, shapes: Mapping[str, tuple[int, ...]], taken: set[str]
) -> set[str]:
    """Return the variables, dims and coordinates that a statistic brings; raise if one is taken."""
    if not shapes:
        raise ValueError(f"record[{name!r}] returned no array. Return an array or a pytree of arrays.")
    found: set[str] = set()
    for part, shape in shapes.items():
        full = joined(name, part)
        own = [*statistic.variables(full), *trailing(full, len(shape))]
        if isinstance(statistic, AbstractAccumulator):
            statistic.check(shape)
            own += (coordinates := statistic.coordinates(full))
            if part and coordinates:
                raise ValueError(f"record[{name!r}] must return one array, got a pytree. Record one part.")
        for new in own:
            if new in taken | found:
                raise ValueError(f"record[{name!r}] gives {new!r}, a name that is taken. Pass another name for it.")
            found.add(new)
    return found


def _check_cadence(name: str, accumulator: AbstractAccumulator, schedules: Sequence[Schedule]) -> None:
    for schedule in schedules:
        if accumulator.every is not None and schedule.record_every % accumulator.every:
            raise ValueError(f"every of record[{name!r}] must divide the steps between records, got "
                             f"{accumulator.every} and {schedule.record_every}.")
        if (accumulator.every or schedule.record_every) >= 2**32:
            raise ValueError(f"every of record[{name!r}] must be below 2**32, got "
                             f"{accumulator.every or schedule.record_every}. Pass every= or record more often.")
        if accumulator.burn_in >= schedule.num_steps:
            raise ValueError(f"burn_in of record[{name!r}] must be less than the number of steps, got "
                             f"{accumulator.burn_in} and {schedule.num_steps}.")
