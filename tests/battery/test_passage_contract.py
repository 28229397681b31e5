"""First passages: a run is the trajectory of its seed up to its exit, whatever runs beside it."""

import functools
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import BY_NAME, leaves_equal, mixed_problem, start
from jax.flatten_util import ravel_pytree

import sde_sgd as ss
from sde_sgd._core.random import DYNAMICS, RECORD, Draws, lane_key
from sde_sgd.run import first_passage as front
from sde_sgd.run import pace, queue

ROOT = pathlib.Path(ss.__file__).parents[1]
SEED = 11


def flat(problem, params):
    return ravel_pytree(params)[0]


def noisy(problem, params, key):
    return ravel_pytree(params)[0] + jax.random.normal(key)


def far(params):
    """A level: how far the sum of all params is from where the runs start, beyond 0.4."""
    origin = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(start(jnp.float32, jnp.float32)))
    return jnp.abs(sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params)) - origin) - 0.4


# --- a run is a trajectory -------------------------------------------------------------------------------------------


def trajectories(problem, process, region, *, num_lanes, num_steps, params=None):
    """Return, from `simulate`, the step at which every lane is first inside (-1: never) and where it then is.

    A lane that never enters is at its last step.
    """
    record = {"w": flat, "inside": lambda problem, params: jnp.asarray(region(params)) > 0}
    ds = ss.simulate(problem, process, num_seeds=num_lanes, num_steps=num_steps, record_every=1, record=record,
                     params=params, key=jax.random.key(SEED))
    inside = ds.inside.values > 0
    assert not inside[:, 0].any()
    entered = inside.any(axis=1)
    step = np.where(entered, inside.argmax(axis=1), num_steps)
    return entered, step, ds.w.values[np.arange(num_lanes), step]


def assert_trajectories(problem, process, region, exact=True, **settings):
    """Assert that every run of `first_passage` is a trajectory of `simulate` up to its first entry, bit for bit."""
    entered, step, where = trajectories(problem, process, region, **settings)
    settings["max_steps"] = settings.pop("num_steps")
    ds = ss.first_passage(problem, process, region=region, record={"w": flat}, key=jax.random.key(SEED), **settings)
    assert 0.1 < entered.mean() and len(np.unique(step)) > 3  # the case says something
    np.testing.assert_array_equal(ds.event_observed, entered)
    np.testing.assert_array_equal(ds.steps, step)
    np.testing.assert_array_equal(ds.status, np.where(entered, 0, 1))
    np.testing.assert_array_equal(ds.region, np.where(entered, 0, -1))
    np.testing.assert_array_equal(ds.durations, step * float(process.time_per_step))
    if exact:
        assert leaves_equal(ds.exit_w.values, where)
    np.testing.assert_allclose(ds.exit_w.values, where, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["SGD, momentum", "SGD, epochs", "Langevin", "SME 1"])
def test_a_run_is_the_trajectory_of_its_seed(name):
    process = BY_NAME[name].make(0.15, 4)
    assert_trajectories(mixed_problem(), process, far, num_lanes=70, num_steps=8)


def test_a_run_of_an_optimiser_is_the_trajectory_of_its_seed():
    """Up to rounding: the state beside the params is computed by another program."""
    process = BY_NAME["optax constructor"].make(0.05, 4)
    assert_trajectories(mixed_problem(), process, far, exact=False, num_lanes=70, num_steps=8)


class Network(nn.Module):
    """A network of two layers."""

    @nn.compact
    def __call__(self, inputs):
        return nn.Dense(3)(nn.tanh(nn.Dense(4)(inputs)))


def test_a_run_of_a_network_is_the_trajectory_of_its_seed():
    """Every run draws weights of its own; the region looks at the risk. Up to rounding, as for an optimiser."""
    rng = np.random.default_rng(1)
    inputs, labels = rng.normal(size=(64, 5)).astype(np.float32), rng.integers(0, 3, 64)
    network = ss.problems.from_flax(Network(), inputs, labels, optax.softmax_cross_entropy_with_integer_labels)
    process = ss.SGD(0.3, ss.WithReplacement(4))
    assert_trajectories(network, process, lambda params: 0.95 - network.loss(params), exact=False,
                        num_lanes=70, num_steps=60)


def test_params_keep_their_dtype(precision):
    dtype = jnp.float64 if precision == "x64 on" else jnp.float32
    problem = mixed_problem(dtype, jnp.float32)
    ds = ss.first_passage(problem, BY_NAME["SGD, momentum"].make(0.15, 4), region=far, num_lanes=3, max_steps=6,
                          key=jax.random.key(SEED))
    assert str(ds["exit_params.a"].dtype) == np.dtype(dtype).name
    assert str(ds["exit_params.b.c"].dtype) == "float32"
    assert json.loads(ds.attrs["numerics_signature"])["dtype"] == np.dtype(dtype).name
    assert str(ds.durations.dtype) == "float64"


