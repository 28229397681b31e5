"""What is recorded of a network beside its loss, on the training set or on another, and when it has been trained."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from sde_sgd._core import checks
from sde_sgd._core.functions import as_pytree, parameters, unwrapped
from sde_sgd.problems.examples import mapped
from sde_sgd.problems.network_loss import NetworkLoss
from sde_sgd.problems.problem import Problem


def accuracy(problem: Problem, params: PyTree) -> Float[Array, ""]:
    """Return the share of the examples whose largest logit is that of their class.

    Parameters
    ----------
    problem
        A problem made by `from_flax`, with class indices as labels.
    params
        Pytree like that of ``problem.init``.

    Returns
    -------
    Array
        A number in [0, 1]. A network whose logits are NaN counts as wrong, unless the class is 0.

    Raises
    ------
    TypeError
        If the problem is no network or its labels are no class indices.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax, sde_sgd as ss
    >>> net = ss.problems.from_flax(ss.problems.mlp((), 2), jnp.eye(2), jnp.array([0, 1]),
    ...                             optax.softmax_cross_entropy_with_integer_labels)
    >>> params = {"Dense_0": {"kernel": jnp.array([[0.0, 1.0], [0.0, 1.0]]), "bias": jnp.zeros(2)}}
    >>> float(ss.problems.accuracy(net, params))
    0.5
    """
    if not isinstance(problem.example_loss, NetworkLoss):
        raise TypeError(f"problem must be made by from_flax, got one with the loss {problem.example_loss!r}.")
    labels = problem.data[1]
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"accuracy needs labels that are class indices, got {labels.dtype}. Pass integers.")
    right = mapped(_Right(problem.example_loss), params, problem.data)
    return jnp.mean(right.astype(jnp.result_type(float)))


class _Right(eqx.Module):
    """Whether one example is classified rightly."""

    loss: NetworkLoss = eqx.field(static=True)

    def __call__(self, params: PyTree, example: tuple[Array, Array]) -> Array:
        inputs, label = example
        return jnp.all(jnp.argmax(self.loss.predict(params, inputs), axis=-1) == label)


class On(eqx.Module):
    """A quantity of another problem than the one that is trained; made by `on`."""

    problem: Problem
    function: Any = eqx.field(converter=as_pytree)

    def __call__(self, problem: Problem, params: PyTree, *, key: Any = None) -> Any:
        """Return the quantity of the other problem."""
        more = {"key": key} if "key" in parameters(self.function) else {}
        return unwrapped(self.function)(self.problem, params, **more)


def on(problem: Problem, function: Any) -> On:
    """Return a quantity evaluated on a problem of its own, such as the accuracy on a test set.

    It can be recorded like any function of ``(problem, params)``, and the data go into the compiled program as an
    argument. (A function that closes over a test set makes a constant of it: XLA may then work on it for minutes.)

    Parameters
    ----------
    problem
        The other problem; its params are like those of the problem that is trained.
    function
        ``function(problem, params)``, for example `accuracy` or ``Problem.loss``; it may take ``key=``.

    Returns
    -------
    On
        A function of ``(problem, params)`` that ignores the first.

    Raises
    ------
    TypeError
        If the arguments are not of these kinds.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax, sde_sgd as ss
    >>> net = ss.problems.from_flax(ss.problems.mlp((4,), 2), jnp.eye(4), jnp.array([0, 1, 0, 1]),
    ...                             optax.softmax_cross_entropy_with_integer_labels)
    >>> test = ss.problems.with_data(net, 2 * jnp.eye(4), jnp.array([0, 1, 0, 1]))
    >>> ds = ss.simulate(net, ss.SGD(0.1, ss.EpochShuffle(2)), num_seeds=2, num_epochs=1, key=jax.random.key(0),
    ...                  record={"test_accuracy": ss.problems.on(test, ss.problems.accuracy)})
    >>> ds.test_accuracy.shape
    (2, 2)
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a sde_sgd.Problem, got {type(problem).__name__}.")
    if not callable(function):
        raise TypeError(f"function must be a function of (problem, params), got {function!r}.")
    return On(problem, function)


class LossBelow(eqx.Module):
    """The params at which the loss is at most a target; made by `loss_below`."""

    target: Any

    def __call__(self, problem: Problem, params: PyTree) -> Array:
        """Return how far the loss lies below the target."""
        loss = problem.loss(params)
        return jnp.nextafter(jnp.asarray(self.target, loss.dtype), jnp.inf) - loss


def loss_below(target: float) -> LossBelow:
    """Return the region of params whose risk is at most a target, for `first_passage`: training until it is reached.

    The target is data: other targets run by the same compiled program.

    Parameters
    ----------
    target
        A finite number.

    Returns
    -------
    LossBelow
        A function of ``(problem, params)``: a level, positive inside.

    Raises
    ------
    TypeError, ValueError
        If the target is no finite number.

    Examples
    --------
    >>> import jax, sde_sgd as ss
    >>> problem = ss.problems.linear_regression(num_examples=64, dim=2, key=jax.random.key(0))
    >>> runs = ss.first_passage(problem, ss.SGD(0.1, ss.WithReplacement(8)), region=ss.problems.loss_below(0.7),
    ...                         look_every=5, num_lanes=4, max_steps=1000, key=jax.random.key(1))
    >>> bool((runs.steps % 5 == 0).all())
    True
    """
    checks.finite("target", target)
    return LossBelow(np.float64(target))
