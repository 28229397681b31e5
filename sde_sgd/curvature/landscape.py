"""Pictures of the loss surface: along a path between two solutions, along a direction, over a plane."""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from sde_sgd.curvature.flat import check_params
from sde_sgd.problems.problem import Problem

if TYPE_CHECKING:
    import xarray

Quantities = Mapping[str, Callable[[Problem, PyTree], Array]]
Path = Callable[[PyTree, PyTree, Array], PyTree]
_LOSS: Quantities = {"loss": Problem.loss}
_POSITIONS = np.linspace(-1, 2, 25)


def linear_path(first: PyTree, second: PyTree, position: Any) -> PyTree:
    r"""Return the point :math:`(1 - \alpha) w_1 + \alpha w_2` of the straight line through two solutions."""
    return jax.tree.map(lambda one, two: one + jnp.asarray(position, one.dtype) * (two - one), first, second)


def curved_path(first: PyTree, second: PyTree, position: Any) -> PyTree:
    r"""Return the point :math:`\cos(\alpha \pi / 2) w_1 + \sin(\alpha \pi / 2) w_2` of an ellipse.

    References
    ----------
    Keskar, Mudigere, Nocedal, Smelyanskiy, Tang (2017), ICLR, Appendix D.
    """
    angle = position * jnp.pi / 2
    return jax.tree.map(lambda one, two: jnp.cos(angle).astype(one.dtype) * one
                        + jnp.sin(angle).astype(one.dtype) * two, first, second)


def interpolate(
    problems: Problem | Mapping[str, Problem], first: PyTree, second: PyTree, positions: Any = _POSITIONS, *,
    path: Path = linear_path, quantities: Quantities = _LOSS,
) -> "xarray.Dataset":
    r"""Evaluate the loss, or anything else, along a path through two solutions.

    .. math:: f\bigl((1 - \alpha) w_1 + \alpha w_2\bigr)

    The curve is steeper on the side of the sharper solution, in units of the distance between the two. Nothing follows
    from its height in between: the two may be connected on another path.

    Parameters
    ----------
    problems
        A problem, named "train", or several by name, such as ``{"train": ..., "test": ...}``, with the same params.
    first, second
        The params at position 0 and 1.
    positions
        Where on the path, one axis; from -1 to 2 by default, as Keskar et al. have it.
    path
        `linear_path` or `curved_path`, or another function of (first, second, position).
    quantities
        Scalars by name, functions of (problem, params); the loss by default.

    Returns
    -------
    xarray.Dataset
        One variable for each quantity, dims ``data`` (the names of the problems) and ``position``.

    Raises
    ------
    TypeError, ValueError
        If params do not fit a problem or positions are not finite numbers along one axis.

    References
    ----------
    Goodfellow, Vinyals, Saxe (2015), Qualitatively characterizing neural network optimization problems, ICLR. Keskar,
    Mudigere, Nocedal, Smelyanskiy, Tang (2017), ICLR, Section 2.2.1.

    Examples
    --------
    >>> import jax.numpy as jnp, sde_sgd as ss
    >>> well = ss.problems.potential(lambda w: (w**2 - 1) ** 2, start=-1.0)
    >>> curve = ss.curvature.interpolate(well, jnp.array(-1.0), jnp.array(1.0), [0.0, 0.5, 1.0])
    >>> curve.loss.sel(data="train").values.tolist()
    [0.0, 1.0, 0.0]
    """
    named = _named(problems)
    first, second = (check_params(next(iter(named.values())), params) for params in (first, second))
    where = _coordinates("positions", positions)
    points = jax.vmap(path, in_axes=(None, None, 0))(first, second, jnp.asarray(where))
    return _dataset(named, points, quantities, {"position": where})


def loss_slice(
    problems: Problem | Mapping[str, Problem], params: PyTree, direction: PyTree, distances: Any, *,
    quantities: Quantities = _LOSS,
) -> "xarray.Dataset":
    """Evaluate the loss, or anything else, along a direction from the params.

    Parameters
    ----------
    problems, quantities
        As for `interpolate`.
    params
        Where distance is zero.
    direction
        A pytree like the params: from `filter_normalised_direction`, or an eigenvector of `top_eigenpairs`.
    distances
        In units of the direction, one axis.

    Returns
    -------
    xarray.Dataset
        One variable for each quantity, dims ``data`` and ``distance``.

    Raises
    ------
    TypeError, ValueError
        As for `interpolate`.

    Examples
    --------
    >>> import jax.numpy as jnp, sde_sgd as ss
    >>> bowl = ss.problems.potential(lambda w: jnp.sum(w**2), start=jnp.ones(2))
    >>> ss.curvature.loss_slice(bowl, jnp.zeros(2), jnp.array([1.0, 0.0]), [-1.0, 2.0]).loss.values.tolist()
    [[1.0, 4.0]]
    """
    where = _coordinates("distances", distances)
    named, params, points = _moved(problems, params, (direction,), where[:, None])
    return _dataset(named, points, quantities, {"distance": where})


