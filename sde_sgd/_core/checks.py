"""Input errors in one voice: what was wrong, what was got, how to fix it.

Every check runs on the host before anything is traced. A value that is already a tracer is let through: inside a
transformation there is nothing to look at, and the caller has been checked outside.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def _is_traced(value: Any) -> bool:
    return isinstance(value, jax.core.Tracer)  # pyright: ignore[reportAttributeAccessIssue]


def _number(name: str, value: Any, expected: str) -> float | None:
    """Return ``value`` as a float, None when it is traced or an array with an axis (a stack of checked values)."""
    if _is_traced(value):
        return None
    if isinstance(value, bool | np.bool_ | str) or value is None:
        raise TypeError(f"{name} must be {expected}, got {value!r}.")
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be {expected}, got {value!r} of type {type(value).__name__}.") from None
    if array.ndim > 0:
        raise TypeError(f"{name} must be {expected}, got an array of shape {array.shape}. Pass one number.")
    return float(array)


def finite(name: str, value: Any) -> None:
    """Raise unless ``value`` is a finite number."""
    number = _number(name, value, "a finite number")
    if number is not None and not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}.")


def positive(name: str, value: Any, fix: str = "Pass a number above 0.") -> None:
    """Raise unless ``value`` is a finite number above zero."""
    number = _number(name, value, "a finite positive number")
    if number is not None and not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be finite and positive, got {number}. {fix}")


def non_negative(name: str, value: Any, fix: str = "Pass 0 or a positive number.") -> None:
    """Raise unless ``value`` is a finite number of at least zero."""
    number = _number(name, value, "a finite non-negative number")
    if number is not None and not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{name} must be finite and not negative, got {number}. {fix}")


def in_half_open_unit(name: str, value: Any) -> None:
    """Raise unless ``value`` lies in [0, 1)."""
    number = _number(name, value, "a number in [0, 1)")
    if number is not None and not 0.0 <= number < 1.0:
        raise ValueError(f"{name} must lie in [0, 1), got {number}. Pass 0 for none.")


def in_open_unit(name: str, value: Any) -> None:
    """Raise unless ``value`` lies in (0, 1)."""
    number = _number(name, value, "a number in (0, 1)")
    if number is not None and not 0.0 < number < 1.0:
        raise ValueError(f"{name} must lie in (0, 1), got {number}. Pass 0.95 for 95 %.")


def stable_index(name: str, value: Any) -> None:
    """Raise unless ``value`` is the index of a symmetric stable law, in (0, 2]."""
    number = _number(name, value, "a number in (0, 2]")
    if number is not None and not 0.0 < number <= 2.0:
        raise ValueError(f"{name} must lie in (0, 2], got {number}. Pass 2 for normal numbers.")


def integer(name: str, value: Any, minimum: int = 1, maximum: int | None = None, fix: str = "") -> None:
    """Raise unless ``value`` is a whole number in [minimum, maximum]."""
    if _is_traced(value):
        return
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        is_scalar_array = isinstance(value, jax.Array | np.ndarray) and np.issubdtype(value.dtype, np.integer)
        if not (is_scalar_array and np.ndim(value) == 0):
            raise TypeError(f"{name} must be an int, got {value!r} of type {type(value).__name__}. {fix}".rstrip())
    if int(value) < minimum or (maximum is not None and int(value) > maximum):
        allowed = f"at least {minimum}" if maximum is None else f"in {minimum}..{maximum}"
        raise ValueError(f"{name} must be {allowed}, got {int(value)}. {fix}".rstrip())


def one_of(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raise unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        choices = ", ".join(str(choice) for choice in allowed)
        raise ValueError(f"{name} must be one of {choices}; got {value!r}.")


def typed_key(key: Any) -> None:
    """Raise unless ``key`` is a single typed threefry key, as ``jax.random.key`` makes it."""
    how = "Pass key=jax.random.key(seed)."
    if key is None:
        raise TypeError(f"key is missing. {how}")
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise TypeError(f"key must be a typed JAX key, got {type(key).__name__} {_brief(key)}. {how}")
    if key.shape != ():
        raise ValueError(f"key must be a single key, got an array of shape {key.shape}. {how}")
    if str(jax.random.key_impl(key)) != "threefry2x32":
        raise ValueError(f"key must use threefry2x32, got {jax.random.key_impl(key)}. Pass jax.random.key(seed, "
                         "impl='threefry2x32'): draws are addressed by that generator's counter.")


def _brief(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    return repr(value) if dtype is None else f"of dtype {dtype}"


def floating_params(params: Any) -> None:
    """Raise unless every leaf of ``params`` is a floating-point array."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        raise ValueError("params holds no arrays. Return at least one floating-point array from init(key).")
    for path, leaf in leaves:
        if not hasattr(leaf, "dtype") or not jnp.issubdtype(leaf.dtype, jnp.floating):
            got = getattr(leaf, "dtype", type(leaf).__name__)
            raise TypeError(f"params{jax.tree_util.keystr(path)} must be a floating-point array, got {got}. "
                            "Convert it, for example with jnp.asarray(x, jnp.float32).")


def leading_axis(data: Any) -> int:
    """Return the common leading length of all arrays in ``data``; raise if they disagree or are empty."""
    leaves = jax.tree_util.tree_leaves_with_path(data)
    if not leaves:
        raise ValueError("data holds no arrays. Pass a pytree of arrays whose leading axis runs over the examples.")
    lengths = {}
    for path, leaf in leaves:
        shape = np.shape(leaf)
        if not shape:
            raise ValueError(f"data{jax.tree_util.keystr(path)} is a scalar. Give it a leading axis over the examples.")
        lengths[f"data{jax.tree_util.keystr(path)}"] = shape[0]
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise ValueError(f"the leading axes of data disagree ({listed}). Give every array one row per example.")
    num_examples = next(iter(lengths.values()))
    if num_examples == 0:
        raise ValueError("data is empty (leading axis 0). Pass at least one example.")
    return num_examples
