"""A population of SGD runs that follows the second moment where single runs, or averages of them, do not."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_sgd._core.random import Draws
from sde_sgd.noise import AbstractMinibatch
from sde_sgd.problems import Problem
from sde_sgd.processes.base import AbstractProcess, hyperparameter


class PopulationState(NamedTuple):
    """Directions of unit length, and the logarithm of the growth of the mean square so far."""

    params: Float[Array, "members d"]
    log_growth: Float[Array, ""]


class Population(AbstractProcess):
    r"""A population of SGD runs about a minimum at the origin, redrawn at every step by their squared distance.

    .. math:: \hat w_m = w_m - \eta\, g_m(w_m), \qquad
              \log G \mathrel{+}= \log \frac1M \sum_m |\hat w_m|^2, \qquad
              w_m \leftarrow \hat w_j / |\hat w_j| \;\text{ with probability } \propto |\hat w_j|^2

    For gradients linear in w, the mean of G over populations is exactly E|w_k|^2 / |w_0|^2, and log G / k tends to the
    logarithm of the growth per step up to an error of order 1/M.

    Parameters
    ----------
    learning_rate
        Step size eta.
    noise
        The sampling scheme; one that remembers nothing between steps.
    num_members
        M.
    """

    learning_rate: Any = eqx.field(converter=hyperparameter)
    noise: AbstractMinibatch
    num_members: int = eqx.field(static=True)

    @property
    def time_per_step(self) -> Any:
        """The learning rate."""
        return self.learning_rate

    def check(self, problem: Problem) -> None:
        """Raise unless the noise fits the problem."""
        self.noise.check(problem)

    def init(self, problem: Problem, params: Array) -> PopulationState:
        """Return a population of equal members in the direction of ``params``."""
        direction = params / jnp.linalg.norm(params)
        return PopulationState(jnp.tile(direction, (self.num_members, 1)), jnp.zeros((), params.dtype))

    def step(self, problem: Problem, state: PopulationState, draws: Draws) -> PopulationState:
        """Return the population one step later, redrawn with one uniform number (systematic resampling)."""
        slots = self.noise.num_slots(problem, state.params[0])

        def moved(member: Array, slot: Array) -> Array:
            gradient, _ = self.noise.gradient(problem, member, self.noise.init(), draws, slot)
            return member - self.learning_rate * gradient

        places = jnp.arange(self.num_members, dtype=jnp.uint32)
        params = jax.vmap(moved)(state.params, places * jnp.uint32(slots))
        squares = jnp.sum(params**2, axis=1)
        steps = jnp.cumsum(squares) / jnp.sum(squares) * self.num_members
        offset = draws.uniforms(1, self.num_members * slots, params.dtype)
        chosen = jnp.minimum(jnp.searchsorted(steps, places + offset), self.num_members - 1)
        params = (params / jnp.sqrt(squares)[:, None])[chosen]
        return PopulationState(params, state.log_growth + jnp.log(jnp.mean(squares)))
