"""A landscape as a sum of examples, whose single-example noise has a chosen law and strength."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from sde_sgd._core import checks
from sde_sgd.problems.problem import Problem


class AbstractNoiseLaw(abc.ABC):
    """The law of one example's gradient noise, up to its mean and its scale."""

    @abc.abstractmethod
    def quantile(self, probability: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the inverse of the distribution function, for probabilities strictly between 0 and 1."""


@dataclasses.dataclass(frozen=True)
class NormalLaw(AbstractNoiseLaw):
    """The normal law."""

    def quantile(self, probability: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the inverse of the normal distribution function."""
        from scipy import special

        return special.ndtri(probability)


@dataclasses.dataclass(frozen=True)
class LaplaceLaw(AbstractNoiseLaw):
    """The Laplace law: symmetric, with exponential tails and excess kurtosis 3."""

    def quantile(self, probability: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the inverse of the Laplace distribution function."""
        return np.where(probability < 0.5, np.log(2 * probability), -np.log(2 * (1 - probability)))


@dataclasses.dataclass(frozen=True)
class UniformLaw(AbstractNoiseLaw):
    """The uniform law: symmetric and bounded, excess kurtosis -1.2."""

    def quantile(self, probability: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the probability itself."""
        return probability


@dataclasses.dataclass(frozen=True)
class ExponentialLaw(AbstractNoiseLaw):
    """The exponential law, skewness 2 or -2.

    Parameters
    ----------
    tail
        1 if the long tail drives the params to larger values (towards an exit on the right), -1 if to smaller ones.

    Raises
    ------
    ValueError
        If ``tail`` is neither.
    """

    tail: int = 1

    def __post_init__(self):
        checks.one_of("tail", self.tail, (1, -1))

    def quantile(self, probability: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the inverse of the distribution function of the exponential law or of its mirror image."""
        return -np.log1p(-probability) if self.tail == 1 else np.log(probability)


def finite_sum(well: Problem, law: AbstractNoiseLaw, *, strength: float, num_examples: int) -> Problem:
    r"""Write a landscape as a mean over examples whose gradients scatter about its own.

    .. math:: \ell_i(w) = U(w) - \xi_i \cdot w, \qquad \nabla \ell_i = \nabla U(w) - \xi_i, \qquad
              \sum_i \xi_i = 0, \qquad \frac1N \sum_i \xi_i \xi_i^\top = s^2 I

    The risk is U itself and the covariance of one example's gradient is exactly s^2 I everywhere, whatever the law; so
    the SDE of SGD at learning rate eta and batch size B has temperature eta s^2 / (2B), and what the law changes
    beyond that is what no SDE knows. A step of batch size 1 moves w by eta (xi_i - grad U).

    Each coordinate of xi takes the N quantiles of the law at probabilities (i + 1/2) / N, centred and scaled. So the
    law is that of the name but for tails rarer than 1 / N, which escapes over a high barrier at batch size 1 may need:
    take N large. In several dimensions the coordinates are paired by a low-discrepancy sequence, and what is left of
    their correlations is then removed by a linear map close to the identity.

    Parameters
    ----------
    well
        A problem with a ``potential`` and params of one array, as the wells of this room.
    law
        `NormalLaw`, `LaplaceLaw`, `UniformLaw`, `ExponentialLaw` or another `AbstractNoiseLaw`.
    strength
        s >= 0, the standard deviation of one example's gradient in each direction.
    num_examples
        N, above the number of params.

    Returns
    -------
    Problem
        With the start, ``minimum``, ``saddle`` and ``potential`` of ``well``. Its data are the xi_i.

    Raises
    ------
    TypeError, ValueError
        If the well has no potential or several arrays of params, or an argument is out of range.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> well = ss.problems.double_well()
    >>> skewed = ss.problems.finite_sum(well, ss.problems.ExponentialLaw(), strength=5.0, num_examples=1000)
    >>> round(float(ss.curvature.noise_covariance(skewed, well.minimum)[0, 0]), 3)
    25.0
    """
    if well.potential is None:
        raise ValueError("well must have a potential, got None. Make it by ss.problems.potential or pass potential=.")
    if not isinstance(law, AbstractNoiseLaw):
        raise TypeError(f"law must be a noise law such as NormalLaw(), got {law!r} of type {type(law).__name__}.")
    params = jax.eval_shape(well.init, jax.random.key(0))
    if not hasattr(params, "shape"):
        raise TypeError(f"well must have params of one array, got {jax.tree.structure(params)}.")
    checks.non_negative("strength", strength)
    checks.integer("num_examples", num_examples, minimum=params.size + 1,
                   fix=f"A covariance of {params.size} dimensions takes more examples than that.")
    noise = float(strength) * _unit_noise(law, num_examples, params.size)
    return Problem(example_loss=_ShiftedExample(well.potential), init=well.init, minimum=well.minimum,
                   saddle=well.saddle, potential=well.potential,
                   data=jnp.asarray(noise.reshape(num_examples, *params.shape), params.dtype))


@dataclasses.dataclass(frozen=True)
class _ShiftedExample:
    function: Callable[[PyTree], Array]

    def __call__(self, params: Array, example: Array) -> Array:
        return self.function(params) - jnp.sum(example * params)


def _unit_noise(law: AbstractNoiseLaw, num_examples: int, dim: int) -> Float[np.ndarray, "n d"]:
    """Return N points of mean zero and unit covariance, each coordinate of the law."""
    quantiles = law.quantile((np.arange(num_examples) + 0.5) / num_examples)
    points = quantiles[_spread_ranks(num_examples, dim)]
    points = points - points.mean(axis=0)
    values, vectors = np.linalg.eigh(points.T @ points / num_examples)
    return points @ (vectors / np.sqrt(values)) @ vectors.T


def _spread_ranks(num_examples: int, dim: int) -> Any:
    """Return a permutation of the examples for each coordinate such that the rows fill the cube evenly.

    The first coordinate is in order. The others rank the multiples of powers of the root g of g^(d+1) = g + 1, a
    generalised golden ratio (Roberts 2018), modulo 1.
    """
    root = 2.0
    for _ in range(64):
        root = (1 + root) ** (1 / (dim + 1))
    steps = root ** -np.arange(1.0, dim)
    order = np.argsort(np.outer(np.arange(num_examples) + 0.5, steps) % 1, axis=0)
    return np.concatenate([np.arange(num_examples)[:, None], np.argsort(order, axis=0)], axis=1)
