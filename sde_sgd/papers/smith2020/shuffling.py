"""The loss that reshuffled SGD descends on average, without sampling: every order of fixed batches, in float64."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from sde_sgd._core import tree
from sde_sgd.analysis import Claim
from sde_sgd.papers.paper import Findings
from sde_sgd.papers.smith2020.size import Size
from sde_sgd.problems import Problem, digits, from_flax, mlp, standardised

RATES = (0.1, 0.05, 0.025, 0.0125)
LOSSES = ("the loss", "with eta/4 |grad f|^2", "with that of the batches")
_EXPECTED = ((2.0, 0.15), (2.0, 0.1), (3.0, 0.2))  # slope and what is left of higher orders at these rates
_NUM_EXAMPLES, _NUM_BATCHES, _WIDTH, _SUBSTEPS, _PARTITIONS = 256, 4, 16, 200, 400
_SOURCE = "Smith, Dherin, Barrett, De (2021)"


def modified_loss(size: Size, key: Any) -> Findings:
    """Compare one epoch, averaged over all orders, with three gradient flows; and the penalty with its mean."""
    import xarray

    with jax.enable_x64(True):
        problem, params = setting(_NUM_EXAMPLES, _WIDTH, key)
        found = np.array([distances(problem, params, rate, _NUM_BATCHES) for rate in RATES])
        mean, stderr, exact = _partitions(problem, params, _NUM_EXAMPLES // _NUM_BATCHES, jax.random.fold_in(key, 1))
    slopes = np.log2(found[:-1] / found[1:])
    claims = [
        Claim(f"order of the distance of the mean iterate from the flow of {name}, rates {RATES[-2]:g} to "
              f"{RATES[-1]:g}", _SOURCE, order, slope, tolerance=tolerance)
        for name, slope, (order, tolerance) in zip(LOSSES, slopes[-1], _EXPECTED, strict=True)]
    claims.append(Claim("mean of |grad f_k|^2 over batches of random partitions", _SOURCE, exact, mean, stderr))
    data = xarray.Dataset({"distance": (("learning_rate", "loss"), found)},
                          {"learning_rate": list(RATES), "loss": list(LOSSES)})
    return Findings(claims, data)


def setting(num_examples: int, width: int, key: Any) -> tuple[Problem, PyTree]:
    """Return a smooth small network on digits and a start, in float64; to be called with 64 bits enabled."""
    import optax

    features, labels = digits()
    inputs, = standardised(features[:num_examples])
    problem = from_flax(mlp((width,), 10, activation=jnp.tanh), inputs.astype(np.float64), labels[:num_examples],
                        optax.softmax_cross_entropy_with_integer_labels)
    return problem, jax.tree.map(lambda leaf: leaf.astype(jnp.float64), problem.init(key))


def distances(problem: Problem, params: PyTree, learning_rate: float, num_batches: int) -> tuple[float, ...]:
    """Return how far the mean of one epoch over all orders of the batches ends from the flows of `LOSSES`."""
    with jax.enable_x64(True):
        weights = _batch_weights(problem.num_examples, num_batches)
        mean = _mean_epoch(problem, params, weights, jnp.asarray(learning_rate))
        ends = [_flow(problem, params, weights, jnp.asarray(learning_rate), which) for which in range(len(LOSSES))]
        return tuple(math.sqrt(float(tree.squared_norm(jax.tree.map(jnp.subtract, mean, end)))) for end in ends)


def _batch_weights(num_examples: int, num_batches: int) -> Array:
    """Return the weightings of consecutive batches, (batch, example)."""
    each = num_examples // num_batches
    return jnp.asarray(np.kron(np.eye(num_batches), np.full(each, 1 / each)))


@jax.jit
def _mean_epoch(problem: Problem, params: PyTree, weights: Array, learning_rate: Array) -> PyTree:
    orders = jnp.asarray(list(itertools.permutations(range(weights.shape[0]))))

    def epoch(order: Array) -> PyTree:
        def step(now: PyTree, batch: Array) -> tuple[PyTree, None]:
            return tree.axpy(-learning_rate, problem.gradient(now, weights[batch]), now), None

        return jax.lax.scan(step, params, order)[0]

    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), jax.lax.map(epoch, orders))


@functools.partial(jax.jit, static_argnums=4)
def _flow(problem: Problem, params: PyTree, weights: Array, learning_rate: Array, which: int) -> PyTree:
    """Return the end of the gradient flow of one of the losses after the time of an epoch, by Runge and Kutta."""

    def loss(at: PyTree) -> Array:
        value = problem.loss(at)
        if which == 1:
            value += learning_rate / 4 * tree.squared_norm(problem.gradient(at))
        if which == 2:
            norms = jax.lax.map(lambda batch: tree.squared_norm(problem.gradient(at, batch)), weights)
            value += learning_rate / 4 * jnp.mean(norms)
        return value

    step = learning_rate * weights.shape[0] / _SUBSTEPS
    slope: Callable[[PyTree], PyTree] = jax.grad(lambda at: -loss(at))

    def substep(_: Any, at: PyTree) -> PyTree:
        first = slope(at)
        second = slope(tree.axpy(step / 2, first, at))
        third = slope(tree.axpy(step / 2, second, at))
        fourth = slope(tree.axpy(step, third, at))
        total = jax.tree.map(lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, first, second, third, fourth)
        return tree.axpy(step, total, at)

    return jax.lax.fori_loop(0, _SUBSTEPS, substep, params)


class _Identity(NamedTuple):
    """The mean penalty over partitions, its standard error, and what it should be."""

    mean: float
    stderr: float
    exact: float


def _partitions(problem: Problem, params: PyTree, batch_size: int, key: Any) -> _Identity:
    """Compare the mean squared norm of batch gradients over random partitions with its exact mean."""
    num = problem.num_examples
    leaves = jax.tree.leaves(problem.example_gradients(params))
    each = np.concatenate([np.asarray(leaf).reshape(num, -1) for leaf in leaves], axis=1)
    orders = jax.vmap(lambda one: jax.random.permutation(one, num))(jax.random.split(key, _PARTITIONS))
    batches = each[np.asarray(orders)].reshape(_PARTITIONS, -1, batch_size, each.shape[1]).mean(axis=2)
    values = np.mean(np.sum(batches**2, axis=-1), axis=1)
    full = each.mean(axis=0)
    spread = np.sum((each - full) ** 2) / num
    exact = full @ full + (num - batch_size) / (num - 1) * spread / batch_size
    return _Identity(float(values.mean()), float(values.std(ddof=1) / _PARTITIONS**0.5), float(exact))
