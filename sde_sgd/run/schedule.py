"""When a run ends and when it records: in steps, or at equal times across learning rates."""

import dataclasses
import math
from typing import Any

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


def in_steps(num_steps: Any, record_every: Any) -> Schedule:
    """Return the schedule of a run counted in steps; without ``record_every`` only the start and the end are kept."""
    checks.integer("num_steps", num_steps, maximum=2**63 - 1)
    if record_every is None:
        record_every = num_steps
    checks.integer("record_every", record_every)
    if num_steps % record_every:
        raise ValueError(f"record_every must divide num_steps, got {record_every} and {num_steps}. Pass for example "
                         f"num_steps={num_steps // record_every * record_every or record_every}.")
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


def _whole(name: str, length: float, unit_name: str, unit: float) -> int:
    """Return how many units make the length; raise unless it is a whole number up to rounding."""
    ratio = float(length) / float(unit)
    count = round(ratio)
    if count < 1 or not math.isclose(ratio, count, rel_tol=1e-6):
        raise ValueError(f"{name} must be a whole number of times {unit_name}, got {length} and {unit} (ratio "
                         f"{ratio:.6g}). Choose {name} so that every learning rate divides it.")
    return count
