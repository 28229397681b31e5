"""The largest eigenvalues of a curvature matrix and their directions, by the Lanczos process."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sde_sgd._core import checks, tree
from sde_sgd.curvature.flat import checked, flat_operator, normal_vector
from sde_sgd.curvature.lanczos import lanczos
from sde_sgd.curvature.operators import HESSIAN, AbstractOperator
from sde_sgd.problems.problem import Problem


class Eigenpairs(NamedTuple):
    """Eigenvalues in descending order, unit eigenvectors, and how far each is from being one.

    ``vectors`` is a pytree like the params with a leading axis over the eigenvalues. ``residuals`` are the norms
    ``|A v - value v|``: within each of them of its value lies an eigenvalue of A.
    """

    values: Float[Array, " num"]
    vectors: PyTree
    residuals: Float[Array, " num"]


def top_eigenvalue(
    problem: Problem, params: PyTree, *, key: Array, operator: AbstractOperator = HESSIAN, num_steps: int = 40
) -> Float[Array, ""]:
    r"""Return the largest eigenvalue, for the Hessian the sharpness of a minimum.

    .. math:: \lambda_{\max}(A) = \max_{|v| = 1} v \cdot A v

    Largest with its sign: at a saddle the most negative curvature does not count. The Lanczos process approaches the
    value from below, and no random start within ``num_steps`` of the dimension misses it; `top_eigenpairs` also says
    how far it got.

    Parameters
    ----------
    problem
        Any problem.
    params
        Where to evaluate. For an ensemble, with a leading axis, wrap in `jax.vmap`.
    key
        Typed key of the random start.
    operator
        Which matrix: `Hessian` by default, `GaussNewton`, `NoiseCovariance` or `Adaptive`.
    num_steps
        How many products with the matrix; the basis takes ``num_steps`` times the memory of the params. Fewer are
        made where the dimension is smaller.

    Raises
    ------
    TypeError, ValueError
        If the params do not fit the problem, the matrix is not defined for it, or an argument is out of range.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, sde_sgd as ss
    >>> bowl = ss.problems.potential(lambda w: 0.5 * jnp.sum(jnp.arange(1.0, 5.0) * w**2), start=jnp.ones(4))
    >>> round(float(ss.curvature.top_eigenvalue(bowl, jnp.ones(4), key=jax.random.key(0))), 4)
    4.0
    >>> ensemble = jnp.ones((3, 4))
    >>> jax.vmap(lambda w: ss.curvature.top_eigenvalue(bowl, w, key=jax.random.key(0)))(ensemble).shape
    (3,)
    """
    return top_eigenpairs(problem, params, 1, key=key, operator=operator, num_steps=num_steps).values[0]


def top_eigenpairs(
    problem: Problem, params: PyTree, num: int, *, key: Array, operator: AbstractOperator = HESSIAN,
    num_steps: int = 40,
) -> Eigenpairs:
    """Return the ``num`` largest eigenvalues, their eigenvectors and residuals.

    Of a degenerate eigenvalue the Lanczos process finds one direction. Take more steps where a residual is not small
    beside the gap to the next eigenvalue.

    Parameters
    ----------
    problem, params, key, operator, num_steps
        As for `top_eigenvalue`.
    num
        How many; at most ``num_steps`` and the dimension.

    Raises
    ------
    TypeError, ValueError
        As for `top_eigenvalue`, or if ``num`` is out of range.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, sde_sgd as ss
    >>> bowl = ss.problems.potential(lambda w: 0.5 * jnp.sum(jnp.arange(1.0, 5.0) * w**2), start=jnp.ones(4))
    >>> pairs = ss.curvature.top_eigenpairs(bowl, jnp.ones(4), 2, key=jax.random.key(0))
    >>> [round(float(value), 4) for value in pairs.values], pairs.vectors.shape
    ([4.0, 3.0], (2, 4))
    """
    params = checked(problem, params, operator)
    checks.typed_key(key)
    dim = tree.size(params)
    checks.integer("num_steps", num_steps)
    checks.integer("num", num, 1, min(dim, num_steps), f"The dimension is {dim}, num_steps is {num_steps}.")
    return _top_eigenpairs(problem, params, num, key, operator, min(dim, num_steps))


@functools.partial(jax.jit, static_argnums=(2, 5))
def _top_eigenpairs(
    problem: Problem, params: PyTree, num: int, key: Array, operator: AbstractOperator, num_steps: int
) -> Eigenpairs:
    matrix = flat_operator(operator, problem, params)
    found = lanczos(matrix.product, normal_vector(key, 0, matrix), num_steps)
    values, vectors = found.eigenpairs()
    top = vectors[:, ::-1][:, :num]
    residuals = found.residual * jnp.abs(top[-1])
    return Eigenpairs(values[::-1][:num], jax.vmap(matrix.tree)(top.T @ found.basis), residuals)
