"""Wells in two and more dimensions whose valley narrows or bends on the way to the saddle."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sde_sgd._core import checks
from sde_sgd.problems.landscape import potential
from sde_sgd.problems.problem import Problem


def narrowing_well(barrier: float = 1.0, *, stiffness: float = 2.0, saddle_stiffness: float = 10.0,
                   dim: int = 2) -> Problem:
    r"""Make a double well in a valley whose width changes on the way, started on the left.

    .. math:: U(x, y) = b\, (x^2 - 1)^2 + \tfrac12 k(x) |y|^2, \qquad k(x) = k_\infty + (k_s - k_\infty) e^{-4 x^2}

    Minima at x = -1 and +1, y = 0; the saddle is the origin. In each of the other directions the Hessian is k(-1) at
    the minimum and k_s at the saddle: the prefactor of the escape time, which one dimension does not have.

    Parameters
    ----------
    barrier
        b > 0.
    stiffness, saddle_stiffness
        k far from the saddle and k_s, both positive.
    dim
        Number of coordinates, at least 2.

    Returns
    -------
    Problem
        Of one example, params of shape (dim,), with ``minimum``, ``saddle``, ``barrier`` and ``potential``.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> well = ss.problems.narrowing_well()
    >>> well.minimum.tolist(), well.saddle.tolist(), well.barrier
    ([-1.0, 0.0], [0.0, 0.0], 1.0)
    """
    checks.positive("barrier", barrier)
    checks.positive("stiffness", stiffness)
    checks.positive("saddle_stiffness", saddle_stiffness)
    checks.integer("dim", dim, minimum=2)
    minimum = np.zeros(dim, np.float32)
    minimum[0] = -1.0
    function = _NarrowingWell(float(barrier), float(stiffness), float(saddle_stiffness))
    return potential(function, start=minimum, minimum=minimum, saddle=np.zeros(dim))


def curved_valley(barrier: float = 1.0, *, stiffness: float = 3.0, bend: float = 0.8) -> Problem:
    r"""Make a double well in a bent valley, started on the left.

    .. math:: U(x, y) = b\, (x^2 - 1)^2 + k\, \bigl(y - c (1 - x^2)\bigr)^2

    Minima at (-1, 0) and (1, 0), the saddle at (0, c). Noise that differs between the two directions changes the
    exponent of the escape time here, not only its prefactor, as the way to the saddle uses both.

    Parameters
    ----------
    barrier
        b > 0.
    stiffness
        k > 0, half the curvature across the valley.
    bend
        c, how far the saddle lies beside the line between the minima.

    Returns
    -------
    Problem
        Of one example, params of shape (2,), with ``minimum``, ``saddle``, ``barrier`` and ``potential``.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> well = ss.problems.curved_valley(bend=0.5)
    >>> well.minimum.tolist(), well.saddle.tolist(), well.barrier
    ([-1.0, 0.0], [0.0, 0.5], 1.0)
    """
    checks.positive("barrier", barrier)
    checks.positive("stiffness", stiffness)
    checks.finite("bend", bend)
    function = _CurvedValley(float(barrier), float(stiffness), float(bend))
    minimum = np.array([-1.0, 0.0], np.float32)
    return potential(function, start=minimum, minimum=minimum, saddle=np.array([0.0, float(bend)]))


@dataclasses.dataclass(frozen=True)
class _NarrowingWell:
    barrier: float
    stiffness: float
    saddle_stiffness: float

    def __call__(self, params: Any) -> Any:
        xp = jnp if isinstance(params, jax.Array) else np
        x, others = params[..., 0], params[..., 1:]
        squared_distance = (others * others).sum(axis=-1)
        stiffness = self.stiffness + (self.saddle_stiffness - self.stiffness) * xp.exp(-4 * x * x)
        return self.barrier * (x * x - 1) ** 2 + 0.5 * stiffness * squared_distance


@dataclasses.dataclass(frozen=True)
class _CurvedValley:
    barrier: float
    stiffness: float
    bend: float

    def __call__(self, params: Any) -> Any:
        x, y = params[..., 0], params[..., 1]
        return self.barrier * (x * x - 1) ** 2 + self.stiffness * (y - self.bend * (1 - x * x)) ** 2
