r"""The risk of SGD on high-dimensional least squares: homogenised SGD and its Volterra equation.

The small parameter is 1/d, not the learning rate: *the* model for large steps in high dimension. It replaces the noise
of a minibatch by one of the same strength in every direction in units of the curvature, C = 2 f(w) H / B.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices


def homogenized_risk(
    features: ArrayLike,
    targets: ArrayLike,
    learning_rate: float,
    batch_size: int,
    steps: ArrayLike,
    *,
    start: ArrayLike | None = None,
) -> Float[np.ndarray, " k"]:
    r"""Return the expected risk of homogenised SGD after given numbers of steps.

    .. math::
        f(k) = F(k) + \int_0^k K(k - s)\,f(s)\,ds, \qquad
        K(s) = \frac{\eta^2}{B} \sum_j h_j^2\, e^{-2\eta h_j s}

    for :math:`f(w) = \frac{1}{2N}|X w - y|^2`, h_j the eigenvalues of X^T X / N and F the risk along gradient flow. The
    Volterra equation is that of the linear system of the modes' mean squares, a symmetric matrix of rank one beside a
    diagonal, which one eigendecomposition solves at all times. Exact for the SDE; SGD has this risk as d and N grow
    together at a fixed learning rate times |x|^2: within 5 % at d = 300, for data without outliers.

    Parameters
    ----------
    features
        X, shape (N, d).
    targets
        y, shape (N,).
    learning_rate
        eta > 0; below `max_homogenized_learning_rate` the risk converges.
    batch_size
        B, drawn with replacement.
    steps
        k >= 0, numbers of steps, a vector; N/B of them are an epoch.
    start
        w at step 0; zero by default.

    Returns
    -------
    risk : numpy.ndarray
        The expected mean loss at each of ``steps``.

    Raises
    ------
    TypeError, ValueError
        If a number or shape is wrong.
    OverflowError
        If the risk grows beyond float64.

    References
    ----------
    Paquette, Paquette, Adlam, Pennington (2022), Homogenization of SGD in high-dimensions: exact dynamics and
    generalization properties.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(60, 30)) / 30**0.5
    >>> risk = homogenized_risk(x, x @ np.ones(30), 0.8, 1, [0, 600, 1200])
    >>> bool(risk[0] > risk[1] > risk[2])
    True
    """
    checks.positive("learning_rate", learning_rate)
    checks.integer("batch_size", batch_size)
    x, y = _data(features, targets)
    times = matrices.finite_array("steps", steps, (None,))
    if np.any(times < 0):
        raise ValueError(f"steps must not be negative, got {times.min()}.")
    w = np.zeros(x.shape[1]) if start is None else matrices.finite_array("start", start, (x.shape[1],))
    eta, size = float(learning_rate), int(batch_size)
    curvatures, basis = np.linalg.eigh(x.T @ x / len(y))
    curved = curvatures > matrices.rank_tolerance(curvatures)
    h, basis = curvatures[curved], basis[:, curved]
    # Mean squares v_j about the minimum: v' = M v + 2 eta^2 f_min h / B, and f = f_min + h.v / 2.
    centre = basis.T @ (x.T @ y / len(y)) / h
    start_squares = (basis.T @ w - centre) ** 2
    lowest = (np.mean((y - x @ (basis @ centre)) ** 2)) / 2
    rates, modes = np.linalg.eigh(eta**2 / size * np.outer(h, h) - 2 * eta * np.diag(h))
    amplitudes = (modes.T @ h) * (modes.T @ start_squares) / 2
    source = eta**2 / size * lowest * (modes.T @ h) ** 2
    growth = np.outer(times, rates)
    if np.max(growth) > np.log(np.finfo(np.float64).max) - 50:
        raise OverflowError(f"the risk grows beyond float64 by step {times.max():g}: learning_rate {eta:g} is above "
                            f"{max_homogenized_learning_rate(features, size):.6g}. Lower it, or take fewer steps.")
    safe = np.where(rates == 0, 1.0, rates)
    gathered = np.where(rates == 0, times[:, None], np.expm1(growth) / safe)
    return lowest + np.exp(growth) @ amplitudes + gathered @ source


def homogenized_risk_limit(
    features: ArrayLike, targets: ArrayLike, learning_rate: float, batch_size: int
) -> float:
    r"""Return the risk that homogenised SGD tends to.

    .. math:: f_\infty = \frac{f_{\min}}{1 - \eta\,\mathrm{tr}(H) / (2B)}

    Parameters
    ----------
    features
        X, shape (N, d).
    targets
        y, shape (N,).
    learning_rate
        eta > 0.
    batch_size
        B.

    Returns
    -------
    risk : float
        Infinite from `max_homogenized_learning_rate` on.

    Raises
    ------
    TypeError, ValueError
        If a number or shape is wrong.

    References
    ----------
    Paquette, Paquette, Adlam, Pennington (2022), Homogenization of SGD in high-dimensions.

    Examples
    --------
    >>> homogenized_risk_limit([[1.0], [1.0]], [1.0, -1.0], 1.0, 1)
    1.0
    """
    checks.positive("learning_rate", learning_rate)
    x, y = _data(features, targets)
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    share = float(learning_rate) / max_homogenized_learning_rate(x, batch_size)
    return float(np.mean(residual**2) / 2 / (1 - share)) if share < 1 else np.inf


def max_homogenized_learning_rate(features: ArrayLike, batch_size: int) -> float:
    r"""Return the learning rate beyond which homogenised SGD diverges.

    .. math:: \eta^* = \frac{2B}{\mathrm{tr}\,H} = \frac{2B}{\frac1N \sum_i |x_i|^2}

    The trace, not the largest eigenvalue, limits the step in high dimension, and linearly in the batch size. SGD's own
    threshold in mean square, `max_mean_square_learning_rate`, is lower; at d = B = 1 by a factor of 3 for Gaussian
    features.

    Parameters
    ----------
    features
        X, shape (N, d).
    batch_size
        B.

    Returns
    -------
    learning_rate : float
        The threshold.

    Raises
    ------
    TypeError, ValueError
        If a number or shape is wrong, or all features are zero.

    Examples
    --------
    >>> max_homogenized_learning_rate([[1.0, 1.0], [0.0, 2.0]], 3)
    2.0
    """
    checks.integer("batch_size", batch_size)
    x = matrices.finite_array("features", features, (None, None))
    trace = float(np.sum(x**2)) / len(x)
    if trace == 0:
        raise ValueError("features must not all be zero: there is nothing to learn.")
    return 2 * int(batch_size) / trace


def _data(features: ArrayLike, targets: ArrayLike) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    x = matrices.finite_array("features", features, (None, None))
    return x, matrices.finite_array("targets", targets, (len(x),))
