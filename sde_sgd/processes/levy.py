"""Langevin dynamics driven by jumps: symmetric alpha-stable noise in place of the Brownian motion."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sde_sgd._core import checks, tree
from sde_sgd._core.random import Draws
from sde_sgd._core.random_tree import slots_for_stable_like, stable_like
from sde_sgd.problems.problem import Problem
from sde_sgd.processes.base import AbstractProcess, hyperparameter
from sde_sgd.processes.gradient_flow import FlowState


class LevyLangevin(AbstractProcess):
    r"""The gradient flow driven by a symmetric alpha-stable Levy motion, independent in every coordinate.

    .. math:: dX_t = -\nabla f(X_t)\,dt + s\,dL^\alpha_t, \qquad \mathrm{E}\,e^{ik L^\alpha_t} = e^{-t|k|^\alpha}

    integrated by Euler's scheme with dt = learning_rate / substeps, each step adding :math:`s\,dt^{1/\alpha}` times a
    standard stable number. It leaves a well by one jump: the escape time goes by the *width* of the well as a power of
    1/s, and the height of the barrier does not enter.

    A phenomenological model: the noise of a minibatch has a finite variance, and SGD does not converge to this
    equation. SGD whose gradient noise is stable of scale g has ``scale = learning_rate**(1 - 1 / tail_index) * g``.

    Parameters
    ----------
    learning_rate
        The time one step advances, > 0.
    tail_index
        alpha in (0, 2]. Moments of order alpha and above are infinite below 2. At 2 the motion is Brownian *of variance
        2t*: `Langevin` of temperature s^2.
    scale
        s >= 0.
    substeps
        Euler steps in one step.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Notes
    -----
    Cost: one full gradient and d stable numbers a substep. On a quadratic of curvature l the stationary law is stable
    of scale :math:`s\,(dt / (1 - |1 - l\,dt|^\alpha))^{1/\alpha}`, which tends to :math:`s\,(\alpha l)^{-1/\alpha}`.
    Where f grows faster than a quadratic, a jump can throw the Euler scheme into overflow; the lane is then reported as
    diverged. More substeps make this rarer.

    References
    ----------
    Simsekli, Sagun, Gurbuzbalaban (2019), A tail-index analysis of stochastic gradient noise in deep neural networks,
    ICML.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> ss.LevyLangevin(0.01, tail_index=1.5, scale=0.1).time_per_step
    array(0.01)
    """

    learning_rate: Any = eqx.field(converter=hyperparameter)
    tail_index: Any = eqx.field(converter=hyperparameter, kw_only=True)
    scale: Any = eqx.field(converter=hyperparameter, kw_only=True)
    substeps: int = eqx.field(static=True, kw_only=True, default=1)

    def __check_init__(self):
        checks.positive("learning_rate", self.learning_rate)
        checks.stable_index("tail_index", self.tail_index)
        checks.non_negative("scale", self.scale)
        checks.integer("substeps", self.substeps)

    @property
    def time_per_step(self) -> Any:
        """The learning rate: time is k * learning_rate."""
        return self.learning_rate

    def check(self, problem: Problem) -> None:
        """Accept every problem."""

    def init(self, problem: Problem, params: PyTree) -> FlowState:
        """Return the state that starts from ``params``."""
        return FlowState(params)

    def step(self, problem: Problem, state: FlowState, draws: Draws) -> FlowState:
        """Return the state one learning rate of time later."""
        dt = self.learning_rate / self.substeps
        amplitude = self.scale * dt ** (1 / self.tail_index)
        slots = slots_for_stable_like(state.params)

        def body(index: Any, params: PyTree) -> PyTree:
            slot = jnp.asarray(index, jnp.uint32) * jnp.uint32(slots)
            moved = tree.axpy(-dt, problem.gradient(params), params)
            return tree.axpy(amplitude, stable_like(draws, params, self.tail_index, slot), moved)

        if self.substeps == 1:
            return FlowState(body(0, state.params))
        return FlowState(jax.lax.fori_loop(0, self.substeps, body, state.params))
