r"""The noisy quadratic model: how far the training of independent directions comes in so many steps, exactly.

Every direction has a curvature h and gradient noise of variance c / B, drawn anew at each step whatever the params.
The pair (w, second quantity) of a direction moves linearly, so that its second moments follow an affine map of three
numbers. Its powers are found by squaring: ten million steps cost as much as twenty-four.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices

_DOUBLINGS = 30  # at most 2^30 steps


@dataclasses.dataclass(frozen=True)
class NoisyQuadratic:
    """Independent directions, some of them several times: made by `noisy_quadratic`."""

    curvatures: Float[np.ndarray, " d"]
    noise_variances: Float[np.ndarray, " d"]
    initial: Float[np.ndarray, " d"]
    multiplicities: Float[np.ndarray, " d"]


def noisy_quadratic(
    curvatures: ArrayLike, noise_variances: ArrayLike | None = None, *, initial: ArrayLike | float = 1.0,
    num_bins: int | None = None,
) -> NoisyQuadratic:
    r"""Make a noisy quadratic model.

    .. math:: L(w) = \tfrac12 \sum_i h_i w_i^2, \qquad g_i = h_i w_i + \sqrt{c_i / B}\,\xi_i, \qquad
              \mathrm{E} w_i^2 = s_i \text{ at the start}

    Parameters
    ----------
    curvatures
        h_i > 0, shape (d,).
    noise_variances
        c_i, of the gradient of one example; by default h_i, as of a likelihood at its maximum.
    initial
        s_i, one number or one for each direction.
    num_bins
        Replace the directions by so many geometric bins of curvature, each with the means of its directions: for
        spectra of many thousands. By default every direction is kept.

    Raises
    ------
    TypeError, ValueError
        If a curvature is not positive, a variance negative, or the shapes differ.

    References
    ----------
    Zhang, Li, Nado, Martens, Sachdeva, Dahl, Shallue, Grosse (2019), Which algorithmic choices matter at which batch
    sizes? Insights from a noisy quadratic model, NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> model = ss.theory.noisy_quadratic(1 / np.arange(1, 10_001), num_bins=200)
    >>> float(model.multiplicities.sum())
    10000.0
    """
    h = matrices.finite_array("curvatures", curvatures, (None,))
    c = h if noise_variances is None else matrices.finite_array("noise_variances", noise_variances, h.shape)
    s = np.broadcast_to(np.asarray(initial, np.float64), h.shape)
    if np.any(h <= 0) or np.any(c < 0) or np.any(s < 0):
        raise ValueError("curvatures must be positive, noise_variances and initial not negative.")
    if num_bins is None:
        return NoisyQuadratic(h, c, np.array(s), np.ones_like(h))
    checks.integer("num_bins", num_bins)
    edges = np.geomspace(h.min(), h.max(), num_bins + 1)
    place = np.clip(np.searchsorted(edges, h, side="right") - 1, 0, num_bins - 1)
    count = np.bincount(place, minlength=num_bins)
    used = count > 0
    h, c, s = (np.bincount(place, values, num_bins)[used] / count[used] for values in (h, c, s))
    return NoisyQuadratic(h, c, s, count[used].astype(np.float64))


class QuadraticOptimizer(NamedTuple):
    r"""How a noisy quadratic is descended: SGD by default.

    Heavy ball: v' = m v + g, w' = w - a v'. With averaging gamma, what is judged is the mean
    :math:`\bar w' = \gamma \bar w + (1 - \gamma) w'`. With a preconditioner of power p, the gradient of a direction is
    multiplied by :math:`h^{-p}`: 1 is Newton's method, 1/2 an idealised Adam.
    """

    momentum: float = 0.0
    averaging: float = 0.0
    preconditioning: float = 0.0


def noisy_quadratic_loss(
    model: NoisyQuadratic, learning_rate: ArrayLike, batch_size: float, num_steps: int,
    optimizer: QuadraticOptimizer | None = None,
) -> Float[np.ndarray, "..."]:
    """Return the expected loss after a number of steps, exactly.

    Parameters
    ----------
    model
        Made by `noisy_quadratic`.
    learning_rate
        a > 0, one or an array of them.
    batch_size
        B > 0.
    num_steps
        At least 0.
    optimizer
        How; plain SGD by default. Momentum and averaging do not go together.

    Returns
    -------
    loss : numpy.ndarray
        Of the shape of ``learning_rate``; infinite where it overflows.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Examples
    --------
    >>> model = ss.theory.noisy_quadratic([1.0], [0.5])
    >>> float(ss.theory.noisy_quadratic_loss(model, 0.1, 4, 1))  # ((1 - 0.1)^2 + 0.1^2 * 0.5 / 4) / 2
    0.405625
    """
    checks.integer("num_steps", num_steps, 0, 2**_DOUBLINGS - 1)
    rates = np.asarray(learning_rate, np.float64)
    descent = _Descent(model, rates.ravel(), batch_size, optimizer or QuadraticOptimizer())
    state = descent.start()
    for doubling, bit in enumerate(reversed(f"{int(num_steps):b}")):
        if bit == "1":
            state = descent.moved(state, doubling)
    return descent.loss(state).reshape(rates.shape)


def noisy_quadratic_steps(
    model: NoisyQuadratic, target: float, learning_rate: ArrayLike, batch_size: float,
    optimizer: QuadraticOptimizer | None = None,
) -> Float[np.ndarray, "..."]:
    """Return the number of steps until the expected loss is at the target or below.

    Parameters
    ----------
    model
        Made by `noisy_quadratic`.
    target
        Loss to reach, positive.
    learning_rate
        a > 0, one or an array of them.
    batch_size
        B > 0.
    optimizer
        How; plain SGD by default.

    Returns
    -------
    steps : numpy.ndarray
        Of the shape of ``learning_rate``; infinite where it is not reached within a thousand million steps. The loss is
        taken to fall until then: where heavy ball oscillates about the target, a step at which it is reached for good.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Examples
    --------
    >>> model = ss.theory.noisy_quadratic([1.0], [0.0])
    >>> ss.theory.noisy_quadratic_steps(model, 0.01, [0.1, 2.5], 1)  # 0.9^2k / 2 <= 0.01
    array([19., inf])
    """
    checks.positive("target", target)
    rates = np.asarray(learning_rate, np.float64)
    descent = _Descent(model, rates.ravel(), batch_size, optimizer or QuadraticOptimizer())
    state, steps = descent.start(), np.zeros(rates.size)
    reached = descent.loss(state) <= target
    for doubling in reversed(range(_DOUBLINGS)):
        further = descent.moved(state, doubling)
        above = ~(descent.loss(further) <= target)
        state = np.where(above[:, None, None], further, state)
        steps += above * 2.0**doubling
    steps = np.where(steps == 2.0**_DOUBLINGS - 1, math.inf, steps + 1)
    return np.where(reached, 0.0, steps).reshape(rates.shape)


class _Descent:
    """Second moments (x x, x y, y y) of every direction for every learning rate, and the powers of their map.

    The map acts on (x x, x y, y y, 1): arrays of shape (rates, directions, 4, 4), one for every power of two.
    """

    def __init__(self, model: NoisyQuadratic, rates: np.ndarray, batch_size: float, optimizer: QuadraticOptimizer):
        checks.positive("batch_size", batch_size)
        checks.in_half_open_unit("momentum", optimizer.momentum)
        checks.in_half_open_unit("averaging", optimizer.averaging)
        if optimizer.momentum and optimizer.averaging:
            raise ValueError("momentum and averaging do not go together in this model: set one of them to 0.")
        if not np.all(rates > 0):
            raise ValueError(f"learning_rate must be positive, got {rates}.")
        self.model, self.averages = model, optimizer.averaging > 0
        scaled = rates[:, None] * model.curvatures**-optimizer.preconditioning
        kick = scaled * np.sqrt(model.noise_variances / float(batch_size))
        linear, noise = _linear_map(scaled * model.curvatures, kick, optimizer)
        self.powers = [_moment_map(linear, noise)]

    def start(self) -> np.ndarray:
        """Return the second moments at the start: at rest, the average at the params."""
        s = np.broadcast_to(self.model.initial, self.powers[0].shape[:2])
        zero = np.zeros_like(s)
        return np.stack([s, s if self.averages else zero, s if self.averages else zero, np.ones_like(s)], axis=-1)

    def moved(self, state: np.ndarray, doubling: int) -> np.ndarray:
        """Return the second moments 2^doubling steps later."""
        with np.errstate(over="ignore", invalid="ignore"):
            while len(self.powers) <= doubling:
                self.powers.append(self.powers[-1] @ self.powers[-1])
            return (self.powers[doubling] @ state[..., None])[..., 0]

    def loss(self, state: np.ndarray) -> np.ndarray:
        """Return the loss for every learning rate; infinite where it is no number."""
        weights = self.model.multiplicities * self.model.curvatures / 2
        with np.errstate(over="ignore", invalid="ignore"):
            loss = state[..., 2 if self.averages else 0] @ weights
        return np.where(np.isnan(loss), math.inf, loss)


def _linear_map(decay: np.ndarray, kick: np.ndarray, optimizer: QuadraticOptimizer) -> tuple[np.ndarray, np.ndarray]:
    """Return the 2 x 2 map of (w, a v) or of (w, average) and what a unit of noise adds to the two."""
    one, zero = np.ones_like(decay), np.zeros_like(decay)
    if optimizer.averaging:
        keep, take = optimizer.averaging, 1 - optimizer.averaging
        return _matrix([[one - decay, zero], [take * (one - decay), keep * one]]), np.stack([-kick, -take * kick], -1)
    m = optimizer.momentum
    return _matrix([[one - decay, -m * one], [decay, m * one]]), np.stack([-kick, kick], -1)


def _moment_map(linear: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return the affine map of (x x, x y, y y) under z' = A z + b xi, as 4 x 4 matrices."""
    (a, b), (c, d) = np.moveaxis(linear, (-2, -1), (0, 1))
    x, y = noise[..., 0], noise[..., 1]
    zero, one = np.zeros_like(a), np.ones_like(a)
    return _matrix([[a * a, 2 * a * b, b * b, x * x], [a * c, a * d + b * c, b * d, x * y],
                    [c * c, 2 * c * d, d * d, y * y], [zero, zero, zero, one]])


def _matrix(rows: list[list[np.ndarray]]) -> np.ndarray:
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
