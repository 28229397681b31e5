"""The eigenbasis of the Hessian at a minimum, in which every stationary equation of this room is diagonal."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd.theory import matrices


class Modes(NamedTuple):
    """A quadratic minimum in the eigenbasis of H: curvatures h_i, noise C_ij, and the basis."""

    curvatures: Float[np.ndarray, " d"]
    noise: Float[np.ndarray, "d d"]
    basis: Float[np.ndarray, "d d"]

    @property
    def sums(self) -> Float[np.ndarray, "d d"]:
        """h_i + h_j, the action of S -> H S + S H."""
        return np.add.outer(self.curvatures, self.curvatures)

    def restore(self, matrix: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
        """Return a matrix of the eigenbasis in the original coordinates, exactly symmetric."""
        restored = self.basis @ matrix @ self.basis.T
        return (restored + restored.T) / 2


def minimum_modes(hessian: ArrayLike, noise_covariance: ArrayLike) -> Modes:
    """Return the modes of a minimum; raise unless H is positive definite and C a covariance of its size."""
    h = matrices.symmetric("hessian", hessian)
    noise = matrices.covariance("noise_covariance", noise_covariance, len(h))
    curvatures, basis = np.linalg.eigh(h)
    if curvatures[0] <= matrices.rank_tolerance(curvatures):
        raise ValueError(f"hessian must be positive definite, got smallest eigenvalue {curvatures[0]:.6g}: along that "
                         "direction no stationary law exists. Restrict it to the directions of positive curvature.")
    return Modes(curvatures, basis.T @ noise @ basis, basis)
