"""The Lanczos process with full reorthogonalisation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Vector = Float[Array, " d"]


class Tridiagonal(NamedTuple):
    r"""Coefficients and basis after m steps.

    .. math:: A V = V T + \beta_m\, v_{m+1} e_m^\top

    with the orthonormal Lanczos vectors in the rows of ``basis``, ``diagonal`` and ``off_diagonal`` those of the
    symmetric tridiagonal T, and ``residual`` beta_m.
    """

    basis: Float[Array, "m d"]
    diagonal: Float[Array, " m"]
    off_diagonal: Float[Array, " m-1"]
    residual: Float[Array, ""]

    def eigenpairs(self) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        """Return the eigenvalues of T, ascending, and its eigenvectors as columns."""
        off = jnp.diag(self.off_diagonal, 1)
        return jnp.linalg.eigh(jnp.diag(self.diagonal) + off + off.T)


def lanczos(product: Callable[[Vector], Vector], start: Vector, num_steps: int) -> Tridiagonal:
    """Run the Lanczos process.

    Every new vector is made orthogonal to all before it, twice, which keeps the basis orthonormal to rounding and the
    spectrum of T free of the copies of converged eigenvalues that the bare recurrence makes. Where the Krylov space is
    exhausted, ``start`` with its entries shifted takes over, as good as a new random vector; T then splits into blocks,
    each with eigenvalues of A.

    Parameters
    ----------
    product
        The symmetric matrix A as a function.
    start
        A random vector, which need not be normalised.
    num_steps
        m, at most the dimension.

    References
    ----------
    Parlett (1998), The symmetric eigenvalue problem, SIAM. Giraud, Langou, Rozložník (2005), The loss of orthogonality
    in the Gram-Schmidt orthogonalization process, Comput. Math. Appl. 50 (twice is enough).
    """
    rounding = jnp.finfo(start.dtype).eps
    basis = jnp.zeros((num_steps, start.size), start.dtype).at[0].set(start / jnp.linalg.norm(start))
    coefficients = jnp.zeros((num_steps,), start.dtype)

    def step(index: Any, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        basis, diagonal, off_diagonal = state
        image = product(basis[index])
        diagonal = diagonal.at[index].set(image @ basis[index])
        image = _orthogonal(image, basis)
        length = jnp.linalg.norm(image)
        largest = jnp.maximum(jnp.max(jnp.abs(diagonal)), jnp.max(off_diagonal))
        exhausted = length <= rounding * largest
        following = jnp.where(exhausted, _orthogonal(jnp.roll(start, index + 1), basis), image)
        following = following / jnp.linalg.norm(following)
        off_diagonal = off_diagonal.at[index].set(jnp.where(exhausted, 0.0, length))
        return basis.at[index + 1].set(following, mode="drop"), diagonal, off_diagonal

    basis, diagonal, off_diagonal = jax.lax.fori_loop(0, num_steps, step, (basis, coefficients, coefficients))
    return Tridiagonal(basis, diagonal, off_diagonal[:-1], off_diagonal[-1])


def _orthogonal(vector: Vector, basis: Float[Array, "m d"]) -> Vector:
    for _ in range(2):
        vector = vector - (basis @ vector) @ basis
    return vector
