r"""A minimum seen from its noise: stationary covariances for more parameters than a matrix has room for.

The stationary equations of this room have terms H^a S H^b on one side and the noise C = G G^T on the other. If G has
few columns, S lives, to the accuracy of a polynomial approximation, in the span of G, H G, H^2 G, ...: project H and C
onto it, solve the small problem with the functions there are, and lift the result.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices

# Directions that a new block adds with less than this share of its size are rounding.
_DEPENDENT = 1e-10


@dataclasses.dataclass(frozen=True, eq=False)
class ReducedMinimum:
    """A minimum projected onto k directions.

    Attributes
    ----------
    basis
        V, orthonormal columns. A covariance S of the reduced problem stands for V S V^T.
    hessian
        V^T H V.
    noise_covariance
        V^T C V; nothing of C is lost.
    products
        H V, kept for the residual.
    """

    basis: Float[np.ndarray, "d k"]
    hessian: Float[np.ndarray, "k k"]
    noise_covariance: Float[np.ndarray, "k k"]
    products: Float[np.ndarray, "d k"]

    def diagonal(self, covariance: ArrayLike) -> Float[np.ndarray, " d"]:
        """Return the diagonal of V S V^T, the variances of the d parameters.

        Parameters
        ----------
        covariance
            S, shape (k, k).
        """
        s = matrices.symmetric("covariance", covariance, self.basis.shape[1])
        return np.sum((self.basis @ s) * self.basis, axis=1)

    def residual(self, covariance: ArrayLike, learning_rate: float) -> float:
        r"""Return by how much V S V^T misses SGD's stationary equation, relative to the noise.

        .. math:: |H X + X H - \eta H X H - \eta C|_F \,/\, |\eta C|_F, \qquad X = V S V^\top

        Parameters
        ----------
        covariance
            S, shape (k, k), such as `sgd_stationary_covariance` of ``hessian`` and ``noise_covariance``.
        learning_rate
            eta > 0.
        """
        checks.positive("learning_rate", learning_rate)
        eta, k = float(learning_rate), self.basis.shape[1]
        s = matrices.symmetric("covariance", covariance, k)
        # X, H X and C all act within [V, HV]: the norm is that of a matrix of side 2k.
        triangle = np.linalg.qr(np.hstack([self.basis, self.products]), mode="r")
        core = np.block([[-eta * self.noise_covariance, s], [s, -eta * s]])
        return float(np.linalg.norm(triangle @ core @ triangle.T) / np.linalg.norm(eta * self.noise_covariance))


def krylov_minimum(
    hessian_product: Callable[[Float[np.ndarray, "d r"]], ArrayLike], noise_factor: ArrayLike, depth: int
) -> ReducedMinimum:
    r"""Return a minimum projected onto what its noise can reach, from products with the Hessian alone.

    .. math:: V = \mathrm{span}\,\{G, HG, \dots, H^{m-1} G\}, \qquad C = G G^\top

    The error falls with the depth m as conjugate gradients do, by about (sqrt(kappa) - 1)/(sqrt(kappa) + 1) a step for
    a Hessian of condition kappa; `ReducedMinimum.residual` tells where it stands. The stationary functions of this room
    take ``hessian`` and ``noise_covariance`` of the result as they would those of a small problem.

    Parameters
    ----------
    hessian_product
        Takes a matrix of shape (d, r) to H times it. H must be symmetric.
    noise_factor
        G, shape (d, r): for minibatches of size B the deviations of the examples' gradients over sqrt(N B).
    depth
        m >= 1, blocks of r directions.

    Returns
    -------
    ReducedMinimum
        At most m r directions; fewer where the span closes before.

    Raises
    ------
    TypeError, ValueError
        If G is zero or not finite, the product has another shape, or the depth is below 1.

    Notes
    -----
    m products with blocks, and O(d (m r)^2) for orthogonalisation; 2 d m r numbers are stored.

    References
    ----------
    Saad (1990), Numerical solution of large Lyapunov equations.

    Examples
    --------
    >>> import numpy as np
    >>> curvatures = np.linspace(1.0, 2.0, 10_000)[:, None]
    >>> reduced = ss.theory.krylov_minimum(lambda v: curvatures * v, np.ones((10_000, 1)), depth=12)
    >>> covariance = ss.theory.sgd_stationary_covariance(reduced.hessian, reduced.noise_covariance, 0.5)
    >>> reduced.residual(covariance, 0.5) < 1e-8, round(float(reduced.diagonal(covariance)[0]), 6)
    (True, 0.333333)
    """
    factor = matrices.finite_array("noise_factor", noise_factor, (None, None))
    checks.integer("depth", depth)
    if not np.any(factor):
        raise ValueError("noise_factor is zero: without noise the covariance is zero too. Pass the gradients' noise.")
    blocks, products = [_orthonormal(factor, [])], []
    for _ in range(depth):
        products.append(_product(hessian_product, blocks[-1]))
        following = _orthonormal(products[-1], blocks)
        if following.shape[1] == 0:
            break
        blocks.append(following)
    basis, image = np.hstack(blocks[: len(products)]), np.hstack(products)
    hessian, reduced_factor = basis.T @ image, basis.T @ factor
    return ReducedMinimum(basis, (hessian + hessian.T) / 2, reduced_factor @ reduced_factor.T, image)


def _orthonormal(block: Float[np.ndarray, "d r"], earlier: list[np.ndarray]) -> Float[np.ndarray, "d s"]:
    """Return an orthonormal basis of what ``block`` adds to the earlier ones."""
    rest = block
    # Twice is enough: the second pass removes what rounding left of the first.
    for _ in range(2):
        for known in earlier:
            rest = rest - known @ (known.T @ rest)
    left, sizes, _ = np.linalg.svd(rest, full_matrices=False)
    kept = left[:, sizes > _DEPENDENT * np.linalg.norm(block, 2)]
    for known in earlier:
        kept = kept - known @ (known.T @ kept)
    return np.linalg.qr(kept)[0]


def _product(
    hessian_product: Callable[[Float[np.ndarray, "d r"]], ArrayLike], block: Float[np.ndarray, "d r"]
) -> Float[np.ndarray, "d r"]:
    image = np.asarray(hessian_product(block), np.float64)
    if image.shape != block.shape:
        raise ValueError(f"hessian_product must return shape {block.shape}, like its argument, got {image.shape}.")
    return image
