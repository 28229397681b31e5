"""Nothing but shapes, the kind of process and the recorded quantities decides compilation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sde_sgd as ss

COMPILED = []  # the names of the run's programs, in the order in which they were compiled


def _note(event, duration, **details):
    if event.endswith("backend_compile_duration") and details.get("fun_name") in ("jit(start)", "jit(advance)"):
        COMPILED.append(details["fun_name"])


jax.monitoring.register_event_duration_secs_listener(_note)


class Counter:
    """A per-example loss that counts how often it is traced."""

    def __init__(self):
        self.count = 0

    def __call__(self, params, example):
        self.count += 1
        return 0.5 * (params - example) ** 2


def position(problem, params):
    return params


class Traced:
    """A problem of its own, so that no program is there yet, and what a run of it had to trace and compile."""

    def __init__(self, num_examples=64):
        self.loss = Counter()
        self.problem = ss.Problem(example_loss=self.loss, data=jnp.linspace(-1.0, 1.0, num_examples), init=zero)

    def sweep(self, factory, *, rates=(0.1,), batches=(5,), num_seeds=3, num_steps=4, record_every=None, key=0, **rest):
        """Run one process and return how many programs were compiled and how often the loss was traced."""
        length = {} if "time" in rest else {"num_steps": num_steps}
        before = self.loss.count, len(COMPILED)
        ss.sweep(self.problem, {"p": factory}, learning_rates=rates, batch_sizes=batches, num_seeds=num_seeds,
                 record_every=record_every, record={"w": position}, key=jax.random.key(key), **length, **rest)
        return len(COMPILED) - before[1], self.loss.count - before[0]


    def first_passage(self, *, rate=0.1, temperature=0.5, num_lanes=3, max_steps=50, key=0, params=None):
        """Run until a boundary is reached and return how many programs were compiled and how often the loss traced."""
        before = self.loss.count, len(COMPILED)
        ss.first_passage(self.problem, ss.Langevin(rate, temperature=temperature, substeps=2), region=beyond,
                         observe="continuous", num_lanes=num_lanes, max_steps=max_steps, key=jax.random.key(key),
                         params=params)
        return len(COMPILED) - before[1], self.loss.count - before[0]


def beyond(w):
    return w - 0.3


def zero(key):
    return jnp.zeros(())


PROCESSES = {
    "SGD": lambda lr, b: ss.SGD(lr, ss.WithReplacement(b), momentum=0.9),
    "epochs": lambda lr, b: ss.SGD(lr, ss.EpochShuffle(b)),
    "optax": lambda lr, b: ss.from_optax(optax.adam, ss.WithReplacement(b), learning_rate=lr, b1=0.8),
    "SME": lambda lr, b: ss.SME(lr, ss.Gaussian(b), order=2, substeps=10),
    "OU": lambda lr, b: ss.OrnsteinUhlenbeck(lr, hessian=[[1.0]], noise_covariance=[[1.0 / b]], minimum=jnp.zeros(())),
}


@pytest.mark.parametrize("name", PROCESSES)
def test_numbers_never_compile_anew(name):
    traced, factory = Traced(), PROCESSES[name]
    programs, _ = traced.sweep(factory)
    assert programs == 2  # start and advance
    again = {
        "the same": {},
        "more learning rates": {"rates": (0.3, 0.2, 0.05)},
        "more seeds": {"num_seeds": 200},
        "more steps": {"num_steps": 30, "record_every": 10},
        "more records": {"num_steps": 300, "record_every": 1},
        "equal times": {"rates": (0.1, 0.05), "time": 1.0, "record_every": 0.5},
        "another key": {"key": 5},
    }
    found = {change: traced.sweep(factory, **settings) for change, settings in again.items()}
    assert found == dict.fromkeys(again, (0, 0))


def test_batch_sizes_of_one_capacity_share_a_program():
    for scheme in (ss.WithReplacement, ss.WithoutReplacement):
        traced = Traced()

        def factory(lr, b, scheme=scheme):
            return ss.SGD(lr, scheme(b))

        assert traced.sweep(factory, batches=(33, 40, 36))[0] == 2
        assert traced.sweep(factory, batches=(34, 39, 37))[0] == 0
        assert traced.sweep(factory, batches=(41,))[0] == 2  # teeth: another capacity is another program


def test_programs_grow_with_the_logarithm_of_the_batch_sizes():
    programs, _ = Traced().sweep(lambda lr, b: ss.SGD(lr, ss.WithReplacement(b)), batches=tuple(range(33, 65)))
    assert programs == 2 * 4  # one octave: capacities 40, 48, 56, 64


def test_a_gaussian_noise_has_one_program_for_all_batch_sizes():
    assert Traced().sweep(lambda lr, b: ss.SGD(lr, ss.Gaussian(b)), batches=(1, 2, 5, 9, 33, 64))[0] == 2


def test_equal_problems_share_programs():
    """Data is data: other numbers in the same shapes run by the same program."""
    loss = Counter()
    run = None
    for scale in (1.0, 2.0):
        problem = ss.Problem(example_loss=loss, data=scale * jnp.linspace(-1.0, 1.0, 64), init=zero)
        before = len(COMPILED)
        ss.simulate(problem, ss.SGD(0.1, ss.WithReplacement(4)), num_seeds=2, num_steps=2, record={"w": position},
                    key=jax.random.key(0))
        run = len(COMPILED) - before
    assert run == 0


def test_a_bare_potential_made_twice_shares_its_program():
    """As its documentation says: pass the same function object again to reuse compiled programs."""
    def function(w):
        return w**2

    compiled = []
    for _ in range(2):
        before = len(COMPILED)
        ss.simulate(ss.problems.potential(function, start=np.float32(1.0)), ss.Langevin(0.1, temperature=1.0),
                    num_seeds=2, num_steps=2, record={"w": position}, key=jax.random.key(0))
        compiled.append(len(COMPILED) - before)
    assert compiled == [2, 0]


def test_first_passages_compile_once():
    """Whatever the numbers; only the power of two of the lanes' tiles and a start given by hand are programs apart."""
    traced = Traced()
    assert traced.first_passage()[0] == 1
    again = {
        "the same": {},
        "another rate and temperature": {"rate": 0.2, "temperature": 1.0},
        "more runs of a tile": {"num_lanes": 60},
        "more steps": {"max_steps": 10**6},
        "another key": {"key": 5},
    }
    # The looks before a run at the regions and the records do trace, but nothing is compiled anew.
    assert {change: traced.first_passage(**settings)[0] for change, settings in again.items()} == dict.fromkeys(again, 0)
    assert traced.first_passage(num_lanes=150)[0] == 1
    assert traced.first_passage(num_lanes=250)[0] == 0  # of the same power of two of tiles
    assert traced.first_passage(params=-1.0)[0] == 1
    assert traced.first_passage(params=-0.5)[0] == 0


def test_teeth_what_decides_a_program_is_counted():
    traced = Traced()
    traced.sweep(PROCESSES["SGD"])
    programs, traces = traced.sweep(lambda lr, b: ss.SGD(lr, ss.WithReplacement(b)))  # no momentum: another state
    assert programs == 2 and traces > 0
