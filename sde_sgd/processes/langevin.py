"""Langevin dynamics at a given temperature: overdamped and kinetic."""

from typing import Any, NamedTuple, Self

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from sde_sgd._core import checks, tree
from sde_sgd._core.random import Draws
from sde_sgd._core.random_tree import normal_like, slots_for_normal_like
from sde_sgd.problems.problem import Problem, float_dtype
from sde_sgd.processes.base import AbstractDiffusion, hyperparameter
from sde_sgd.processes.gradient_flow import FlowState


class Langevin(AbstractDiffusion):
    r"""Overdamped Langevin dynamics, which samples :math:`\exp(-f/T)`.

    .. math:: dX_t = -\nabla f(X_t)\,dt + \sqrt{2T}\,dW_t

    Integrated by Euler-Maruyama with dt = learning_rate / substeps. On a quadratic of curvature l its stationary
    variance is T/(l (1 - l dt/2)), above T/l. It matches SGD only where the minibatch covariance C is a multiple of the
    identity, T = eta C / 2.

    Parameters
    ----------
    learning_rate
        The time one step advances, > 0.
    temperature
        T >= 0.
    substeps
        Euler-Maruyama steps in one step.

    Notes
    -----
    Cost: one full gradient and d normals a substep.
    """

    learning_rate: Any = eqx.field(converter=hyperparameter)
    temperature: Any = eqx.field(converter=hyperparameter, kw_only=True)
    substeps: int = eqx.field(static=True, kw_only=True, default=1)

    def __check_init__(self):
        checks.positive("learning_rate", self.learning_rate)
        checks.non_negative("temperature", self.temperature)
        checks.integer("substeps", self.substeps)

    @property
    def time_per_step(self) -> Any:
        """The learning rate: time is k * learning_rate."""
        return self.learning_rate

    def check(self, problem: Problem) -> None:
        """Accept every problem."""

    def init(self, problem: Problem, params: PyTree) -> FlowState:
        """Return the state that starts from ``params``."""
        return FlowState(params)

    def substep(self, problem: Problem, state: FlowState, draws: Draws, index: Any) -> FlowState:
        """Return the state one Euler-Maruyama step later."""
        dt = self.learning_rate / self.substeps
        amplitude = jnp.sqrt(2 * self.temperature * dt)
        slot = jnp.asarray(index, jnp.uint32) * jnp.uint32(slots_for_normal_like(state.params))
        moved = tree.axpy(-dt, problem.gradient(state.params), state.params)
        return FlowState(tree.axpy(amplitude, normal_like(draws, state.params, slot), moved))

    def variance(self, problem: Problem, state: FlowState, direction: PyTree) -> Array:
        """Return 2 T dt times the squared length of ``direction``."""
        return 2 * self.temperature * self.learning_rate / self.substeps * tree.squared_norm(direction)


class KineticLangevinState(NamedTuple):
    """Params, velocity and the gradient at the params, which the next step would otherwise compute again."""

    params: PyTree
    velocity: PyTree
    gradient: PyTree


class KineticLangevin(AbstractDiffusion):
    r"""Kinetic (underdamped) Langevin dynamics of unit mass, which samples :math:`\exp(-(f + |v|^2/2)/T)`.

    .. math:: dX = V\,dt, \qquad dV = -(\gamma V + \nabla f(X))\,dt + \sqrt{2\gamma T}\,dW

    Integrated by BAOAB with the exact Ornstein-Uhlenbeck step in the middle: on a quadratic its positions have variance
    T/l at any stable step. Starts at rest.

    Parameters
    ----------
    learning_rate
        The time one step advances, > 0. Stable while ``learning_rate / substeps`` times sqrt(l) is below 2.
    friction
        gamma > 0.
    temperature
        T >= 0.
    substeps
        BAOAB steps in one step.

    Notes
    -----
    Cost: one full gradient and d normals a substep.

    References
    ----------
    Leimkuhler, Matthews (2013), Rational construction of stochastic numerical methods for molecular sampling, AMRX.
    """

    learning_rate: Any = eqx.field(converter=hyperparameter)
    friction: Any = eqx.field(converter=hyperparameter, kw_only=True)
    temperature: Any = eqx.field(converter=hyperparameter, kw_only=True)
    substeps: int = eqx.field(static=True, kw_only=True, default=1)

    def __check_init__(self):
        checks.positive("learning_rate", self.learning_rate)
        checks.positive("friction", self.friction)
        checks.non_negative("temperature", self.temperature)
        checks.integer("substeps", self.substeps)

    @classmethod
    def of_heavy_ball(cls, learning_rate: Any, *, momentum: Any, gradient_variance: Any, substeps: int = 1) -> Self:
        r"""Return the equation of heavy-ball SGD with gradient noise of constant variance c in every direction.

        Time :math:`k\sqrt\eta`, friction :math:`(1-\beta)/\sqrt\eta`, temperature :math:`\eta c / (2(1-\beta))`.
        Weak order 1 in :math:`\sqrt\eta`.
        """
        checks.positive("learning_rate", learning_rate)
        checks.in_half_open_unit("momentum", momentum)
        checks.non_negative("gradient_variance", gradient_variance)
        h = learning_rate**0.5
        temperature = learning_rate * gradient_variance / (2 * (1 - momentum))
        return cls(h, friction=(1 - momentum) / h, temperature=temperature, substeps=substeps)

    @property
    def time_per_step(self) -> Any:
        """The learning rate: time is k * learning_rate."""
        return self.learning_rate

    def check(self, problem: Problem) -> None:
        """Accept every problem."""

    def init(self, problem: Problem, params: PyTree) -> KineticLangevinState:
        """Return the state that starts from ``params`` at rest."""
        return KineticLangevinState(params, tree.zeros_like(params), problem.gradient(params))

    def substep(
        self, problem: Problem, state: KineticLangevinState, draws: Draws, index: Any
    ) -> KineticLangevinState:
        """Return the state one BAOAB step later."""
        dt = self.learning_rate / self.substeps
        decay = jnp.exp(-self.friction * dt)
        amplitude = jnp.sqrt(-self.temperature * jnp.expm1(-2 * self.friction * dt))
        slot = jnp.asarray(index, jnp.uint32) * jnp.uint32(slots_for_normal_like(state.params))
        velocity = tree.axpy(-dt / 2, state.gradient, state.velocity)
        params = tree.axpy(dt / 2, velocity, state.params)
        velocity = tree.axpy(amplitude, normal_like(draws, velocity, slot), tree.scale(decay, velocity))
        params = tree.axpy(dt / 2, velocity, params)
        gradient = problem.gradient(params)
        return KineticLangevinState(params, tree.axpy(-dt / 2, gradient, velocity), gradient)

    def variance(self, problem: Problem, state: KineticLangevinState, direction: PyTree) -> Array:
        """Return zero: the noise moves the velocity, and the path of the params is smooth."""
        return jnp.zeros((), float_dtype(direction))
