"""The Ornstein-Uhlenbeck process of SGD near a minimum, by its exact transitions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from sde_sgd._core import checks, tree
from sde_sgd._core.random import Draws
from sde_sgd._core.random_tree import normal_like
from sde_sgd.problems.problem import Problem
from sde_sgd.processes.base import AbstractProcess, hyperparameter
from sde_sgd.processes.gradient_flow import FlowState


class OrnsteinUhlenbeck(AbstractProcess):
    r"""SGD linearised at a minimum with its noise frozen there.

    .. math:: dX_t = -H (X_t - x_*)\,dt + \sqrt{\eta\, C}\,dW_t, \qquad t = k\,\eta

    The problem's own gradient is not used. Steps are drawn from the exact transition law, so there is no time-stepping
    error at any learning rate. The stationary covariance S solves :math:`HS + SH = \eta C`, which lies below SGD's own
    by a relative O(eta H).

    Parameters
    ----------
    learning_rate
        eta > 0, the time one step advances.
    hessian
        H, symmetric (d, d), in the order of ``jax.flatten_util.ravel_pytree``. It may be indefinite.
    noise_covariance
        C, the covariance of *one step's* gradient: phi times the single-example covariance. Symmetric, positive
        semi-definite.
    minimum
        x_*, a pytree like the params.

    Raises
    ------
    ValueError
        If a matrix is not square, symmetric and of the size of ``minimum``, or C is not positive semi-definite.

    Notes
    -----
    Cost: two d x d products a step. Randomness: d normals.

    References
    ----------
    Mandt, Hoffman, Blei (2017), Stochastic gradient descent as approximate Bayesian inference, JMLR 18.
    """

    learning_rate: Any
    minimum: PyTree
    propagator: Float[Array | np.ndarray, "d d"]
    noise_factor: Float[Array | np.ndarray, "d d"]

    def __init__(self, learning_rate: Any, *, hessian: Any, noise_covariance: Any, minimum: PyTree):
        checks.positive("learning_rate", learning_rate)
        checks.floating_params(minimum)
        dim = tree.size(minimum)
        matrix = symmetric("hessian", hessian, dim)
        covariance = symmetric("noise_covariance", noise_covariance, dim)
        lowest = np.linalg.eigvalsh(covariance)[0]
        if lowest < -1e-8 * np.abs(covariance).max():
            raise ValueError(f"noise_covariance must be positive semi-definite, got the eigenvalue {lowest:.3g}.")
        self.learning_rate = hyperparameter(learning_rate)
        self.minimum = minimum
        self.propagator, self.noise_factor = _transition(matrix, covariance, float(learning_rate))

    @property
    def time_per_step(self) -> Any:
        """The learning rate: time is k * eta."""
        return self.learning_rate

    def check(self, problem: Problem) -> None:
        """Raise unless the minimum is like the params of the problem, whose gradient is not used."""
        expected = jax.eval_shape(problem.init, jax.random.key(0))
        wanted, got = (jax.tree.map(jnp.shape, params) for params in (expected, self.minimum))
        if wanted != got:
            raise ValueError(f"minimum must have the shapes of the problem's params, {wanted}, got {got}.")

    def init(self, problem: Problem, params: PyTree) -> FlowState:
        """Return the state that starts from ``params``."""
        return FlowState(params)

    def step(self, problem: Problem, state: FlowState, draws: Draws) -> FlowState:
        """Return the state one learning rate of time later."""
        centre, _ = ravel_pytree(self.minimum)
        position, unravel = ravel_pytree(state.params)
        normals, _ = ravel_pytree(normal_like(draws, state.params))
        decayed = jnp.asarray(self.propagator, position.dtype) @ (position - centre.astype(position.dtype))
        kick = jnp.asarray(self.noise_factor, position.dtype) @ normals
        return FlowState(unravel(centre.astype(position.dtype) + decayed + kick))


def symmetric(name: str, value: Any, dim: int) -> np.ndarray:
    """Return ``value`` as a float64 matrix; raise unless it is symmetric, finite and d x d."""
    matrix = np.asarray(value, np.float64)
    if matrix.shape != (dim, dim):
        raise ValueError(f"{name} must have shape ({dim}, {dim}) to go with a minimum of {dim} numbers, got "
                         f"{matrix.shape}.")
    if not np.all(np.isfinite(matrix)) or not np.allclose(matrix, matrix.T, rtol=1e-5, atol=1e-8):
        raise ValueError(f"{name} must be finite and symmetric. Pass (A + A.T) / 2.")
    return (matrix + matrix.T) / 2


def _transition(hessian: np.ndarray, covariance: np.ndarray, learning_rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Return exp(-H eta) and a square root of the covariance gathered over one step, in H's eigenbasis."""
    values, vectors = np.linalg.eigh(hessian)
    rates = values[:, None] + values[None, :]
    # int_0^eta exp(-(h_i + h_j) s) ds, with its limit eta where the rate vanishes.
    safe = np.where(rates == 0, 1.0, rates)
    gathered = np.where(rates == 0, learning_rate, -np.expm1(-rates * learning_rate) / safe)
    rotated = learning_rate * (vectors.T @ covariance @ vectors) * gathered
    variances, axes = np.linalg.eigh(rotated)
    factor = vectors @ axes * np.sqrt(np.maximum(variances, 0.0))
    return vectors * np.exp(-values * learning_rate) @ vectors.T, factor
