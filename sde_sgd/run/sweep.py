"""Processes x learning rates x batch sizes x seeds in one call."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import PyTree

from sde_sgd._core import checks
from sde_sgd.problems.problem import Problem
from sde_sgd.processes import AbstractProcess
from sde_sgd.run.ensemble import Cell, check_problem, run_ensemble
from sde_sgd.run.labels import labelled
from sde_sgd.run.schedule import Records, Schedule, in_epochs, in_steps, in_time, records

if TYPE_CHECKING:
    import xarray

Factory = Callable[[float, int], AbstractProcess]


def sweep(
    problem: Problem,
    processes: Mapping[str, Factory],
    *,
    learning_rates: Sequence[float],
    batch_sizes: Sequence[int],
    num_seeds: int,
    num_steps: int | None = None,
    time: float | None = None,
    num_epochs: int | None = None,
    record_every: float | None = None,
    record: Mapping[str, Any] | None = None,
    params: PyTree = None,
    key: Any,
    progress: bool | None = None,
) -> "xarray.Dataset":
    """Run every process for every learning rate, batch size and seed.

    Parameters
    ----------
    problem
        What is minimised.
    processes
        Name -> function of (learning rate, batch size) that makes the process. A process that does not depend on one
        of them is run once and its result repeated.
    learning_rates, batch_sizes
        The grid.
    num_seeds
        Lanes of every cell. Seed s uses the same random numbers in every cell, so differences between cells are
        paired; to get independent ensembles, use other keys.
    num_steps, time, num_epochs
        How far, one of the three: in steps; in units of learning rate times steps, so that different learning rates
        are compared at equal time; or in passes over the examples, of ceil(N/B) steps each, so that different batch
        sizes are compared after equal numbers of example gradients.
    record_every
        Distance between records, in the unit of the length; the start is always recorded. By default only the start
        and the end are.
    record
        Name -> what to record: a function of ``(problem, params)``, which means `Snapshots`, or a statistic
        (`EnsembleMoments`, `Moments`, `Covariance`, `Histogram`). See `simulate`. The risk by default.
    params
        Start of all seeds; by default every seed starts from its own ``problem.init(key)``.
    key
        Typed key. The same key gives the same dataset, bit for bit, on the same kind of device and versions.
    progress
        Whether to show a bar; by default only on a terminal.

    Returns
    -------
    xarray.Dataset
        Dims ``process, learning_rate, batch_size, seed`` and ``step`` (or ``time``, or ``epoch``), then those of the
        quantity. ``step`` and ``time``, the model's own clock, as coordinates over the dims that they depend on;
        ``status`` (0 ok, 1 diverged) and ``diverged_at`` for every lane; provenance in ``attrs``.

    Raises
    ------
    TypeError, ValueError
        On bad input, before anything is compiled, naming the argument, the value and the fix.

    Warns
    -----
    UserWarning
        With the number of lanes that diverged, if any did. Their records are NaN from then on.

    Examples
    --------
    >>> import jax, sde_sgd as ss
    >>> problem = ss.problems.linear_regression(num_examples=64, dim=2, key=jax.random.key(0))
    >>> ds = ss.sweep(problem, {"sgd": lambda lr, b: ss.SGD(lr, ss.WithReplacement(b))}, learning_rates=(0.1, 0.05),
    ...               batch_sizes=(1, 8), num_seeds=4, time=1.0, record_every=0.5, key=jax.random.key(1))
    >>> dict(ds.loss.sizes)
    {'process': 1, 'learning_rate': 2, 'batch_size': 2, 'seed': 4, 'time': 3}
    """
    check_problem(problem)
    learning_rates, batch_sizes = _grid(learning_rates, batch_sizes)
    budget = _budget(num_steps, time, num_epochs)
    schedules = _schedules(budget, record_every, problem, learning_rates, batch_sizes)
    cells = _cells(processes, learning_rates, batch_sizes, schedules)
    ensemble = run_ensemble(
        problem, cells, num_seeds=num_seeds, record=record, params=params, key=key, progress=progress,
        description="sweep",
    )
    shape = (len(processes), len(learning_rates), len(batch_sizes))
    made = [cell.process for cell in cells[:: shape[1] * shape[2]]]
    return labelled(
        ensemble,
        grid={"process": np.asarray(list(processes)), "learning_rate": np.asarray(learning_rates, np.float64),
              "batch_size": np.asarray(batch_sizes, np.int64)},
        clocks=_clocks(cells, shape),
        records=_records(budget, record_every, schedules),
        config={"run": "sweep", "processes": dict(zip(processes, made, strict=True)), "num_steps": num_steps,
                "time": time, "num_epochs": num_epochs, "record_every": record_every},
    )


def _grid(learning_rates: Any, batch_sizes: Any) -> tuple[list[float], list[int]]:
    for name, values in (("learning_rates", learning_rates), ("batch_sizes", batch_sizes)):
        if np.ndim(values) != 1 or len(values) == 0:
            raise ValueError(f"{name} must be a sequence of at least one number, got {values!r}.")
    for rate in learning_rates:
        checks.positive("learning_rate", rate)
    for batch in batch_sizes:
        checks.integer("batch_size", batch)
    for name, values in (("learning_rates", learning_rates), ("batch_sizes", batch_sizes)):
        if len({float(value) for value in values}) < len(values):
            raise ValueError(f"{name} names a value twice: {list(values)}. Give every value once.")
    return [float(rate) for rate in learning_rates], [int(batch) for batch in batch_sizes]


def _budget(num_steps: Any, time: Any, num_epochs: Any) -> tuple[str, Any]:
    """Return what the length of a run is counted in, and how long it is."""
    named = {"step": num_steps, "time": time, "epoch": num_epochs}
    given = [(dim, length) for dim, length in named.items() if length is not None]
    if len(given) != 1:
        raise ValueError(f"pass one of num_steps, time and num_epochs, got num_steps={num_steps}, time={time} and "
                         f"num_epochs={num_epochs}.")
    return given[0]


def _schedules(
    budget: tuple[str, Any], record_every: Any, problem: Problem, learning_rates: Sequence[float],
    batch_sizes: Sequence[int],
) -> list[list[Schedule]]:  # fmt: skip
    """Return the schedule for every learning rate and batch size."""
    dim, length = budget
    if dim == "step":
        each = [[in_steps(length, record_every)] * len(batch_sizes)] * len(learning_rates)
    elif dim == "time":
        each = [[in_time(length, record_every, rate)] * len(batch_sizes) for rate in learning_rates]
    else:
        one = [in_epochs(length, record_every, problem.num_examples, batch) for batch in batch_sizes]
        each = [one] * len(learning_rates)
    return each


def _records(budget: tuple[str, Any], record_every: Any, schedules: Sequence[Sequence[Schedule]]) -> Records:
    dim, length = budget
    over = {"step": None, "time": "learning_rate", "epoch": "batch_size"}[dim]
    along = schedules[0] if over == "batch_size" else [row[0] for row in schedules]
    return records(dim, length, record_every, along, over)


def _cells(
    processes: Any, learning_rates: Sequence[float], batch_sizes: Sequence[int],
    schedules: Sequence[Sequence[Schedule]],
) -> list[Cell]:  # fmt: skip
    """Return the cells of the grid, the batch size running fastest."""
    return [
        Cell(_made(name, factory, rate, batch), schedule)
        for name, factory in _named(processes)
        for rate, row in zip(learning_rates, schedules, strict=True)
        for batch, schedule in zip(batch_sizes, row, strict=True)
    ]


def _clocks(cells: Sequence[Cell], shape: tuple[int, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the time of one step with its dims, the batch size among them only where the time depends on it."""
    clocks = np.asarray([float(cell.process.time_per_step) for cell in cells]).reshape(shape)
    if np.all(clocks == clocks[:, :, :1]):
        return ("process", "learning_rate"), clocks[:, :, 0]
    return ("process", "learning_rate", "batch_size"), clocks


def _named(processes: Any) -> list[tuple[str, Factory]]:
    if not isinstance(processes, Mapping) or not processes:
        raise TypeError("processes must be a dict from names to functions of (learning rate, batch size), got "
                        f"{processes!r}.")
    for name, factory in processes.items():
        if not callable(factory):
            raise TypeError(f"processes[{name!r}] must be a function of (learning rate, batch size), got "
                            f"{type(factory).__name__}. Write lambda lr, b: ...")
    return list(processes.items())


def _made(name: str, factory: Factory, learning_rate: float, batch_size: int) -> AbstractProcess:
    process = factory(learning_rate, batch_size)
    if not isinstance(process, AbstractProcess):
        raise TypeError(f"processes[{name!r}] must return a process, got {type(process).__name__}. Write for example "
                        "lambda lr, b: sde_sgd.SGD(lr, sde_sgd.WithReplacement(b)).")
    return process