def test_a_run_in_float64_is_the_trajectory_of_its_seed(x64):
    process = BY_NAME["SGD, epochs"].make(0.15, 4)
    assert_trajectories(mixed_problem(jnp.float64, jnp.float64), process, far, num_lanes=70, num_steps=8)


# --- nothing else is of effect ---------------------------------------------------------------------------------------


def double_well(w):
    return 0.25 * (w**2 - 1) ** 2


def right(w):
    return w - 0.2


@functools.cache
def problem_of(name):
    if name == "well":
        return ss.problems.potential(double_well, start=-1.0)
    return mixed_problem()


# Lanes that fill more than two tiles, the last one in part; some runs are censored. Compilers for x86 compute the last
# lanes of a tile of the mixed run in another way than the others: see test_places.
RUNS = {
    "well": (ss.Langevin(0.05, temperature=0.3, substeps=2), right, "continuous", 600, 150),
    "mixed": (ss.SGD(0.08, ss.EpochShuffle(5), momentum=0.9), far, "iterates", 150, 8),
}
each_run = pytest.mark.parametrize("name", RUNS)


def run(name, *, num_lanes=None, max_steps=None, record=None):
    process, region, observe, most, steps = RUNS[name]
    return ss.first_passage(problem_of(name), process, region=region, observe=observe, num_lanes=num_lanes or most,
                            max_steps=max_steps or steps, record={"w": flat, "noisy": noisy}, key=jax.random.key(SEED))


whole = functools.cache(run)


def assert_same(one, other):
    assert sorted(one.data_vars) == sorted(other.data_vars)
    assert [name for name in one.data_vars if not leaves_equal(one[name].values, other[name].values)] == []


@each_run
def test_the_number_of_runs_is_of_no_effect(name):
    everything = whole(name)
    for num_lanes in (1, 40):
        assert_same(run(name, num_lanes=num_lanes), everything.isel(lane=slice(num_lanes)))
    assert 0.1 < everything.event_observed.mean() < 0.99
    assert len(np.unique(everything.exit_w.values[:, 0])) > 0.9 * everything.sizes["lane"]  # runs differ


@each_run
@pytest.mark.parametrize(("first", "most", "share"), [(1, 1, 20), (7, 7, 20), (10**9, 2**31, 0.01)])
def test_the_length_of_calls_is_of_no_effect(name, first, most, share, monkeypatch):
    """One look a call, a few, and all at once."""
    everything = whole(name)
    monkeypatch.setattr(queue, "_FIRST_LOOKS", first)
    monkeypatch.setattr(queue, "_CALLS_PER_LIFE", share)
    monkeypatch.setattr(pace, "_MOST_STEPS", most)
    assert_same(run(name), everything)


@each_run
@pytest.mark.parametrize("bound", ["_MOST_LANES", "_STATE_BYTES"])
def test_runs_that_wait_for_room_are_of_no_effect(name, bound, monkeypatch):
    """One tile of lanes for all: every run but the first few takes the lane of another that is done."""
    everything, given = whole(name), []
    monkeypatch.setattr(queue, bound, 1)
    original = queue.advance
    monkeypatch.setattr(queue, "advance", lambda passage, states, slots, *rest, **more: (
        given.append(slots.run.shape), original(passage, states, slots, *rest, **more))[1])
    assert_same(run(name), everything)
    tile = json.loads(everything.attrs["numerics_signature"])["tile_size"]
    assert set(given) == {(1, tile)} and tile < everything.sizes["lane"] / 2


@each_run
def test_a_run_is_given_up_after_its_last_step(name):
    """Those that enter at the very last step are observed; those that would later are censored where they are."""
    everything = whole(name)
    limit = int(np.median(everything.steps.values[everything.event_observed.values]))
    assert np.any(everything.steps.values[everything.event_observed.values] == limit)
    short = run(name, max_steps=limit)
    soon = (everything.event_observed & (everything.steps <= limit)).values
    np.testing.assert_array_equal(short.event_observed, soon)
    assert_same(short.isel(lane=soon), everything.isel(lane=soon))
    late = short.isel(lane=~soon)
    assert late.sizes["lane"] > 0 and (late.steps == limit).all() and (late.status == 1).all()
    np.testing.assert_array_equal(late.durations, limit * float(late.time_per_step))
    assert not np.any(late.exit_w.values[:, 0] == everything.exit_w.values[~soon, 0])


