"""The implicit regulariser of reshuffled SGD made explicit: a penalty on the gradients of the minibatches."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Array, PyTree

from sde_sgd._core import tree
from sde_sgd._core.random import Draws
from sde_sgd.analysis import Measured, Relation, trend_test
from sde_sgd.noise import AbstractMinibatch, AbstractNoise, EpochShuffle
from sde_sgd.papers.paper import Findings
from sde_sgd.papers.smith2020.data import NOISE, task
from sde_sgd.papers.smith2020.size import Size
from sde_sgd.papers.smith2020.training import end, of, pair
from sde_sgd.problems import Problem
from sde_sgd.processes import SGD
from sde_sgd.processes.base import hyperparameter
from sde_sgd.run import sweep

if TYPE_CHECKING:
    import xarray

_NUM_EXAMPLES, _BATCH, _TIME = 500, 16, 60
_LARGE, _SMALL = 0.1, 0.0125  # learning rates
_SOURCE = "Smith, Dherin, Barrett, De (2021)"
_MARGIN = 0.015


class GradientPenalty(AbstractNoise):
    r"""Minibatch gradients of the loss with a penalty on the gradient of the minibatch itself.

    .. math:: \nabla \Bigl[f_k + \frac\lambda4 |\nabla f_k|^2\Bigr] = g_k + \frac\lambda2 H_k g_k

    Parameters
    ----------
    noise
        A sampling scheme.
    strength
        lambda; the learning rate whose implicit regularisation by reshuffling this is.
    """

    noise: AbstractMinibatch
    strength: Any

    def __init__(self, noise: AbstractMinibatch, strength: float):
        self.noise, self.strength = noise, hyperparameter(float(strength))

    @property
    def batch_size(self) -> Any:
        """That of the sampling scheme."""
        return self.noise.batch_size

    def init(self) -> PyTree:
        """Return the sampler at the start of a lane."""
        return self.noise.init()

    def num_slots(self, problem: Problem, params: PyTree) -> int:
        """Return how many slots of randomness one gradient takes."""
        return self.noise.num_slots(problem, params)

    def factor(self, problem: Problem) -> Any:
        """Return that of the sampling scheme."""
        return self.noise.factor(problem)

    def gradient(
        self, problem: Problem, params: PyTree, sampler: PyTree, draws: Draws, slot: Any = 0
    ) -> tuple[PyTree, PyTree]:
        """Return the gradient of the penalised loss of the next minibatch."""
        batch, sampler = self.noise.sample(problem, params, sampler, draws, slot)

        def gradient(at: PyTree) -> PyTree:
            return problem.gradient(at, batch)

        own: Array
        own, product = jax.linearize(gradient, params)
        return tree.axpy(self.strength / 2, product(own), own), sampler


def explicit(size: Size, key: Any) -> Findings:
    """Train at a large learning rate, and at a small one with penalties, for equal times with 20 % label noise."""
    import xarray

    strengths = (0.0, *size.penalties)
    large = _runs(_LARGE, (0.0,), size, key)[0.0]
    small = _runs(_SMALL, strengths, size, key)
    same = small[_LARGE]
    accuracy = np.stack([small[strength].accuracy.values for strength in strengths], axis=1)
    trend = trend_test(accuracy)
    where = f"learning rate {_SMALL:g}"
    claims = [
        pair(same.accuracy - large.accuracy)(
            f"test accuracy, {where} with penalty {_LARGE:g} less learning rate {_LARGE:g}: equal to 1.5 points",
            _SOURCE, 0.0, relation=Relation.WITHIN, tolerance=_MARGIN),
        pair(same.accuracy - small[0.0].accuracy)(f"test accuracy, {where}, penalty {_LARGE:g} less none", _SOURCE, 0.0,
                                                  relation=Relation.ABOVE),
        pair(large.accuracy - small[0.0].accuracy)(
            f"test accuracy, no penalty, learning rate {_LARGE:g} less {_SMALL:g}", _SOURCE, 0.0,
            relation=Relation.ABOVE),
        of(Measured(*trend[:2]), size.penalty_seeds)(
            f"rank correlation of the test accuracy with the penalty, {where}; Page's p = {trend.p_value:.1g}", _SOURCE,
            0.0, relation=Relation.ABOVE),
    ]
    rows = xarray.concat(list(small.values()), xarray.DataArray(list(small), dims="penalty", name="penalty"))
    data = rows[["accuracy"]].mean("seed").assign(
        accuracy_stderr=rows.accuracy.std("seed", ddof=1) / size.penalty_seeds**0.5,
        accuracy_large=large.accuracy.mean(),
        accuracy_large_stderr=large.accuracy.std(ddof=1) / size.penalty_seeds**0.5)
    return Findings(claims, data)


def _runs(rate: float, strengths: tuple[float, ...], size: Size, key: Any) -> "dict[float, xarray.Dataset]":
    """Return the end of runs of one learning rate for every strength of the penalty."""
    data = task(_NUM_EXAMPLES, NOISE)

    def process(strength: float) -> Any:
        return lambda rate, batch: SGD(rate, GradientPenalty(EpochShuffle(batch), strength))

    last = end(sweep(data.problem, {str(strength): process(strength) for strength in strengths}, learning_rates=(rate,),
                     batch_sizes=(_BATCH,), num_seeds=size.penalty_seeds, num_steps=round(_TIME / rate),
                     record=data.record, key=key, progress=False), "process").isel(learning_rate=0, drop=True)
    return {strength: last.sel(process=str(strength), drop=True) for strength in strengths}
