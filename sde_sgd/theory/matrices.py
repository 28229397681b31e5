"""Array arguments of the theory room: float64 copies, checked before any work."""

from typing import Any

import numpy as np
from jaxtyping import Float

# Matrices computed in float32 are asymmetric at this relative size; anything beyond is a mistake of the caller.
_ASYMMETRY = 1e-5


def finite_array(name: str, value: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """Return a float64 copy of ``value``; raise unless it is finite and has ``shape`` (None: any length but 0)."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be an array of numbers, got {type(value).__name__}.") from None
    matches = array.ndim == len(shape) and all(
        got > 0 if wanted is None else got == wanted for got, wanted in zip(array.shape, shape, strict=False)
    )
    if not matches:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}. Reshape it to {len(shape)} axes.")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} holds NaN or infinite values. Clean it first.")
    return array


def symmetric(name: str, value: Any, dim: int | None = None, leading: tuple[int | None, ...] = ()) -> np.ndarray:
    """Return a float64, exactly symmetric copy of a matrix, or of a stack of them with ``leading`` axes."""
    array = finite_array(name, value, (*leading, dim, dim))
    transposed = np.swapaxes(array, -1, -2)
    if array.shape != transposed.shape:
        raise ValueError(f"{name} must be square, got shape {array.shape}.")
    asymmetry = np.max(np.abs(array - transposed))
    if asymmetry > _ASYMMETRY * np.max(np.abs(array)):
        raise ValueError(f"{name} must be symmetric, but entries differ from their mirror images by up to "
                         f"{asymmetry:.3g}. Pass (A + A.T) / 2 if the rest is noise.")
    return (array + transposed) / 2


def covariance(name: str, value: Any, dim: int) -> Float[np.ndarray, "dim dim"]:
    """Return a float64 copy of a covariance; raise unless it is symmetric and positive semi-definite."""
    matrix = symmetric(name, value, dim)
    try:
        # A mean eigenvalue is at most the largest: what passes this test, at a tenth of the cost, passes the next.
        np.linalg.cholesky(matrix + _ASYMMETRY * np.trace(matrix) / dim * np.eye(dim))
        return matrix
    except np.linalg.LinAlgError:
        eigenvalues = np.linalg.eigvalsh(matrix)
    if eigenvalues[0] < -_ASYMMETRY * max(eigenvalues[-1], 0.0):
        raise ValueError(f"{name} must be positive semi-definite, got smallest eigenvalue {eigenvalues[0]:.6g}. "
                         "Pass the covariance itself, not its inverse, its root or its logarithm.")
    return matrix


def rank_tolerance(eigenvalues: Float[np.ndarray, " dim"]) -> float:
    """Return the size below which an eigenvalue cannot be told from zero in float64."""
    return float(np.max(np.abs(eigenvalues)) * eigenvalues.size * np.finfo(np.float64).eps)
