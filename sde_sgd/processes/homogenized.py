"""Homogenised SGD: the diffusion that SGD on least squares tends to in high dimension, at any learning rate."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from sde_sgd._core import checks, tree
from sde_sgd._core.random import Draws
from sde_sgd._core.random_tree import normal_like, slots_for_normal_like
from sde_sgd.problems.problem import Problem
from sde_sgd.processes.base import AbstractProcess, hyperparameter, warn_if_coarse
from sde_sgd.processes.gradient_flow import FlowState


class HomogenizedSGD(AbstractProcess):
    r"""Homogenised SGD on least squares.

    .. math::
        dX = -\eta\,\nabla f(X)\,dk + \eta \sqrt{\frac{2 f(X)}{B}\, H}\;dW_k, \qquad H = \frac1N X^\top X

    per step k; the model's clock counts epochs, t = k B / N. Its risk is SGD's as the dimension grows with the number
    of examples, at learning rates of the order of 1/|x|^2: the small parameter is 1/d, not the learning rate. The
    expected risk is known in closed form, `sde_sgd.theory.homogenized_risk`.

    Parameters
    ----------
    learning_rate
        eta > 0.
    batch_size
        B >= 1, with replacement.
    features
        X, shape (N, d), of the problem whose loss is :math:`\frac12 (x_i \cdot w - y_i)^2`.
    substeps
        Euler-Maruyama steps in one step. Fewer than ten draw a warning.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or the features are not a finite matrix.

    Notes
    -----
    Cost: one full gradient, the loss and a d x d product a substep. Randomness: d normals a substep.

    References
    ----------
    Paquette, Paquette, Adlam, Pennington (2022), Homogenization of SGD in high-dimensions: exact dynamics and
    generalization properties.

    Examples
    --------
    >>> import jax, sde_sgd as ss
    >>> problem = ss.problems.linear_regression(num_examples=40, dim=3, key=jax.random.key(0))
    >>> float(ss.HomogenizedSGD(0.1, 4, features=problem.data[0]).time_per_step)
    0.1
    """

    learning_rate: Any
    batch_size: Any
    num_examples: Any
    noise_factor: Float[Array | np.ndarray, "d d"]
    substeps: int = eqx.field(static=True)

    def __init__(self, learning_rate: Any, batch_size: Any, *, features: Any, substeps: int = 16):
        checks.positive("learning_rate", learning_rate)
        checks.integer("batch_size", batch_size)
        checks.integer("substeps", substeps)
        matrix = np.asarray(features, np.float64)
        if matrix.ndim != 2 or not np.all(np.isfinite(matrix)):
            raise ValueError(f"features must be a finite matrix of shape (N, d), got shape {matrix.shape}.")
        warn_if_coarse(substeps, "HomogenizedSGD")
        values, vectors = np.linalg.eigh(matrix.T @ matrix / len(matrix))
        self.learning_rate = hyperparameter(learning_rate)
        self.batch_size = hyperparameter(batch_size)
        self.num_examples = hyperparameter(len(matrix))
        self.noise_factor = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
        self.substeps = substeps

    @property
    def time_per_step(self) -> Any:
        """The share of an epoch, B / N."""
        return self.batch_size / self.num_examples

    def check(self, problem: Problem) -> None:
        """Raise unless the features are as many as the examples and as long as the params."""
        expected = problem.num_examples, tree.size(jax.eval_shape(problem.init, jax.random.key(0)))
        got = int(self.num_examples), len(self.noise_factor)
        if got != expected:
            raise ValueError(f"features must have shape {expected}, the examples and params of the problem, got {got}.")

    def init(self, problem: Problem, params: PyTree) -> FlowState:
        """Return the state that starts from ``params``."""
        return FlowState(params)

    def step(self, problem: Problem, state: FlowState, draws: Draws) -> FlowState:
        """Return the state one minibatch later."""
        slots = slots_for_normal_like(state.params)

        def body(index: Any, params: PyTree) -> PyTree:
            slot = jnp.asarray(index, jnp.uint32) * jnp.uint32(slots)
            loss, gradient = jax.value_and_grad(problem.loss)(params)
            normals, unravel = ravel_pytree(normal_like(draws, params, slot))
            kick = unravel(jnp.asarray(self.noise_factor, normals.dtype) @ normals)
            moved = tree.axpy(-self.learning_rate / self.substeps, gradient, params)
            spread = self.learning_rate * jnp.sqrt(2 * loss / (self.batch_size * self.substeps))
            return tree.axpy(spread, kick, moved)

        return FlowState(jax.lax.fori_loop(0, self.substeps, body, state.params))
