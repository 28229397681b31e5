"""Exact first and second moments of the continuous-time models of heavy-ball SGD."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices
from sde_sgd.theory.affine_gradients import AbstractAffineGradients, sampling_factor
from sde_sgd.theory.moment_maps import Moments, check_run, evolve, flow_map, initial_state, step_map


def momentum_sme_moments(
    problem: AbstractAffineGradients,
    learning_rate: float,
    batch_size: int,
    num_steps: int,
    *,
    momentum: float,
    order: int,
    start: ArrayLike,
    substeps: int | None = None,
    start_covariance: ArrayLike | None = None,
    start_trace: ArrayLike | None = None,
    replacement: bool = True,
    record_every: int | None = None,
) -> Moments:
    r"""Return the exact moments of a modified equation of heavy-ball SGD, or of its Heun scheme.

    With h the square root of eta, friction mu = (1 - beta)/h, C = phi Sigma and **time t = k h**,

    .. math::
        dX &= V\,dt, \\
        dV &= -\left(\mu V + \nabla f\right) dt + \sqrt{h}\, C^{1/2}\,dW

    is kinetic Langevin dynamics, of weak order 1 in h, that is of order 1/2 in eta. Of order 2 in h, hence 1 in eta, is

    .. math::
        dX &= \left[\left(1 - \tfrac{h\mu}{2}\right) V - \tfrac{h}{2} \nabla f\right] dt, \\
        dV &= -\left[\left(\mu + \tfrac{h}{2}(\mu^2 - H)\right) V + \left(1 + \tfrac{h\mu}{2}\right) \nabla f\right] dt
              + \sqrt{h}\, C^{1/2}\,dW .

    Both orders are for eta -> 0 with mu fixed, so that beta -> 1. At fixed beta mu grows without bound and neither
    equation is a limit of heavy ball. V stands for -h times optax's trace.

    With ``substeps`` = m the answer is that of the scheme which the package runs, Heun for the drift b and Ito-Euler
    for the noise n, drawn once at z = (X, V), with dt = h/m,

    .. math::
        \tilde z = z + dt\, b(z) + n, \qquad z' = z + \tfrac{dt}{2} \left(b(z) + b(\tilde z)\right) + n, \qquad
        \mathrm{Cov}(n_V) = dt\, h\, C(X), \quad n_X = 0 .

    Parameters
    ----------
    problem
        Per-example affine gradients, from `least_squares` or `affine_gradients`.
    learning_rate
        eta > 0; one SGD step takes the time h, not eta.
    batch_size
        B.
    num_steps
        Number of SGD steps k.
    momentum
        beta in [0, 1).
    order
        1 or 2, the weak order in h.
    start
        E[w] at step 0, a vector of length d.
    substeps
        m, Heun steps per SGD step; None for the equation itself, by a matrix exponential.
    start_covariance
        Cov(w) at step 0; None for a fixed start.
    start_trace
        Optax's trace at step 0, a fixed vector; None for zero.
    replacement
        Whether examples are drawn with replacement within a batch.
    record_every
        Record every so many steps, step 0 included; must divide ``num_steps``. None: the last step only.

    Returns
    -------
    Moments
        Mean, second moment and expected loss of the position X at the times of SGD's steps.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, or the problem is too large.
    OverflowError
        If the second moment grows beyond float64.

    References
    ----------
    Li, Tai, E (2019), Stochastic modified equations and dynamics of stochastic gradient algorithms I, JMLR.
    """
    eta = check_run(problem, learning_rate, num_steps, record_every)
    checks.in_half_open_unit("momentum", momentum)
    checks.one_of("order", order, (1, 2))
    h = float(np.sqrt(eta))
    trace = np.zeros(problem.dim) if start_trace is None else start_trace
    velocity = -h * matrices.finite_array("start_trace", trace, (problem.dim,))
    state = initial_state(problem, start, start_covariance, velocity)
    strength = h * sampling_factor(problem.num_examples, batch_size, replacement=replacement)
    drift = kinetic_drift(problem, (1 - float(momentum)) / h, h / 2 if order == 2 else 0.0)
    injection = np.eye(1 + 2 * problem.dim)[:, 1 + problem.dim :]
    if substeps is None:
        one_step = flow_map(problem, drift, injection, strength, h)
    else:
        checks.integer("substeps", substeps, fix="Pass None for the equation itself.")
        one_step = _heun_map(problem, drift, injection, strength, h, substeps)
    return evolve(problem, one_step, state, num_steps, record_every)


def kinetic_drift(
    problem: AbstractAffineGradients, friction: float, modification: float = 0.0
) -> Float[np.ndarray, "2*d+1 2*d+1"]:
    r"""Return the drift matrix on (1, X, V) of a damped particle, corrected by c times the second-order terms.

    .. math::
        \dot X = V - c\,(\mu V + \nabla f), \qquad
        \dot V = -(\mu V + \nabla f) - c \left[\mu (\mu V + \nabla f) - H V\right]

    c = 0 is kinetic Langevin's drift, c = h/2 that of the second-order equation.
    """
    dim = problem.dim
    one, _, velocity = np.split(np.eye(1 + 2 * dim), [1, 1 + dim])
    gradient = np.pad(np.mean(problem.gradients, axis=0), ((0, 0), (0, dim)))
    damping = friction * velocity + gradient
    correction = friction * damping - problem.hessian @ velocity
    return np.concatenate([0 * one, velocity - modification * damping, -damping - modification * correction])


def _heun_map(
    problem: AbstractAffineGradients,
    drift: Float[np.ndarray, "q q"],
    injection: Float[np.ndarray, "q d"],
    strength: float,
    duration: float,
    substeps: int,
) -> Float[np.ndarray, "p p"]:
    """Return the map of ``substeps`` Heun steps over ``duration``: for a linear drift they are polynomials in it."""
    dt = duration / substeps
    noise_gain = np.eye(len(drift)) + dt / 2 * drift
    propagator = np.eye(len(drift)) + dt * drift @ noise_gain
    return step_map(problem, propagator, noise_gain @ injection, dt * strength, repeats=substeps)
