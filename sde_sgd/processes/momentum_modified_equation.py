"""Stochastic modified equations of SGD with heavy-ball momentum, of orders 1 and 2 in sqrt(eta)."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from sde_sgd._core import checks, tree
from sde_sgd._core.random import Draws
from sde_sgd.noise import AbstractGaussianNoise
from sde_sgd.problems.problem import Problem, float_dtype
from sde_sgd.processes.base import AbstractDiffusion, hyperparameter, warn_if_coarse
from sde_sgd.processes.sgd import check_noise


class KineticState(NamedTuple):
    """Params and velocity."""

    params: PyTree
    velocity: PyTree


class MomentumSME(AbstractDiffusion):
    r"""The stochastic modified equation of heavy-ball SGD, an Ito equation for position and velocity.

    With :math:`h = \sqrt\eta`, friction :math:`\mu = (1-\beta)/h` and time :math:`t = k h`:

    .. math::
        \text{order 1:}\quad dV &= -(\mu V + \nabla f)\,dt + \sqrt{h\,\varphi\,\Sigma(X)}\,dW, \qquad dX = V\,dt \\
        \text{order 2:}\quad dV &= -\bigl[(\mu + \tfrac h2(\mu^2 - H))V + (1 + \tfrac{h\mu}2)\nabla f\bigr]dt
                                   + \sqrt{h\,\varphi\,\Sigma(X)}\,dW, \\
                            dX &= \bigl[(1 - \tfrac{h\mu}2)V - \tfrac h2\nabla f\bigr]dt

    The order is the weak order against `SGD` with momentum *in h*, with the friction held fixed: the kinetic Langevin
    equation (order 1) is only O(sqrt(eta)) accurate. The velocity is -sqrt(eta) times optax's momentum trace.

    Parameters
    ----------
    learning_rate
        eta > 0. One step advances the time by sqrt(eta).
    noise
        A Gaussian noise.
    momentum
        beta in [0, 1). The equation describes momentum near one, friction (1 - beta)/sqrt(eta) of order one.
    order
        1 or 2.
    substeps
        Steps of the integrator in one step: Heun for the drift, Ito-Euler for the noise. Fewer than ten draw a warning.

    Raises
    ------
    TypeError, ValueError
        If the noise is not Gaussian, the order is neither 1 nor 2, or a number is out of range.

    References
    ----------
    Li, Tai, E (2019), Stochastic modified equations and dynamics of stochastic gradient algorithms I, JMLR 20.
    """

    learning_rate: Any = eqx.field(converter=hyperparameter)
    noise: AbstractGaussianNoise
    momentum: Any = eqx.field(converter=hyperparameter, kw_only=True)
    order: int = eqx.field(static=True, kw_only=True)
    substeps: int = eqx.field(static=True, kw_only=True, default=16)

    def __check_init__(self):
        checks.positive("learning_rate", self.learning_rate)
        checks.in_half_open_unit("momentum", self.momentum)
        check_noise(self.noise, AbstractGaussianNoise, "MomentumSME")
        checks.one_of("order", self.order, (1, 2))
        checks.integer("substeps", self.substeps)
        warn_if_coarse(self.substeps, "MomentumSME")

    @property
    def time_per_step(self) -> Any:
        """The square root of the learning rate: time is k * sqrt(eta)."""
        return self.learning_rate**0.5

    def check(self, problem: Problem) -> None:
        """Raise unless the noise fits the problem."""
        self.noise.check(problem)

    def init(self, problem: Problem, params: PyTree) -> KineticState:
        """Return the state that starts from ``params`` at rest."""
        return KineticState(params, tree.zeros_like(params))

    def substep(self, problem: Problem, state: KineticState, draws: Draws, index: Any) -> KineticState:
        """Return the state one step of the integrator later."""
        h = self.learning_rate**0.5
        dt = h / self.substeps
        slot = jnp.asarray(index, jnp.uint32) * jnp.uint32(self.noise.num_slots(problem, state.params))
        kick = tree.scale(-((h * dt) ** 0.5), self.noise.fluctuation(problem, state.params, draws, slot))
        slope = self._drift(problem, state, h)
        ahead = _kicked(tree.axpy(dt, slope, state), kick)
        mean_slope = tree.scale(0.5, tree.axpy(1.0, self._drift(problem, ahead, h), slope))
        return _kicked(tree.axpy(dt, mean_slope, state), kick)

    def variance(self, problem: Problem, state: KineticState, direction: PyTree) -> Array:
        """Return zero: the noise moves the velocity, and the path of the params is smooth."""
        return jnp.zeros((), float_dtype(direction))

    def _drift(self, problem: Problem, state: KineticState, h: Any) -> KineticState:
        """Return the rates of change of position and velocity, without noise."""
        friction = (1 - self.momentum) / h
        if self.order == 1:
            gradient = problem.gradient(state.params)
            return KineticState(state.velocity, tree.scale(-1.0, tree.axpy(friction, state.velocity, gradient)))
        gradient, hessian_velocity = jax.jvp(problem.gradient, (state.params,), (state.velocity,))
        moved = tree.scale(1 - h * friction / 2, state.velocity)
        pull = tree.scale(1 + h * friction / 2, gradient)
        drag = tree.axpy(-h / 2, hessian_velocity, tree.scale(friction + h * friction**2 / 2, state.velocity))
        return KineticState(tree.axpy(-h / 2, gradient, moved), tree.scale(-1.0, tree.axpy(1.0, drag, pull)))


def _kicked(state: KineticState, kick: PyTree) -> KineticState:
    return KineticState(state.params, tree.axpy(1.0, kick, state.velocity))
