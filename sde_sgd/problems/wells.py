"""Wells with known minima and saddles: sums over the coordinates of a potential of one variable.

The potentials are element-wise and work on JAX and on NumPy arrays alike, the latter in float64 whatever JAX's setting.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sde_sgd._core import checks
from sde_sgd.problems.landscape import potential
from sde_sgd.problems.problem import Problem


def double_well(barrier: float = 1.0, *, dim: int | None = None) -> Problem:
    r"""Make the symmetric double well, started at its left minimum.

    .. math:: U(x) = b\, (x^2 - 1)^2

    Minima at -1 and +1 with U'' = 8b, the saddle at 0 with U'' = -4b.

    Parameters
    ----------
    barrier
        b > 0, the height of the saddle over the minima.
    dim
        None for one variable, params of shape (). Otherwise the sum over ``dim`` coordinates, params of shape (dim,):
        2^dim minima, each left over ``dim`` equal saddles, one for each coordinate.

    Returns
    -------
    Problem
        Of one example, with ``minimum``, ``saddle`` (in the first coordinate), ``barrier`` and ``potential``.

    Raises
    ------
    TypeError, ValueError
        If the barrier is not positive or ``dim`` is no positive int.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> well = ss.problems.double_well(barrier=2.0)
    >>> float(well.minimum), float(well.saddle), well.barrier
    (-1.0, 0.0, 2.0)
    """
    checks.positive("barrier", barrier)
    return _sum_over_coordinates(_DoubleWell(float(barrier)), minimum=-1.0, saddle=0.0, dim=dim)


def tilted_well(barrier: float = 1.0, tilt: float = 0.1, *, dim: int | None = None) -> Problem:
    r"""Make a double well whose left minimum is raised or lowered, started there.

    .. math:: U(x) = b\, (x^2 - 1)^2 + c x

    A negative tilt c makes the left minimum the shallow one. The critical points are the roots of a cubic.

    Parameters
    ----------
    barrier
        b > 0: the height of the saddle without the tilt.
    tilt
        c, with abs(c) < 8b / (3 sqrt(3)), beyond which one of the minima is gone.
    dim
        As in `double_well`.

    Returns
    -------
    Problem
        Of one example, with ``minimum`` (the left one), ``saddle``, ``barrier`` and ``potential``.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> shallow, deep = (ss.problems.tilted_well(tilt=tilt).barrier for tilt in (-0.5, 0.5))
    >>> shallow < 1 < deep
    True
    """
    checks.positive("barrier", barrier)
    limit = 8 * float(barrier) / (3 * np.sqrt(3))
    checks.finite("tilt", tilt)
    if abs(float(tilt)) >= limit:
        raise ValueError(f"tilt must lie within +-8 barrier / (3 sqrt(3)) = {limit:.6g}, got {float(tilt):g}: beyond "
                         "it the well has one minimum only.")
    minimum, saddle, _ = _real_roots(4 * float(barrier), 0.0, -4 * float(barrier), float(tilt))
    return _sum_over_coordinates(_TiltedWell(float(barrier), float(tilt)), minimum=minimum, saddle=saddle, dim=dim)


def asymmetric_well(asymmetry: float = 1.0, *, dim: int | None = None) -> Problem:
    r"""Make a double well with minima of equal depth and different curvature, started at the left one.

    .. math:: U(x) = (x^2 - 1)^2 \exp(a \tanh x), \qquad U''(\pm 1) = 8 \exp(\pm a \tanh 1)

    Both minima have depth 0. For a > 0 the left one is the flat one and the saddle lies to the right of 0; the
    opposite a mirrors the well. At temperature T the stationary law exp(-U/T) prefers the flat one by a factor that
    tends to exp(a tanh 1) as T falls, so it depends on the noise in higher order only.

    Parameters
    ----------
    asymmetry
        a; 0 gives the symmetric well.
    dim
        As in `double_well`.

    Returns
    -------
    Problem
        Of one example, with ``minimum`` (the left one), ``saddle``, ``barrier`` and ``potential``.

    Raises
    ------
    TypeError, ValueError
        If ``asymmetry`` is not finite or ``dim`` is no positive int.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> well = ss.problems.asymmetric_well()
    >>> round(float(well.saddle), 4), round(well.barrier, 5)
    (0.2256, 1.12454)
    """
    from scipy import optimize

    checks.finite("asymmetry", asymmetry)
    a = float(asymmetry)
    # U' = (x^2 - 1) exp(a tanh x) times this, which has one root between the minima.
    critical = optimize.root_scalar(lambda x: 4 * x + a * (x * x - 1) / np.cosh(x) ** 2, bracket=(-1, 1), xtol=1e-15)
    return _sum_over_coordinates(_AsymmetricWell(a), minimum=-1.0, saddle=critical.root, dim=dim)


def styblinski_tang(dim: int | None = None, *, sharpness: float = 1.0) -> Problem:
    r"""Make the function of Styblinski and Tang, started at its shallowest minimum.

    .. math:: U(w) = \tfrac12 \sum_i (v_i^4 - 16 v_i^2 + 5 v_i), \qquad v = \sqrt{k}\, w

    Of the 2^dim minima, the start has every coordinate in the shallow well, v_i = 2.747; the deepest has them all at
    -2.904. The sharpness k multiplies every Hessian and leaves depths and barriers as they are.

    Parameters
    ----------
    dim
        As in `double_well`.
    sharpness
        k > 0.

    Returns
    -------
    Problem
        Of one example, with ``minimum`` (the start), ``saddle`` (the lowest, in the first coordinate), ``barrier`` and
        ``potential``.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    References
    ----------
    Styblinski, Tang (1990), Experiments in nonconvex optimization, Neural Networks 3, 467. Used for escape times
    by Xie, Sato, Sugiyama (2021), A diffusion theory for deep learning dynamics, ICLR.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> well = ss.problems.styblinski_tang(10)
    >>> well.minimum.shape, round(well.barrier, 3)
    ((10,), 25.225)
    """
    checks.positive("sharpness", sharpness)
    scale = np.sqrt(float(sharpness))
    _, saddle, minimum = _real_roots(4.0, 0.0, -32.0, 5.0)
    return _sum_over_coordinates(_StyblinskiTang(float(scale)), minimum=minimum / scale, saddle=saddle / scale, dim=dim)


@dataclasses.dataclass(frozen=True)
class _DoubleWell:
    barrier: float

    def __call__(self, x: Any) -> Any:
        return self.barrier * (x * x - 1) ** 2


@dataclasses.dataclass(frozen=True)
class _TiltedWell:
    barrier: float
    tilt: float

    def __call__(self, x: Any) -> Any:
        return self.barrier * (x * x - 1) ** 2 + self.tilt * x


@dataclasses.dataclass(frozen=True)
class _AsymmetricWell:
    asymmetry: float

    def __call__(self, x: Any) -> Any:
        xp = jnp if isinstance(x, jax.Array) else np
        return (x * x - 1) ** 2 * xp.exp(self.asymmetry * xp.tanh(x))


@dataclasses.dataclass(frozen=True)
class _StyblinskiTang:
    scale: float

    def __call__(self, x: Any) -> Any:
        v = self.scale * x
        return 0.5 * (((v * v - 16) * v + 5) * v)


@dataclasses.dataclass(frozen=True)
class _Sum:
    """The sum of a potential over the coordinates, the last axis."""

    of_one: Callable[[Any], Any]

    def __call__(self, params: Any) -> Any:
        return self.of_one(params).sum(axis=-1)


def _sum_over_coordinates(of_one: Callable[[Any], Any], *, minimum: float, saddle: float, dim: int | None) -> Problem:
    if dim is None:
        return potential(of_one, start=float(minimum), minimum=minimum, saddle=saddle)
    checks.integer("dim", dim)
    start = np.full(dim, minimum, np.float32)
    lowest = np.concatenate([[saddle], np.full(dim - 1, minimum)])
    return potential(_Sum(of_one), start=start, minimum=np.full(dim, minimum), saddle=lowest)


def _real_roots(*coefficients: float) -> np.ndarray:
    """Return the roots of a polynomial that are all real, in rising order, polished to float64."""
    roots = np.sort(np.roots(coefficients).real)
    slope = np.polyder(coefficients)
    for _ in range(2):
        roots = roots - np.polyval(coefficients, roots) / np.polyval(slope, roots)
    return roots
