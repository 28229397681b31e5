"""optax as an independent judge of the update rules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sde_sgd as ss
from sde_sgd._core.random import Draws, lane_key

NOISE = ss.WithReplacement(3)


def tree_problem():
    """Least squares over a pytree with leaves of several shapes and dtypes."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(12, 4)).astype(np.float32)
    targets = rng.normal(size=12).astype(np.float32)

    def example_loss(params, example):
        x, y = example
        hidden = x @ params["weight"].astype(jnp.float32) + params["bias"]
        return 0.5 * (jnp.sum(hidden) + params["scale"].astype(jnp.float32) - y) ** 2

    def init(key):
        return {"weight": jax.random.normal(key, (4, 2), jnp.bfloat16), "bias": jnp.zeros(2, jnp.float32),
                "scale": jnp.ones((), jnp.float16)}

    return ss.Problem(example_loss=example_loss, data=(features, targets), init=init)


def path(problem, process, num_steps=6):
    state = process.init(problem, problem.init(jax.random.key(1)))
    key = lane_key(jax.random.key(2), jnp.uint32(0))
    states = []
    for step in range(num_steps):
        state = process.step(problem, state, Draws(key, jnp.uint32(step)))
        states.append(state.params)
    return states


def assert_same(left, right, rtol):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_equals_optax_step_for_step(momentum):
    problem = ss.problems.linear_regression(num_examples=20, dim=3, key=jax.random.key(0))
    ours = path(problem, ss.SGD(0.1, NOISE, momentum=momentum))
    theirs = path(problem, ss.from_optax(optax.sgd(0.1, momentum=momentum or None), NOISE))
    assert_same(ours, theirs, 1e-6)
    assert not np.allclose(ours[-1], path(problem, ss.SGD(0.1, NOISE, momentum=0.5))[-1])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_equals_optax_on_a_pytree_of_several_dtypes(momentum):
    """Half-precision leaves: a step is rounded to eight bits, once in each implementation."""
    problem = tree_problem()
    ours = path(problem, ss.SGD(0.01, NOISE, momentum=momentum), num_steps=2)
    theirs = path(problem, ss.from_optax(optax.sgd(0.01, momentum=momentum or None), NOISE), num_steps=2)
    assert_same(ours, theirs, 2**-7)
    assert [leaf.dtype for leaf in jax.tree.leaves(ours[-1])] == [jnp.float32, jnp.float16, jnp.bfloat16]


def test_the_constructor_form_equals_the_finished_transformation():
    problem = ss.problems.linear_regression(num_examples=20, dim=3, key=jax.random.key(0))
    constructor = path(problem, ss.from_optax(optax.adam, NOISE, learning_rate=0.05, b2=0.9))
    assert_same(constructor, path(problem, ss.from_optax(optax.adam(0.05, b2=0.9), NOISE)), 1e-5)


def test_a_schedule_is_followed():
    problem = ss.problems.linear_regression(num_examples=20, dim=3, key=jax.random.key(0))
    schedule = optax.piecewise_constant_schedule(0.1, {3: 0.0})
    steps = path(problem, ss.from_optax(optax.sgd(schedule), NOISE))
    assert not np.array_equal(steps[1], steps[2])
    np.testing.assert_array_equal(steps[3], steps[5])  # the rate is zero from step 3 on
    assert_same(steps[:3], path(problem, ss.SGD(0.1, NOISE), num_steps=3), 1e-6)


def test_the_draws_are_those_of_the_step():
    """Teeth: one minibatch reused at every step gives another path."""
    problem = ss.problems.linear_regression(num_examples=20, dim=3, key=jax.random.key(0))
    process = ss.SGD(0.1, NOISE)
    state = process.init(problem, problem.init(jax.random.key(1)))
    key = lane_key(jax.random.key(2), jnp.uint32(0))
    for _ in range(6):
        state = process.step(problem, state, Draws(key, jnp.uint32(0)))
    assert not np.allclose(state.params, path(problem, process)[-1], rtol=1e-3)
