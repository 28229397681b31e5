"""Where a call of the compiled program starts and how far it goes: 64-bit step counters in two words."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

Scalar = Any  # a NumPy scalar on the host, a traced one within the program


class Clock(NamedTuple):
    """Where a call starts and how far it goes; all dynamic scalars.

    The call makes ``num_intervals`` intervals of ``length`` steps, in events of ``event_steps`` steps, and records at
    the end of each if ``emit``. ``step_high, step_low`` is the step it starts from. An accumulator with cadence
    ``every`` is updated when its ``phase`` plus the steps made is a multiple of it and more than ``wait`` steps were
    made.
    """

    step_high: Scalar
    step_low: Scalar
    num_intervals: Scalar
    length: Scalar
    event_steps: Scalar
    emit: Scalar
    every: dict[str, Scalar]
    phase: dict[str, Scalar]
    wait: dict[str, Scalar]


def add64(high: Array, low: Array, steps: Array) -> tuple[Array, Array]:
    """Return the 64-bit step ``(high, low) + steps`` in two 32-bit words."""
    total = low + steps
    return high + (total < low).astype(jnp.uint32), total


def clock_for(
    begin: int, num_intervals: int, length: int, event_steps: int, emit: bool, cadence: dict[str, tuple[int, int]]
) -> Clock:
    """Return the clock of a call that begins at step ``begin``; ``cadence`` gives (every, burn_in) by accumulator."""
    most = 2**32 - 1
    return Clock(
        step_high=np.uint32(begin >> 32),
        step_low=np.uint32(begin & most),
        num_intervals=np.int32(num_intervals),
        length=np.uint32(length),
        event_steps=np.uint32(event_steps),
        emit=np.bool_(emit),
        every={name: np.uint32(every) for name, (every, _) in cadence.items()},
        phase={name: np.uint32(begin % every) for name, (every, _) in cadence.items()},
        wait={name: np.uint32(min(max(burn_in - begin, 0), most)) for name, (_, burn_in) in cadence.items()},
    )
