"""A well of one variable as both sides need it: the problem that is simulated, and its facts in numbers for theory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sde_sgd.problems import Problem


class Landscape(NamedTuple):
    """A well of one variable: its potential U, the minimum it is left from, the saddle and the barrier between."""

    problem: Problem
    potential: Callable[[Any], Any]
    minimum: float
    saddle: float
    barrier: float


def landscape(problem: Problem) -> Landscape:
    """Read the facts of one of the package's wells."""
    assert problem.potential is not None and problem.barrier is not None
    minimum, saddle = (np.asarray(fact, np.float64).item() for fact in (problem.minimum, problem.saddle))
    return Landscape(problem, problem.potential, minimum, saddle, problem.barrier)
