"""Gradient flow: SGD without its noise and without its step."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import PyTree

from sde_sgd._core import checks, tree
from sde_sgd._core.random import Draws
from sde_sgd.problems.problem import Problem
from sde_sgd.processes.base import AbstractProcess, hyperparameter


class FlowState(NamedTuple):
    """The params alone."""

    params: PyTree


class GradientFlow(AbstractProcess):
    r"""The deterministic flow of the risk.

    .. math:: \dot X_t = -\nabla f(X_t), \qquad t = k\,\eta

    Of weak order 1 in the learning rate, both against gradient descent and against SGD: expectations of smooth
    functions differ by O(eta), and all fluctuations are missed. Integrated by the classical fourth-order Runge-Kutta
    scheme, whose own error, O((eta/substeps)^4), is far below.

    Parameters
    ----------
    learning_rate
        eta > 0, the time one step advances.
    substeps
        Runge-Kutta steps in one step. The scheme is stable while ``learning_rate / substeps`` times the largest
        curvature is below 2.78.

    Notes
    -----
    Cost: four full gradients a substep. Randomness: none.
    """

    learning_rate: Any = eqx.field(converter=hyperparameter)
    substeps: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        checks.positive("learning_rate", self.learning_rate)
        checks.integer("substeps", self.substeps)

    @property
    def time_per_step(self) -> Any:
        """The learning rate: time is k * eta."""
        return self.learning_rate

    def check(self, problem: Problem) -> None:
        """Accept every problem."""

    def init(self, problem: Problem, params: PyTree) -> FlowState:
        """Return the state that starts from ``params``."""
        return FlowState(params)

    def step(self, problem: Problem, state: FlowState, draws: Draws) -> FlowState:
        """Return the state one learning rate of time later."""
        dt = self.learning_rate / self.substeps

        def substep(_: Any, params: PyTree) -> PyTree:
            slope1 = problem.gradient(params)
            slope2 = problem.gradient(tree.axpy(-dt / 2, slope1, params))
            slope3 = problem.gradient(tree.axpy(-dt / 2, slope2, params))
            slope4 = problem.gradient(tree.axpy(-dt, slope3, params))
            mean = jax.tree.map(lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, slope1, slope2, slope3, slope4)
            return tree.axpy(-dt, mean, params)

        return FlowState(jax.lax.fori_loop(0, self.substeps, substep, state.params))
