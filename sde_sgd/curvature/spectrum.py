"""The density of the eigenvalues of a curvature matrix, by stochastic Lanczos quadrature."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sde_sgd._core import checks, tree
from sde_sgd.curvature.estimate import Estimate, over_probes
from sde_sgd.curvature.flat import checked, flat_operator, normal_vector
from sde_sgd.curvature.lanczos import lanczos
from sde_sgd.curvature.operators import HESSIAN, AbstractOperator
from sde_sgd.problems.problem import Problem


class Spectrum(eqx.Module):
    r"""The spectrum of a matrix as seen by random probes: nodes and weights of one quadrature rule per probe.

    .. math:: \frac1d \mathrm{tr}\, f(A) \approx \sum_k \omega_k f(\theta_k)

    For each probe the weights sum to one.
    """

    nodes: Float[Array, "probes steps"]
    weights: Float[Array, "probes steps"]

    def mean(self, function: Any) -> Estimate:
        """Estimate the mean of a function, applied element-wise, over all eigenvalues."""
        return over_probes(jnp.sum(self.weights * function(self.nodes), axis=-1))

    def density(self, grid: Float[Array, " n"], width: Any) -> Estimate:
        """Estimate the density of eigenvalues, smoothed by a Gaussian of standard deviation ``width``.

        Parameters
        ----------
        grid
            Where to evaluate.
        width
            Positive. Detail below the spacing of the nodes is not resolved.

        Raises
        ------
        TypeError, ValueError
            If ``width`` is not a positive number.
        """
        checks.positive("width", width)
        distances = (jnp.asarray(grid)[:, None, None] - self.nodes) / width
        bumps = jnp.exp(-(distances**2) / 2) / (width * (2 * jnp.pi) ** 0.5)
        return over_probes(jnp.sum(self.weights * bumps, axis=-1).T)


def spectral_density(
    problem: Problem, params: PyTree, *, key: Array, operator: AbstractOperator = HESSIAN, num_probes: int = 8,
    num_steps: int = 60,
) -> Spectrum:
    """Estimate the spectral density: one Lanczos process from each of several random directions.

    From a direction v the eigenvalues of the tridiagonal matrix and the squared first entries of its eigenvectors are
    the Gauss quadrature of v's spectral measure, exact for polynomials of degree below ``2 num_steps``; in the mean
    over directions that is the density of eigenvalues. A probe sees a single eigenvalue of d with weight about 1/d.

    Parameters
    ----------
    problem
        Any problem.
    params
        Where to evaluate. For an ensemble, with a leading axis, wrap in `jax.vmap`.
    key
        Typed key of the directions.
    operator
        Which matrix: `Hessian` by default, `GaussNewton`, `NoiseCovariance` or `Adaptive`.
    num_probes
        Directions, at least 2.
    num_steps
        Lanczos steps, each a product with the matrix. Fewer are made where the dimension is smaller.

    Returns
    -------
    Spectrum
        Nodes and weights; its methods give smoothed densities and spectral means with standard errors.

    Raises
    ------
    TypeError, ValueError
        If the params do not fit the problem, the matrix is not defined for it, or an argument is out of range.

    References
    ----------
    Ubaru, Chen, Saad (2017), Fast estimation of tr(f(A)) via stochastic Lanczos quadrature, SIAM J. Matrix Anal. Appl.
    38. Ghorbani, Krishnan, Xiao (2019), An investigation into neural net optimization via Hessian eigenvalue density,
    ICML.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, sde_sgd as ss
    >>> bowl = ss.problems.potential(lambda w: 0.5 * jnp.sum(jnp.arange(1.0, 5.0) * w**2), start=jnp.ones(4))
    >>> spectrum = ss.curvature.spectral_density(bowl, jnp.ones(4), key=jax.random.key(0))
    >>> [round(float(node), 3) for node in spectrum.nodes[0]]
    [1.0, 2.0, 3.0, 4.0]
    """
    params = checked(problem, params, operator)
    checks.typed_key(key)
    checks.integer("num_probes", num_probes, 2, fix="A standard error needs two.")
    checks.integer("num_steps", num_steps)
    return _spectral_density(problem, params, key, operator, num_probes, min(num_steps, tree.size(params)))


@functools.partial(jax.jit, static_argnums=(4, 5))
def _spectral_density(
    problem: Problem, params: PyTree, key: Array, operator: AbstractOperator, num_probes: int, num_steps: int
) -> Spectrum:
    matrix = flat_operator(operator, problem, params)

    def quadrature(probe: Array) -> tuple[Array, Array]:
        found = lanczos(matrix.product, normal_vector(key, probe, matrix), num_steps)
        nodes, vectors = found.eigenpairs()
        return nodes, vectors[0] ** 2

    return Spectrum(*jax.lax.map(quadrature, jnp.arange(num_probes, dtype=jnp.uint32)))
