"""A problem at its minimum as the theory sees it: per-example quadratics, and the stationary law of a process there."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, PyTree

from sde_sgd import theory
from sde_sgd._core import tree
from sde_sgd.noise import Gaussian, WithoutReplacement, WithReplacement
from sde_sgd.problems import Problem
from sde_sgd.processes import SGD, SME

# N d^2 numbers of the examples' Hessians: 400 MB.
_MAX_NUMBERS = 50_000_000


def quadratic_model(problem: Problem, params: PyTree | None = None) -> theory.AffineGradients:
    r"""Return the losses of the examples to second order about a point, in float64.

    .. math:: g_i(w) \approx g_i(w_0) + H_i (w - w_0)

    Exact for least squares and other quadratic losses, whatever the point. Everything in ``theory`` that takes
    per-example affine gradients takes the result: thresholds, moments, limit covariances; and what takes a Hessian and
    a noise covariance takes its ``hessian`` and ``sampling_factor`` times its ``noise_covariance(w)``.

    Parameters
    ----------
    problem
        Any problem whose loss is twice differentiable at the point.
    params
        w_0, a pytree like the problem's params; the problem's ``minimum`` by default.

    Returns
    -------
    AffineGradients
        In the order of ``jax.flatten_util.ravel_pytree``. It holds N d^2 numbers.

    Raises
    ------
    ValueError
        If no point is known, the model is too large, or a derivative is not finite.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> problem = ss.problems.least_squares(jnp.array([[1.0], [2.0]]), jnp.array([0.0, 1.0]))
    >>> model = ss.quadratic_model(problem)
    >>> noise = ss.theory.sampling_factor(2, 1) * model.noise_covariance([0.4])
    >>> ss.theory.ou_stationary_covariance(model.hessian, noise, learning_rate=0.3)
    array([[0.0096]])
    """
    if params is None and problem.minimum is None:
        raise ValueError("params is missing: this problem does not know its minimum. Pass the point to expand about.")
    point = problem.minimum if params is None else params
    dim = tree.size(point)
    if problem.num_examples * dim**2 > _MAX_NUMBERS:
        raise ValueError(f"problem has {problem.num_examples} examples and {dim} parameters: their Hessians are too "
                         "large. Use theory.least_squares for regression, or theory.krylov_minimum with Hessian products.")
    with jax.enable_x64(True):
        data = jax.tree.map(_float64, problem.data)
        flat, unravel = ravel_pytree(jax.tree.map(_float64, point))

        def loss(vector: Any, example: Any) -> Any:
            return problem.example_loss(unravel(vector), example)

        gradients, hessians = (jax.jit(jax.vmap(derivative(loss), (None, 0)))(flat, data)
                               for derivative in (jax.grad, jax.hessian))
        mean_loss = jnp.mean(jax.vmap(loss, (None, 0))(flat, data))
        w, g, h, value = (np.asarray(array, np.float64) for array in (flat, gradients, hessians, mean_loss))
    model = theory.affine_gradients((h + np.swapaxes(h, 1, 2)) / 2, h @ w - g)
    # The constant that makes the model's loss agree at the point.
    constant = value - w @ model.hessian @ w / 2 + model.offset @ w
    return theory.affine_gradients(model.hessians, model.offsets, float(constant))


def stationary_covariance(
    problem: Problem, process: SGD | SME, params: PyTree | None = None
) -> Float[np.ndarray, "d d"]:
    r"""Return the exact stationary covariance of a process about a quadratic minimum of a problem.

    The noise that grows away from the minimum is included: for `SGD` this is ``theory.sgd_limit_covariance`` and for
    `SME` ``theory.sme_limit_covariance`` of `quadratic_model`. Exact for least squares, at any stable learning rate;
    for other losses to leading order in the fluctuation.

    Parameters
    ----------
    problem
        The problem. Near a minimum that is not quadratic the result is that of the quadratic model.
    process
        `SGD` with independent minibatches or their Gaussian twin, with or without momentum; or `SME` of either order,
        whose time-stepping error is left out. Its learning rate must be a number.
    params
        The minimum, a pytree like the problem's params; the problem's own by default.

    Returns
    -------
    covariance : numpy.ndarray
        Shape (d, d), in the order of ``jax.flatten_util.ravel_pytree``.

    Raises
    ------
    TypeError
        If no stationary theory covers the process or its noise.
    ValueError
        If the learning rate is beyond stability, the point is a saddle, or no point is known.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> problem = ss.problems.least_squares(jnp.array([[1.0], [2.0]]), jnp.array([0.0, 1.0]))
    >>> ss.stationary_covariance(problem, ss.SGD(0.3, ss.WithReplacement(1)))
    array([[0.0195...]])
    """
    if not isinstance(process, SGD | SME):
        raise TypeError(f"process must be an SGD or an SME, got {type(process).__name__}: theory has other functions.")
    noise = process.noise
    process.check(problem)
    if isinstance(noise, WithReplacement | WithoutReplacement):
        replacement = isinstance(noise, WithReplacement)
    elif isinstance(noise, Gaussian):
        replacement = noise.replacement
    else:
        raise TypeError(f"noise of the process must be WithReplacement, WithoutReplacement or Gaussian, got "
                        f"{type(noise).__name__}: its covariance is another, or its steps are not independent.")
    model, eta, batch_size = quadratic_model(problem, params), float(process.learning_rate), int(noise.batch_size)
    if isinstance(process, SME):
        return theory.sme_limit_covariance(model, eta, batch_size, order=process.order, replacement=replacement)
    momentum = 0.0 if process.momentum is None else float(process.momentum)
    return theory.sgd_limit_covariance(model, eta, batch_size, momentum=momentum, replacement=replacement)


def _float64(leaf: Any) -> Any:
    array = np.asarray(leaf)
    return jnp.asarray(array, jnp.float64) if np.issubdtype(array.dtype, np.floating) else jnp.asarray(array)
