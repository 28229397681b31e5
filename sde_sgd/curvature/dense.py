"""Curvature matrices written out, for problems small enough."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sde_sgd._core import tree
from sde_sgd.curvature.flat import checked, flat_operator
from sde_sgd.curvature.operators import HESSIAN, AbstractOperator
from sde_sgd.problems.problem import Problem

# A matrix of 400 MB in single precision.
_MAX_DENSE = 10_000


def check_dense(params: PyTree) -> None:
    """Raise if there are more params than a dense matrix can take."""
    dim = tree.size(params)
    if dim > _MAX_DENSE:
        raise ValueError(f"params hold {dim} numbers, a dense matrix takes at most {_MAX_DENSE}. Use the matrix-free "
                         "sde_sgd.curvature.top_eigenpairs, trace or spectral_density, with operator=NoiseCovariance() "
                         "for the noise.")


def dense_matrix(problem: Problem, params: PyTree, *, operator: AbstractOperator = HESSIAN) -> Float[Array, "d d"]:
    """Return a curvature matrix, one product for each column.

    Parameters
    ----------
    problem
        Any problem.
    params
        Where to evaluate; the order of rows is that of ``jax.flatten_util.ravel_pytree``.
    operator
        Which matrix: `Hessian` by default, `GaussNewton`, `NoiseCovariance` or `Adaptive`.

    Raises
    ------
    TypeError, ValueError
        If the params do not fit the problem or are more than 10,000 numbers, or the matrix is not defined for it.

    Examples
    --------
    >>> import jax.numpy as jnp, sde_sgd as ss
    >>> saddle = ss.problems.potential(lambda w: w[0] * w[1], start=jnp.zeros(2))
    >>> ss.curvature.dense_matrix(saddle, jnp.zeros(2)).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    params = checked(problem, params, operator)
    check_dense(params)
    return _dense_matrix(problem, params, operator)


@jax.jit
def _dense_matrix(problem: Problem, params: PyTree, operator: AbstractOperator) -> Array:
    matrix = flat_operator(operator, problem, params)
    return jax.lax.map(matrix.product, jnp.eye(matrix.dim, dtype=matrix.dtype), batch_size=16)
