"""A mean escape time or a function of several, with its standard error."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import xarray


class Measured(NamedTuple):
    """A number and its standard error."""

    value: float
    stderr: float


class Times(NamedTuple):
    """Mean escape times of independent ensembles, shape (m,), with standard errors and 95 % intervals."""

    mean: Float[np.ndarray, " m"]
    stderr: Float[np.ndarray, " m"]
    lower: Float[np.ndarray, " m"]
    upper: Float[np.ndarray, " m"]

    def slope(self, against: Float[np.ndarray, " m"]) -> Measured:
        """Return the slope of log(mean) by least squares, equal weights, as `slope` does with exact times."""
        weights = _slope_weights(against)
        return Measured(float(weights @ np.log(self.mean)), float(np.linalg.norm(weights * self.stderr / self.mean)))

    def ratio(self, upper: int, lower: int) -> Measured:
        """Return the ratio of two of the means."""
        value = self.mean[upper] / self.mean[lower]
        relative = self.stderr / self.mean
        return Measured(float(value), float(value * np.hypot(relative[upper], relative[lower])))


def times(estimates: "list[xarray.Dataset]") -> Times:
    """Collect what ``escape_time`` or ``splitting`` returned."""
    names = ("escape_time", "escape_time_stderr", "escape_time_lower", "escape_time_upper")
    return Times(*(np.array([row[name].item() for row in estimates]) for name in names))


def slope(values: Float[np.ndarray, " m"], against: Float[np.ndarray, " m"]) -> float:
    """Return the slope of log(values) by least squares."""
    return float(_slope_weights(against) @ np.log(values))


def _slope_weights(against: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    centred = np.asarray(against, np.float64) - np.mean(against)
    return centred / np.sum(centred**2)
