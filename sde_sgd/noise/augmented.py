"""Minibatches of examples that are changed at random whenever they are drawn."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree

from sde_sgd._core.functions import as_pytree
from sde_sgd._core.random import Draws, slots_for_bits
from sde_sgd.noise.base import AbstractMinibatch, AbstractNoise
from sde_sgd.problems.problem import Problem


class Augmented(AbstractNoise):
    r"""Data augmentation, or any other fresh noise of the examples.

    .. math:: g = \sum_j a_j \nabla \ell(w, \tau_j(z_{i_j})), \qquad \tau_j \text{ independent}

    with the minibatch of another noise and a random transformation of each of its examples. What is minimised is then
    the mean over the transformations, :math:`\frac1N\sum_i \mathrm{E}\,\ell(w, \tau(z_i))`, and *not* the problem's own
    risk, which ``Problem.loss`` still returns; nor is this noise a weighting of the N examples. Sampled with
    replacement, one gradient has covariance

    .. math:: \frac1B\Bigl(\Sigma_{\bar g} + \frac1N \sum_i \mathrm{Cov}_\tau\,\nabla\ell(w, \tau(z_i))\Bigr)

    where the first term belongs to the mean gradients :math:`\bar g_i = \mathrm{E}_\tau \nabla\ell(w, \tau(z_i))`. The
    second stays for B = N, and `factor` speaks of the first alone. No Gaussian noise imitates it.

    Parameters
    ----------
    noise
        A sampling scheme, such as ``EpochShuffle(32)``.
    transform
        ``transform(key, example) -> example``, of the same shapes and dtypes, with a typed key of its own for every
        example drawn; an example is one row of the problem's data, an ``(input, label)`` pair for a network. See
        `shifts`, `rotations`, `flips`, `fresh_labels`, `composed`.

    Raises
    ------
    TypeError
        If ``noise`` is no sampling scheme or ``transform`` cannot be called.

    Notes
    -----
    Randomness: one slot for every row, beside those of the sampling scheme. Examples of a batch that is rounded up
    (see `WithReplacement`) are transformed in vain.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> process = ss.SGD(0.1, ss.Augmented(ss.EpochShuffle(32), ss.noise.shifts(0.1)))
    """

    noise: AbstractMinibatch
    transform: Callable[[Any, PyTree], PyTree] = eqx.field(converter=as_pytree)

    def __check_init__(self):
        if not isinstance(self.noise, AbstractMinibatch):
            raise TypeError("noise of Augmented must be a sampling scheme such as sde_sgd.EpochShuffle(batch_size), "
                            f"got {self.noise!r} of type {type(self.noise).__name__}.")
        if not callable(self.transform):
            raise TypeError(f"transform must be a function of (key, example), got {self.transform!r}.")

    @property
    def batch_size(self) -> Any:
        """The batch size of the sampling scheme."""
        return self.noise.batch_size

    def check(self, problem: Problem) -> None:
        """Raise unless the batch size lies in 1..N and an example is transformed into one of its kind."""
        self.noise.check(problem)
        example = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), problem.data)
        try:
            new = jax.eval_shape(lambda example: self.transform(jax.random.key(0), example), example)
        except Exception as error:
            raise ValueError(f"transform of (key, example) failed for an example of shapes {_shapes(example)}: "
                             f"{type(error).__name__}: {error}") from error
        same = jax.tree.structure(new) == jax.tree.structure(example)
        if not same or _shapes(new) != _shapes(example):
            raise ValueError("transform must return an example of the same shapes and dtypes, got "
                             f"{_shapes(new)} for {_shapes(example)}.")

    def init(self) -> PyTree:
        """Return the sampler at the start of a lane."""
        return self.noise.init()

    def num_slots(self, problem: Problem, params: PyTree) -> int:
        """Return how many slots of randomness one gradient takes."""
        return self.noise.num_slots(problem, params) + slots_for_bits(2 * self.num_rows(problem, params))

    def num_rows(self, problem: Problem, params: PyTree) -> int:
        """Return how many examples the sampling scheme draws."""
        return self.noise.num_rows(problem, params)

    def factor(self, problem: Problem) -> Any:
        """Return that of the sampling scheme: the variance of the *mean* gradients of the examples alone."""
        return self.noise.factor(problem)

    def gradient(
        self, problem: Problem, params: PyTree, sampler: PyTree, draws: Draws, slot: Any = 0
    ) -> tuple[PyTree, PyTree]:
        """Return the gradient of the next minibatch, its examples transformed, and the next sampler."""
        batch, sampler = self.noise.sample(problem, params, sampler, draws, slot)
        count = batch.indices.shape[0]
        words = draws.bits(2 * count, slot + self.noise.num_slots(problem, params)).reshape(count, 2)
        keys = jax.random.wrap_key_data(words, impl="threefry2x32")
        rows = jax.vmap(self.transform)(keys, problem.rows(batch.indices))
        return jax.grad(problem.loss_of_rows)(params, rows, batch.weights), sampler


def _shapes(example: PyTree) -> Any:
    return jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", example)
