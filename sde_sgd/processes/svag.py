"""SVAG: a discrete algorithm that tends to the first-order SDE of SGD, with no covariance computed."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sde_sgd._core import checks, tree
from sde_sgd._core.random import Draws
from sde_sgd.noise import AbstractNoise
from sde_sgd.problems.problem import Problem
from sde_sgd.processes.base import AbstractProcess, hyperparameter
from sde_sgd.processes.gradient_flow import FlowState
from sde_sgd.processes.sgd import check_noise


class SVAG(AbstractProcess):
    r"""Stochastic variance-amplified gradient: SGD at a smaller learning rate with its noise blown up to match.

    .. math:: w' = w - \frac\eta l\,(r_1 g_1 + r_2 g_2), \qquad r_{1,2} = \tfrac12\bigl(1 \pm \sqrt{2l - 1}\bigr)

    with two independent minibatch gradients, so that the mean is kept and the covariance is l times as large. l such
    substeps make one step of SGD; l = 1 is SGD. As l grows the process tends to `SME` of order 1 at the *same* learning
    rate, with a weak error O(1/l): the independent check of the differential equation on a network, since it needs
    neither a covariance nor Gaussian noise.

    Parameters
    ----------
    learning_rate
        eta > 0, the time one step advances.
    noise
        Any noise whose draws are independent; `EpochShuffle` is refused.
    substeps
        l >= 1.

    Raises
    ------
    TypeError, ValueError
        If the noise remembers earlier draws, or a number is out of range.

    Notes
    -----
    Cost: two minibatch gradients a substep.

    References
    ----------
    Li, Malladi, Arora (2021), On the validity of modeling SGD with stochastic differential equations, NeurIPS.
    """

    learning_rate: Any = eqx.field(converter=hyperparameter)
    noise: AbstractNoise
    substeps: int = eqx.field(static=True, kw_only=True)

    def __check_init__(self):
        checks.positive("learning_rate", self.learning_rate)
        check_noise(self.noise, AbstractNoise, "SVAG")
        if jax.tree.leaves(self.noise.init()):
            raise TypeError(f"noise of SVAG must have independent draws, got {self.noise!r}, which remembers earlier "
                            "ones. Pass WithReplacement or WithoutReplacement.")
        checks.integer("substeps", self.substeps)

    @property
    def time_per_step(self) -> Any:
        """The learning rate: time is k * eta."""
        return self.learning_rate

    def check(self, problem: Problem) -> None:
        """Raise unless the noise fits the problem."""
        self.noise.check(problem)

    def init(self, problem: Problem, params: PyTree) -> FlowState:
        """Return the state that starts from ``params``."""
        return FlowState(params)

    def step(self, problem: Problem, state: FlowState, draws: Draws) -> FlowState:
        """Return the state one learning rate of time later."""
        slots = self.noise.num_slots(problem, state.params)
        root = (2 * self.substeps - 1) ** 0.5
        dt = self.learning_rate / self.substeps

        def body(index: Any, params: PyTree) -> PyTree:
            slot = jnp.asarray(index, jnp.uint32) * jnp.uint32(2 * slots)
            first, _ = self.noise.gradient(problem, params, (), draws, slot)
            second, _ = self.noise.gradient(problem, params, (), draws, slot + jnp.uint32(slots))
            mixed = tree.axpy((1 + root) / 2, first, tree.scale((1 - root) / 2, second))
            return tree.axpy(-dt, mixed, params)

        return FlowState(jax.lax.fori_loop(0, self.substeps, body, state.params))
