"""Optax as judge: its SGD is ours step for step, and its other optimisers move as in a loop of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sde_sgd as ss
from sde_sgd._core.random import DYNAMICS, Draws, lane_key

KEY = jax.random.key(5)


def tree_loss(params, example):
    features, target = example
    hidden = jnp.tanh(features @ params["first"]["w"] + params["first"]["b"])
    return 0.5 * (hidden @ params["second"] - target) ** 2


def scalar_loss(w, x):
    return 0.25 * (w - x) ** 4


def tree_start(key):
    return {"first": {"w": 0.5 * jax.random.normal(key, (3, 4), jnp.float32), "b": jnp.zeros(4, jnp.float32)},
            "second": jnp.linspace(-1, 1, 4, dtype=jnp.float32)}


def problems():
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(40, 3)).astype(np.float32), rng.normal(size=40).astype(np.float32)
    return {
        "vector": ss.problems.linear_regression(num_examples=64, dim=3, key=jax.random.key(0)),
        "scalar": ss.Problem(example_loss=scalar_loss, data=jnp.linspace(-1, 1, 40), init=lambda key: jnp.float32(1.5)),
        "dict": ss.problems.softmax_regression(features, rng.integers(0, 3, 40)),
        "nested": ss.Problem(example_loss=tree_loss, data=(features, targets), init=tree_start),
    }


QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
LANE_KEY = lane_key(KEY, jnp.uint32(2), purpose=DYNAMICS)


def path(problem, process, num_steps=8):
    """Return the params of one lane at every step."""
    def run(problem, process):
        state = process.init(problem, problem.init(KEY))
        move = jax.lax.scan(lambda now, low: (process.step(problem, now, Draws(LANE_KEY, low)),) * 2, state,
                            jnp.arange(num_steps, dtype=jnp.uint32))[1].params
        return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), state.params, move)

    return jax.jit(run, compiler_options=QUICKLY)(problem, process)


def assert_same_path(one, other, rtol=2e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), one, other)


@pytest.mark.parametrize("momentum", [None, 0.9])
@pytest.mark.parametrize("name", ["vector", "scalar", "dict", "nested"])
def test_our_sgd_is_that_of_optax(name, momentum):
    problem, noise = problems()[name], ss.WithReplacement(4)
    ours = path(problem, ss.SGD(0.05, noise, momentum=momentum or 0.0))
    theirs = path(problem, ss.from_optax(optax.sgd(0.05, momentum=momentum), noise))
    assert_same_path(ours, theirs)
    if name == "scalar" and momentum:  # teeth: another convention of momentum, and a rate off by a thousandth
        damped = optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.05))
        for wrong in (damped, optax.sgd(0.05005, momentum=momentum), optax.sgd(0.05, momentum=momentum, nesterov=True)):
            with pytest.raises(AssertionError):
                assert_same_path(ours, path(problem, ss.from_optax(wrong, noise)))


def in_a_loop(problem, optimizer, noise, num_steps=8):
    """Return the same path by optax's own update, outside of any process."""
    params, sampler = problem.init(KEY), noise.init()
    state, found = optimizer.init(params), [params]

    def step(params, state, sampler, low):
        batch, sampler = noise.sample(problem, params, sampler, Draws(LANE_KEY, low))
        rows = jax.tree.map(lambda leaf: leaf[batch.indices], problem.data)
        gradient = jax.grad(lambda p: jnp.average(jax.vmap(problem.example_loss, (None, 0))(p, rows),
                                                  weights=batch.weights))(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, sampler

    step = jax.jit(step, compiler_options=QUICKLY)
    for low in range(num_steps):
        params, state, sampler = step(params, state, sampler, jnp.uint32(low))
        found.append(params)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


OPTIMIZERS = {
    "adam": (optax.adam, {"b1": 0.8, "b2": 0.95}),
    "adamw": (optax.adamw, {"weight_decay": 0.01}),
    "rmsprop": (optax.rmsprop, {"decay": 0.8, "momentum": 0.5}),
    "nesterov": (optax.sgd, {"momentum": 0.7, "nesterov": True}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_moves_as_in_a_loop_of_its_own(name):
    constructor, numbers = OPTIMIZERS[name]
    problem, noise = problems()["nested"], ss.EpochShuffle(6)
    expected = in_a_loop(problem, constructor(0.01, **numbers), noise)
    for process in (ss.from_optax(constructor, noise, learning_rate=0.01, **numbers),
                    ss.from_optax(constructor(0.01, **numbers), noise)):
        assert_same_path(path(problem, process), expected, rtol=2e-5)


def test_a_schedule_is_followed():
    problem, noise = problems()["vector"], ss.WithReplacement(4)
    schedule = optax.piecewise_constant_schedule(0.3, {2: 1 / 3, 4: 0.2})
    scheduled = path(problem, ss.from_optax(optax.sgd(schedule), noise), num_steps=5)
    gradient = jax.jit(lambda w, low: noise.gradient(problem, w, (), Draws(LANE_KEY, low))[0], compiler_options=QUICKLY)
    for step, rate in enumerate([0.3, 0.3, 0.1, 0.1, 0.02]):
        expected = scheduled[step] - rate * gradient(scheduled[step], jnp.uint32(step))
        np.testing.assert_allclose(scheduled[step + 1], expected, rtol=2e-6, atol=2e-6)


def test_the_clock_of_an_optimiser():
    noise = ss.WithReplacement(4)
    assert float(ss.from_optax(optax.adam, noise, learning_rate=0.02).time_per_step) == 0.02
    assert float(ss.from_optax(optax.adam(0.02), noise).time_per_step) == 1.0  # time counts steps
    assert float(ss.from_optax(optax.adam(0.02), noise, learning_rate=0.02).time_per_step) == 0.02
