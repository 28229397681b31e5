"""How much the next call of a compiled program may do, learnt from the last."""

import contextlib
import time
from collections.abc import Iterator

_CALL_SECONDS = 0.5  # about how often a call ends, so that the bar moves and an interrupt is heard
_MOST_STEPS = 2**31


class Pace:
    """The number of steps of the next call. It decides no bits, only when a call ends."""

    def __init__(self, steps: int):
        self.steps = steps

    @contextlib.contextmanager
    def timed(self, num_steps: int) -> Iterator[None]:
        """Learn from the call that is made inside."""
        begin = time.monotonic()
        yield
        if num_steps:
            growth = min(_CALL_SECONDS / max(time.monotonic() - begin, 1e-6), 4.0)
            self.steps = min(max(int(num_steps * growth), 1), _MOST_STEPS)
