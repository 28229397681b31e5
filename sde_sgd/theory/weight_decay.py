"""The weight decay that serves SGD best: it may be negative, because a large learning rate regularises too much."""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory.gaussian_features import feature_modes, loading, positive_definite_features
from sde_sgd.theory.modes import sgd_operator
from sde_sgd.theory.online_regression import online_regression
from sde_sgd.theory.roots import bracketed_root

# Candidates between which the test loss is refined; it varies on the scale of the stable interval.
_CANDIDATES = 65


class WeightDecay(NamedTuple):
    """The best weight decay, its test loss, and the interval of weight decays under which SGD is stable."""

    weight_decay: float
    test_loss: float
    stable: tuple[float, float]


def optimal_weight_decay(
    feature_covariance: ArrayLike,
    teacher: ArrayLike,
    learning_rate: float,
    batch_size: int,
    *,
    label_noise: float = 0.0,
    momentum: float = 0.0,
) -> WeightDecay:
    r"""Return the weight decay of least test loss for SGD on linear regression with fresh Gaussian data.

    .. math::
        \gamma^* = \arg\min_\gamma\, \tfrac12 \mathrm{E}\,(w - u)^\top A (w - u), \qquad
        L(w) = \tfrac12 \mathrm{E}\left[(w \cdot x - y)^2\right] + \tfrac{\gamma}{2} |w|^2

    In one dimension, with k = a + gamma, SGD without momentum is stable for
    |lambda k - 1| < sqrt(1 - 2 lambda^2 a^2 / S). Beyond the mean-square threshold 2 S / (S + 2) of no weight decay,
    with lambda a > 1, that whole interval is negative: only *negative* weight decay, which flattens the loss, makes SGD
    converge.

    Parameters
    ----------
    feature_covariance
        A, positive definite, shape (d, d).
    teacher
        u, shape (d,).
    learning_rate
        lambda > 0.
    batch_size
        S, fresh examples per step.
    label_noise
        sigma, the standard deviation of the label noise.
    momentum
        mu in [0, 1) of heavy ball in optax's convention.

    Returns
    -------
    WeightDecay
        gamma*, its test loss, and the open interval of stable weight decays.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, A is not positive definite, or SGD is stable under no
        weight decay at all.

    References
    ----------
    Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, ICLR.

    Examples
    --------
    >>> best = ss.theory.optimal_weight_decay([[1.0]], [1.0], learning_rate=1.7, batch_size=10)
    >>> round(best.weight_decay, 4), round(best.test_loss, 5), [round(edge, 4) for edge in best.stable]
    (-0.0516, 0.01964, [-0.7939, -0.0296])
    """
    from scipy.optimize import minimize_scalar

    features = positive_definite_features(feature_covariance)
    checks.positive("learning_rate", learning_rate)
    checks.integer("batch_size", batch_size)
    checks.in_half_open_unit("momentum", momentum)
    low, high = _stable_interval(features, float(learning_rate), batch_size, float(momentum))

    def test_loss(weight_decay: float) -> float:
        return online_regression(features, learning_rate, batch_size, label_noise=label_noise, teacher=teacher,
                                 weight_decay=weight_decay, momentum=momentum).test_loss

    # No weight decay is a candidate of its own: without label noise it is the exact optimum wherever it is stable.
    candidates = np.sort(np.append(np.linspace(low, high, _CANDIDATES)[1:-1], [0.0] if low < 0 < high else []))
    losses = [test_loss(candidate) for candidate in candidates]
    best = int(np.argmin(losses))
    edges = np.concatenate([[low], candidates, [high]])
    refined = minimize_scalar(test_loss, bounds=(edges[best], edges[best + 2]), method="bounded",
                              options={"xatol": 1e-12 * (high - low)})
    optimum = min((losses[best], float(candidates[best])), (float(refined.fun), float(refined.x)))
    return WeightDecay(optimum[1], optimum[0], (low, high))


def _stable_interval(
    features: Float[np.ndarray, "d d"], learning_rate: float, batch_size: int, momentum: float
) -> tuple[float, float]:
    """Return the ends of the weight decays where tau < S: an interval, as tau is convex in the weight decay."""
    from scipy.optimize import minimize_scalar

    operator = functools.partial(sgd_operator, momentum=momentum)
    plain = feature_modes(features, np.zeros_like(features), learning_rate)

    def margin(weight_decay: float) -> float:
        modes = plain._replace(rates=plain.rates + learning_rate * weight_decay)
        with np.errstate(divide="ignore"):
            return float(np.float64(batch_size) / loading(modes, operator, batch_size)) - 1

    # A mode for itself is stable for rates within a radius about 1 + mu, the roots of l_ii = a_i^2 / S.
    centre = 1 + momentum
    square = centre**2 - plain.variances**2 / batch_size * centre / (1 - momentum)
    radius = np.sqrt(np.maximum(square, 0.0))
    lowest = float(np.max(centre - radius - plain.rates)) / learning_rate
    highest = float(np.min(centre + radius - plain.rates)) / learning_rate
    if np.min(square) > 0 and lowest < highest:
        best = float(minimize_scalar(lambda x: -margin(x), bounds=(lowest, highest), method="bounded").x)
        if margin(best) > 0:
            return bracketed_root(margin, lowest, best), bracketed_root(margin, best, highest)
    raise ValueError(f"learning_rate {learning_rate:.6g} is too large for any weight decay: the second moment of SGD "
                     "is infinite under each. Lower it, or take larger batches.")
