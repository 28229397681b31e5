"""Minibatch noise: the sampling schemes of discrete SGD, each a sparse weighting of the examples."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree, UInt32

from sde_sgd._core.random import Draws, permuted, slots_for_bits, slots_for_indices
from sde_sgd.noise.base import AbstractMinibatch, batch_leaf, sampling_factor
from sde_sgd.problems.problem import Batch, Problem, float_dtype


def batch_capacity(batch_size: int) -> int:
    """Return the number of rows gathered for a batch: the batch size rounded up to three significant bits.

    Batch sizes of one capacity share one compiled program, with the rows beyond the batch weighted zero. So the number
    of programs grows with the logarithm of the range of batch sizes (four an octave) and no batch costs more than
    1.25 times its own size.
    """
    unit = 1 << max(int(batch_size).bit_length() - 3, 0)
    return -(-int(batch_size) // unit) * unit


def _mean_weights(count: Any, capacity: int, dtype: Any) -> Array:
    """Return weights 1/count for the first ``count`` rows and zero for the rest."""
    used = jnp.arange(capacity, dtype=jnp.int32) < count
    return jnp.where(used, 1.0 / jnp.asarray(count, dtype), jnp.zeros((), dtype))


class WithReplacement(AbstractMinibatch):
    r"""Minibatches of B independent, uniform examples.

    .. math:: g = \frac1B \sum_{j=1}^B g_{i_j}, \qquad \mathrm{Cov}(g) = \frac1B \Sigma(w)

    Parameters
    ----------
    batch_size
        B, in 1..N.

    Notes
    -----
    Cost: B example gradients a step. Randomness: one 64-bit block for two indices.
    """

    batch_size: Any = eqx.field(converter=batch_leaf)
    capacity: int = eqx.field(static=True)

    def __init__(self, batch_size: int):
        self.batch_size = batch_leaf(batch_size)
        self.capacity = batch_capacity(int(self.batch_size))

    def init(self) -> PyTree:
        """Return the empty sampler: batches are independent."""
        return ()

    def num_slots(self, problem: Problem, params: PyTree) -> int:
        """Return how many slots of randomness one gradient takes."""
        return slots_for_indices(self.capacity)

    def num_rows(self, problem: Problem, params: PyTree) -> int:
        """Return how many examples are drawn, those of weight zero included."""
        return self.capacity

    def factor(self, problem: Problem) -> Any:
        """Return 1/B."""
        return sampling_factor(self.batch_size, problem.num_examples, replacement=True)

    def sample(
        self, problem: Problem, params: PyTree, sampler: PyTree, draws: Draws, slot: Any = 0
    ) -> tuple[Batch, PyTree]:
        """Draw one minibatch as a weighting of the examples."""
        indices = draws.indices(self.capacity, problem.num_examples, slot)
        return Batch(indices, _mean_weights(self.batch_size, self.capacity, float_dtype(params))), sampler


class WithoutReplacement(AbstractMinibatch):
    r"""Minibatches of B distinct examples, drawn afresh at every step.

    .. math:: \mathrm{Cov}(g) = \frac{N-B}{B(N-1)} \Sigma(w)

    Parameters
    ----------
    batch_size
        B, in 1..N; at B = N the gradient is exact.

    Notes
    -----
    Cost: B example gradients a step. The subset is the head of a keyed permutation, none of which is stored.
    """

    batch_size: Any = eqx.field(converter=batch_leaf)
    capacity: int = eqx.field(static=True)

    def __init__(self, batch_size: int):
        self.batch_size = batch_leaf(batch_size)
        self.capacity = batch_capacity(int(self.batch_size))

    def init(self) -> PyTree:
        """Return the empty sampler: batches are independent."""
        return ()

    def num_slots(self, problem: Problem, params: PyTree) -> int:
        """Return how many slots of randomness one gradient takes."""
        return 1

    def num_rows(self, problem: Problem, params: PyTree) -> int:
        """Return how many examples are drawn, those of weight zero included."""
        return min(self.capacity, problem.num_examples)

    def factor(self, problem: Problem) -> Any:
        """Return (N-B)/(B(N-1))."""
        return sampling_factor(self.batch_size, problem.num_examples, replacement=False)

    def sample(
        self, problem: Problem, params: PyTree, sampler: PyTree, draws: Draws, slot: Any = 0
    ) -> tuple[Batch, PyTree]:
        """Draw one minibatch as a weighting of the examples."""
        rows = self.num_rows(problem, params)
        indices = draws.subset(rows, problem.num_examples, slot)
        return Batch(indices, _mean_weights(self.batch_size, rows, float_dtype(params))), sampler


class EpochPosition(NamedTuple):
    """Where a lane stands in its epoch: the next batch and the key of the epoch's permutation."""

    batch: UInt32[Array, ""]
    key0: UInt32[Array, ""]
    key1: UInt32[Array, ""]


