r"""The quasi-potential: what an escape costs when the noise is anisotropic or the drift no gradient.

.. math:: dX = b(X)\,dt + \sqrt{2 \epsilon A}\,dW, \qquad \epsilon \log \tau \to V
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices, potentials

_BENDS = (0.5, -0.5)  # how far guesses leave the straight line in the middle, as shares of its length
_COARSE = 10  # points of the paths on which the guesses are compared
_MAX_ITERATIONS = 3000
_STIFFNESS = 1.0  # of the penalty on arcs of unequal length, in units of the action


class MinimumAction(NamedTuple):
    """The cheapest path found between two points, and how far the search may be trusted."""

    action: float
    """V, the least geometric action over the guesses."""
    path: Float[np.ndarray, "points d"]
    """The path, equally spaced in arc length."""
    actions: Float[np.ndarray, " guesses"]
    """What each guess came to on ten points: a wide spread means that the search has local minima."""


def quasi_potential(
    drift: Callable[[Any], Any],
    diffusion: ArrayLike | Callable[[Any], Any],
    start: ArrayLike,
    end: ArrayLike,
    *,
    num_points: int = 80,
    guesses: Sequence[ArrayLike] | None = None,
) -> MinimumAction:
    r"""Return the quasi-potential of one point seen from another, by minimising the geometric action.

    .. math::
        V = \min_\varphi \frac12 \int \big( |\varphi'|_{A^{-1}} |b|_{A^{-1}} - \langle \varphi', b \rangle_{A^{-1}}
        \big)\, ds

    over paths from start to end. From a stable point to the saddle on the rim of its basin, epsilon log(escape time)
    goes to V. For b = -grad U and A = I it is U(end) - U(start); for SGD epsilon A = eta C / 2, and where C does not
    commute with the Hessian V is not that difference divided by any temperature. The action has no time in it, so that
    it does not matter that the path takes for ever to leave either end.

    Parameters
    ----------
    drift
        b(x) of a vector, of operators or jax.numpy: minus the gradient.
    diffusion
        A, symmetric positive definite, shape (d, d), or a function A(x) of JAX operations.
    start, end
        The two points, shape (d,).
    num_points
        Points of the path, both ends included. The error falls with their square; 40 are good for 0.1 %.
    guesses
        First paths, each of shape (points, d). None: the straight line, and one bent to either side.

    Returns
    -------
    MinimumAction
        The action, the path and the actions that the guesses came to.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, or A is not positive definite.

    References
    ----------
    Freidlin, Wentzell, Random perturbations of dynamical systems. Heymann, Vanden-Eijnden (2008), Comm. Pure Appl.
    Math. 61.

    Examples
    --------
    >>> import jax, sde_sgd as ss
    >>> potential = lambda x: (x[0] ** 2 - 1) ** 2 + x[1] ** 2
    >>> drift = lambda x: -jax.grad(potential)(x)
    >>> found = ss.theory.quasi_potential(drift, [[1.0, 0.0], [0.0, 1.0]], [-1.0, 0.0], [0.0, 0.0], num_points=20)
    >>> round(found.action, 2)
    1.0
    """
    checks.integer("num_points", num_points, minimum=4)
    start, end = potentials.vector("start", start), potentials.vector("end", end)
    if start.shape != end.shape or np.array_equal(start, end):
        raise ValueError(f"start and end must be two points of one space, got {start} and {end}.")
    first = _first_paths(drift, start, end) if guesses is None else [
        matrices.finite_array("guesses", guess, (None, len(start))) for guess in guesses]
    action = _geometric_action(drift, _inverse(diffusion, len(start)))
    descend = _descent(action)
    with jax.enable_x64(True):
        coarse = [descend(_resampled(np.array([start, *path[1:-1], end]), _COARSE)) for path in first]
        actions = np.array([float(jnp.sum(action(path))) for path in coarse])
        path = descend(_resampled(coarse[int(np.argmin(actions))], num_points))
        return MinimumAction(float(jnp.sum(action(path))), path, actions)


def _first_paths(drift: Callable[[Any], Any], start: np.ndarray, end: np.ndarray) -> list[np.ndarray]:
    """Return the straight line, and one bent to either side in the direction into which the drift pushes it."""
    line = start + np.linspace(0, 1, 21)[:, None] * (end - start)
    length = np.linalg.norm(end - start)
    along = (end - start) / length
    push = potentials.evaluate(drift, line[10], "drift")
    push = push - (push @ along) * along
    if np.linalg.norm(push) <= 1e-6 * length:
        push = np.eye(len(start))[np.argmin(np.abs(along))]
        push = push - (push @ along) * along
    if len(start) == 1:
        return [line]
    arch = np.sin(np.linspace(0, np.pi, 21))[:, None] * push / np.linalg.norm(push) * length
    return [line, *(line + bend * arch for bend in _BENDS)]


def _inverse(diffusion: ArrayLike | Callable[[Any], Any], dim: int) -> Callable[[Any], Any]:
    """Return the inverse of the diffusion matrix as a function of the position."""
    if callable(diffusion):
        return lambda x: jnp.linalg.inv(diffusion(x))
    matrix = matrices.symmetric("diffusion", diffusion, dim)
    if np.linalg.eigvalsh(matrix)[0] <= 0:
        raise ValueError("diffusion must be positive definite: directions without noise need another method. Add a "
                         "small multiple of the identity.")
    inverse = np.linalg.inv(matrix)
    return lambda x: jnp.asarray(inverse)


def _resampled(path: Float[np.ndarray, "any d"], num_points: int) -> Float[np.ndarray, "points d"]:
    """Return a path of so many points at equal distances along a polygon."""
    arcs = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    at = np.linspace(0, arcs[-1], num_points)
    return np.stack([np.interp(at, arcs, coordinate) for coordinate in path.T], axis=1)


def _geometric_action(
    drift: Callable[[Any], Any], inverse: Callable[[Any], Any]
) -> Callable[[Any], Float[Array, " segments"]]:
    """Return the function that gives the action of each segment of a path, by the midpoint rule."""

    @jax.jit
    def action(path: Float[Array, "points d"]) -> Float[Array, " segments"]:
        steps, middles = jnp.diff(path, axis=0), (path[1:] + path[:-1]) / 2
        drifts, metrics = jax.vmap(drift)(middles), jax.vmap(inverse)(middles)

        def product(left: Array, right: Array) -> Array:
            return jnp.einsum("si,sij,sj->s", left, metrics, right)

        # The root is kept off zero, where its gradient is infinite.
        lengths = jnp.sqrt(product(steps, steps) * product(drifts, drifts) + 1e-30)
        return (lengths - product(steps, drifts)) / 2

    return action


def _descent(
    action: Callable[[Any], Float[Array, " segments"]]
) -> Callable[[Float[np.ndarray, "points d"]], Float[np.ndarray, "points d"]]:
    """Return the function that minimises the action of a path with its ends held.

    The action does not feel how the points are spread along the path: a penalty keeps them equally spaced.
    """
    from scipy.optimize import minimize

    @jax.jit
    @jax.value_and_grad
    def objective(inner: Array, first: Array, last: Array) -> Array:
        path = jnp.vstack([first, inner.reshape(-1, first.size), last])
        arcs = jnp.sum(jnp.diff(path, axis=0) ** 2, axis=1)
        return jnp.sum(action(path)) + _STIFFNESS * jnp.var(arcs) / jnp.mean(arcs) ** 2

    def descend(path: Float[np.ndarray, "points d"]) -> Float[np.ndarray, "points d"]:
        def evaluated(inner: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = objective(inner, path[0], path[-1])
            return float(value), np.asarray(gradient)

        result = minimize(evaluated, path[1:-1].ravel(), jac=True, method="L-BFGS-B",
                          options={"maxiter": _MAX_ITERATIONS, "maxfun": 2 * _MAX_ITERATIONS, "ftol": 1e-10})
        if not np.isfinite(result.fun):
            raise ValueError("drift is not finite along the path. Pass other guesses.")
        return np.vstack([path[0], result.x.reshape(-1, path.shape[1]), path[-1]])

    return descend
