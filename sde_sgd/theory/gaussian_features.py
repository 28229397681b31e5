r"""The second moment of linear regression on fresh Gaussian features: the engine below its closed forms.

Features x ~ N(0, A) drawn anew at every step make the gradient noise a function of the second moment alone, by
E[x x^T M x x^T] = 2 A M A + Tr(A M) A. About the optimum w* of the regularised loss, with q = w* - u the distance from
the teacher u and Sigma the covariance of the iterates, one step's mean noise is

.. math::
    C = \frac1S \left[ A (\Sigma + q q^\top) A + \left(\mathrm{Tr} A (\Sigma + q q^\top) + \sigma^2\right) A \right] .

The left-hand side of every stationary equation is diagonal where the Hessian is (`modes`), and so is A Sigma A if the
weight decay commutes with A. What couples the modes is one number, Tr A Sigma, for which the equation is scalar.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd.theory import matrices
from sde_sgd.theory.modes import rate_root
from sde_sgd.theory.roots import bracketed_root

# Maps the rates r_i of the modes to what the stationary equation of a model multiplies Sigma_ij with.
Operator = Callable[[Float[np.ndarray, " d"]], Float[np.ndarray, "d d"]]


class FeatureModes(NamedTuple):
    """Features and curvature in coordinates z, w = basis z, in which the learning rate is 1 and both are diagonal."""

    variances: Float[np.ndarray, " d"]
    rates: Float[np.ndarray, " d"]
    basis: Float[np.ndarray, "d d"]

    def scaled(self, scale: float) -> "FeatureModes":
        """Return the modes at ``scale`` times the learning rate."""
        return FeatureModes(scale * self.variances, scale * self.rates, np.sqrt(scale) * self.basis)

    def restore(self, matrix: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
        """Return a second moment of z as one of w, exactly symmetric."""
        restored = self.basis @ matrix @ self.basis.T
        return (restored + restored.T) / 2


def feature_modes(
    features: Float[np.ndarray, "d d"], weight_decay: Float[np.ndarray, "d d"], learning_rate: ArrayLike
) -> FeatureModes:
    """Return the common modes of features and weight decay; raise if there are none."""
    root = rate_root(learning_rate, len(features))
    variances, decays = root.T @ features @ root, root.T @ weight_decay @ root
    # Both are diagonal in the eigenbasis of a generic combination of them if, and only if, they commute.
    generic = 0.6180339887498949 * np.linalg.norm(variances) / np.linalg.norm(decays) if np.any(decays) else 0.0
    _, basis = np.linalg.eigh(variances + generic * decays)
    rotated = [basis.T @ matrix @ basis for matrix in (variances, decays)]
    if any(np.linalg.norm(m - np.diag(np.diag(m))) > 1e-8 * np.linalg.norm(m) for m in rotated):
        raise ValueError("weight_decay must commute with feature_covariance in the coordinates of the learning rate. "
                         "Use a scalar weight decay and a scalar learning rate, or matrices with common eigenvectors.")
    features_diagonal, decay_diagonal = (np.diag(matrix) for matrix in rotated)
    return FeatureModes(np.maximum(features_diagonal, 0.0), features_diagonal + decay_diagonal, root @ basis)


def positive_definite_features(value: ArrayLike) -> Float[np.ndarray, "d d"]:
    """Return the feature covariance; raise unless it is a covariance of full rank."""
    features = matrices.symmetric("feature_covariance", value)
    matrices.covariance("feature_covariance", features, len(features))
    smallest = np.linalg.eigvalsh(features)
    if smallest[0] <= matrices.rank_tolerance(smallest):
        raise ValueError(f"feature_covariance must be positive definite, got smallest eigenvalue {smallest[0]:.6g}: "
                         "along that direction nothing is learnt. Restrict the features to the directions they span.")
    return features


def second_moment(
    modes: FeatureModes,
    operator: Operator,
    batch_size: int,
    residual_variance: float,
    displacement: Float[np.ndarray, " d"] | None = None,
    pairing: float = 1.0,
) -> tuple[Float[np.ndarray, "d d"], float]:
    r"""Return the stationary Sigma of z and the mean squared residual Tr A (Sigma + q q^T) + sigma^2.

    ``pairing`` multiplies the term A (Sigma + q q^T) A: 1 for fresh Gaussian data, -1 for many examples of high
    dimension drawn again and again. The second moment must exist (`loading` below the batch size).
    """
    a, q = modes.variances, np.zeros(len(modes.rates)) if displacement is None else displacement
    kernel = _kernel(modes, operator, batch_size, pairing)
    diagonal = np.diag(kernel)
    offset = float(np.sum(a * q**2) + residual_variance)
    tau = float(np.sum(a**2 / diagonal))
    coherent = pairing * float(np.sum(a**3 * q**2 / diagonal))
    residual = (batch_size * offset + coherent) / (batch_size - tau)
    noise = pairing * np.outer(a * q, a * q) + np.diag(a * residual)
    return noise / (batch_size * kernel), residual


def loading(modes: FeatureModes, operator: Operator, batch_size: int, pairing: float = 1.0) -> float:
    r"""Return tau: the second moment exists where it is below the batch size. Infinite beyond a mode's own threshold.

    .. math:: \tau = \sum_i \frac{a_i^2}{l_{ii} - a_i^2 / S}
    """
    if np.min(modes.rates) <= 0 or np.min(np.diag(operator(modes.rates))) <= 0:
        return np.inf
    diagonal = np.diag(_kernel(modes, operator, batch_size, pairing))
    return float(np.sum(modes.variances**2 / diagonal)) if np.min(diagonal) > 0 else np.inf


def stability_scale(modes: FeatureModes, operator: Operator, batch_size: int, pairing: float = 1.0) -> float:
    """Return the factor by which the learning rate may grow until the second moment ceases to exist; perhaps inf."""
    if np.min(modes.rates) <= 0:
        return 0.0

    def margin(log_scale: float) -> float:
        # From +inf down to -1: continuous where a mode reaches its own threshold.
        with np.errstate(divide="ignore"):
            return float(np.float64(batch_size) / loading(modes.scaled(np.exp(log_scale)), operator, batch_size,
                                                          pairing)) - 1

    low, high = 0.0, 0.0
    while margin(low) <= 0:
        low -= 1.0
    while margin(high) > 0:
        high += 1.0
        if high > 100:
            return np.inf
    return float(np.exp(bracketed_root(margin, low, high)))


def _kernel(modes: FeatureModes, operator: Operator, batch_size: int, pairing: float) -> Float[np.ndarray, "d d"]:
    return operator(modes.rates) - pairing * np.outer(modes.variances, modes.variances) / batch_size
