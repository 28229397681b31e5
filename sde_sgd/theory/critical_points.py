"""Minima and saddles: polished by Newton's method from a guess, and checked for what they are taken to be."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd.theory import matrices, potentials

_MAX_ITERATIONS = 200
_CONVERGED = 1e-10
_DEGENERATE = 1e-8


class CriticalPoint(NamedTuple):
    """A point of zero gradient: where it is, its height, its Hessian with eigenvalues in ascending order."""

    position: Float[np.ndarray, " d"]
    value: float
    hessian: Float[np.ndarray, "d d"]
    eigenvalues: Float[np.ndarray, " d"]

    @property
    def index(self) -> int:
        """Number of negative eigenvalues: 0 at a minimum, 1 at a saddle of escape."""
        return int(np.sum(self.eigenvalues < 0))


def find_minimum(potential: Callable[[Any], Any], guess: ArrayLike) -> CriticalPoint:
    """Return the minimum near a guess, by Newton's method.

    Parameters
    ----------
    potential
        U(x) of a vector, of operators or jax.numpy; or of a number, if the guess is one.
    guess
        Close to the minimum, shape (d,) or ().

    Returns
    -------
    CriticalPoint
        With float64 arrays of d coordinates, also for d = 1.

    Raises
    ------
    TypeError, ValueError
        If the iteration fails or ends elsewhere than at a non-degenerate minimum.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> ss.theory.find_minimum(lambda x: (x**2 - 1) ** 2, -0.9).position
    array([-1.])
    """
    return _checked("minimum", potential, guess, wanted=0)


def find_saddle(potential: Callable[[Any], Any], guess: ArrayLike) -> CriticalPoint:
    """Return the saddle near a guess, by following the lowest eigenvector of the Hessian uphill, the others downhill.

    Each step is Newton's with the absolute values of the eigenvalues, reversed along the lowest, and no longer than a
    trust radius, which shrinks where the Hessian changes too much along the step for it to mean anything.

    Parameters
    ----------
    potential
        U(x) of a vector, of operators or jax.numpy; or of a number, if the guess is one.
    guess
        Where to start, shape (d,) or (): between the minima is enough in most landscapes.

    Returns
    -------
    CriticalPoint
        With exactly one negative eigenvalue.

    Raises
    ------
    TypeError, ValueError
        If the iteration fails or ends elsewhere than at a non-degenerate point with one negative eigenvalue.

    References
    ----------
    Cerjan, Miller (1981), On finding transition states, J. Chem. Phys.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> saddle = ss.theory.find_saddle(lambda x: (x[0] ** 2 - 1) ** 2 + x[1] ** 2, [0.3, 0.4])
    >>> saddle.position.round(6) + 0.0, saddle.eigenvalues.round(6)
    (array([0., 0.]), array([-4.,  2.]))
    """
    return _checked("saddle", potential, guess, wanted=1)


def of_vector(potential: Callable[[Any], Any], point: ArrayLike) -> Callable[[Any], Any]:
    """Return the potential as a function of a vector: itself, unless its points are numbers."""
    return potential if np.ndim(point) else lambda x: potential(x[0])


def barrier(minimum: CriticalPoint, saddle: CriticalPoint) -> float:
    """Return the height of a saddle above a minimum; raise unless it is positive."""
    difference = saddle.value - minimum.value
    if difference <= 0:
        raise ValueError(f"saddle must be higher than minimum, but the barrier is {difference:.6g} between "
                         f"{minimum.position} and {saddle.position}. Swap them, or look for another saddle.")
    return difference


def _checked(name: str, potential: Callable[[Any], Any], guess: ArrayLike, wanted: int) -> CriticalPoint:
    start = matrices.finite_array(name, guess, (None,) if np.ndim(guess) else ())
    point = _followed(name, of_vector(potential, guess), np.atleast_1d(start), wanted)
    size = np.abs(point.eigenvalues)
    if np.min(size) <= _DEGENERATE * np.max(size):
        raise ValueError(f"{name} must not be degenerate, but the Hessian at {point.position} has the eigenvalues "
                         f"{point.eigenvalues}. Laws of this kind need a quadratic {name}.")
    if point.index != wanted:
        raise ValueError(f"{name} must have {wanted} negative eigenvalues of the Hessian, but it has {point.index} at "
                         f"{point.position}: {point.eigenvalues}. Start from another guess.")
    return point


def _followed(name: str, potential: Callable[[Any], Any], x: Float[np.ndarray, " d"], uphill: int) -> CriticalPoint:
    """Follow the given number of lowest eigenvectors uphill and the others downhill, to where the gradient is zero."""
    radius = np.inf
    derivatives = potentials.gradient_and_hessian(potential)
    gradient, hessian = derivatives(x)
    for _ in range(_MAX_ITERATIONS):
        eigenvalues, basis = np.linalg.eigh(hessian)
        signs = np.where(np.arange(len(x)) < uphill, 1.0, -1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            coordinates = np.nan_to_num(signs * (basis.T @ gradient) / np.abs(eigenvalues))
        length = np.linalg.norm(coordinates)
        if length <= _CONVERGED * (1 + np.linalg.norm(x)):
            return CriticalPoint(x, float(potentials.evaluate(potential, x)), hessian, eigenvalues)
        step = basis @ coordinates * min(1.0, radius / length)
        gradient_ahead, hessian_ahead = derivatives(x + step)
        change = np.linalg.norm((hessian_ahead - hessian) @ step) / np.linalg.norm(gradient)
        radius = min(radius, np.linalg.norm(step)) * (0.25 if change > 1 else 2.0)
        if change <= 1:
            x, gradient, hessian = x + step, gradient_ahead, hessian_ahead
    raise ValueError(f"{name} was not found in {_MAX_ITERATIONS} steps from the guess given. Start closer to it.")
