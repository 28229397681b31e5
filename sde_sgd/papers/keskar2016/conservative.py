"""Conservative training: each minibatch is minimised a little, close to where the step began."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import PyTree

from sde_sgd._core import checks, tree
from sde_sgd._core.random import Draws
from sde_sgd.noise import AbstractNoise
from sde_sgd.problems import Problem
from sde_sgd.processes.base import AbstractProcess, hyperparameter


class BatchState(NamedTuple):
    """Params and the sampler of the noise."""

    params: PyTree
    sampler: PyTree


class Conservative(AbstractProcess):
    r"""A proximal step on every minibatch, by a few iterations of ADAM that start anew each time.

    .. math:: w_{k+1} \approx \arg\min_w f_{B_k}(w) + \frac{\lambda}{2} |w - w_k|^2

    Parameters
    ----------
    learning_rate
        Of ADAM.
    noise
        The sampling scheme; all inner iterations see the same minibatch.
    strength
        lambda.
    num_inner
        Inner iterations.

    References
    ----------
    Keskar, Mudigere, Nocedal, Smelyanskiy, Tang (2017), ICLR, Appendix E.2. Li, Zhang, Chen, Smola (2014), Efficient
    mini-batch training for stochastic optimization, KDD.
    """

    learning_rate: Any = eqx.field(converter=hyperparameter)
    noise: AbstractNoise
    strength: Any = eqx.field(converter=hyperparameter, default=1e-3)
    num_inner: int = eqx.field(static=True, default=3)

    def __check_init__(self):
        checks.positive("learning_rate", self.learning_rate)
        checks.non_negative("strength", self.strength)

    @property
    def time_per_step(self) -> Any:
        """One: time counts minibatches."""
        return hyperparameter(1.0)

    def check(self, problem: Problem) -> None:
        """Raise unless the noise fits the problem."""
        self.noise.check(problem)

    def init(self, problem: Problem, params: PyTree) -> BatchState:
        """Return the state that starts from ``params``."""
        return BatchState(params, self.noise.init())

    def step(self, problem: Problem, state: BatchState, draws: Draws) -> BatchState:
        """Return the state after the inner iterations on one minibatch."""
        import optax

        adam = optax.adam(self.learning_rate)

        def inner(_: Any, now: tuple[PyTree, PyTree, PyTree]) -> tuple[PyTree, PyTree, PyTree]:
            params, memory, _ = now
            gradient, sampler = self.noise.gradient(problem, params, state.sampler, draws)
            pull = tree.axpy(-1.0, state.params, params)
            updates, memory = adam.update(tree.axpy(self.strength, pull, gradient), memory, params)
            return tree.axpy(1.0, updates, params), memory, sampler

        start = state.params, adam.init(state.params), state.sampler
        params, _, sampler = jax.lax.fori_loop(0, self.num_inner, inner, start)
        return BatchState(params, sampler)
