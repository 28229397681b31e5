"""Stochastic modified equations of SGD, of weak order 1 and 2."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from sde_sgd._core import checks, tree
from sde_sgd._core.random import Draws
from sde_sgd.noise import AbstractGaussianNoise
from sde_sgd.problems.problem import Problem
from sde_sgd.processes.base import AbstractDiffusion, hyperparameter, warn_if_coarse
from sde_sgd.processes.gradient_flow import FlowState
from sde_sgd.processes.sgd import check_noise


class SME(AbstractDiffusion):
    r"""The stochastic modified equation of SGD, an Ito equation.

    .. math::
        \text{order 1:}\quad dX_t &= -\nabla f(X_t)\,dt + \sqrt{\eta\,\varphi\,\Sigma(X_t)}\,dW_t \\
        \text{order 2:}\quad dX_t &= -\nabla\bigl(f + \tfrac{\eta}{4}|\nabla f|^2\bigr)(X_t)\,dt
                                     + \sqrt{\eta\,\varphi\,\Sigma(X_t)}\,dW_t

    with time :math:`t = k\eta`. The number is the weak order against SGD: expectations of smooth functions at fixed
    time differ by O(eta) and O(eta^2). It says nothing of relative errors of a variance at the end (order 2 is *worse*
    than order 1 for the stationary covariance of a quadratic), of tails, or of escape times.

    Parameters
    ----------
    learning_rate
        eta > 0, the time one step advances.
    noise
        A Gaussian noise: `Gaussian` for SGD's own state-dependent covariance.
    order
        1 or 2.
    substeps
        Euler-Maruyama steps in one step, dt = eta / substeps. Fewer than ten draw a warning.

    Raises
    ------
    TypeError, ValueError
        If the noise is not Gaussian, the order is neither 1 nor 2, or a number is out of range.

    Notes
    -----
    Order 1: plain Euler-Maruyama, drift and noise from one vector-Jacobian product, so a substep costs about one full
    gradient. Its error is 1/substeps of the model's own. Order 2: an Euler step of length dt itself follows the flow
    of :math:`f + \tfrac{dt}{4}|\nabla f|^2`, so the scheme uses the drift :math:`-g - \tfrac{\eta - dt}{2} H g`, which
    leaves the integrated process of order 2 at any fixed number of substeps (error O(eta^2 / substeps)); a substep
    costs about three full gradients.

    References
    ----------
    Li, Tai, E (2019), Stochastic modified equations and dynamics of stochastic gradient algorithms I, JMLR 20.
    """

    learning_rate: Any = eqx.field(converter=hyperparameter)
    noise: AbstractGaussianNoise
    order: int = eqx.field(static=True, kw_only=True)
    substeps: int = eqx.field(static=True, kw_only=True, default=16)

    def __check_init__(self):
        checks.positive("learning_rate", self.learning_rate)
        check_noise(self.noise, AbstractGaussianNoise, "SME")
        checks.one_of("order", self.order, (1, 2))
        checks.integer("substeps", self.substeps)
        warn_if_coarse(self.substeps, "SME")

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

    def substep(self, problem: Problem, state: FlowState, draws: Draws, index: Any) -> FlowState:
        """Return the state one Euler-Maruyama step later."""
        dt = self.learning_rate / self.substeps
        slot = jnp.asarray(index, jnp.uint32) * jnp.uint32(self.noise.num_slots(problem, state.params))
        slope = self._first_order if self.order == 1 else self._second_order
        return FlowState(tree.axpy(-dt, slope(problem, state.params, draws, slot), state.params))

    def variance(self, problem: Problem, state: FlowState, direction: PyTree) -> Array:
        """Return eta dt times the variance of one noisy gradient along ``direction``."""
        dt = self.learning_rate / self.substeps
        return self.learning_rate * dt * self.noise.variance_along(problem, state.params, direction)

    # The noise of one substep is sqrt(eta dt) Sigma_phi^(1/2) xi = dt * sqrt(substeps) * Sigma_phi^(1/2) xi.

    def _first_order(self, problem: Problem, params: PyTree, draws: Draws, slot: Any) -> PyTree:
        return self.noise.scaled_gradient(problem, params, draws, slot, self.substeps**0.5)

    def _second_order(self, problem: Problem, params: PyTree, draws: Draws, slot: Any) -> PyTree:
        gradient, hessian_product = problem.gradient_and_hessian_product(params)
        bend = self.learning_rate * (1 - 1 / self.substeps) / 2
        drift = tree.axpy(bend, hessian_product, gradient)
        return tree.axpy(self.substeps**0.5, self.noise.fluctuation(problem, params, draws, slot), drift)
