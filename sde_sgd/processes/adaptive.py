"""The stochastic differential equations of RMSprop and Adam, for gradients that the noise dominates."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sde_sgd._core import checks, tree
from sde_sgd._core.random import Draws
from sde_sgd.noise import AbstractGaussianNoise
from sde_sgd.problems.problem import Problem, float_dtype
from sde_sgd.processes.base import AbstractProcess, hyperparameter, warn_if_coarse
from sde_sgd.processes.sgd import check_noise


class RMSpropState(NamedTuple):
    """Params and the running second moment of the gradient's noise."""

    params: PyTree
    second_moment: PyTree


class RMSpropSDE(AbstractProcess):
    r"""The stochastic differential equation of RMSprop.

    .. math::
        dX = -\eta\,\frac{\nabla f(X)\,dk + \sqrt{C(X)}\,dW_k}{\sqrt v + \epsilon}, \qquad
        dv = (1 - \beta_2)\,(\mathrm{diag}\,C(X) - v)\,dk

    per step k, C the covariance of one minibatch gradient; the model's clock is t = k eta^2. Of weak order 1 in eta^2
    with eta sigma, (1 - beta_2)/eta^2 and eta eps held fixed: the limit in which the noise dominates the gradient, so
    that v measures the noise alone. It is invariant under the square-root rule, `sde_sgd.theory.square_root_scaling`.

    Parameters
    ----------
    learning_rate
        eta > 0. One step advances the time by eta^2.
    noise
        A Gaussian noise.
    decay
        beta_2 in [0, 1).
    eps
        Added to the square root, as in the original method, > 0.
    substeps
        Euler-Maruyama steps in one step. Fewer than ten draw a warning.

    Raises
    ------
    TypeError, ValueError
        If the noise is not Gaussian or a number is out of range.

    Notes
    -----
    The second moment starts at diag C of the start, its own equilibrium: from zero, the first steps of RMSprop are not
    described by a differential equation. Cost of a substep: two full gradients, and the gradients
    of all examples for diag C, all in memory at once.

    References
    ----------
    Malladi, Lyu, Panigrahi, Arora (2022), On the SDEs and scaling rules for adaptive gradient algorithms, NeurIPS.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> float(ss.RMSpropSDE(0.1, ss.Gaussian(8), decay=0.99).time_per_step)
    0.01...
    """

    learning_rate: Any = eqx.field(converter=hyperparameter)
    noise: AbstractGaussianNoise
    decay: Any = eqx.field(converter=hyperparameter, kw_only=True, default=0.9)
    eps: Any = eqx.field(converter=hyperparameter, kw_only=True, default=1e-8)
    substeps: int = eqx.field(static=True, kw_only=True, default=16)

    def __check_init__(self):
        _check(self, "RMSpropSDE")
        checks.in_half_open_unit("decay", self.decay)

    @property
    def time_per_step(self) -> Any:
        """The square of the learning rate: time is k * eta^2."""
        return self.learning_rate**2

    def check(self, problem: Problem) -> None:
        """Raise unless the noise fits the problem."""
        self.noise.check(problem)

    def init(self, problem: Problem, params: PyTree) -> RMSpropState:
        """Return the state that starts from ``params``, the second moment in equilibrium."""
        return RMSpropState(params, _widened(self.noise.variances(problem, params)))

    def step(self, problem: Problem, state: RMSpropState, draws: Draws) -> RMSpropState:
        """Return the state learning_rate**2 of time later."""
        slots = self.noise.num_slots(problem, state.params)
        kept = jnp.exp((self.decay - 1) / self.substeps)

        def body(index: Any, now: RMSpropState) -> RMSpropState:
            slot = jnp.asarray(index, jnp.uint32) * jnp.uint32(slots)
            # The noise of one substep is sqrt(substeps) times that of a step, over a step as much shorter.
            slope = self.noise.scaled_gradient(problem, now.params, draws, slot, self.substeps**0.5)
            moved = tree.axpy(-self.learning_rate / self.substeps, _divided(slope, now.second_moment, self.eps),
                              now.params)
            return RMSpropState(moved, _relaxed(now.second_moment, self.noise.variances(problem, now.params), kept))

        return jax.lax.fori_loop(0, self.substeps, body, state)


class AdamState(NamedTuple):
    """Params, running mean and second moment, and what is left of their zero starts."""

    params: PyTree
    mean: PyTree
    second_moment: PyTree
    mean_start: Float[Array, ""]
    second_moment_start: Float[Array, ""]