# --- devices ---------------------------------------------------------------------------------------------------------


def digests():
    return {f"{name}.{variable}": hashlib.sha256(values.values.tobytes()).hexdigest()
            for name in RUNS for variable, values in sorted(run(name).data_vars.items())}


def of_devices(count):
    """Return the digests of all runs on the first ``count`` devices."""
    devices = jax.local_devices()[:count]
    mesh = jax.make_mesh((count,), ("lanes",), axis_types=(jax.sharding.AxisType.Auto,), devices=devices)
    front.lane_mesh = lambda: mesh
    return digests()


def test_the_number_of_devices_is_of_no_effect():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(pathlib.Path(__file__).parent)])}
    done = subprocess.run([sys.executable, __file__, "8"], capture_output=True, text=True, env=environment, check=True)
    elsewhere, here = json.loads(done.stdout), digests()
    assert sorted(elsewhere) == ["1", "2", "4", "8"]
    for count, found in elsewhere.items():
        assert sorted(name for name in here if here[name] != found[name]) == [], count


# --- the 64-bit step counter -----------------------------------------------------------------------------------------


def never(w):
    return w > 99.0


class Late(queue._Queue):
    """A queue whose runs are already at a late step."""

    begin = 0

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.given[:] = self.begin * self.looks_per_step


def late(monkeypatch, begin, max_steps, num_lanes=4):
    monkeypatch.setattr(queue, "_Queue", type("At", (Late,), {"begin": begin}))
    process = RUNS["well"][0]
    with pytest.warns(UserWarning, match="bounded from below"):
        return ss.first_passage(problem_of("well"), process, region=never, num_lanes=num_lanes,
                                max_steps=max_steps, record={"w": flat, "noisy": noisy}, key=jax.random.key(SEED))


def plainly(begin, num_steps, lane):
    """Return where one lane is by a loop over 64-bit step numbers in Python."""
    process, problem = RUNS["well"][0], problem_of("well")
    state = process.init(problem, jnp.float32(-1.0))
    step = jax.jit(lambda *arguments: process.step(*arguments))
    for number in range(begin, begin + num_steps):
        key = lane_key(jax.random.key(SEED), jnp.uint32(lane), jnp.uint32(number >> 32), DYNAMICS)
        state = step(problem, state, Draws(key, jnp.uint32(number & 0xFFFFFFFF)))
    return float(state.params)


@pytest.mark.parametrize("begin", [2**32 - 3, 2**32, 5 * 2**32 + 7])
def test_the_step_counter_goes_on_beyond_32_bits(begin, monkeypatch):
    ds = late(monkeypatch, begin, begin + 6)
    assert (ds.steps == begin + 6).all()
    np.testing.assert_allclose(ds.exit_w[:, 0], [plainly(begin, 6, lane) for lane in range(4)], rtol=1e-5)


def test_what_is_recorded_has_the_step_as_its_address(monkeypatch):
    """Also at a step whose low word is zero: another key than at step 0."""
    first = late(monkeypatch, 2**32 - 3, 2**32)
    keys = [lane_key(jax.random.key(SEED), jnp.uint32(lane), jnp.uint32(1), RECORD) for lane in range(4)]
    expected = [float(jax.random.normal(Draws(key, jnp.uint32(0)).jax_key())) for key in keys]
    np.testing.assert_allclose((first.exit_noisy.values - first.exit_w.values)[:, 0], expected, atol=1e-5)


# --- divergence ------------------------------------------------------------------------------------------------------


def test_a_run_that_diverges_harms_no_other():
    """Runs 3 and 268 start so far out on a quartic that the steps overflow."""
    well, process = problem_of("well"), ss.Langevin(0.05, temperature=0.3)
    starts = np.random.default_rng(0).uniform(-1.5, 0.0, 300).astype(np.float32)
    wild = starts.copy()
    wild[[3, 268]] = [-1e3, -1e30]

    def run(params, num_lanes=300):
        return ss.first_passage(well, process, params=params, region=near, num_lanes=num_lanes, max_steps=100,
                                key=jax.random.key(SEED))

    calm, some = run(starts), run(wild)
    others = np.delete(np.arange(300), [3, 268])
    assert_same(some.isel(lane=others), calm.isel(lane=others))
    gone = some.isel(lane=[3, 268])
    np.testing.assert_array_equal(gone.status, [2, 2])
    np.testing.assert_array_equal(gone.region, [-1, -1])
    assert not gone.event_observed.any() and not np.isfinite(gone.exit_params).any()
    for lane in (3, 268):
        with pytest.warns(UserWarning, match="1 of 1 lanes diverged"):
            seed = ss.simulate(well, process, params=wild[lane], num_seeds=1, num_steps=20, key=jax.random.key(SEED))
        assert int(seed.diverged_at[0]) == int(some.steps[lane]) > 0  # no noise matters out there
    with pytest.warns(UserWarning, match=r"none of 1 runs .*1 diverged"):
        run(wild[268], 1)


