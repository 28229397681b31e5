"""One process for many seeds."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import PyTree

from sde_sgd.problems.problem import Problem
from sde_sgd.processes import AbstractProcess
from sde_sgd.run.ensemble import Cell, check_problem, run_ensemble
from sde_sgd.run.labels import labelled
from sde_sgd.run.schedule import in_epochs, in_steps, records

if TYPE_CHECKING:
    import xarray


def simulate(
    problem: Problem,
    process: AbstractProcess,
    *,
    num_seeds: int,
    num_steps: int | None = None,
    num_epochs: int | None = None,
    record_every: int | None = None,
    record: Mapping[str, Any] | None = None,
    params: PyTree = None,
    key: Any,
    progress: bool | None = None,
) -> "xarray.Dataset":
    """Run one process for many seeds.

    The result is that of a `sweep` of one cell, bit for bit.

    Parameters
    ----------
    problem
        What is minimised.
    process
        How.
    num_seeds
        Number of independent lanes.
    num_steps, num_epochs
        How far, one of the two: in steps, or in passes over the examples, of ceil(N/B) steps each.
    record_every
        Steps, or epochs, between records; the start is always recorded. By default only the start and the end are.
    record
        Name -> what to record. A function is called with ``(problem, params)`` and returns an array or a pytree of
        arrays; it may take ``state=`` (the whole state of the process, for example ``state.velocity``) and ``key=`` (a
        typed key that depends on the run's key, the lane and the step) as further arguments. It is kept for every seed
        and record, as `Snapshots`; `EnsembleMoments`, `Moments`, `Covariance` and `Histogram` reduce it on the
        way, in constant memory. With ``record_every=1`` snapshots are trajectories. The risk by default.
    params
        Start of all seeds; by default every seed starts from its own ``problem.init(key)``.
    key
        Typed key.
    progress
        Whether to show a bar; by default only on a terminal.

    Returns
    -------
    xarray.Dataset
        Dims ``seed`` and ``step`` (or ``epoch``, with ``step`` along it), then those of the quantity
        (``<name>_dim_0``, ...). ``time`` is the process's own clock; ``status`` (0 ok, 1 diverged) and ``diverged_at``
        tell of every lane.

    Raises
    ------
    TypeError, ValueError
        On bad input, before anything is compiled.

    Warns
    -----
    UserWarning
        With the number of lanes that diverged, if any did. Their records are NaN from then on.

    Examples
    --------
    >>> import jax, sde_sgd as ss
    >>> well = ss.problems.potential(lambda w: (w**2 - 1) ** 2, start=-1.0)
    >>> ds = ss.simulate(well, ss.Langevin(0.01, temperature=0.1), num_seeds=8, num_steps=100, record_every=50,
    ...                  record={"position": lambda problem, w: w}, key=jax.random.key(0))
    >>> ds.position.shape
    (8, 3)
    """
    check_problem(problem)
    if not isinstance(process, AbstractProcess):
        raise TypeError(f"process must be a process such as sde_sgd.SGD, got {type(process).__name__}.")
    if (num_steps is None) == (num_epochs is None):
        raise ValueError(f"pass either num_steps or num_epochs, got num_steps={num_steps} and num_epochs={num_epochs}.")
    if num_epochs is None:
        dim, schedule = "step", in_steps(num_steps, record_every)
    else:
        dim, schedule = "epoch", in_epochs(num_epochs, record_every, problem.num_examples, _batch_size(process))
    ensemble = run_ensemble(
        problem,
        [Cell(process, schedule)],
        num_seeds=num_seeds,
        record=record,
        params=params,
        key=key,
        progress=progress,
        description="simulate",
    )
    return labelled(
        ensemble,
        grid={},
        clocks=((), np.asarray(float(process.time_per_step))),
        records=records(dim, schedule.num_steps if num_epochs is None else num_epochs, record_every, [schedule], None),
        config={"run": "simulate", "process": process, "num_steps": num_steps, "num_epochs": num_epochs,
                "record_every": record_every},
    )


def _batch_size(process: AbstractProcess) -> int:
    batch_size = getattr(getattr(process, "noise", process), "batch_size", None)
    if batch_size is None:
        raise TypeError(f"num_epochs needs a process with a batch size, got {type(process).__name__}. Pass num_steps.")
    return int(batch_size)
