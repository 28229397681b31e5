"""Any optax optimiser as a process."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sde_sgd._core import checks
from sde_sgd._core.random import Draws
from sde_sgd.noise import AbstractNoise
from sde_sgd.problems.problem import Problem
from sde_sgd.processes.base import AbstractProcess, hyperparameter
from sde_sgd.processes.sgd import check_noise

_NUMBERS = float | np.number | np.ndarray | jax.Array


class OptaxState(NamedTuple):
    """Params, the optimiser's state and the sampler of the noise."""

    params: PyTree
    optimizer: PyTree
    sampler: PyTree


class Optax(AbstractProcess):
    """A process driven by an optax optimiser; made by `from_optax`."""

    optimizer: Any = eqx.field(static=True)
    noise: AbstractNoise
    learning_rate: Any
    numbers: dict[str, Any]
    options: tuple[tuple[str, Any], ...] = eqx.field(static=True)

    @property
    def time_per_step(self) -> Any:
        """The learning rate where it was named, else 1: time then counts steps."""
        return hyperparameter(1.0) if self.learning_rate is None else self.learning_rate

    def check(self, problem: Problem) -> None:
        """Raise unless the noise fits the problem."""
        self.noise.check(problem)

    def transformation(self) -> Any:
        """Return the optax gradient transformation with the numbers of this lane."""
        if not callable(self.optimizer):
            return self.optimizer
        rate = {} if self.learning_rate is None else {"learning_rate": self.learning_rate}
        return self.optimizer(**rate, **self.numbers, **dict(self.options))

    def init(self, problem: Problem, params: PyTree) -> OptaxState:
        """Return the state that starts from ``params``."""
        return OptaxState(params, self.transformation().init(params), self.noise.init())

    def step(self, problem: Problem, state: OptaxState, draws: Draws) -> OptaxState:
        """Return the state after one update of the optimiser."""
        gradient, sampler = self.noise.gradient(problem, state.params, state.sampler, draws)
        updates, optimizer = self.transformation().update(gradient, state.optimizer, state.params)
        # optax promotes by its hyperparameters' dtype; a carry must keep its own.
        params = jax.tree.map(lambda p, u: p + jnp.asarray(u, p.dtype), state.params, updates)
        optimizer = jax.tree.map(lambda new, old: jnp.asarray(new, jnp.result_type(old)), optimizer, state.optimizer)
        return OptaxState(params, optimizer, sampler)


def from_optax(
    optimizer: Any | Callable[..., Any], noise: AbstractNoise, *, learning_rate: Any = None, **hyperparameters: Any
) -> Optax:
    """Make a process of any optax optimiser.

    Two forms. With the optimiser's *constructor*, its numbers are data: a grid of learning rates is one compiled
    program. With a finished ``optax.GradientTransformation``, anything optax can build works, schedules included, and
    every object has its own program.

    Parameters
    ----------
    optimizer
        An optax constructor, such as ``optax.adam``, or a ``GradientTransformation``.
    noise
        How the gradient is perturbed.
    learning_rate
        With a constructor: its learning rate, a number. With a transformation: optional, used only as the clock
        (time = k * learning_rate); without it time counts steps.
    **hyperparameters
        With a constructor: passed on to it, so that a misspelt name is its ``TypeError``. Floats and arrays become
        data; ints, bools, strings and functions are part of the program. A constructor of one's own may build
        schedules of its numbers, as `halving_sgd` does: define it once, since every new function is a program.

    Raises
    ------
    TypeError
        If ``optimizer`` is neither form, or the constructor refuses its arguments.
    ValueError
        If the learning rate is not a positive number, or hyperparameters come with a finished transformation.

    Examples
    --------
    >>> import optax, sde_sgd as ss
    >>> adam = ss.from_optax(optax.adam, ss.WithReplacement(8), learning_rate=1e-3, b2=0.99)
    >>> warm = ss.from_optax(optax.sgd(optax.cosine_decay_schedule(0.1, 1000)), ss.WithReplacement(8))
    """
    check_noise(noise, AbstractNoise, "from_optax")
    if learning_rate is not None:
        checks.positive("learning_rate", learning_rate)
        learning_rate = hyperparameter(learning_rate)
    is_transformation = hasattr(optimizer, "init") and hasattr(optimizer, "update")
    if is_transformation and hyperparameters:
        raise ValueError(f"hyperparameters {sorted(hyperparameters)} came with a finished transformation. Pass the "
                         "constructor, for example from_optax(optax.adam, noise, learning_rate=1e-3).")
    if not is_transformation and not callable(optimizer):
        raise TypeError(f"optimizer must be an optax constructor or GradientTransformation, got {optimizer!r}.")
    numbers = {name: hyperparameter(value) for name, value in hyperparameters.items() if isinstance(value, _NUMBERS)}
    options = tuple(sorted((name, value) for name, value in hyperparameters.items() if name not in numbers))
    process = Optax(optimizer=optimizer, noise=noise, learning_rate=learning_rate, numbers=numbers, options=options)
    jax.eval_shape(lambda: process.transformation() and None)  # a constructor refuses wrong arguments here
    return process
