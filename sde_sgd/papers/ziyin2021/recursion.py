r"""The second moment of SGD from the measured moments of single minibatch gradients.

Beyond the learning rate at which the *fourth* moment of the stationary law ceases to exist, no ensemble can measure the
second: its standard error is infinite. One step from a fixed point has all moments. For gradients affine in w, the mean
of the gradient is affine and its second moment quadratic in w, so that a few starting points determine the recursion

.. math:: \mathrm{E}[w'] = w - \lambda\,\mathrm{E}[g], \qquad
          \mathrm{E}[w' w'^\top] = w w^\top - \lambda (w\,\mathrm{E}[g]^\top + \mathrm{E}[g]\,w^\top)
          + \lambda^2\, \mathrm{E}[g g^\top]

at every learning rate and weight decay; its fixed point is the stationary law's. Standard errors by the jackknife.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sde_sgd._core.random import Draws
from sde_sgd.analysis import Measured, jackknife
from sde_sgd.papers.ziyin2021.fresh_data import FreshBatch, FreshData
from sde_sgd.papers.ziyin2021.size import Size
from sde_sgd.problems import Problem
from sde_sgd.processes.base import AbstractProcess
from sde_sgd.run import simulate
from sde_sgd.theory.roots import bracketed_root

BLOCKS = 64


class FixedPoint(NamedTuple):
    """Mean and second moment of the stationary law."""

    mean: Float[np.ndarray, " d"]
    second: Float[np.ndarray, "d d"]


@dataclasses.dataclass(frozen=True)
class Recursion:
    """Means over blocks of draws: of the gradient at every start, (blocks, starts, d), and of its outer product."""

    batch_size: int
    starts: Float[np.ndarray, "k d"]
    gradient: Float[np.ndarray, "b k d"]
    outer: Float[np.ndarray, "b k d d"]

    def growth(self, learning_rate: float, weight_decay: float = 0.0) -> Measured:
        """Return the factor by which the second moment grows per step in the long run."""
        return self._jackknife(self._radius, learning_rate, weight_decay)

    def threshold(self, low: float, high: float) -> Measured:
        """Return the learning rate between the two at which the second moment begins to grow."""
        value = bracketed_root(lambda rate: self._growth(rate) - 1, low, high)
        slope = (self._growth(value * 1.001) - self._growth(value * 0.999)) / (0.002 * value)
        return Measured(value, self.growth(value).stderr / abs(slope))

    def expectation(
        self, function: Callable[[FixedPoint], float], learning_rate: float, weight_decay: float = 0.0
    ) -> Measured:
        """Return a function of the stationary moments; infinite where the second moment grows."""
        growth = self.growth(learning_rate, weight_decay)
        if growth.value - 1 > 4 * growth.stderr:
            return Measured(math.inf, 0.0)
        if abs(growth.value - 1) <= 4 * growth.stderr:
            return Measured(math.nan, math.nan)
        return self._jackknife(lambda step: function(self._fixed_point(step)), learning_rate, weight_decay)

    def _growth(self, rate: float) -> float:
        return self._radius(self._step(self.gradient.mean(axis=0), self.outer.mean(axis=0), rate, 0.0))

    def _radius(self, step: np.ndarray) -> float:
        """Return the spectral radius among the second moments."""
        first = 1 + self.starts.shape[1]
        return float(np.max(np.abs(np.linalg.eigvals(step[first:, first:]))))

    def _jackknife(
        self, statistic: Callable[[np.ndarray], float], learning_rate: float, weight_decay: float
    ) -> Measured:
        return Measured(*jackknife(
            lambda gradient, outer: statistic(self._step(gradient, outer, learning_rate, weight_decay)), self.gradient,
            self.outer))

    def _step(self, gradient: np.ndarray, outer: np.ndarray, rate: float, decay: float) -> Float[np.ndarray, "k k"]:
        """Return the matrix that takes the moments (1, w, w w^T) to those one step later."""
        kept = (1 - rate * decay) * self.starts
        cross = kept[:, :, None] * gradient[:, None, :]
        mean = kept - rate * gradient
        second = kept[:, :, None] * kept[:, None, :] - rate * (cross + cross.swapaxes(1, 2)) + rate**2 * outer
        before = _monomials(self.starts, self.starts[:, :, None] * self.starts[:, None, :])
        return np.linalg.solve(before, _monomials(mean, second)).T

    def _fixed_point(self, step: np.ndarray) -> FixedPoint:
        moments = np.linalg.solve(np.eye(len(step) - 1) - step[1:, 1:], step[1:, 0])
        dim = self.starts.shape[1]
        second = np.zeros((dim, dim))
        second[np.triu_indices(dim)] = moments[dim:]
        return FixedPoint(moments[:dim], np.triu(second) + np.triu(second, 1).T)


def _monomials(mean: np.ndarray, second: np.ndarray) -> Float[np.ndarray, "k k"]:
    rows, columns = np.triu_indices(mean.shape[1])
    return np.concatenate([np.ones((len(mean), 1)), mean, second[:, rows, columns]], axis=1)


class _Gradients(NamedTuple):
    """The gradients of the latest minibatch at every start."""

    params: Float[Array, "k d"]


class GradientDraws(AbstractProcess):
    """Minibatch gradients at fixed points: every step draws one batch and goes nowhere.

    Parameters
    ----------
    noise
        The sampling scheme.
    starts
        Where the gradients are taken, shape (k, d).
    """

    noise: FreshBatch
    starts: Any

    @property
    def time_per_step(self) -> Any:
        """One draw."""
        return np.asarray(1.0)

    def check(self, problem: Problem) -> None:
        """Raise unless the noise fits the problem."""
        self.noise.check(problem)

    def init(self, problem: Problem, params: Array) -> _Gradients:
        """Return zeros, before the first draw."""
        return _Gradients(jnp.zeros(self.starts.shape, params.dtype))

    def step(self, problem: Problem, state: _Gradients, draws: Draws) -> _Gradients:
        """Return the gradients of the next batch, the same for all starts."""
        starts = jnp.asarray(self.starts, state.params.dtype)
        return _Gradients(jax.vmap(lambda start: self.noise.gradient(problem, start, (), draws)[0])(starts))


def _params(problem: Problem, params: Array) -> Array:
    return params


def gradient_draws(data: FreshData, batch_size: int, starts: np.ndarray, size: Size, key: Array) -> np.ndarray:
    """Return minibatch gradients at every start, in blocks of independent draws: (blocks, draws, starts, d)."""
    found = simulate(data.problem(), GradientDraws(data.batch(batch_size), starts), num_seeds=size.num_lanes,
                     num_steps=size.num_draws // size.num_lanes, record_every=1, record={"gradient": _params}, key=key,
                     progress=False)
    drawn = found.gradient.isel(step=slice(1, None)).values.astype(np.float64)
    return drawn.reshape(BLOCKS, -1, *starts.shape)


def curvature_draws(batch_size: int, size: Size, key: Array) -> Float[np.ndarray, "b n"]:
    """Return curvatures of minibatches in one dimension, a = 1, in blocks of independent draws."""
    return gradient_draws(FreshData((1.0,)), batch_size, np.ones((1, 1)), size, key)[..., 0, 0]


def measured_recursion(data: FreshData, batch_size: int, size: Size, key: Array) -> Recursion:
    """Measure the moments of minibatch gradients at enough points to know them everywhere."""
    dim = data.dim
    unit = np.eye(dim)
    pairs = [unit[i] + unit[j] for i in range(dim) for j in range(i)]
    starts = np.stack([np.zeros(dim), *unit, *-unit, *pairs])
    blocks = gradient_draws(data, batch_size, starts, size, key)
    outer = np.einsum("bnki,bnkj->bkij", blocks, blocks) / blocks.shape[1]
    return Recursion(batch_size, starts, blocks.mean(axis=1), outer)
