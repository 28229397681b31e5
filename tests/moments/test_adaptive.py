"""The SDEs of RMSprop and Adam against their closed laws and against the methods themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import sde_sgd as ss
from sde_sgd import theory

THRESHOLD, NUM_SEEDS = 5.0, 4096


def quadratic(curvature, noise_scale):
    """Two examples: a quadratic of one parameter whose single-example gradients are off by plus or minus the scale."""
    offsets = jnp.asarray([[noise_scale], [-noise_scale]], jnp.float32)
    return ss.problems.quadratic(jnp.asarray([[curvature]], jnp.float32), offsets)


def squares(problem, process, num_steps, start):
    ds = ss.simulate(problem, process, num_seeds=NUM_SEEDS, num_steps=num_steps, params=jnp.asarray([start]),
                     record={"w": lambda problem, w: w[0]}, key=jax.random.key(0))
    return ds.w.isel(step=-1).values.astype(np.float64) ** 2


def score(samples, expected):
    return (samples.mean() - expected) / (samples.std() / len(samples) ** 0.5)


def test_rmsprop_has_its_stationary_variance():
    problem = quadratic(1.0, 2.0)
    process = ss.RMSpropSDE(0.05, ss.Gaussian(1), decay=0.99, substeps=10)
    found = squares(problem, process, 160, 0.2)
    pull = 0.05 / 2.0 * 1.0 / 10  # of one substep; Euler-Maruyama's variance is larger by 1 / (1 - pull / 2)
    expected = float(theory.rmsprop_stationary_variance(1.0, 2.0, 0.05)) / (1 - pull / 2)
    start = 0.2**2 * (1 - pull) ** 3200 + expected * (1 - (1 - pull) ** 3200)
    assert abs(score(found, start)) < THRESHOLD
    assert abs(score(found, 1.3 * start)) > THRESHOLD


def test_adam_agrees_with_its_equation_where_the_noise_dominates():
    """c1 = 3, c2 = 0.5, sigma0 = 1, eps0 = 0.1 at time 2: what is left is of the order of eta^2."""
    rate = 0.1
    problem = quadratic(1.0, 1 / rate)
    numbers = {"b1": 1 - 3 * rate**2, "b2": 1 - 0.5 * rate**2, "eps": 0.1 / rate}
    num_steps = round(2 / rate**2)
    equation = squares(problem, ss.AdamSDE(rate, ss.Gaussian(1), **numbers, substeps=10), num_steps, 0.0)
    adam = ss.from_optax(optax.adam, ss.WithReplacement(1), learning_rate=rate, **numbers)
    method = squares(problem, adam, num_steps, 0.0)
    stderr = np.hypot(equation.std(), method.std()) / NUM_SEEDS**0.5
    assert abs(equation.mean() - method.mean()) < 4 * stderr + 0.02 * method.mean()
    slow = ss.AdamSDE(rate, ss.Gaussian(1), **{**numbers, "b1": 1 - 0.5 * rate**2}, substeps=10)
    wrong = squares(problem, slow, num_steps, 0.0)
    assert abs(wrong.mean() - method.mean()) > 4 * stderr + 0.02 * method.mean()  # teeth: another average


def test_the_square_root_rule_keeps_the_equation():
    base = theory.AdaptiveHyperparameters(0.05, 0.0, 0.99, 1e-3)
    there = theory.square_root_scaling(base, 1, 4)
    problem = ss.problems.quadratic(jnp.asarray([[1.0]]), jnp.asarray([[2.0], [-2.0], [2.0], [-2.0]]))

    def variance(numbers, batch_size, num_steps):
        process = ss.RMSpropSDE(numbers.learning_rate, ss.Gaussian(batch_size), decay=numbers.b2, eps=numbers.eps,
                                substeps=10)
        found = squares(problem, process, num_steps, 0.3)
        return found.mean(), found.std() / NUM_SEEDS**0.5

    one, stderr = variance(base, 1, 80)
    other, other_stderr = variance(there, 4, 20)
    assert abs(one - other) < THRESHOLD * np.hypot(stderr, other_stderr)
    linear, _ = variance(base._replace(learning_rate=0.2), 4, 20)
    assert abs(one - linear) > THRESHOLD * stderr
