r"""Products of random numbers: SGD in one dimension, w' = (1 - eta x) w, where mean squares mislead.

With x the curvature that a minibatch sees, :math:`\ln|w_k|` is a random walk of drift :math:`E \ln|1 - \eta x|`, the
Lyapunov exponent. Its sign, not that of the mean curvature or of the growth of E[w^2], says where the runs go.
"""

import itertools
import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices
from sde_sgd.theory.roots import bracketed_root

# Batches are enumerated up to this many.
_MOST_BATCHES = 500_000


def batch_curvatures(
    curvatures: ArrayLike, batch_size: int = 1, *, replacement: bool = True
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Return the curvatures that minibatches of a finite data set see, and their probabilities, by enumeration.

    Parameters
    ----------
    curvatures
        h_i of the N examples, a vector; of either sign.
    batch_size
        B.
    replacement
        Whether an example may occur twice in a batch.

    Returns
    -------
    values, probabilities : numpy.ndarray
        One entry for every batch, the order within a batch not counted.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or there are more than 500,000 batches.

    Examples
    --------
    >>> batch_curvatures([1.0, 3.0], batch_size=2)
    (array([1., 2., 3.]), array([0.25, 0.5 , 0.25]))
    """
    values = matrices.finite_array("curvatures", curvatures, (None,))
    num = len(values)
    checks.integer("batch_size", batch_size, maximum=None if replacement else num, fix=f"There are {num} examples.")
    size = int(batch_size)
    count = math.comb(num + size - 1, size) if replacement else math.comb(num, size)
    if count > _MOST_BATCHES:
        raise ValueError(f"curvatures of {num} examples make {count} batches of {size}, more than {_MOST_BATCHES} to "
                         "enumerate. Lower batch_size, or take a law of the features (tail_exponent).")
    if not replacement:
        batches = np.array(list(itertools.combinations(range(num), size)))
        return values[batches].mean(axis=1), np.full(count, 1 / count)
    batches = np.array(list(itertools.combinations_with_replacement(range(num), size)))
    repeats = np.apply_along_axis(lambda batch: math.prod(map(math.factorial, np.unique(batch, return_counts=True)[1])),
                                  1, batches) if size > 1 else np.ones(count)
    return values[batches].mean(axis=1), math.factorial(size) / repeats.astype(np.float64) / float(num) ** size


def lyapunov_exponent(
    curvatures: ArrayLike, learning_rate: float, batch_size: int = 1, *, replacement: bool = True
) -> float:
    r"""Return the rate at which almost every run of one-dimensional SGD contracts or grows, per step.

    .. math:: \Lambda = \mathrm{E} \ln|1 - \eta h|, \qquad |w_k| \approx e^{\Lambda k} |w_0|

    with h the curvature of a minibatch. Exact for w' = (1 - eta h) w, the noise vanishing at w = 0, at any learning
    rate. **Negative, every run converges to w = 0, whether that is a minimum or a maximum of the loss** (mean
    curvature below 0), and whether or not E[w^2] grows.

    Parameters
    ----------
    curvatures
        h_i of the N examples, a vector; of either sign.
    learning_rate
        eta > 0.
    batch_size
        B.
    replacement
        Whether an example may occur twice in a batch.

    Returns
    -------
    exponent : float
        Minus infinity if some batch takes w to 0 in one step.

    Raises
    ------
    TypeError, ValueError
        As `batch_curvatures`, or if the learning rate is not positive.

    References
    ----------
    Ziyin, Li, Simon, Ueda (2021), SGD with a constant large learning rate can converge to local maxima.

    Examples
    --------
    >>> lyapunov_exponent([1.0, -1.1], 0.5)  # the loss has a maximum at 0, and SGD converges to it
    -0.12744...
    """
    checks.positive("learning_rate", learning_rate)
    values, probabilities = batch_curvatures(curvatures, batch_size, replacement=replacement)
    with np.errstate(divide="ignore"):
        return float(probabilities @ np.log(np.abs(1 - float(learning_rate) * values)))


def convergent_learning_rates(
    curvatures: ArrayLike, batch_size: int = 1, *, replacement: bool = True
) -> list[tuple[float, float]]:
    r"""Return the intervals of learning rates at which almost every run converges to w = 0.

    .. math:: \{\eta > 0 : \mathrm{E} \ln|1 - \eta h| < 0\}

    Around a minimum the first interval begins at 0; at a maximum there is a window away from 0, or none: gradient
    descent leaves a maximum at every learning rate. Beyond the last interval all runs diverge.

    Parameters
    ----------
    curvatures
        h_i of the N examples, a vector; of either sign.
    batch_size
        B.
    replacement
        Whether an example may occur twice in a batch.

    Returns
    -------
    intervals : list of (float, float)
        Open intervals, from small to large.

    Raises
    ------
    TypeError, ValueError
        As `batch_curvatures`.

    References
    ----------
    Ziyin, Li, Simon, Ueda (2021), SGD with a constant large learning rate can converge to local maxima.

    Examples
    --------
    >>> convergent_learning_rates([1.0, -2.0])  # (1/2, (1 + sqrt(17))/4)
    [(0.5, 1.28077...)]
    """
    values, probabilities = batch_curvatures(curvatures, batch_size, replacement=replacement)

    def exponent(rate: float) -> float:
        with np.errstate(divide="ignore"):
            return float(probabilities @ np.log(np.abs(1 - rate * values)))

    poles = np.unique(1 / values[values > 0])
    if poles.size == 0:
        return []
    # Between two poles, where the exponent is minus infinity, its second derivative is negative: it has one maximum
    # there, and so two roots or none. Before the first pole it starts from 0, after the last it only grows. The dip at
    # a pole of small probability can be narrower than the numbers are dense; it is then left out.
    dips = {pole for pole in poles if exponent(_below(pole)) < 0 and exponent(_above(pole)) < 0}
    ends = [0.0] if probabilities @ values >= 0 else []
    for left, right in itertools.pairwise([0.0, *poles]):
        top = _maximum(values, probabilities, left, right)
        if top is None or exponent(top) <= 0:
            continue
        ends += [bracketed_root(exponent, _above(left), top)] if left in dips else []
        ends += [bracketed_root(exponent, top, _below(right))] if right in dips else []
    far = 2 * poles[-1]
    while exponent(far) <= 0:
        far *= 2
    ends += [bracketed_root(exponent, _above(poles[-1]), far)] if poles[-1] in dips else []
    return list(zip(ends[::2], ends[1::2], strict=True))


def _maximum(values: np.ndarray, probabilities: np.ndarray, left: float, right: float) -> float | None:
    """Return where the concave exponent is largest between two poles; None if it falls from 0 on."""
    def slope(rate: float) -> float:
        return float(-probabilities @ (values / (1 - rate * values)))

    start = _above(left) if left > 0 else 0.0
    return bracketed_root(slope, start, _below(right)) if slope(start) > 0 else None


def _above(pole: float) -> float:
    return pole * (1 + 1e-12)


def _below(pole: float) -> float:
    return pole * (1 - 1e-12)
