"""Potentials given as functions: values and derivatives in float64, whatever JAX's own setting."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from sde_sgd.theory import matrices


def values(function: Callable[[Any], Any], x: Float[np.ndarray, "..."], name: str = "potential") -> np.ndarray:
    """Return an elementwise function of one variable at an array of positions."""
    _check_callable(name, function)
    padded = _padded(x)
    with jax.enable_x64(True):
        result = np.asarray(function(padded), dtype=np.float64)
    if result.shape not in ((), padded.shape):
        raise ValueError(f"{name} must act element by element, got shape {result.shape} for positions of shape "
                         f"{padded.shape}. Write it with array operations.")
    result = np.broadcast_to(result, padded.shape)[: x.size].reshape(x.shape)
    if np.any(np.isnan(result)):
        raise ValueError(f"{name} is NaN at {x[np.isnan(result)][0]:.6g}. Keep to where it is defined.")
    return result


def derivative(
    function: Callable[[Any], Any], x: Float[np.ndarray, "..."], order: int = 1, name: str = "potential"
) -> np.ndarray:
    """Return a derivative of an elementwise function of one variable at an array of positions."""
    _check_callable(name, function)
    for _ in range(order):
        function = jax.grad(function)
    return _evaluate(jax.vmap(function), _padded(np.asarray(x)), name)[: np.size(x)].reshape(np.shape(x))


def gradient_and_hessian(
    function: Callable[[Any], Any], name: str = "potential"
) -> Callable[[Float[np.ndarray, " d"]], tuple[np.ndarray, np.ndarray]]:
    """Return a function that gives gradient and Hessian at a point, compiled once."""
    _check_callable(name, function)
    both = jax.jit(lambda x: jax.numpy.vstack([jax.grad(function)(x), jax.hessian(function)(x)]))

    def evaluated(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = _evaluate(both, x, name)
        return rows[0], (rows[1:] + rows[1:].T) / 2

    return evaluated


def evaluate(function: Callable[[Any], Any], x: Float[np.ndarray, " d"], name: str = "potential") -> np.ndarray:
    """Return a function of a vector at a point."""
    _check_callable(name, function)
    return _evaluate(function, x, name)


def vector(name: str, value: Any) -> Float[np.ndarray, " d"]:
    """Return a finite point of d coordinates as float64."""
    return matrices.finite_array(name, value, (None,))


def number(name: str, value: Any) -> float:
    """Return a finite number as a float."""
    return float(matrices.finite_array(name, value, ()))


def _check_callable(name: str, function: Any) -> None:
    if not callable(function):
        raise TypeError(f"{name} must be callable, got {function!r} of type {type(function).__name__}.")


def _padded(x: np.ndarray) -> Float[np.ndarray, " power_of_two"]:
    """Return the positions as a vector of a length that is a power of two: JAX compiles operations per length."""
    return np.pad(x.ravel(), (0, (1 << (x.size - 1).bit_length()) - x.size), mode="edge")


def _evaluate(function: Callable[[Any], Any], x: np.ndarray, name: str) -> np.ndarray:
    try:
        with jax.enable_x64(True):
            result = np.asarray(function(jax.numpy.asarray(x, dtype=np.float64)), dtype=np.float64)
    except jax.errors.TracerArrayConversionError:
        raise TypeError(f"{name} cannot be differentiated. Write it with jax.numpy in place of numpy.") from None
    if not np.all(np.isfinite(result)):
        raise ValueError(f"{name} has a derivative that is not finite where it is needed. Keep to where it is smooth.")
    return result
