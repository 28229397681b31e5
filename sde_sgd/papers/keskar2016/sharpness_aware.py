"""Sharpness-aware minimisation: the gradient from where the minibatch's loss is worst nearby."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import PyTree

from sde_sgd._core import checks, tree
from sde_sgd._core.random import Draws
from sde_sgd.noise import AbstractNoise
from sde_sgd.papers.keskar2016.conservative import BatchState
from sde_sgd.problems import Problem
from sde_sgd.processes.base import AbstractProcess, hyperparameter


class SharpnessAware(AbstractProcess):
    r"""SGD on the largest loss in a ball, to first order: the robust training that the paper found infeasible.

    .. math:: w_{k+1} = w_k - \eta\, \nabla f_{B_k}\Bigl(w_k + \rho \frac{g_k}{|g_k|}\Bigr), \qquad
              g_k = \nabla f_{B_k}(w_k)

    Parameters
    ----------
    learning_rate
        eta.
    noise
        The sampling scheme; both gradients see the same minibatch.
    radius
        rho.

    References
    ----------
    Foret, Kleiner, Mobahi, Neyshabur (2021), Sharpness-aware minimization for efficiently improving generalization,
    ICLR.
    """

    learning_rate: Any = eqx.field(converter=hyperparameter)
    noise: AbstractNoise
    radius: Any = eqx.field(converter=hyperparameter)

    def __check_init__(self):
        checks.positive("learning_rate", self.learning_rate)
        checks.non_negative("radius", self.radius)

    @property
    def time_per_step(self) -> Any:
        """The learning rate."""
        return self.learning_rate

    def check(self, problem: Problem) -> None:
        """Raise unless the noise fits the problem."""
        self.noise.check(problem)

    def init(self, problem: Problem, params: PyTree) -> BatchState:
        """Return the state that starts from ``params``."""
        return BatchState(params, self.noise.init())

    def step(self, problem: Problem, state: BatchState, draws: Draws) -> BatchState:
        """Return the state after one minibatch, of which two gradients are taken."""
        here, _ = self.noise.gradient(problem, state.params, state.sampler, draws)
        length = jnp.sqrt(tree.squared_norm(here))
        share = jnp.where(length > 0, self.radius / jnp.where(length > 0, length, 1), 0)
        there, sampler = self.noise.gradient(problem, tree.axpy(share, here, state.params), state.sampler, draws)
        return BatchState(tree.axpy(-self.learning_rate, there, state.params), sampler)