class EpochShuffle(AbstractMinibatch):
    r"""Minibatches that walk through a fresh random order of the examples in every epoch.

    Each example is used exactly once an epoch. An epoch has ceil(N/B) batches; when B does not divide N the last one
    holds the N - B (ceil(N/B) - 1) examples that are left and is averaged over these, as data loaders do that drop
    nothing. One batch of b examples has covariance :math:`(N-b)/(b(N-1))\,\Sigma`, but batches of one epoch are
    *anti-correlated*, so the process is not a Markov chain in the params alone and no standard SDE describes it.

    Parameters
    ----------
    batch_size
        B, in 1..N.

    Notes
    -----
    No permutation is stored: the example at a position comes from a keyed bijection, and the sampler holds three
    words.
    """

    batch_size: Any = eqx.field(converter=batch_leaf)
    capacity: int = eqx.field(static=True)

    def __init__(self, batch_size: int):
        self.batch_size = batch_leaf(batch_size)
        self.capacity = batch_capacity(int(self.batch_size))

    def init(self) -> EpochPosition:
        """Return the start of the first epoch; its permutation is chosen at the first step."""
        zero = jnp.zeros((), jnp.uint32)
        return EpochPosition(zero, zero, zero)

    def num_slots(self, problem: Problem, params: PyTree) -> int:
        """Return how many slots of randomness one gradient takes."""
        return slots_for_bits(2)

    def num_rows(self, problem: Problem, params: PyTree) -> int:
        """Return how many examples are drawn, those of weight zero included."""
        return min(self.capacity, problem.num_examples)

    def factor(self, problem: Problem) -> Any:
        """Return (N-B)/(B(N-1)), the factor of one full batch seen alone."""
        return sampling_factor(self.batch_size, problem.num_examples, replacement=False)

    def sample(
        self, problem: Problem, params: PyTree, sampler: EpochPosition, draws: Draws, slot: Any = 0
    ) -> tuple[Batch, EpochPosition]:
        """Draw the next minibatch of the epoch as a weighting of the examples."""
        num_examples = problem.num_examples
        fresh = draws.bits(2, slot)
        begins = sampler.batch == 0
        key0 = jnp.where(begins, fresh[0], sampler.key0)
        key1 = jnp.where(begins, fresh[1], sampler.key1)
        batch_size = jnp.asarray(self.batch_size, jnp.uint32)
        rows = self.num_rows(problem, params)
        start = sampler.batch * batch_size
        count = jnp.minimum(batch_size, jnp.uint32(num_examples) - start)
        # Rows beyond the batch are gathered from inside the data and weighted zero.
        positions = jnp.minimum(start + jnp.arange(rows, dtype=jnp.uint32), jnp.uint32(num_examples - 1))
        indices = permuted(positions, num_examples, key0, key1).astype(jnp.int32)
        weights = _mean_weights(count.astype(jnp.int32), rows, float_dtype(params))
        ends = start + count >= num_examples
        following = jnp.where(ends, jnp.zeros((), jnp.uint32), sampler.batch + jnp.uint32(1))
        return Batch(indices, weights), EpochPosition(following, key0, key1)
