"""What a noise is: a random estimate of the gradient with a known covariance."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from sde_sgd._core import checks
from sde_sgd._core.random import Draws
from sde_sgd.problems.problem import Batch, Problem


def batch_leaf(value: Any) -> Array | np.ndarray:
    """Check a batch size and keep it as an int32 host scalar; let arrays through."""
    if isinstance(value, jax.Array):
        return value
    checks.integer("batch_size", value, maximum=2**31 - 1)
    return np.asarray(value, np.int32)


def sampling_factor(batch_size: Any, num_examples: int, replacement: bool) -> Any:
    r"""Return :math:`\varphi`: 1/B with replacement, (N-B)/(B(N-1)) without."""
    batch = 1.0 * batch_size
    if replacement:
        return 1.0 / batch
    return (num_examples - batch) / (batch * max(num_examples - 1, 1))


class AbstractNoise(eqx.Module):
    r"""A random estimate of the gradient, unbiased, with a covariance that goes with the batch size.

    A noise holds configuration only. What has to be remembered between steps (the position in an epoch) is the
    *sampler*, a pytree that `init` makes and `gradient` returns anew.
    """

    batch_size: eqx.AbstractVar[Any]

    def check(self, problem: Problem) -> None:
        """Raise on the host, before compilation, unless the batch size lies in 1..N."""
        checks.integer("batch_size", self.batch_size, maximum=problem.num_examples,
                       fix=f"The problem has {problem.num_examples} examples.")

    @abc.abstractmethod
    def init(self) -> PyTree:
        """Return the sampler at the start of a lane."""

    @abc.abstractmethod
    def gradient(
        self, problem: Problem, params: PyTree, sampler: PyTree, draws: Draws, slot: Any = 0
    ) -> tuple[PyTree, PyTree]:
        """Return one noisy gradient and the next sampler; randomness from ``num_slots`` slots of ``draws``."""

    @abc.abstractmethod
    def num_slots(self, problem: Problem, params: PyTree) -> int:
        """Return how many slots of randomness one gradient takes."""

    def num_rows(self, problem: Problem, params: PyTree) -> int:
        """Return how many examples are copied for one gradient; 0 for a noise that takes them where they lie."""
        return 0

    @abc.abstractmethod
    def factor(self, problem: Problem) -> Any:
        r"""Return :math:`\varphi`, the variance of one gradient in units of the single-example variance."""


class AbstractMinibatch(AbstractNoise):
    """A sampling scheme: the gradient of a random minibatch, a sparse weighting of the examples."""

    @abc.abstractmethod
    def sample(
        self, problem: Problem, params: PyTree, sampler: PyTree, draws: Draws, slot: Any = 0
    ) -> tuple[Batch, PyTree]:
        """Draw the next minibatch; return it as a weighting, and the next sampler."""

    def num_rows(self, problem: Problem, params: PyTree) -> int:
        """Return how many examples are drawn, those of weight zero included."""

        def sample() -> Batch:
            zero = jnp.uint32(0)
            return self.sample(problem, params, self.init(), Draws((zero, zero), zero))[0]

        return jax.eval_shape(sample).indices.shape[0]

    def gradient(
        self, problem: Problem, params: PyTree, sampler: PyTree, draws: Draws, slot: Any = 0
    ) -> tuple[PyTree, PyTree]:
        """Return the gradient of the next minibatch and the next sampler."""
        batch, sampler = self.sample(problem, params, sampler, draws, slot)
        return problem.gradient(params, batch), sampler


class AbstractGaussianNoise(AbstractNoise):
    """A noise that is Gaussian given the params, so that it can drive a stochastic differential equation.

    It remembers nothing between steps, and its fluctuation can be had apart from the mean and at any scale.
    """

    replacement: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def scaled_gradient(self, problem: Problem, params: PyTree, draws: Draws, slot: Any, scale: Any) -> PyTree:
        """Return the full gradient plus ``scale`` times the fluctuation."""

    @abc.abstractmethod
    def fluctuation(self, problem: Problem, params: PyTree, draws: Draws, slot: Any) -> PyTree:
        """Return the fluctuation alone: mean zero, the covariance of one gradient."""

    @abc.abstractmethod
    def variance_along(self, problem: Problem, params: PyTree, direction: PyTree) -> Array:
        """Return the variance of the fluctuation's inner product with ``direction``, a pytree like the params."""

    @abc.abstractmethod
    def variances(self, problem: Problem, params: PyTree) -> PyTree:
        """Return the variance of every component of one gradient, like the params."""

    def init(self) -> PyTree:
        """Return the empty sampler: draws are independent."""
        return ()

    def gradient(
        self, problem: Problem, params: PyTree, sampler: PyTree, draws: Draws, slot: Any = 0
    ) -> tuple[PyTree, PyTree]:
        """Return the full gradient with one draw of the noise."""
        return self.scaled_gradient(problem, params, draws, slot, 1.0), sampler

    def factor(self, problem: Problem) -> Any:
        """Return the sampling factor of the minibatch imitated."""
        return sampling_factor(self.batch_size, problem.num_examples, self.replacement)
