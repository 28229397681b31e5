"""When a run ends and when it records: in steps, at equal times across learning rates, or after equal epochs."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sde_sgd._core import checks


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A run of ``num_steps`` steps with a record at step 0 and then every ``record_every`` steps."""

    num_steps: int
    record_every: int

    @property
    def num_records(self) -> int:
        """The number of records, the start included."""
        return 1 + self.num_steps // self.record_every

    @property
    def steps(self) -> np.ndarray:
        """The step of every record, int64."""
        return np.arange(self.num_records, dtype=np.int64) * self.record_every


def in_steps(num_steps: Any, record_every: Any, name: str = "num_steps") -> Schedule:
    """Return the schedule of a run counted in steps; without ``record_every`` only the start and the end are kept."""
    checks.integer(name, num_steps, maximum=2**63 - 1)
    if record_every is None:
        record_every = num_steps
    checks.integer("record_every", record_every)
    if num_steps % record_every:
        raise ValueError(f"record_every must divide {name}, got {record_every} and {num_steps}. Pass for example "
                         f"{name}={num_steps // record_every * record_every or record_every}.")
    return Schedule(int(num_steps), int(record_every))


def in_time(time: Any, record_every: Any, learning_rate: float) -> Schedule:
    """Return the schedule of a run counted in units of learning rate times steps, for one learning rate."""
    checks.positive("time", time)
    if record_every is None:
        record_every = time
    checks.positive("record_every", record_every)
    num_records = _whole("time", time, "record_every", record_every)
    interval = _whole("record_every", record_every, "the learning rate", learning_rate)
    return Schedule(num_records * interval, interval)


def in_epochs(num_epochs: Any, record_every: Any, num_examples: int, batch_size: int) -> Schedule:
    """Return the schedule of a run counted in passes over the examples, of ceil(N/B) steps each, for one batch size."""
    epochs = in_steps(num_epochs, record_every, "num_epochs")
    steps = -(-num_examples // batch_size)
    return Schedule(epochs.num_steps * steps, epochs.record_every * steps)


class Records(NamedTuple):
    """The records on a common axis: what it counts, where they lie, and the steps they fall on in every cell.

    Attributes
    ----------
    dim
        "step", "time" or "epoch".
    values
        The place of every record.
    steps
        The steps, with the dims of the grid that they depend on in front of the record's own.
    step_dims
        Those dims.
    """

    dim: str
    values: np.ndarray
    steps: np.ndarray
    step_dims: tuple[str, ...]


def records(dim: str, length: float, every: float | None, schedules: Sequence[Schedule], over: str | None) -> Records:
    """Return the axis of the records of runs with these schedules, one for each value of the dim ``over``."""
    steps = np.stack([schedule.steps for schedule in schedules])
    if over is None:
        steps = steps[0]
    count = np.arange(schedules[0].num_records, dtype=np.float64 if dim == "time" else np.int64)
    return Records(dim, count * (every or length), steps, () if over is None else (over,))


def _whole(name: str, length: float, unit_name: str, unit: float) -> int:
    """Return how many units make the length; raise unless it is a whole number up to rounding."""
    ratio = float(length) / float(unit)
    count = round(ratio)
    if count < 1 or not math.isclose(ratio, count, rel_tol=1e-6):
        raise ValueError(f"{name} must be a whole number of times {unit_name}, got {length} and {unit} (ratio "
                         f"{ratio:.6g}). Choose {name} so that every learning rate divides it.")
    return count
