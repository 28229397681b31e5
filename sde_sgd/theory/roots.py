"""Roots of functions of one number."""

from collections.abc import Callable


def root_between(function: Callable[[float], float], low: float, high: float) -> float:
    """Return a root of ``function`` to rounding; its signs at ``low`` and ``high`` must differ."""
    from scipy.optimize import brentq

    return float(brentq(function, low, high, xtol=1e-15, rtol=1e-13))  # pyright: ignore[reportArgumentType]
