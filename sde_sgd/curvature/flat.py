"""Operators on flat vectors: where pytrees meet linear algebra. Checks of what the operators are given."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from sde_sgd._core import checks
from sde_sgd._core.random import RECORD, Draws, lane_key
from sde_sgd.curvature.operators import AbstractOperator
from sde_sgd.problems.problem import Problem, float_dtype

Vector = Float[Array, " d"]


class FlatOperator(NamedTuple):
    """An operator at given params as a function of vectors, in at least single precision."""

    product: Callable[[Vector], Vector]
    tree: Callable[[Vector], PyTree]
    dim: int
    dtype: jnp.dtype


def flat_operator(operator: AbstractOperator, problem: Problem, params: PyTree) -> FlatOperator:
    """Return the operator on vectors in the order of `ravel_pytree`."""
    flat, unravel = ravel_pytree(params)
    dtype = float_dtype(params)

    def tree(vector: Vector) -> PyTree:
        return unravel(vector.astype(flat.dtype))

    def product(vector: Vector) -> Vector:
        return ravel_pytree(operator.product(problem, params, tree(vector)))[0].astype(dtype)

    return FlatOperator(product, tree, flat.size, jnp.dtype(dtype))


def normal_vector(key: Array, number: Any, operator: FlatOperator) -> Vector:
    """Return the ``number``-th vector of standard normals under ``key``."""
    return _draws(key, number).normals(operator.dim, dtype=operator.dtype)


def sign_vector(key: Array, number: Any, operator: FlatOperator) -> Vector:
    """Return the ``number``-th vector of independent fair signs under ``key``."""
    bits = _draws(key, number).bits(operator.dim)
    return jnp.where(bits & 1, 1.0, -1.0).astype(operator.dtype)


def _draws(key: Array, number: Any) -> Draws:
    return Draws(lane_key(key, jnp.uint32(0), purpose=RECORD), jnp.asarray(number, jnp.uint32))


def check_params(problem: Problem, params: PyTree) -> PyTree:
    """Return ``params`` as arrays; raise unless they have the structure and the shapes of ``problem.init(key)``."""
    expected = jax.eval_shape(problem.init, jax.random.key(0))
    checks.floating_params(jax.tree.map(jnp.asarray, params))
    wanted, got = (jax.tree.map(jnp.shape, tree) for tree in (expected, params))
    if jax.tree.structure(params) != jax.tree.structure(expected) or wanted != got:
        raise ValueError(f"params must have the shapes of problem.init(key), {wanted}, got {got}. For params with "
                         "leading axes, an ensemble, use jax.vmap.")
    return jax.tree.map(jnp.asarray, params)


def checked(problem: Problem, params: PyTree, operator: AbstractOperator) -> PyTree:
    """Return ``params`` as arrays; raise unless the operator is one, and defined for the problem and the params."""
    if not isinstance(operator, AbstractOperator):
        raise TypeError(f"operator must be one of sde_sgd.curvature such as Hessian(), got {operator!r} of type "
                        f"{type(operator).__name__}.")
    operator.check(problem)
    return check_params(problem, params)
