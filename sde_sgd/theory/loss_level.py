"""Escape defined by a loss threshold: out of a basin through a level of the loss, where there is no saddle."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices, potentials
from sde_sgd.theory.critical_points import find_minimum
from sde_sgd.theory.finite_rate import monitoring_shift
from sde_sgd.theory.modes import minimum_modes
from sde_sgd.theory.prediction import Prediction, judged, large_learning_rate, low_barrier


class LevelExit(NamedTuple):
    """Where and how soon a quadratic basin is left through a level of the loss."""

    action: float
    """V: the log of the mean time, in units of 2 / eta."""
    direction: Float[np.ndarray, " d"]
    """Unit vector from the minimum to where the exits concentrate; -direction is as likely."""


def level_escape_time(
    potential: Callable[[Any], Any],
    temperature: float,
    minimum: float,
    exit_point: float,
    *,
    learning_rate: float | None = None,
) -> Prediction:
    r"""Return the mean time to leave a well on a line through a point on its slope.

    .. math:: \tau = \frac{\sqrt{2\pi T / U''(a)}}{|U'(c)|}\, e^{(U(c) - U(a)) / T}

    for the SDE. For SGD, which is looked at once per step of learning rate eta, the boundary seems to lie
    `monitoring_shift` further out, which is of first order here, and the well is warmer by 1 / (1 - eta U''(a) / 2):

    .. math:: \tau_\eta = \tau\, \exp\Big(\frac{0.5826 \sqrt{2 T \eta}\, |U'(c)|}{T}
        - \frac{U(c) - U(a)}{T}\, \frac{\eta\, U''(a)}{2}\Big)

    Papers that call it escape when the loss exceeds a threshold are in this case.

    Parameters
    ----------
    potential
        U(x), of operators or jax.numpy.
    temperature
        T > 0; for SGD eta s^2 / 2.
    minimum
        a; a guess is polished.
    exit_point
        c, on either side.
    learning_rate
        eta > 0 for SGD; None for the SDE.

    Returns
    -------
    Prediction
        In units of t = eta k. Valid if U(c) - U(a) is at least 5 T and eta U''(a) at most 0.3, and if the shift
        raises the barrier by less than a fifth.

    Raises
    ------
    TypeError, ValueError
        If there is no such minimum, or the potential does not rise through c on the way out.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> sde = ss.theory.level_escape_time(lambda x: 4 * x**2, 0.1, minimum=0.0, exit_point=0.5)
    >>> sgd = ss.theory.level_escape_time(lambda x: 4 * x**2, 0.1, minimum=0.0, exit_point=0.5, learning_rate=0.01)
    >>> round(sde.value, 1), round(sgd.value / sde.value, 3)
    (1543.2, 1.901)
    """
    checks.positive("temperature", temperature)
    t, c = float(temperature), potentials.number("exit_point", exit_point)
    a = find_minimum(potential, potentials.number("minimum", minimum))
    outward = np.sign(c - a.position[0])
    slope = outward * float(potentials.derivative(potential, np.array([c]))[0])
    height = (float(potentials.values(potential, np.array([c]))[0]) - a.value) / t
    if not (slope > 0 and height > 0):
        raise ValueError(f"exit_point must lie on the slope out of the well, but at {c:.6g} the potential is "
                         f"{height * t:.6g} above the minimum with outward slope {slope:.6g}. Use kramers_time for a "
                         "saddle.")
    curvature = float(a.eigenvalues[0])
    shift = heating = 0.0
    if learning_rate is not None:
        shift = monitoring_shift(t, learning_rate) * slope / t
        heating = float(learning_rate) * curvature / 2
    failures = [low_barrier(height), large_learning_rate(2 * heating)]
    if shift > height / 5:
        failures.append(f"monitoring adds {shift:.3g} to barrier / T = {height:.3g}")
    time = np.sqrt(2 * np.pi * t / curvature) / slope * np.exp(height * (1 - heating) + shift)
    return judged(time, *failures)


def level_action(hessian: ArrayLike, noise_covariance: ArrayLike, level: float) -> LevelExit:
    r"""Return how a quadratic basin is left through a level of the loss, for noise of any constant covariance.

    .. math::
        \eta \log \tau \to 2 V, \qquad V = \min_{x^\top H x = 2 \Delta L} \tfrac12 x^\top S^{-1} x
        = \frac{\Delta L}{\lambda_{\max}(H^{1/2} S H^{1/2})}, \qquad HS + SH = 2 C

    for dX = -H X dt + (eta C)^{1/2} dW. For C = H the basin is left along the stiffest axis, with
    V = Delta L / lambda_max; for C = I anywhere, with V = Delta L.

    Parameters
    ----------
    hessian
        H, positive definite, shape (d, d).
    noise_covariance
        C, the covariance of one step's gradient, shape (d, d).
    level
        Delta L > 0, above the loss of the minimum.

    Returns
    -------
    LevelExit
        V and the direction of the exit.

    Raises
    ------
    TypeError, ValueError
        If H is not positive definite, C not a covariance or zero, or the level not positive.

    References
    ----------
    Freidlin, Wentzell, Random perturbations of dynamical systems. Ibayashi, Imaizumi (arXiv:2111.04004).

    Examples
    --------
    >>> import sde_sgd as ss
    >>> exit = ss.theory.level_action([[4.0, 0.0], [0.0, 1.0]], [[4.0, 0.0], [0.0, 1.0]], level=1.0)
    >>> round(exit.action, 6), abs(exit.direction)
    (0.25, array([1., 0.]))
    """
    checks.positive("level", level)
    modes = minimum_modes(hessian, noise_covariance, 1.0)  # in units of the learning rate
    root = np.sqrt(modes.rates)
    spread = root[:, None] * (2 * modes.noise / modes.sums) * root
    eigenvalues, vectors = np.linalg.eigh(spread)
    if eigenvalues[-1] <= matrices.rank_tolerance(eigenvalues):
        raise ValueError("noise_covariance must not be zero: without noise there is no escape.")
    direction = modes.basis @ (vectors[:, -1] / root)
    return LevelExit(float(level) / float(eigenvalues[-1]), direction / np.linalg.norm(direction))


def loss_growth(
    hessian: ArrayLike, noise_covariance: ArrayLike, learning_rate: float, num_steps: int, *, continuous: bool = False
) -> float:
    r"""Return the mean loss of SGD, or of its SDE, that starts at a quadratic minimum.

    .. math::
        E\,L_k = \frac12 \sum_i \frac{\eta\, C_{ii}}{2 - \eta h_i} \big[1 - (1 - \eta h_i)^{2k}\big], \qquad
        E\,L(t) = \frac{\eta}{4} \mathrm{Tr}\big[(1 - e^{-2 H t})\, C\big], \quad t = k \eta

    in the eigenbasis of H. At first both grow like (eta t / 2) Tr(H C), the indicator of Zhu et al. for how anisotropic
    noise helps to escape. It measures the loss, not an escape time: for that see `level_action`.

    Parameters
    ----------
    hessian
        H, positive definite, shape (d, d).
    noise_covariance
        C, the covariance of one step's gradient, shape (d, d).
    learning_rate
        eta > 0.
    num_steps
        k.
    continuous
        Whether to return that of the SDE.

    Returns
    -------
    loss : float
        Above that of the minimum.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or of the wrong shape.

    References
    ----------
    Zhu, Wu, Yu, Wu, Ma (2019), The anisotropic noise in stochastic gradient descent, ICML.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> round(ss.theory.loss_growth([[1.0]], [[2.0]], learning_rate=0.1, num_steps=10_000), 6)
    0.052632
    """
    checks.positive("learning_rate", learning_rate)
    checks.integer("num_steps", num_steps, minimum=0)
    modes = minimum_modes(hessian, noise_covariance, learning_rate)
    variances = np.diag(modes.noise)
    if continuous:
        return float(np.sum(variances * -np.expm1(-2 * num_steps * modes.rates)) / 4)
    contraction = (1 - modes.rates) ** 2
    return float(np.sum(variances / (2 - modes.rates) * (1 - contraction ** int(num_steps))) / 2)
