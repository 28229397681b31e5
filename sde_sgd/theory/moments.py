"""Exact first and second moments of discrete minibatch SGD, heavy ball and SVAG."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices
from sde_sgd.theory.affine_gradients import AbstractAffineGradients, sampling_factor
from sde_sgd.theory.moment_maps import Moments, check_run, evolve, fits, initial_state, iterate, step_map


def sgd_moments(
    problem: AbstractAffineGradients,
    learning_rate: float,
    batch_size: int,
    num_steps: int,
    *,
    start: ArrayLike,
    start_covariance: ArrayLike | None = None,
    momentum: float = 0.0,
    start_trace: ArrayLike | None = None,
    replacement: bool = True,
    record_every: int | None = None,
) -> Moments:
    r"""Return the exact moments of minibatch SGD, with or without heavy-ball momentum.

    Optax's convention: the trace v adds up raw gradients, and the learning rate multiplies the trace,

    .. math::
        v_{k+1} = \beta v_k + g_k, \qquad w_{k+1} = w_k - \eta v_{k+1}, \qquad
        \mathrm{E}[g_k] = \nabla f(w_k), \qquad \mathrm{Cov}(g_k) = \varphi\, \Sigma(w_k) .

    Nothing is approximated, at any learning rate, stable or not. Gradient descent with Gaussian noise of the exact
    covariance (and Euler-Maruyama of the first-order SDE with one substep, which is the same) has these very moments.
    Batches are independent from step to step; one epoch's reshuffled batches are not, and this does not cover them.

    Parameters
    ----------
    problem
        Per-example affine gradients, from `least_squares` or `affine_gradients`.
    learning_rate
        Step size eta > 0.
    batch_size
        B.
    num_steps
        Number of SGD steps k.
    start
        E[w] at step 0, a vector of length d.
    start_covariance
        Cov(w) at step 0; None for a fixed start.
    momentum
        beta in [0, 1).
    start_trace
        v at step 0, a fixed vector; None for zero. Without momentum it has no effect.
    replacement
        Whether examples are drawn with replacement within a batch.
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
        If the second moment grows beyond float64.

    Notes
    -----
    Cost: O(p^3 log k) for p = (d+1)(d+2)/2 coordinates, 2d instead of d with momentum. Beyond p = 1000, where the map
    of one step is not stored, k steps of O(d^3), and O(N d^2) for least squares.

    Examples
    --------
    >>> problem = ss.theory.least_squares([[1.0], [2.0]], [0.0, 1.0])
    >>> moments = ss.theory.sgd_moments(problem, 0.3, 1, num_steps=100, start=[2.0])
    >>> moments.mean, moments.covariance
    (array([0.4]), array([[0.0195...]]))
    """
    eta = check_run(problem, learning_rate, num_steps, record_every)
    trace = np.zeros(problem.dim) if start_trace is None else start_trace
    trace = matrices.finite_array("start_trace", trace, (problem.dim,))
    state = initial_state(problem, start, start_covariance, trace if momentum else None)
    if fits(len(state)):
        one_step = sgd_step_map(problem, eta, batch_size, momentum, replacement)
        return evolve(problem, one_step, state, num_steps, record_every)
    step = _sgd_step(problem, eta, batch_size, momentum, replacement)
    return iterate(problem, step, state, num_steps, record_every)


def sgd_step_map(
    problem: AbstractAffineGradients, eta: float, batch_size: int, momentum: float, replacement: bool
) -> Float[np.ndarray, "p p"]:
    """Return the map of E[z z^T] over one SGD step, z = (1, w), or (1, w, trace) with momentum."""
    factor = sampling_factor(problem.num_examples, batch_size, replacement=replacement)
    return step_map(problem, *_sgd_drift(problem, eta, momentum), factor)


def _sgd_step(
    problem: AbstractAffineGradients, eta: float, batch_size: int, momentum: float, replacement: bool
) -> Callable[[Float[np.ndarray, "q q"]], Float[np.ndarray, "q q"]]:
    """Return the same map as a function, for least squares of O(N d^2)."""
    factor = sampling_factor(problem.num_examples, batch_size, replacement=replacement)
    propagator, injection = _sgd_drift(problem, eta, momentum)
    gradient, known = _mean_gradient(problem), slice(0, 1 + problem.dim)

    def step(state: Float[np.ndarray, "q q"]) -> Float[np.ndarray, "q q"]:
        moment = state[known, known]
        noise = problem.gradient_moment(moment) - gradient @ moment @ gradient.T
        return propagator @ state @ propagator.T + factor * injection @ noise @ injection.T

    return step


def _sgd_drift(
    problem: AbstractAffineGradients, eta: float, momentum: float
) -> tuple[Float[np.ndarray, "q q"], Float[np.ndarray, "q d"]]:
    """Return the mean step of z, and where the gradient's noise enters it."""
    checks.in_half_open_unit("momentum", momentum)
    dim, beta = problem.dim, float(momentum)
    if not beta:
        return np.eye(1 + dim) + eta * descent(problem), -eta * np.eye(1 + dim)[:, 1:]
    gradient = np.pad(_mean_gradient(problem), ((0, 0), (0, dim)))
    one, params, trace = np.split(np.eye(1 + 2 * dim), [1, 1 + dim])
    new_trace = beta * trace + gradient
    return np.concatenate([one, params - eta * new_trace, new_trace]), (trace - eta * params).T


