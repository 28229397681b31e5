"""Keskar's sharpness: the largest relative rise of the loss in a small box, by a bounded quasi-Newton method."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from sde_sgd._core import checks
from sde_sgd._core.random import RECORD, Draws, lane_key
from sde_sgd.curvature.chunks import CHUNK_SIZE, summed
from sde_sgd.curvature.flat import check_params
from sde_sgd.curvature.regions import KeskarBox
from sde_sgd.problems.problem import Problem, Weighting, float_dtype

_NUM_STARTS = 4
_MAX_CORNERS = 50

Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]


class KeskarSharpness(NamedTuple):
    """The sharpness, in per cent of 1 + loss; whether the optimiser met its tolerance; gradients of the loss taken."""

    value: float
    converged: bool
    num_evaluations: int


def keskar_sharpness(
    problem: Problem, params: PyTree, epsilon: float = 1e-3, *, subspace_dim: int | None = None,
    key: Array | None = None, max_iterations: int = 200,
) -> KeskarSharpness:
    r"""Return Keskar's sharpness, the maximum found to convergence.

    .. math::
        \phi = 100\, \frac{\max_{z \in C_\epsilon} f(w + A z) - f(w)}{1 + f(w)}, \qquad
        C_\epsilon = \{ z : |z_i| \le \epsilon\, (|(A^+ w)_i| + 1) \}

    with A the identity, or a d x p matrix of independent standard normals for the variant in a random subspace.

    The loss is nearly convex across so small a box, so that the maximum lies at a corner. From the corner up the
    gradient, and from three fixed random ones, the search goes to the corner that the gradient there points at, until
    that is where it is. L-BFGS-B then starts from what was found, with the box scaled to [-1, 1] and the objective to
    slope one; the best of all ends counts. Where no corner is above the params, the box is not small, and it starts
    from them. It is the best maximum known, hence a lower bound of the largest one.

    Parameters
    ----------
    problem
        Any problem; f is its risk, the loss of the whole data set.
    params
        Where to evaluate. On the host: for an ensemble, call it for each member, or use `worst_case_sharpness` with
        `KeskarBox`, which `jax.vmap` takes and whose 20 steps mostly end at the same corner.
    epsilon
        Half-width of the box relative to ``|w_i| + 1``. The paper has 1e-3 and 5e-4.
    subspace_dim
        p, 100 in the paper; None for the full space. A takes p times the memory of the params.
    key
        Typed key of A; only, and always, with ``subspace_dim``.
    max_iterations
        Of L-BFGS-B, from each start.

    Raises
    ------
    TypeError, ValueError
        If the params do not fit the problem or their loss is not finite, an argument is out of range, or ``key`` is
        missing or of no use.

    Notes
    -----
    As published, ten iterations of L-BFGS-B (`keskar_sharpness_as_published`) stop short of the maximum, the shorter
    the smaller the gradient. Compare runs at the same training loss. In single precision the line search may end on
    rounding, ``converged`` is then False; where the loss rises by less than about 1e-5, use float64. The columns of A
    are not normalised: with columns of length one the value follows the gradient rather than the curvature. The box,
    being absolute for small params, is not invariant when layers of a ReLU network are rescaled inversely;
    `worst_case_sharpness` with `AdaptiveBox` is the same without the "+ 1".

    References
    ----------
    Keskar, Mudigere, Nocedal, Smelyanskiy, Tang (2017), On large-batch training for deep learning: generalization gap
    and sharp minima, ICLR, Metric 2.1. Dinh, Pascanu, Bengio, Bengio (2017), Sharp minima can generalize for deep
    nets, ICML (against it).

    Examples
    --------
    >>> import jax.numpy as jnp, sde_sgd as ss
    >>> bowl = ss.problems.potential(lambda w: 0.5 * w[0] ** 2 + 2 * w[1] ** 2, start=jnp.zeros(2))
    >>> round(ss.curvature.keskar_sharpness(bowl, jnp.zeros(2), epsilon=0.1).value, 3)
    2.5
    """
    checks.integer("max_iterations", max_iterations)
    box = _box(problem, params, epsilon, subspace_dim, key)
    corners = np.unique([_ascend(box.objective, start) for start in _starts(box)], axis=0)
    rise, converged = max(_maximise(box.objective, corner, max_iterations) for corner in corners)
    if rise <= 0:
        rise, converged = _maximise(box.objective, np.zeros_like(box.half_widths), max_iterations)
    return KeskarSharpness(100 * rise / (1 + box.loss), converged, box.evaluations)


def keskar_sharpness_as_published(
    problem: Problem, params: PyTree, epsilon: float = 1e-3, *, subspace_dim: int | None = None,
    key: Array | None = None, num_iterations: int = 10,
) -> KeskarSharpness:
    """Return what ten iterations of L-BFGS-B from the params, without any scaling, make of Keskar's sharpness.

    For comparison with published numbers. At a small gradient its steps are much shorter than the box, or its
    tolerance (1e-5 on every entry of the gradient) is met at the start; the value can be too small by any factor.

    Parameters
    ----------
    problem, params, epsilon, subspace_dim, key
        As for `keskar_sharpness`.
    num_iterations
        Of L-BFGS-B.

    Raises
    ------
    TypeError, ValueError
        As for `keskar_sharpness`.

    References
    ----------
    Keskar, Mudigere, Nocedal, Smelyanskiy, Tang (2017), ICLR, Section 2.2.2.

    Examples
    --------
    >>> import jax.numpy as jnp, sde_sgd as ss
    >>> bowl = ss.problems.potential(lambda w: 0.5 * w[0] ** 2 + 2 * w[1] ** 2, start=jnp.ones(2))
    >>> near = jnp.array([1e-6, 1e-6])
    >>> published = ss.curvature.keskar_sharpness_as_published(bowl, near, epsilon=0.1)
    >>> published.value < ss.curvature.keskar_sharpness(bowl, near, epsilon=0.1).value
    True
    """
    checks.integer("num_iterations", num_iterations)
    box = _box(problem, params, epsilon, subspace_dim, key)

    def objective(step: np.ndarray) -> tuple[float, np.ndarray]:
        rise, slope = box.objective(step / box.half_widths)
        return -rise, -slope / box.half_widths

    found = _bounded(objective, np.zeros_like(box.half_widths), box.half_widths, num_iterations)
    return KeskarSharpness(-100 * float(found.fun) / (1 + box.loss), bool(found.success), box.evaluations)


class _Box:
    """The rise of the loss over the box scaled to [-1, 1], as SciPy wants it: float64, on the host."""

    def __init__(self, problem: Problem, params: PyTree, embedding: Array | None, half_widths: Array):
        self.half_widths = np.asarray(half_widths, np.float64)
        self.loss = float(_loss_and_slope(problem, params, embedding, half_widths, jnp.zeros_like(half_widths))[0])
        if not np.isfinite(self.loss):
            raise ValueError(f"the loss at params is {self.loss}. Start from params with a finite loss.")
        self.evaluations = 0
        self._arguments = problem, params, embedding, half_widths

    def objective(self, position: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the rise of the loss at a position in [-1, 1] and its slope there."""
        self.evaluations += 1
        loss, slope = _loss_and_slope(*self._arguments, jnp.asarray(position, self._arguments[-1].dtype))
        return float(loss) - self.loss, np.asarray(slope, np.float64)


