"""The trace of a curvature matrix from products with random vectors."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from sde_sgd._core import checks, tree
from sde_sgd.curvature.estimate import Estimate, over_probes
from sde_sgd.curvature.flat import checked, flat_operator, normal_vector, sign_vector
from sde_sgd.curvature.operators import HESSIAN, AbstractOperator
from sde_sgd.problems.problem import Problem


def trace(
    problem: Problem, params: PyTree, *, key: Array, operator: AbstractOperator = HESSIAN, rank: int = 10,
    num_probes: int = 20,
) -> Estimate:
    r"""Estimate the trace by Hutch++: exactly on a sketch of the range, by random signs on the rest.

    .. math::
        \mathrm{tr}\,A = \mathrm{tr}\,Q^\top A Q + \mathrm{E}\, z^\top P A P z, \qquad P = I - Q Q^\top

    with Q an orthonormal basis of A S for a normal d x rank matrix S, and z independent signs. Unbiased, whatever Q.
    The standard error is that of the mean over the probes z; given Q they are independent and nothing else is random.
    Where the probes are few, take Student's t with ``num_probes - 1`` degrees of freedom.

    Parameters
    ----------
    problem
        Any problem.
    params
        Where to evaluate. For an ensemble, with a leading axis, wrap in `jax.vmap`.
    key
        Typed key of the random vectors.
    operator
        Which matrix: `Hessian` by default, `GaussNewton`, `NoiseCovariance` or `Adaptive`.
    rank
        Columns of the sketch, no more than the dimension are used; 0 gives Hutchinson's estimator.
    num_probes
        Signs to average over, at least 2.

    Returns
    -------
    Estimate
        Value and standard error, after ``2 rank + num_probes`` products.

    Raises
    ------
    TypeError, ValueError
        If the params do not fit the problem, the matrix is not defined for it, or an argument is out of range.

    References
    ----------
    Hutchinson (1989), Commun. Stat. Simul. Comput. 18. Meyer, Musco, Musco, Woodruff (2021), Hutch++: optimal
    stochastic trace estimation, SOSA.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, sde_sgd as ss
    >>> bowl = ss.problems.potential(lambda w: 0.5 * jnp.sum(jnp.arange(1.0, 5.0) * w**2), start=jnp.ones(4))
    >>> value, stderr = ss.curvature.trace(bowl, jnp.ones(4), key=jax.random.key(0), rank=2)
    >>> round(float(value)), bool(stderr < 1)
    (10, True)
    """
    params = checked(problem, params, operator)
    checks.typed_key(key)
    checks.integer("rank", rank, 0, fix="Pass 0 for Hutchinson's estimator.")
    checks.integer("num_probes", num_probes, 2, fix="A standard error needs two.")
    return _trace(problem, params, key, operator, min(rank, tree.size(params)), num_probes)


@functools.partial(jax.jit, static_argnums=(4, 5))
def _trace(
    problem: Problem, params: PyTree, key: Array, operator: AbstractOperator, rank: int, num_probes: int
) -> Estimate:
    matrix = flat_operator(operator, problem, params)
    numbers = jnp.arange(rank + num_probes, dtype=jnp.uint32)
    sketch = jax.lax.map(lambda number: matrix.product(normal_vector(key, number, matrix)), numbers[:rank])
    basis = jnp.linalg.qr(sketch.T)[0].T  # orthonormal rows
    captured = jnp.sum(jax.lax.map(lambda row: row @ matrix.product(row), basis))

    def remainder(number: Array) -> Array:
        probe = sign_vector(key, number, matrix)
        probe = probe - (basis @ probe) @ basis
        return probe @ matrix.product(probe)

    rest = over_probes(jax.lax.map(remainder, numbers[rank:]))
    return Estimate(captured + rest.value, rest.stderr)
