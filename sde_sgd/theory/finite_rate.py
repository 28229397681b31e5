"""What a finite learning rate does to the escape of SGD with Gaussian noise of constant covariance."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory.critical_points import CriticalPoint, barrier, find_minimum, find_saddle, of_vector
from sde_sgd.theory.prediction import Prediction, judged, large_learning_rate, low_barrier

MONITORING = 0.5825971579390107  # -zeta(1/2) / sqrt(2 pi)
# How far from either end the path starts and stops, as a share of their distance; it costs the integral the square.
_SHORT = 1e-3


def finite_rate_factor(
    potential: Callable[[Any], Any], temperature: float, learning_rate: float, minimum: ArrayLike, saddle: ArrayLike
) -> Prediction:
    r"""Return the mean escape time of SGD over that of its SDE, for Gaussian isotropic noise.

    .. math::
        \frac{\tau_\eta}{\tau_{\text{SDE}}} = \Big[1 + \frac{\eta}{4} \Big(\sum_i |\lambda_i(s)| - \sum_i
        \lambda_i(a)\Big)\Big] \exp\Big(-\frac{\eta^2}{6T} \int |H g|^2\, dt\Big)

    with g the gradient and H the Hessian along the path dx = g dt from the minimum a up to the saddle s; in one
    dimension the integral is that of U' U''^2 dx. Time is t = eta k and T = eta s^2 / 2. At a small learning rate SGD
    leaves a minimum sharper than its saddle sooner than the SDE, and a flatter one later; at a larger one sooner
    always. For targets well inside the next basin: one that ends at the saddle is seen late, see `monitoring_shift`.

    Checked against the exact chain in one dimension. In more, the bracket is the limit T -> 0, approached slowly.

    Parameters
    ----------
    potential
        U(x) of a number or of a vector, as ``minimum`` is, of operators or jax.numpy.
    temperature
        T > 0.
    learning_rate
        eta > 0.
    minimum, saddle
        a and s, shape () or (d,); guesses are polished.

    Returns
    -------
    Prediction
        The ratio; valid if the barrier is at least 5 T and eta times the largest curvature at most 0.3.

    Raises
    ------
    TypeError, ValueError
        If there is no such minimum or saddle, the barrier is not positive, or the path downhill from the saddle leads
        elsewhere.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> ratio = ss.theory.finite_rate_factor(lambda x: (x**2 - 1) ** 2, 0.1, 0.01, minimum=-1.0, saddle=0.0)
    >>> round(ratio.value, 3), ratio.valid
    (0.989, True)
    """
    checks.positive("temperature", temperature)
    checks.positive("learning_rate", learning_rate)
    eta, t = float(learning_rate), float(temperature)
    a, s = find_minimum(potential, minimum), find_saddle(potential, saddle)
    height = barrier(a, s) / t
    bracket = 1 + eta / 4 * (np.sum(np.abs(s.eigenvalues)) - np.sum(a.eigenvalues))
    action = eta**2 / (6 * t) * _path_integral(of_vector(potential, minimum), a, s)
    curvature = eta * max(np.max(np.abs(point.eigenvalues)) for point in (a, s))
    return judged(bracket * np.exp(-action), low_barrier(height), large_learning_rate(curvature))


def monitoring_shift(diffusion: float, learning_rate: float) -> float:
    r"""Return by how much further out a boundary seems to lie when it is looked at once per step only.

    .. math:: -\frac{\zeta(1/2)}{\sqrt{2\pi}} \sqrt{2 D \eta} = 0.5826 \sqrt{2 D \eta}

    with D the diffusion coefficient normal to the boundary. Escape "at the saddle" is 4 to 14 % longer for SGD
    than for the SDE for this reason alone; a target inside the next basin hardly notices. To see an SDE simulated with
    steps of eta as if it were watched all the time, move the boundary *inward* by as much.

    Parameters
    ----------
    diffusion
        D > 0: T, or eta C(x) / 2 at the boundary.
    learning_rate
        eta > 0, the time between looks.

    Returns
    -------
    shift : float
        A length.

    Raises
    ------
    TypeError, ValueError
        If an argument is not positive.

    References
    ----------
    Broadie, Glasserman, Kou (1997), Math. Finance 7. Gobet, Menozzi (2010), Stoch. Proc. Appl. 120.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> round(ss.theory.monitoring_shift(0.25, 0.01), 5)
    0.0412
    """
    checks.positive("diffusion", diffusion)
    checks.positive("learning_rate", learning_rate)
    return MONITORING * float(np.sqrt(2 * diffusion * learning_rate))


def _path_integral(potential: Callable[[Any], Any], a: CriticalPoint, s: CriticalPoint) -> float:
    """Return the integral of |H g|^2 dt over the path of steepest descent from the saddle to the minimum."""
    from scipy.integrate import solve_ivp

    distance = float(np.linalg.norm(s.position - a.position))
    downhill = np.linalg.eigh(s.hessian)[1][:, 0]
    downhill *= np.sign(downhill @ (a.position - s.position)) * _SHORT * distance

    @jax.jit
    def velocity(state: jax.Array) -> jax.Array:
        slope = jax.grad(potential)
        gradient, along = jax.jvp(slope, (state[:-1],), (slope(state[:-1]),))
        return jax.numpy.append(-gradient, along @ along)

    def arrived(_: float, state: Float[np.ndarray, " d+1"]) -> float:
        return float(np.linalg.norm(state[:-1] - a.position)) - _SHORT * distance

    arrived.terminal = True  # pyright: ignore[reportFunctionMemberAccess]
    slowest = min(a.eigenvalues[0], -s.eigenvalues[0])
    with jax.enable_x64(True):
        path = solve_ivp(lambda _, state: np.asarray(velocity(jax.numpy.asarray(state))), (0, 100 / slowest),
                         np.append(s.position + downhill, 0.0), events=arrived, rtol=1e-6, atol=1e-9)
    if path.status != 1:
        raise ValueError(f"minimum must be where the path down from the saddle ends, but from {s.position} it leads "
                         f"to {path.y[:-1, -1]}, not to {a.position}. Pass the saddle of this minimum.")
    return float(path.y[-1, -1])
