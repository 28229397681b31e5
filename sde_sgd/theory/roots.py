"""The zero of a continuous function of one number, to rounding."""

from collections.abc import Callable


def bracketed_root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where ``function`` changes sign between ``low`` and ``high``."""
    from scipy.optimize import brentq

    return float(brentq(function, low, high, xtol=1e-15, rtol=1e-14))  # pyright: ignore[reportArgumentType]
