"""Schedules with their numbers as data: exact values, the optimiser step for step, one program for a grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sde_sgd as ss
from sde_sgd.processes import halving_schedule, halving_sgd


@pytest.mark.parametrize("num_steps", [20, 40, 57, 1000, 9765, 300_000])
def test_smiths_schedule(num_steps):
    """Constant for half of the run, then ten halvings in equal intervals; every step counts where its middle lies."""
    steps = np.unique(np.linspace(0, num_steps - 1, 4001).astype(int))
    place = (steps + 0.5) / num_steps
    halvings = np.where(place < 0.5, 0, 1 + np.floor((place - 0.5) * 20))
    found = jax.jit(jax.vmap(halving_schedule(0.3, float(num_steps))))(steps)
    np.testing.assert_allclose(found, 0.3 / 2.0**halvings, rtol=1e-6)
    assert halvings.max() == 10


def test_other_numbers_of_halvings():
    rate = halving_schedule(1.0, 12, num_halvings=3)
    assert [float(rate(step)) for step in range(12)] == [1] * 6 + [0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_the_optimiser_step_for_step():
    """Against the recursion in NumPy, weight decay inside the gradient and so inside the momentum."""
    problem = ss.Problem(example_loss=lambda w, z: 0.5 * jnp.sum(z * w**2), data=jnp.array([[0.5, 2.0]]),
                         init=lambda key: jnp.array([1.0, -1.0]))
    process = ss.from_optax(halving_sgd, ss.WithReplacement(1), learning_rate=0.2, num_steps=8.0, momentum=0.7,
                            weight_decay=0.1)
    ds = ss.simulate(problem, process, num_seeds=1, num_steps=8, record_every=1, key=jax.random.key(0),
                     record={"w": lambda problem, params: params})
    w, trace = np.array([1.0, -1.0]), np.zeros(2)
    rates = [float(halving_schedule(0.2, 8)(step)) for step in range(8)]
    path = [w]
    for rate in rates:
        trace = 0.7 * trace + np.array([0.5, 2.0]) * w + 0.1 * w
        w = w - rate * trace
        path.append(w)
    np.testing.assert_allclose(ds.w[0], path, rtol=1e-5)


class Counter:
    """A per-example loss that counts how often it is traced."""

    def __init__(self):
        self.count = 0

    def __call__(self, params, example):
        self.count += 1
        return 0.5 * (params - example) ** 2


def test_a_grid_of_schedules_is_one_program():
    """Learning rates, lengths, momenta and decays are data; teeth: a length given as an int is not."""
    loss = Counter()
    problem = ss.Problem(example_loss=loss, data=jnp.linspace(-1.0, 1.0, 40), init=lambda key: jnp.zeros(()))

    def sweep(rates, epochs, momentum=0.9, decay=1e-3, kind=float):
        def factory(lr, b):
            total = kind(epochs * problem.steps_per_epoch(b))
            return ss.from_optax(halving_sgd, ss.EpochShuffle(b), learning_rate=lr, num_steps=total, momentum=momentum,
                                 weight_decay=decay)

        before = loss.count
        ss.sweep(problem, {"sgd": factory}, learning_rates=rates, batch_sizes=(7,), num_seeds=2, num_epochs=epochs,
                 record={"w": position}, key=jax.random.key(0))
        return loss.count - before

    assert sweep((0.1,), 1) > 0
    assert sweep((0.1, 0.2, 0.05), 1) == sweep((0.3, 0.4), 3, momentum=0.5, decay=0.01) == 0
    assert sweep((0.1,), 2, kind=int) > 0  # teeth


def position(problem, params):
    return params


def test_the_parts_of_the_chain_accept_traced_numbers():
    def end(rate, total, momentum, decay):
        optimiser = halving_sgd(rate, total, momentum, decay)
        update, _ = optimiser.update(jnp.ones(()), optimiser.init(jnp.ones(())), jnp.ones(()))
        return update

    assert float(jax.jit(end)(0.5, 10.0, 0.9, 0.1)) == pytest.approx(-0.55)
