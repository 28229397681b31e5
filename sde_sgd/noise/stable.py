"""Heavy-tailed noise at the scale of a minibatch: the control for the tails of the noise."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sde_sgd._core import checks, tree
from sde_sgd._core.random import Draws
from sde_sgd._core.random_tree import slots_for_stable_like, stable_like
from sde_sgd.curvature.covariance import noise_trace
from sde_sgd.noise.base import AbstractNoise, batch_leaf, sampling_factor
from sde_sgd.problems.problem import Problem


def _index_leaf(value: Any) -> Any:
    """Check a tail index and keep it as a float64 host scalar; let arrays through."""
    checks.stable_index("tail_index", value)
    return value if isinstance(value, jax.Array) else np.asarray(value, np.float64)


class Stable(AbstractNoise):
    r"""Symmetric alpha-stable noise of the scale of a minibatch, independent in every coordinate.

    .. math:: g = \nabla f(w) + \sqrt{\frac{\varphi\,\mathrm{tr}\,\Sigma(w)}{2d}}\; S, \qquad
              \mathrm{E}\,e^{ik \cdot S} = \exp\Bigl(-\sum_j |k_j|^\alpha\Bigr)

    The control that shows what the *tails* of the noise do. At alpha = 2 it is `Isotropic`, of the minibatch's total
    variance; below 2 the scale stays and the variance is infinite, as are all moments of order alpha and above. (Where
    the examples themselves are stable, their mean has a scale that falls as :math:`B^{1/\alpha-1}`, slower than the
    :math:`B^{-1/2}` kept here.) For stable noise of a scale of its own, on any landscape, see `LevyLangevin`.

    Parameters
    ----------
    batch_size
        B, in 1..N.
    tail_index
        alpha in (0, 2].
    replacement
        As for `Gaussian`.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Notes
    -----
    Cost: one full gradient and N example gradients for the trace. Randomness: d stable numbers a draw. It is no
    Gaussian noise and drives no `SME`.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> heavy = ss.SGD(0.1, ss.Stable(8, tail_index=1.5))
    """

    batch_size: Any = eqx.field(converter=batch_leaf)
    tail_index: Any = eqx.field(converter=_index_leaf, kw_only=True)
    replacement: bool = eqx.field(static=True, kw_only=True, default=True)

    def init(self) -> PyTree:
        """Return the empty sampler: draws are independent."""
        return ()

    def num_slots(self, problem: Problem, params: PyTree) -> int:
        """Return how many slots of randomness one gradient takes."""
        return slots_for_stable_like(params)

    def factor(self, problem: Problem) -> Any:
        """Return the sampling factor of the minibatch imitated, the variance only at tail index 2."""
        return sampling_factor(self.batch_size, problem.num_examples, self.replacement)

    def gradient(
        self, problem: Problem, params: PyTree, sampler: PyTree, draws: Draws, slot: Any = 0
    ) -> tuple[PyTree, PyTree]:
        """Return the full gradient with one draw of the noise."""
        total = noise_trace(problem, params) * self.factor(problem)
        jumps = stable_like(draws, params, self.tail_index, slot)
        return tree.axpy(jnp.sqrt(total / (2 * tree.size(params))), jumps, problem.gradient(params)), sampler