class AdamSDE(AbstractProcess):
    r"""The stochastic differential equation of Adam, its bias corrections included.

    .. math::
        dX &= -\eta\,\frac{m / \gamma_1}{\sqrt{v / \gamma_2} + \epsilon}\,dk, \quad \gamma_i = 1 - e^{-(1-\beta_i) k} \\
        dm &= (1 - \beta_1)\,\bigl[(\nabla f(X) - m)\,dk + \sqrt{C(X)}\,dW_k\bigr], \qquad
        dv = (1 - \beta_2)\,(\mathrm{diag}\,C(X) - v)\,dk

    per step k, C the covariance of one minibatch gradient; the model's clock is t = k eta^2. Of weak order 1 in eta^2
    with eta sigma, (1 - beta_i)/eta^2 and eta eps held fixed: the limit in which the noise dominates the gradient. It
    is invariant under the square-root rule, `sde_sgd.theory.square_root_scaling`.

    Parameters
    ----------
    learning_rate
        eta > 0. One step advances the time by eta^2.
    noise
        A Gaussian noise.
    b1, b2
        beta_1 and beta_2 in [0, 1), as in optax; the equation is for values near 1.
    eps
        Added to the square root, > 0.
    substeps
        Steps of the integrator in one step: exact relaxation of the averages, Euler for the params. Fewer than ten
        draw a warning.

    Raises
    ------
    TypeError, ValueError
        If the noise is not Gaussian or a number is out of range.

    Notes
    -----
    Starts as Adam does, from m = v = 0. Cost of a substep: two full gradients, and the gradients
    of all examples for diag C, all in memory at once.

    References
    ----------
    Malladi, Lyu, Panigrahi, Arora (2022), On the SDEs and scaling rules for adaptive gradient algorithms, NeurIPS.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> float(ss.AdamSDE(0.1, ss.Gaussian(8)).time_per_step)
    0.01...
    """

    learning_rate: Any = eqx.field(converter=hyperparameter)
    noise: AbstractGaussianNoise
    b1: Any = eqx.field(converter=hyperparameter, kw_only=True, default=0.9)
    b2: Any = eqx.field(converter=hyperparameter, kw_only=True, default=0.999)
    eps: Any = eqx.field(converter=hyperparameter, kw_only=True, default=1e-8)
    substeps: int = eqx.field(static=True, kw_only=True, default=16)

    def __check_init__(self):
        _check(self, "AdamSDE")
        checks.in_half_open_unit("b1", self.b1)
        checks.in_half_open_unit("b2", self.b2)

    @property
    def time_per_step(self) -> Any:
        """The square of the learning rate: time is k * eta^2."""
        return self.learning_rate**2

    def check(self, problem: Problem) -> None:
        """Raise unless the noise fits the problem."""
        self.noise.check(problem)

    def init(self, problem: Problem, params: PyTree) -> AdamState:
        """Return the state that starts from ``params``, both averages at zero."""
        one = jnp.ones((), float_dtype(params))
        zeros = _widened(tree.zeros_like(params))
        return AdamState(params, zeros, zeros, one, one)

    def step(self, problem: Problem, state: AdamState, draws: Draws) -> AdamState:
        """Return the state learning_rate**2 of time later."""
        slots = self.noise.num_slots(problem, state.params)
        rate = (1 - self.b1) / self.substeps
        kept, kept_second = jnp.exp(-rate), jnp.exp((self.b2 - 1) / self.substeps)
        # The averaged noise of one substep, in units of the noise of one gradient, by the exact transition.
        spread = jnp.sqrt((1 - self.b1) / 2 * -jnp.expm1(-2 * rate))

        def body(index: Any, now: AdamState) -> AdamState:
            slot = jnp.asarray(index, jnp.uint32) * jnp.uint32(slots)
            kick = self.noise.fluctuation(problem, now.params, draws, slot)
            mean = tree.axpy(spread, _widened(kick), _relaxed(now.mean, problem.gradient(now.params), kept))
            second_moment = _relaxed(now.second_moment, self.noise.variances(problem, now.params), kept_second)
            mean_start = now.mean_start * kept.astype(now.mean_start.dtype)
            second_start = now.second_moment_start * kept_second.astype(now.second_moment_start.dtype)
            direction = _divided(tree.scale(1 / (1 - mean_start), mean),
                                 tree.scale(1 / (1 - second_start), second_moment), self.eps)
            params = tree.axpy(-self.learning_rate / self.substeps, direction, now.params)
            return AdamState(params, mean, second_moment, mean_start, second_start)

        return jax.lax.fori_loop(0, self.substeps, body, state)


def _check(process: Any, name: str) -> None:
    checks.positive("learning_rate", process.learning_rate)
    check_noise(process.noise, AbstractGaussianNoise, name)
    checks.positive("eps", process.eps)
    checks.integer("substeps", process.substeps)
    warn_if_coarse(process.substeps, name)


def _divided(direction: PyTree, second_moment: PyTree, eps: Any) -> PyTree:
    return jax.tree.map(lambda d, v: d.astype(v.dtype) / (jnp.sqrt(v) + jnp.asarray(eps, v.dtype)), direction,
                        second_moment)


def _relaxed(average: PyTree, target: PyTree, kept: Any) -> PyTree:
    """Return the exact relaxation of an average towards a frozen target."""
    return jax.tree.map(lambda a, b: b.astype(a.dtype) + jnp.asarray(kept, a.dtype) * (a - b.astype(a.dtype)), average,
                        target)


def _widened(values: PyTree) -> PyTree:
    """Return the values in float32 at least: in half precision an average forgets nothing, as 1 - rate rounds to 1."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)), values)
