"""Gradient flow: SGD without its noise and without its step."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from sde_sgd._core import checks, tree
from sde_sgd._core.random import Draws
from sde_sgd.problems.problem import Problem, float_dtype
from sde_sgd.processes.base import AbstractDiffusion, hyperparameter


class FlowState(NamedTuple):
    """The params alone."""

    params: PyTree


class GradientFlow(AbstractDiffusion):
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
    substeps: int = eqx.field(static=True, kw_only=True, default=1)

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

    def substep(self, problem: Problem, state: FlowState, draws: Draws, index: Any) -> FlowState:
        """Return the state one Runge-Kutta step later."""
        dt = self.learning_rate / self.substeps
        params = state.params
        slope1 = problem.gradient(params)
        slope2 = problem.gradient(tree.axpy(-dt / 2, slope1, params))
        slope3 = problem.gradient(tree.axpy(-dt / 2, slope2, params))
        slope4 = problem.gradient(tree.axpy(-dt, slope3, params))
        mean = jax.tree.map(lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, slope1, slope2, slope3, slope4)
        return FlowState(tree.axpy(-dt, mean, params))

    def variance(self, problem: Problem, state: FlowState, direction: PyTree) -> Array:
        """Return zero: there is no noise."""
        return jnp.zeros((), float_dtype(direction))