def loss_plane(
    problems: Problem | Mapping[str, Problem], params: PyTree, first: PyTree, second: PyTree, first_distances: Any,
    second_distances: Any, *, quantities: Quantities = _LOSS,
) -> "xarray.Dataset":
    """Evaluate the loss, or anything else, over a plane through the params.

    Parameters
    ----------
    problems, params, quantities
        As for `loss_slice`.
    first, second
        The directions of the plane, pytrees like the params; those of `principal_plane` for a trajectory.
    first_distances, second_distances
        In units of the directions, one axis each.

    Returns
    -------
    xarray.Dataset
        One variable for each quantity, dims ``data``, ``first`` and ``second``.

    Raises
    ------
    TypeError, ValueError
        As for `interpolate`.

    References
    ----------
    Li, Xu, Taylor, Studer, Goldstein (2018), Visualizing the loss landscape of neural nets, NeurIPS.

    Examples
    --------
    >>> import jax.numpy as jnp, sde_sgd as ss
    >>> saddle = ss.problems.potential(lambda w: w[0] * w[1], start=jnp.ones(2))
    >>> plane = ss.curvature.loss_plane(saddle, jnp.zeros(2), *jnp.eye(2), [1.0, 2.0], [-1.0, 0.0, 3.0])
    >>> plane.loss.sel(data="train", first=2.0).values.tolist()
    [-2.0, 0.0, 6.0]
    """
    axes = _coordinates("first_distances", first_distances), _coordinates("second_distances", second_distances)
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    named, params, points = _moved(problems, params, (first, second), grid)
    return _dataset(named, points, quantities, dict(zip(("first", "second"), axes, strict=True)))


def _named(problems: Problem | Mapping[str, Problem]) -> dict[str, Problem]:
    named = {"train": problems} if isinstance(problems, Problem) else problems
    if not isinstance(named, Mapping) or not named or not all(isinstance(p, Problem) for p in named.values()):
        raise TypeError(f"problems must be a Problem or a non-empty dict from names to Problems, got {problems!r}.")
    return dict(named)


def _coordinates(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite numbers along one axis, got {values!r}.")
    return array


def _moved(
    problems: Problem | Mapping[str, Problem], params: PyTree, directions: tuple[PyTree, ...], distances: np.ndarray
) -> tuple[dict[str, Problem], PyTree, PyTree]:
    """Return the problems by name, the params, and the params moved by every row of ``distances``."""
    named = _named(problems)
    params, *axes = (check_params(next(iter(named.values())), tree) for tree in (params, *directions))

    def move(row: Array) -> PyTree:
        return jax.tree.map(lambda leaf, *moves: leaf + sum(jnp.asarray(distance, leaf.dtype) * along
                                                            for distance, along in zip(row, moves, strict=True)),
                            params, *axes)

    return named, params, jax.vmap(move)(jnp.asarray(distances))


def _dataset(
    problems: dict[str, Problem], points: PyTree, quantities: Quantities, coords: dict[str, np.ndarray]
) -> "xarray.Dataset":
    """Return every quantity of every problem at the points, in the shape of the coordinates."""
    import xarray

    shape = (len(problems), *(axis.size for axis in coords.values()))
    variables = {}
    for name, function in quantities.items():
        rows = [np.asarray(_along(function, problem, points)) for problem in problems.values()]
        variables[name] = (("data", *coords), np.stack(rows).reshape(shape))
    return xarray.Dataset(variables, {"data": list(problems), **coords})


@functools.partial(jax.jit, static_argnums=0)
def _along(function: Callable[[Problem, PyTree], Array], problem: Problem, points: PyTree) -> Array:
    """Return a quantity at every point, one at a time."""
    return jax.lax.map(lambda params: function(problem, params), points)
