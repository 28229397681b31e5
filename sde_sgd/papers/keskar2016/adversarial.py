"""Adversarial training: half of the loss on inputs moved to where they are harder."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from sde_sgd.problems import Problem
from sde_sgd.problems.network_loss import NetworkLoss


@dataclasses.dataclass(frozen=True)
class AdversarialLoss:
    r"""The mean of a network's loss on an example and on the same moved up the sign of its gradient.

    .. math:: \tfrac12 \ell(w, x, y) + \tfrac12 \ell\bigl(w, x + \epsilon\, \mathrm{sign}\, \nabla_x \ell, y\bigr)

    References
    ----------
    Goodfellow, Shlens, Szegedy (2015), Explaining and harnessing adversarial examples, ICLR.
    """

    clean: NetworkLoss
    epsilon: float

    def __call__(self, params: PyTree, example: tuple[Array, Array]) -> Array:
        """Return the loss of one example."""
        inputs, label = example
        plain, slope = jax.value_and_grad(lambda given: self.clean(params, (given, label)))(inputs)
        moved = inputs + self.epsilon * jax.lax.stop_gradient(jnp.sign(slope))
        return (plain + self.clean(params, (moved, label))) / 2


def adversarial(problem: Problem, epsilon: float) -> Problem:
    """Return the problem of training a network against moves of its inputs by ``epsilon`` in every pixel."""
    loss = problem.example_loss
    assert isinstance(loss, NetworkLoss)
    return Problem(example_loss=AdversarialLoss(loss, epsilon), data=problem.data, init=problem.init)