def _box(problem: Problem, params: PyTree, epsilon: float, subspace_dim: int | None, key: Array | None) -> _Box:
    params = check_params(problem, params)
    region = KeskarBox(epsilon)
    flat = ravel_pytree(params)[0].astype(float_dtype(params))
    if subspace_dim is None:
        if key is not None:
            raise ValueError("key is of no use without subspace_dim: the full space needs no random numbers.")
        return _Box(problem, params, None, region.half_widths(flat))
    checks.typed_key(key)
    checks.integer("subspace_dim", subspace_dim, 1, flat.size)
    embedding, coordinates = _subspace(key, flat, subspace_dim)
    return _Box(problem, params, embedding, region.half_widths(coordinates))


@functools.partial(jax.jit, static_argnums=2)
def _subspace(key: Array, flat: Array, dim: int) -> tuple[Array, Array]:
    """Return standard normal columns A and the coordinates A^+ w of the params."""
    words = lane_key(key, jnp.uint32(0), purpose=RECORD)  # pyright: ignore[reportArgumentType]

    def column(number: Array) -> Array:
        return Draws(words, number).normals(flat.size, dtype=flat.dtype)

    embedding = jax.lax.map(column, jnp.arange(dim, dtype=jnp.uint32)).T
    basis, triangle = jnp.linalg.qr(embedding)
    return embedding, jax.scipy.linalg.solve_triangular(triangle, basis.T @ flat)


@jax.jit
def _loss_and_slope(
    problem: Problem, params: PyTree, embedding: Array | None, half_widths: Array, position: Array
) -> tuple[Array, Array]:
    flat, unravel = ravel_pytree(params)

    def loss(position: Array, weights: Weighting) -> Array:
        step = half_widths * position if embedding is None else embedding @ (half_widths * position)
        return problem.loss(unravel(flat + step.astype(flat.dtype)), weights)

    return summed(lambda chunk: jax.value_and_grad(loss)(position, chunk), problem, None, CHUNK_SIZE)


def _starts(box: _Box) -> list[np.ndarray]:
    """Return corners to start from: up the gradient, and three that depend on the dimension alone."""
    _, slope = box.objective(np.zeros_like(box.half_widths))
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (_NUM_STARTS - 1, slope.size))
    return [np.where(slope < 0, -1.0, 1.0), *signs]


def _ascend(objective: Objective, corner: np.ndarray) -> np.ndarray:
    """Return the best corner on the way along the gradient from corner to corner."""
    best, highest = corner, -np.inf
    for _ in range(_MAX_CORNERS):
        rise, slope = objective(corner)
        if rise <= highest:
            break
        best, highest = corner, rise
        corner = np.where(slope == 0, corner, np.sign(slope))
    return best


def _maximise(objective: Objective, start: np.ndarray, max_iterations: int) -> tuple[float, bool]:
    """Return the rise that L-BFGS-B reaches from ``start``, and whether it met its tolerance."""
    steepest = np.max(np.abs(objective(start)[1]))
    scale = steepest if steepest > 0 else 1.0

    def scaled(position: np.ndarray) -> tuple[float, np.ndarray]:
        rise, slope = objective(position)
        return -rise / scale, -slope / scale

    found = _bounded(scaled, start, np.ones_like(start), max_iterations)
    return -float(scale * found.fun), bool(found.success)


def _bounded(objective: Objective, start: np.ndarray, half_widths: np.ndarray, max_iterations: int):
    from scipy import optimize

    return optimize.minimize(objective, start, jac=True, method="L-BFGS-B",
                             bounds=optimize.Bounds(-half_widths, half_widths),  # pyright: ignore[reportArgumentType]
                             options={"maxiter": max_iterations})
