r"""The second moment of SGD about the minimum, as operators on matrices: any number of parameters that memory allows.

With w* the minimum and S the covariance, the mean noise of one step is phi [Sigma(w*) + K(S)], where

.. math:: K(S) = \frac1N \sum_i H_i S H_i - H S H

is what the fluctuation of the Hessians adds. In the eigenbasis of H the equation of the stationary S reads

.. math:: l_{ij} S_{ij} - \eta^2 \varphi\, K(S)_{ij} = \eta^2 \varphi\, \Sigma_{ij}

with l of `sgd_operator`. The left-hand side is symmetric, positive definite below the mean-square threshold and well
conditioned after division by l, so that conjugate gradients solve it and Lanczos finds the threshold: O(N d^2) a step
for least squares, and no d^2 x d^2 matrix.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from sde_sgd.theory import matrices
from sde_sgd.theory.affine_gradients import AbstractAffineGradients

# Directions with less than this share of the largest curvature count as flat: what curvature the data leave there
# cannot be told from the rounding of the mean over the examples.
_FLAT = 1e-12
# Up to this many curved directions, the r^2 x r^2 matrix of the operator is faster than Lanczos.
_DENSE = 12


@dataclasses.dataclass(frozen=True, eq=False)
class CurvedDirections:
    """A problem in the eigenvectors of H with positive eigenvalues.

    Attributes
    ----------
    problem
        The examples as functions of the r curved coordinates.
    curvatures
        The positive eigenvalues of H, ascending.
    basis
        Their eigenvectors, w = basis z.
    """

    problem: AbstractAffineGradients
    curvatures: Float[np.ndarray, " r"]
    basis: Float[np.ndarray, "d r"]

    @property
    def sums(self) -> Float[np.ndarray, "r r"]:
        """h_i + h_j."""
        return np.add.outer(self.curvatures, self.curvatures)

    def hessian_noise(self, covariance: Float[np.ndarray, "r r"]) -> Float[np.ndarray, "r r"]:
        """Return K(S), symmetric for every S: what the fluctuation of the Hessians makes of a covariance."""
        symmetric = (covariance + covariance.T) / 2
        squared = self.problem.gradient_moment(np.pad(symmetric, ((1, 0), (1, 0))))
        return squared - np.outer(self.curvatures, self.curvatures) * symmetric

    def restore(self, matrix: Float[np.ndarray, "r r"]) -> Float[np.ndarray, "d d"]:
        """Return a matrix of the curved directions in the original coordinates, zero along the flat ones."""
        restored = self.basis @ matrix @ self.basis.T
        return (restored + restored.T) / 2


def curved_directions(problem: AbstractAffineGradients) -> CurvedDirections:
    """Return a problem in its curved directions; raise at a saddle, or if a flat direction is not flat for all."""
    curvatures, basis = np.linalg.eigh(problem.hessian)
    require_semi_definite("the mean of problem.hessians", curvatures)
    curved = curvatures > _FLAT * curvatures[-1]
    flat = basis[:, ~curved]
    # What is flat for the mean of the examples must be flat for each of them: the mean square of H_i along it.
    leakage = np.sqrt(max(np.trace(problem.gradient_moment(np.pad(flat @ flat.T, ((1, 0), (1, 0))))), 0.0))
    if leakage > np.sqrt(_FLAT) * np.sum(curvatures):
        raise ValueError(f"problem.hessians fluctuate by {leakage:.3g} along a direction that is flat on average, "
                         "where no learning rate is stable in mean square. Remove that direction from the problem.")
    return CurvedDirections(problem.restricted(basis[:, curved]), curvatures[curved], basis[:, curved])


def require_semi_definite(name: str, curvatures: Float[np.ndarray, " d"]) -> None:
    """Raise unless no eigenvalue is negative."""
    if curvatures[0] < -matrices.rank_tolerance(curvatures):
        raise ValueError(f"{name} must be positive semi-definite, got smallest eigenvalue {curvatures[0]:.6g}: at a "
                         "saddle no learning rate is stable. Restrict it to the directions of positive curvature.")


Map = Callable[[Float[np.ndarray, "r r"]], Float[np.ndarray, "r r"]]


def largest_eigenvalue(
    symmetric_map: Map, start: Float[np.ndarray, "r r"]
) -> tuple[float, Float[np.ndarray, "r r"]]:
    """Return the largest eigenvalue of a symmetric linear map of symmetric matrices, and its eigen-matrix.

    ``start`` must overlap with it; for maps that keep matrices positive, any positive definite one does.
    """
    from scipy.sparse.linalg import aslinearoperator, eigsh

    dim = len(start)
    if dim <= _DENSE:
        rows, columns = np.triu_indices(dim)
        weights = np.where(rows == columns, 1.0, np.sqrt(0.5))
        basis = np.zeros((len(rows), dim, dim))
        each = np.arange(len(rows))
        basis[each, rows, columns] = basis[each, columns, rows] = weights
        values, vectors = np.linalg.eigh([[np.sum(image * other) for other in basis]
                                          for image in map(symmetric_map, basis)])
        return float(values[-1]), np.tensordot(vectors[:, -1], basis, axes=1)
    operator: Any = aslinearoperator(_OnVectors(symmetric_map, dim))
    # The eigenvalue's error is the square of this tolerance.
    values, vectors = eigsh(operator, k=1, which="LA", v0=start.ravel(), tol=1e-10)  # pyright: ignore
    matrix = vectors[:, 0].reshape(dim, dim)
    return float(values[0]), (matrix + matrix.T) / 2


def mean_square_threshold(
    curved: CurvedDirections, factor: float, linear: Float[np.ndarray, "r r"], second: Float[np.ndarray, "r r"]
) -> float:
    """Return the eta at which eta linear + eta^2 second, acting entry by entry, no longer outweighs eta^2 phi K."""
    root = np.sqrt(linear)

    def ratio(matrix: Float[np.ndarray, "r r"]) -> Float[np.ndarray, "r r"]:
        scaled = matrix / root
        return (factor * curved.hessian_noise(scaled) - second * scaled) / root

    largest = largest_eigenvalue(ratio, np.eye(len(root)))[0]
    return 1 / largest if largest > 0 else np.inf


def solve_definite(
    symmetric_map: Map, right_side: Float[np.ndarray, "r r"], scale: Float[np.ndarray, "r r"]
) -> Float[np.ndarray, "r r"]:
    """Solve for a symmetric matrix by conjugate gradients, preconditioned by entry-wise division by ``scale``."""
    from scipy.sparse.linalg import aslinearoperator, cg

    root = np.sqrt(scale)
    operator: Any = aslinearoperator(_OnVectors(lambda matrix: symmetric_map(matrix / root) / root, len(root)))
    right = (right_side / root).ravel()
    solution, status = cg(operator, right, rtol=1e-14, atol=0.0, maxiter=2000)
    if status:
        # Rounding may keep the residual above the tolerance; what matters is whether it is small.
        residual = float(np.linalg.norm(operator @ solution - right) / np.linalg.norm(right))
        if residual > 1e-11:
            raise ValueError("learning_rate is too close to the mean-square threshold: conjugate gradients stopped at "
                             f"a relative residual of {residual:.2g}. Lower it.")
    matrix = solution.reshape(root.shape) / root
    return (matrix + matrix.T) / 2


class _OnVectors:
    """A map of r x r matrices as scipy takes it, on vectors of r^2."""

    dtype = np.dtype(np.float64)

    def __init__(self, symmetric_map: Map, dim: int):
        self.shape = (dim**2, dim**2)
        self._map, self._dim = symmetric_map, dim

    def matvec(self, vector: np.ndarray) -> np.ndarray:
        return self._map(vector.reshape(self._dim, self._dim)).ravel()
