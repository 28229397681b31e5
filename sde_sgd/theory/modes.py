r"""The eigenbasis of a minimum, in which every stationary equation of this room is diagonal.

A learning rate that is a matrix, Lambda = L L^T, is one more change of coordinates: w = L z turns w' = w - Lambda g(w)
into z' = z - L^T g(L z), plain SGD with learning rate 1 on the Hessian L^T H L and the noise L^T C L. So nothing here
assumes that Lambda, H and C commute.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices


class Modes(NamedTuple):
    """A quadratic minimum in coordinates z, w = basis z, in which one step contracts every mode by 1 - rate.

    The rates are the eigenvalues of Lambda H, eta h_i for a scalar learning rate; ``noise`` is the covariance of the
    kick that one step gives to z.
    """

    rates: Float[np.ndarray, " d"]
    noise: Float[np.ndarray, "d d"]
    basis: Float[np.ndarray, "d d"]

    @property
    def sums(self) -> Float[np.ndarray, "d d"]:
        """r_i + r_j, the action of the first-order SDE."""
        return np.add.outer(self.rates, self.rates)

    def restore(self, matrix: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
        """Return a matrix of the eigenbasis in the original coordinates, exactly symmetric."""
        restored = self.basis @ matrix @ self.basis.T
        return (restored + restored.T) / 2


def minimum_modes(hessian: ArrayLike, noise_covariance: ArrayLike, learning_rate: ArrayLike) -> Modes:
    """Return the modes of a minimum; raise unless H and Lambda are positive definite and C is a covariance."""
    h = matrices.symmetric("hessian", hessian)
    root = rate_root(learning_rate, len(h))
    noise = matrices.covariance("noise_covariance", noise_covariance, len(h))
    curvatures = np.linalg.eigvalsh(h)
    if curvatures[0] <= matrices.rank_tolerance(curvatures):
        raise ValueError(f"hessian must be positive definite, got smallest eigenvalue {curvatures[0]:.6g}: along that "
                         "direction no stationary law exists. Restrict it to the directions of positive curvature.")
    rates, basis = np.linalg.eigh(root.T @ h @ root)
    basis = root @ basis
    return Modes(rates, basis.T @ noise @ basis, basis)


def rate_root(learning_rate: ArrayLike, dim: int) -> Float[np.ndarray, "d d"]:
    """Return L with L L^T the learning rate, a positive number or a positive definite matrix; raise otherwise."""
    if np.ndim(learning_rate) == 0:
        checks.positive("learning_rate", learning_rate)
        return np.sqrt(float(learning_rate)) * np.eye(dim)  # pyright: ignore[reportArgumentType]
    rate = matrices.symmetric("learning_rate", learning_rate, dim)
    eigenvalues = np.linalg.eigvalsh(rate)
    if eigenvalues[0] <= matrices.rank_tolerance(eigenvalues):
        raise ValueError("learning_rate must be positive or, as a matrix, positive definite, got smallest eigenvalue "
                         f"{eigenvalues[0]:.6g}: along that direction nothing moves. Remove it from the problem.")
    return np.linalg.cholesky(rate)


def sgd_operator(rates: Float[np.ndarray, " d"], momentum: float) -> Float[np.ndarray, "d d"]:
    r"""Return what the exact stationary equation of heavy ball multiplies S_ij with.

    .. math::
        (1-\beta)(r_i + r_j) - \frac{1+\beta^2}{1-\beta^2}\, r_i r_j + \frac{\beta}{1-\beta^2}\,(r_i^2 + r_j^2)
    """
    # The terms of second order, regrouped so that they do not cancel where two rates are close.
    differences = np.subtract.outer(rates, rates)
    second_order = momentum * differences**2 - (1 - momentum) ** 2 * np.outer(rates, rates)
    return (1 - momentum) * np.add.outer(rates, rates) + second_order / (1 - momentum**2)


def sme1_operator(rates: Float[np.ndarray, " d"]) -> Float[np.ndarray, "d d"]:
    """Return what the stationary equation of the first-order SDE multiplies S_ij with."""
    return np.add.outer(rates, rates)


def sme2_operator(rates: Float[np.ndarray, " d"]) -> Float[np.ndarray, "d d"]:
    """Return what the stationary equation of the second-order SDE multiplies S_ij with."""
    return sme1_operator(rates + rates**2 / 2)


def require_stable_mean(rates: Float[np.ndarray, " d"], learning_rate: ArrayLike, momentum: float) -> None:
    """Raise unless heavy ball with these rates is stable without noise: r_max < 2 (1 + momentum)."""
    largest, limit = float(np.max(rates)), 2 * (1 + momentum)
    if largest < limit:
        return
    if np.ndim(learning_rate) == 0:
        eta = float(learning_rate)  # pyright: ignore[reportArgumentType]
        raise ValueError(f"learning_rate must be below 2 (1 + momentum) / lambda_max = {limit * eta / largest:.6g}, "
                         f"got {eta}: beyond it SGD has no stationary law. Lower it.")
    raise ValueError(f"learning_rate @ hessian must have eigenvalues below 2 (1 + momentum) = {limit:.6g}, got "
                     f"{largest:.6g}: beyond it SGD has no stationary law. Multiply learning_rate by less than "
                     f"{limit / largest:.6g}.")
