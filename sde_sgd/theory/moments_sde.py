"""Exact first and second moments of gradient flow, the modified flow and the stochastic modified equations."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory.affine_gradients import AbstractAffineGradients, sampling_factor
from sde_sgd.theory.moment_maps import Moments, check_run, evolve, flow_map, initial_state, step_map
from sde_sgd.theory.moments import descent


def gradient_flow_moments(
    problem: AbstractAffineGradients,
    learning_rate: float,
    num_steps: int,
    *,
    start: ArrayLike,
    start_covariance: ArrayLike | None = None,
    record_every: int | None = None,
) -> Moments:
    r"""Return the exact moments of gradient flow after the time of a number of SGD steps.

    .. math:: \dot w = -\nabla f(w), \qquad t = k \eta

    Of first order in eta against gradient descent and against SGD: the noise of SGD itself changes expectations by
    O(eta) only. What is born of noise, such as a variance, is missed altogether.

    Parameters
    ----------
    problem
        Per-example affine gradients, from `least_squares` or `affine_gradients`; their spread plays no part.
    learning_rate
        eta > 0, the time of one SGD step.
    num_steps
        Number of SGD steps k.
    start
        E[w] at step 0, a vector of length d.
    start_covariance
        Cov(w) at step 0; None for a fixed start.
    record_every
        Record every so many steps, step 0 included; must divide ``num_steps``. None: the last step only.

    Returns
    -------
    Moments
        Mean, second moment and expected loss of w.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, or the problem is too large.
    OverflowError
        If the second moment grows beyond float64, which takes a direction of negative curvature.
    """
    eta = check_run(problem, learning_rate, num_steps, record_every)
    state = initial_state(problem, start, start_covariance)
    return evolve(problem, _noiseless_map(problem, descent(problem), eta), state, num_steps, record_every)


def modified_flow_moments(
    problem: AbstractAffineGradients,
    learning_rate: float,
    num_steps: int,
    *,
    start: ArrayLike,
    start_covariance: ArrayLike | None = None,
    record_every: int | None = None,
) -> Moments:
    r"""Return the exact moments of the modified flow of implicit gradient regularisation.

    .. math:: \dot w = -\nabla\left(f + \frac{\eta}{4} |\nabla f|^2\right)(w), \qquad t = k \eta

    Of second order in eta against full-batch gradient descent, of first order against SGD, whose noise it leaves out.

    Parameters
    ----------
    problem
        Per-example affine gradients, from `least_squares` or `affine_gradients`; their spread plays no part.
    learning_rate
        eta > 0, the time of one SGD step.
    num_steps
        Number of SGD steps k.
    start
        E[w] at step 0, a vector of length d.
    start_covariance
        Cov(w) at step 0; None for a fixed start.
    record_every
        Record every so many steps, step 0 included; must divide ``num_steps``. None: the last step only.

    Returns
    -------
    Moments
        Mean, second moment and expected loss of w.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of the wrong shape, or the problem is too large.
    OverflowError
        If the second moment grows beyond float64, which takes a direction of negative curvature.

    References
    ----------
    Barrett, Dherin (2021), Implicit gradient regularization, ICLR.
    """
    eta = check_run(problem, learning_rate, num_steps, record_every)
    state = initial_state(problem, start, start_covariance)
    return evolve(problem, _noiseless_map(problem, descent(problem, eta / 2), eta), state, num_steps, record_every)


def _noiseless_map(
    problem: AbstractAffineGradients, drift: Float[np.ndarray, "d+1 d+1"], duration: float
) -> Float[np.ndarray, "p p"]:
    return flow_map(problem, drift, np.eye(1 + problem.dim)[:, 1:], 0.0, duration)


def sme_moments(
    problem: AbstractAffineGradients,
    learning_rate: float,
    batch_size: int,
    num_steps: int,
    *,
    order: int,
    start: ArrayLike,
    substeps: int | None = None,
    start_covariance: ArrayLike | None = None,
    replacement: bool = True,
    record_every: int | None = None,
) -> Moments:
    r"""Return the exact moments of a stochastic modified equation, or of its Euler-Maruyama scheme.

    .. math::
        dX_t = -\nabla f(X_t)\,dt + \sqrt{\eta\,\varphi}\,\Sigma(X_t)^{1/2}\,dW_t \quad\text{(order 1)}, \qquad
        dX_t = -\nabla\left(f + \frac{\eta}{4} |\nabla f|^2\right)(X_t)\,dt
        + \sqrt{\eta\,\varphi}\,\Sigma(X_t)^{1/2}\,dW_t \quad\text{(order 2)}

    at t = k eta, in the sense of Ito. ``order`` is the weak order against SGD in eta at fixed time. It does not certify
    the noise: gradient flow has order 1 too. For the *stationary* variance the second-order equation is the worse of
    the two (see `sme2_stationary_covariance`).

    With ``substeps`` = m the answer is that of the scheme which the package runs, with dt = eta/m,

    .. math::
        w' = w - dt \left(I + c H\right) \nabla f(w) + \sqrt{dt\,\eta\,\varphi}\,\Sigma(w)^{1/2} \xi, \qquad
        c = 0 \;\text{(order 1)}, \quad c = \frac{\eta - dt}{2} \;\text{(order 2)} .

    Euler steps of length dt follow a flow whose drift is itself modified by dt/2 H grad f, so of the eta/2 that the
    second-order equation asks for only (eta - dt)/2 has to be put in. The scheme then differs from the equation by
    O(eta^2/m) and from SGD by O(eta^2) for every m. With m = 1 both orders are gradient descent with Gaussian noise
    and have exactly SGD's moments: that is a surrogate of SGD, not its SDE.

    Parameters
    ----------
    problem
        Per-example affine gradients, from `least_squares` or `affine_gradients`.
    learning_rate
        eta > 0, the time of one SGD step and the size of the noise.
    batch_size
        B.
    num_steps
        Number of SGD steps k.
    order
        1 or 2.
    start
        E[w] at step 0, a vector of length d.
    substeps
        m, Euler-Maruyama steps per SGD step; None for the equation itself, by a matrix exponential.
    start_covariance
        Cov(w) at step 0; None for a fixed start.
    replacement
        Whether examples are drawn with replacement within a batch.
    record_every
        Record every so many steps, step 0 included; must divide ``num_steps``. None: the last step only.

    Returns
    -------
    Moments
        Mean, second moment and expected loss of X at the times of SGD's steps.

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
    checks.one_of("order", order, (1, 2))
    state = initial_state(problem, start, start_covariance)
    strength = eta * sampling_factor(problem.num_examples, batch_size, replacement=replacement)
    injection = np.eye(1 + problem.dim)[:, 1:]
    if substeps is None:
        drift = descent(problem, eta / 2 if order == 2 else 0.0)
        one_step = flow_map(problem, drift, injection, strength, eta)
    else:
        checks.integer("substeps", substeps, fix="Pass None for the equation itself.")
        dt = eta / substeps
        drift = descent(problem, (eta - dt) / 2 if order == 2 else 0.0)
        propagator = np.eye(1 + problem.dim) + dt * drift
        one_step = step_map(problem, propagator, injection, dt * strength, repeats=substeps)
    return evolve(problem, one_step, state, num_steps, record_every)
