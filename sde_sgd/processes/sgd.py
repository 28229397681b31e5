"""Discrete stochastic gradient descent, with or without heavy-ball momentum."""

from typing import Any, NamedTuple

import equinox as eqx
from jaxtyping import PyTree

from sde_sgd._core import checks, tree
from sde_sgd._core.random import Draws
from sde_sgd.noise import AbstractNoise
from sde_sgd.problems.problem import Problem
from sde_sgd.processes.base import AbstractProcess, hyperparameter


class SGDState(NamedTuple):
    """Params, the momentum trace (None without momentum) and the sampler of the noise."""

    params: PyTree
    trace: PyTree
    sampler: PyTree


class SGD(AbstractProcess):
    r"""Stochastic gradient descent under any noise.

    .. math:: m_{k+1} = \beta m_k + g_k, \qquad w_{k+1} = w_k - \eta\, m_{k+1}

    with m_0 = 0 (optax's convention: the trace is not damped by :math:`1-\beta`). With a `Gaussian` noise this is
    gradient descent with Gaussian noise of the exact minibatch covariance: a discrete process with SGD's own first two
    conditional moments, which is *not* the differential equation (see `SME`).

    Parameters
    ----------
    learning_rate
        Step size eta > 0; also the time one step advances.
    noise
        How the gradient is perturbed, for example ``WithReplacement(batch_size)``.
    momentum
        beta in [0, 1). Zero leaves the trace out of the state.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range or ``noise`` is not a noise.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> ss.SGD(0.1, ss.WithReplacement(8), momentum=0.9).time_per_step
    array(0.1)
    """

    learning_rate: Any = eqx.field(converter=hyperparameter)
    noise: AbstractNoise
    momentum: Any

    def __init__(self, learning_rate: Any, noise: AbstractNoise, momentum: Any = 0.0):
        checks.positive("learning_rate", learning_rate)
        checks.in_half_open_unit("momentum", momentum)
        check_noise(noise, AbstractNoise, "SGD")
        self.learning_rate = learning_rate
        self.noise = noise
        self.momentum = None if isinstance(momentum, int | float) and momentum == 0 else hyperparameter(momentum)

    @property
    def time_per_step(self) -> Any:
        """The learning rate: time is k * eta."""
        return self.learning_rate

    def check(self, problem: Problem) -> None:
        """Raise unless the noise fits the problem."""
        self.noise.check(problem)

    def init(self, problem: Problem, params: PyTree) -> SGDState:
        """Return the state that starts from ``params`` at rest."""
        return SGDState(params, None if self.momentum is None else tree.zeros_like(params), self.noise.init())

    def step(self, problem: Problem, state: SGDState, draws: Draws) -> SGDState:
        """Return the state after one minibatch."""
        gradient, sampler = self.noise.gradient(problem, state.params, state.sampler, draws)
        trace = None if self.momentum is None else tree.axpy(self.momentum, state.trace, gradient)
        direction = gradient if trace is None else trace
        return SGDState(tree.axpy(-self.learning_rate, direction, state.params), trace, sampler)


def check_noise(noise: Any, kind: type, process: str) -> None:
    """Raise unless ``noise`` is of the kind a process can use."""
    if not isinstance(noise, kind):
        wants = "a noise such as sde_sgd.WithReplacement(batch_size)" if kind is AbstractNoise else (
            "a Gaussian noise, such as sde_sgd.Gaussian(batch_size)")
        raise TypeError(f"noise of {process} must be {wants}, got {noise!r} of type {type(noise).__name__}.")
