"""Whether the gradient noise points along the curvature."""

import functools

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from sde_sgd._core import checks
from sde_sgd.curvature.estimate import Estimate
from sde_sgd.curvature.flat import checked, flat_operator, sign_vector
from sde_sgd.curvature.operators import HESSIAN, AbstractOperator, NoiseCovariance
from sde_sgd.problems.problem import Problem


def noise_alignment(
    problem: Problem, params: PyTree, *, key: Array, operator: AbstractOperator = HESSIAN, num_probes: int = 32
) -> Estimate:
    r"""Estimate the cosine of the angle between the noise covariance and a curvature matrix.

    .. math:: \frac{\mathrm{tr}(A \Sigma)}{|A|_F\, |\Sigma|_F}

    1 where they are proportional, :math:`\mathrm{tr}A / (\sqrt d\, |A|_F)` for isotropic noise, 0 where their ranges
    are orthogonal. All three traces are means over the same random signs z, of :math:`Az \cdot \Sigma z`,
    :math:`|Az|^2` and :math:`|\Sigma z|^2`, so that much of their error cancels in the ratio; what bias a ratio has
    and the standard error come from the jackknife.

    Parameters
    ----------
    problem
        Any problem.
    params
        Where to evaluate. For an ensemble, with a leading axis, wrap in `jax.vmap`.
    key
        Typed key of the signs.
    operator
        A: the Hessian by default.
    num_probes
        Probes, at least 3, each a product with either matrix.

    Raises
    ------
    TypeError, ValueError
        If the params do not fit the problem, the matrix is not defined for it, or an argument is out of range.

    References
    ----------
    Zhu, Wu, Yu, Wu, Ma (2019), The anisotropic noise in stochastic gradient descent, ICML (why it matters: escape).

    Examples
    --------
    >>> import jax, jax.numpy as jnp, sde_sgd as ss
    >>> problem = ss.problems.linear_regression(num_examples=256, dim=4, key=jax.random.key(0))
    >>> value, stderr = ss.curvature.noise_alignment(problem, problem.minimum, key=jax.random.key(1))
    >>> bool(value > 0.9)
    True
    """
    params = checked(problem, params, operator)
    checks.typed_key(key)
    checks.integer("num_probes", num_probes, 3, fix="The jackknife needs three.")
    return _noise_alignment(problem, params, key, operator, num_probes)


def subspace_overlap(first: PyTree, second: PyTree) -> Float[Array, ""]:
    r"""Return how much of one subspace lies in another: the mean squared cosine of their principal angles.

    .. math:: \frac{1}{k} |U^\top V|_F^2

    1 for the same subspace, about k/d for two random ones of dimension k.

    Parameters
    ----------
    first, second
        Orthonormal vectors, such as ``top_eigenpairs(...).vectors``: pytrees with a leading axis k, the same for both.

    Raises
    ------
    ValueError
        If the two differ in structure or shape.

    Examples
    --------
    >>> import jax.numpy as jnp, sde_sgd as ss
    >>> float(ss.curvature.subspace_overlap(jnp.eye(4)[:2], jnp.eye(4)[1:3]))
    0.5
    """
    shapes = [jax.tree.map(jnp.shape, vectors) for vectors in (first, second)]
    if jax.tree.structure(first) != jax.tree.structure(second) or shapes[0] != shapes[1]:
        raise ValueError(f"first and second must have the same shapes, got {shapes[0]} and {shapes[1]}.")
    rows = [jax.vmap(lambda vector: ravel_pytree(vector)[0])(vectors) for vectors in (first, second)]
    return jnp.sum((rows[0] @ rows[1].T) ** 2) / rows[0].shape[0]


@functools.partial(jax.jit, static_argnums=4)
def _noise_alignment(
    problem: Problem, params: PyTree, key: Array, operator: AbstractOperator, num_probes: int
) -> Estimate:
    curvature = flat_operator(operator, problem, params)
    noise = flat_operator(NoiseCovariance(), problem, params)

    def probe(number: Array) -> Array:
        signs = sign_vector(key, number, curvature)
        bent, spread = curvature.product(signs), noise.product(signs)
        return jnp.stack([bent @ spread, bent @ bent, spread @ spread])

    def cosine(sums: Array) -> Array:
        return sums[..., 0] / jnp.sqrt(sums[..., 1] * sums[..., 2])

    samples = jax.lax.map(probe, jnp.arange(num_probes, dtype=jnp.uint32))
    total = jnp.sum(samples, axis=0)
    without_one = cosine(total - samples)
    mean = jnp.mean(without_one)
    spread = jnp.sqrt((num_probes - 1) / num_probes * jnp.sum((without_one - mean) ** 2))
    return Estimate(num_probes * cosine(total) - (num_probes - 1) * mean, spread)