def _mean_gradient(problem: AbstractAffineGradients) -> Float[np.ndarray, "d d+1"]:
    """Return [-b, H], which takes (1, w) to the full gradient."""
    return np.column_stack([-problem.offset, problem.hessian])


def descent(problem: AbstractAffineGradients, modification: float = 0.0) -> Float[np.ndarray, "d+1 d+1"]:
    r"""Return the drift matrix on (1, w) of dw = -(I + c H)(H w - b) dt, c the ``modification``.

    c = 0 is the gradient flow, c = eta/2 the flow that follows gradient descent to second order.
    """
    modified = np.eye(problem.dim) + modification * problem.hessian
    drift = -modified @ _mean_gradient(problem)
    return np.concatenate([np.zeros((1, problem.dim + 1)), drift])


def svag_moments(
    problem: AbstractAffineGradients,
    learning_rate: float,
    batch_size: int,
    num_steps: int,
    *,
    level: int,
    start: ArrayLike,
    start_covariance: ArrayLike | None = None,
    replacement: bool = True,
    record_every: int | None = None,
) -> Moments:
    r"""Return the exact moments of stochastic variance-amplified gradient descent (SVAG).

    Each of the l substeps of one SGD step takes two independent minibatch gradients,

    .. math::
        w' = w - \frac{\eta}{l} \left(r_+ g + r_- \tilde g\right), \qquad r_\pm = \frac{1 \pm \sqrt{2 l - 1}}{2},

    so that the mean is kept (the r add up to 1) and the covariance is amplified to l phi Sigma (their squares add up
    to l). Level 1 is SGD. As l grows at fixed eta the moments tend to those of the first-order SDE, with error
    proportional to 1/l, whether or not that SDE describes SGD well. In two moments SVAG at level l equals
    Euler-Maruyama of the first-order SDE with l substeps; in higher ones it does not.

    Parameters
    ----------
    problem
        Per-example affine gradients, from `least_squares` or `affine_gradients`.
    learning_rate
        Step size eta > 0 of the SGD imitated.
    batch_size
        B, of each of the two minibatches.
    num_steps
        Number of SGD steps k; k*l substeps are taken.
    level
        l, at least 1.
    start
        E[w] at step 0, a vector of length d.
    start_covariance
        Cov(w) at step 0; None for a fixed start.
    replacement
        Whether examples are drawn with replacement within a batch.
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
        If the second moment grows beyond float64.

    References
    ----------
    Li, Malladi, Arora (2021), On the validity of modeling SGD with stochastic differential equations (SDEs), NeurIPS.
    """
    eta = check_run(problem, learning_rate, num_steps, record_every)
    checks.integer("level", level)
    state = initial_state(problem, start, start_covariance)
    factor = sampling_factor(problem.num_examples, batch_size, replacement=replacement)
    rate = eta / level
    weights = (1.0 + np.array([1.0, -1.0]) * np.sqrt(2 * level - 1)) / 2
    propagator = np.eye(1 + problem.dim) + rate * np.sum(weights) * descent(problem)
    injection = -rate * np.eye(1 + problem.dim)[:, 1:]
    one_step = step_map(problem, propagator, injection, factor * np.sum(weights**2), repeats=level)
    return evolve(problem, one_step, state, num_steps, record_every)