def near(w):
    return (w > 0.2) & (w < 9.0)


def test_a_run_that_starts_from_nan_has_diverged_at_once():
    def init(key):
        return jnp.where(jax.random.uniform(key) < 0.3, jnp.nan, -1.0)

    problem = ss.Problem(example_loss=lambda w, x: double_well(w), data=jnp.zeros(1), init=init)
    ds = ss.first_passage(problem, RUNS["well"][0], region=right, num_lanes=50, max_steps=500, key=jax.random.key(SEED))
    gone = (ds.status == 2).values
    assert 0 < gone.sum() < 30
    np.testing.assert_array_equal(ds.steps.values[gone], 0)
    assert (ds.steps.values[~gone] > 0).all() and np.isfinite(ds.exit_params.values[~gone]).all()


# --- regions and starts ----------------------------------------------------------------------------------------------


def test_several_regions_stop_a_run_at_the_first():
    """The first in time, and of those that hold the same point the first in the dict; by hand from trajectories."""
    well, process = problem_of("well"), ss.Langevin(0.05, temperature=0.3)
    regions = {"left side": lambda w: w < -1.6, "inner": right, "outer": lambda w: w > 0.1}
    settings = dict(num_lanes=300, key=jax.random.key(SEED))
    ds = ss.first_passage(well, process, region=regions, max_steps=60, **settings)
    w = ss.simulate(well, process, num_seeds=300, num_steps=60, record_every=1, record={"w": flat},
                    key=jax.random.key(SEED)).w.values[..., 0]
    inside = np.stack([w < np.float32(-1.6), w - np.float32(0.2) > 0, w > np.float32(0.1)])
    entered = inside.any(axis=(0, 2))
    step = np.where(entered, inside.any(axis=0).argmax(axis=1), 60)
    which = np.where(entered, inside[:, np.arange(300), step].argmax(axis=0), -1)
    np.testing.assert_array_equal(ds.steps, step)
    np.testing.assert_array_equal(ds.region, which)
    assert set(which) == {-1, 0, 1, 2}
    assert ds.region.attrs["flag_meanings"] == "left_side inner outer"
    np.testing.assert_array_equal(ds.event_observed, which >= 0)


def test_runs_start_where_they_are_told():
    problem, process = mixed_problem(), BY_NAME["SGD, momentum"].make(0.15, 4)
    rng = np.random.default_rng(3)
    origin = start(jnp.float32, jnp.float32)
    starts = jax.tree.map(
        lambda leaf: leaf + jnp.asarray(rng.uniform(-0.03, 0.03, (70, *leaf.shape)), leaf.dtype), origin)
    ds = ss.first_passage(problem, process, region=far, num_lanes=70, max_steps=8, params=starts, record={"w": flat},
                          key=jax.random.key(SEED))
    for lane in (0, 69):  # ends of the two tiles
        own = jax.tree.map(lambda leaf, lane=lane: leaf[lane], starts)
        entered, step, where = trajectories(problem, process, far, num_lanes=70, num_steps=8, params=own)
        assert bool(ds.event_observed[lane]) == entered[lane] and int(ds.steps[lane]) == step[lane]
        assert leaves_equal(ds.exit_w.values[lane], where[lane])


# --- teeth -----------------------------------------------------------------------------------------------------------


def test_teeth_lanes_that_keep_the_stream_of_their_slot_are_seen(monkeypatch):
    """A refilled lane that goes on with the random numbers of the lane, not of its run."""
    everything = whole("mixed")
    original = queue.advance

    def by_slot(passage, states, slots, *rest, **more):
        own = np.broadcast_to(np.arange(slots.run.shape[1], dtype=np.uint32), slots.run.shape)
        return original(passage, states, slots._replace(run=jax.device_put(own, slots.run.sharding)), *rest, **more)

    monkeypatch.setattr(queue, "advance", by_slot)
    monkeypatch.setattr(queue, "_MOST_LANES", 1)
    with pytest.raises(AssertionError):
        assert_same(run("mixed"), everything)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
    print(json.dumps({count: of_devices(count) for count in (1, 2, 4, 8)}))
