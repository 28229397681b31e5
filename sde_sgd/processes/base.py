"""What a process is: one update rule with a clock of its own."""

import abc
import warnings
from typing import Any, Protocol

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, PyTree

from sde_sgd._core.random import Draws
from sde_sgd.problems.problem import Problem


class State(Protocol):
    """What the next step needs: the params and whatever else the process remembers. A pytree."""

    @property
    def params(self) -> PyTree:
        """The current params."""
        ...


class AbstractProcess(eqx.Module):
    """A rule that moves the params of a problem by one step.

    One step stands for one iteration of SGD for every process; a continuous-time model takes its substeps inside. So
    step k means the same for all, and curves of different processes line up. Numbers (learning rate, temperature,
    batch size) are array leaves: a process over a grid of numbers is one pytree with stacked leaves and one compiled
    program. What changes the program (the order, the number of substeps) is static.
    """

    @property
    @abc.abstractmethod
    def time_per_step(self) -> Any:
        """The time one step advances, on the model's own clock."""

    @abc.abstractmethod
    def check(self, problem: Problem) -> None:
        """Raise on the host, before compilation, if the process does not fit the problem."""

    @abc.abstractmethod
    def init(self, problem: Problem, params: PyTree) -> Any:
        """Return the state that starts from ``params``."""

    @abc.abstractmethod
    def step(self, problem: Problem, state: Any, draws: Draws) -> Any:
        """Return the state one step later; all randomness comes from ``draws``, the lane's address at this step."""


class AbstractDiffusion(AbstractProcess):
    """A continuous-time model, integrated by ``substeps`` substeps in one step.

    A substep is the smallest piece of its path that is seen, so that an event between two iterates can be looked for.
    """

    substeps: eqx.AbstractVar[int]

    @abc.abstractmethod
    def substep(self, problem: Problem, state: Any, draws: Draws, index: Any) -> Any:
        """Return the state one substep later; ``index`` counts the substeps of the step that ``draws`` belongs to."""

    @abc.abstractmethod
    def variance(self, problem: Problem, state: Any, direction: PyTree) -> Array:
        """Return the variance that the noise of one substep gives to the params' component along ``direction``.

        ``direction`` is like the params and need not have unit length; to leading order in the substep.
        """

    def step(self, problem: Problem, state: Any, draws: Draws) -> Any:
        """Return the state one step later."""
        if self.substeps == 1:
            return self.substep(problem, state, draws, 0)
        return jax.lax.fori_loop(0, self.substeps, lambda index, now: self.substep(problem, now, draws, index), state)


def hyperparameter(value: Any) -> Any:
    """Keep a number as an exact float64 host scalar until it enters a compiled program; let JAX arrays through.

    What is no number stays as it is, for the checks that follow to name it.
    """
    is_number = isinstance(value, int | float | np.number | np.ndarray) and not isinstance(value, bool)
    return np.asarray(value, np.float64) if is_number and np.isrealobj(value) else value


def warn_if_coarse(substeps: int, model: str) -> None:
    """Warn when a time step is so long that the scheme is no longer the differential equation it integrates."""
    if substeps < 10:
        warnings.warn(
            f"{model} with substeps={substeps} steps by dt = learning_rate/{substeps}, above learning_rate/10: the "
            "scheme is then closer to gradient descent with Gaussian noise than to the differential equation, and "
            "flatters a comparison with SGD. Pass substeps=10 or more.",
            stacklevel=3,
        )
