"""How a quantity of SGD depends on the batch size: two power laws that meet, or one smooth saturation."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

_CANDIDATES = 401  # places of the corner, and of the batch size of a saturation, looked at
_REACH = 100.0  # how far beyond the batch sizes a saturation is looked for


class Regimes(NamedTuple):
    """Two power laws that meet: `fit_regimes`."""

    slope_below: float
    """Exponent at batch sizes below the corner."""
    slope_above: float
    """Exponent above it."""
    corner: float
    """Batch size at which they meet."""
    residual: float
    """Largest deviation of a point, in factors of two."""


class Saturation(NamedTuple):
    """A saturation in the batch size: `fit_saturation`."""

    limit: float
    """Value at very large batches."""
    batch_size: float
    """Batch size at which half of the way is made."""
    residual: float
    """Largest deviation of a point, in factors of two."""


def fit_regimes(batch_sizes: ArrayLike, values: ArrayLike) -> Regimes:
    r"""Fit a broken power law by least squares in logarithms.

    .. math:: \log y = c + s_1 \min(x - b, 0) + s_2 \max(x - b, 0), \qquad x = \log B

    The corner lies between the second and the last but one batch size. For standard errors pass it to `jackknife`.

    Parameters
    ----------
    batch_sizes
        B, at least five and rising.
    values
        Positive, one for each.

    Raises
    ------
    ValueError
        If there are fewer than five points or one is not positive.

    Examples
    --------
    >>> found = fit_regimes([1, 2, 4, 8, 16, 32, 64], [1, 2, 4, 8, 8, 8, 8])
    >>> [round(number, 2) for number in found]
    [1.0, 0.0, 8.0, 0.0]
    """
    x, y = _logarithms(batch_sizes, values, 5)
    # The second and the last but one point are among the candidates, and so are all between at even steps.
    corners = np.unique(np.concatenate([np.linspace(x[1], x[-2], _CANDIDATES), x[1:-1]]))
    offsets = x - corners[:, None]
    columns = np.stack([np.ones_like(offsets), np.minimum(offsets, 0), np.maximum(offsets, 0)], axis=-1)
    solutions = np.linalg.pinv(columns) @ y
    misses = y - np.einsum("cnk,ck->cn", columns, solutions)
    best = int(np.argmin(np.sum(misses**2, axis=1)))
    _, below, above = solutions[best]
    return Regimes(float(below), float(above), float(2 ** corners[best]), float(np.max(np.abs(misses[best]))))


def fit_saturation(batch_sizes: ArrayLike, values: ArrayLike, *, rising: bool) -> Saturation:
    r"""Fit how a quantity saturates, by least squares in logarithms.

    .. math:: y = \frac{y_\infty}{1 + B_0 / B} \quad\text{(rising)}, \qquad
              y = y_\infty \Bigl(1 + \frac{B_0}{B}\Bigr) \quad\text{(falling)}

    The best learning rate rises so, B_0 the noise scale; the steps to a target fall so, B_0 the critical batch size,
    which is the hyperbola (S / S_min - 1)(E / E_min - 1) = 1 between steps S and examples E = S B, E_min = S_min B_0.
    B_0 is looked for up to a hundred times beyond the batch sizes. For standard errors pass it to `jackknife`.

    Parameters
    ----------
    batch_sizes
        B, at least three.
    values
        Positive, one for each.
    rising
        Which of the two.

    Raises
    ------
    ValueError
        If there are fewer than three points or one is not positive.

    References
    ----------
    McCandlish, Kaplan, Amodei, OpenAI Dota Team (2018), An empirical model of large-batch training, arXiv:1812.06162.

    Examples
    --------
    >>> found = fit_saturation([1, 4, 16, 64], [170.0, 50.0, 20.0, 12.5], rising=False)
    >>> [round(number, 3) for number in found]
    [10.0, 16.0, 0.0]
    """
    from scipy import optimize

    x, y = _logarithms(batch_sizes, values, 3)
    sign = -1.0 if rising else 1.0

    def misses(log_size: float) -> np.ndarray:
        deviation = y - sign * np.log2(1 + 2 ** (log_size - x))
        return deviation - deviation.mean()

    reach = np.log2(_REACH)
    grid = np.linspace(x.min() - reach, x.max() + reach, _CANDIDATES)
    place = float(grid[np.argmin([np.sum(misses(size) ** 2) for size in grid])])
    width = grid[1] - grid[0]
    found = optimize.minimize_scalar(lambda size: np.sum(misses(size) ** 2), bounds=(place - width, place + width),
                                     method="bounded", options={"xatol": 1e-8})
    log_limit = float(np.mean(y - sign * np.log2(1 + 2 ** (found.x - x))))
    return Saturation(2**log_limit, float(2**found.x), float(np.max(np.abs(misses(found.x)))))


def _logarithms(batch_sizes: ArrayLike, values: ArrayLike, fewest: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(batch_sizes, np.float64), np.asarray(values, np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < fewest:
        raise ValueError(f"batch_sizes and values must have one axis and at least {fewest} points, got shapes "
                         f"{x.shape} and {y.shape}.")
    if not (np.all(x > 0) and np.all(y > 0) and np.all(np.isfinite(y))):
        raise ValueError(f"batch_sizes and values must be positive and finite, got {x} and {y}.")
    return np.log2(x), np.log2(y)
