"""Bit for bit: a lane does not know how many lanes, chunks, records, cells or devices a run has."""

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
from cases import leaves_equal
from jax.flatten_util import ravel_pytree

import sde_sgd as ss
from sde_sgd._core.random import DYNAMICS, Draws, lane_key
from sde_sgd.run import lanes as host
from sde_sgd.run import pace
from sde_sgd.run.clock import clock_for
from sde_sgd.run.program import Lanes, Quantities, advance, first_params, start
from sde_sgd.run.shares import lane_mesh

ROOT = pathlib.Path(ss.__file__).parents[1]
KEY = 11


class Network(nn.Module):
    """A network of two layers."""

    @nn.compact
    def __call__(self, inputs):
        return nn.Dense(3)(nn.tanh(nn.Dense(4)(inputs)))


def double_well(w):
    return 0.25 * (w**2 - 1) ** 2


def flat(problem, params):
    return ravel_pytree(params)[0]


def noisy(problem, params, key):
    return ravel_pytree(params)[0] + jax.random.normal(key)


def size(problem, params):
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))


@functools.cache
def problem_of(name):
    if name == "well":
        return ss.problems.potential(double_well, start=-1.0)
    if name == "regression":
        return ss.problems.linear_regression(num_examples=64, dim=3, key=jax.random.key(0))
    rng = np.random.default_rng(1)
    inputs, labels = rng.normal(size=(24, 5)).astype(np.float32), rng.integers(0, 3, 24)
    return ss.problems.from_flax(Network(), inputs, labels, optax.softmax_cross_entropy_with_integer_labels)


# Lanes that fill more than two tiles, the last one in part.
RUNS = {
    "well": (ss.Langevin(0.01, temperature=0.25, substeps=2), 5000),
    "regression": (ss.SGD(0.1, ss.WithReplacement(5), momentum=0.5), 150),
    "network": (ss.SGD(0.3, ss.WithReplacement(4)), 150),
}
each_run = pytest.mark.parametrize("name", RUNS)
RECORD = {"w": flat, "noisy": noisy, "over_seeds": ss.EnsembleMoments(size), "over_time": ss.Moments(size, every=1)}
OF_SEEDS = ("w", "noisy", "status", "diverged_at")


def run(name, *, num_seeds=None, record_every=3, record=None, num_steps=12):
    process, most = RUNS[name]
    return ss.simulate(problem_of(name), process, num_seeds=num_seeds or most, num_steps=num_steps,
                       record_every=record_every, record=RECORD if record is None else record, key=jax.random.key(KEY))


whole = functools.cache(run)


def assert_same(one, other, names=None):
    names = sorted(one.data_vars) if names is None else names
    different = [name for name in names if not leaves_equal(one[name].values, other[name].values)]
    assert different == []


@each_run
def test_the_number_of_lanes_is_of_no_effect(name):
    everything = whole(name)
    for num_seeds in (3, 70):
        assert_same(run(name, num_seeds=num_seeds), everything.isel(seed=slice(num_seeds)), OF_SEEDS)
    assert len(np.unique(everything.w.isel(step=-1).values[:, 0])) > 0.9 * everything.sizes["seed"]  # lanes differ


@each_run
@pytest.mark.parametrize(("first", "most"), [(1, 1), (2, 5), (10**9, 2**31)])
def test_chunks_are_of_no_effect(name, first, most, monkeypatch):
    everything = whole(name)
    monkeypatch.setattr(host, "_FIRST_CHUNK_STEPS", first)
    monkeypatch.setattr(pace, "_MOST_STEPS", most)
    assert_same(run(name), everything)


def test_a_short_record_buffer_is_of_no_effect(monkeypatch):
    everything = whole("regression")
    monkeypatch.setattr(host, "_RECORD_BUFFER_BYTES", 1)
    assert_same(run("regression"), everything)


@each_run
def test_the_room_for_tiles_is_of_no_effect(name, monkeypatch):
    """One tile a call, or a few of them: lanes meet others, and groups of lanes end elsewhere."""
    everything = whole(name)
    for num_tiles in (1, 3):
        monkeypatch.setattr(host, "tiles_in_a_call", lambda tile, size, room=num_tiles: room)
        assert_same(run(name), everything)


@each_run
def test_the_distance_of_records_is_of_no_effect(name):
    everything = whole(name)
    for record_every in (1, 6, 12):
        other = run(name, record_every=record_every)
        steps = np.intersect1d(other.step, everything.step)
        common = [variable for variable in other.data_vars if "step" in other[variable].dims]
        assert_same(other.sel(step=steps), everything.sel(step=steps), common)
        assert_same(other, everything, [variable for variable in other.data_vars if variable.startswith("over_time")])


def test_what_else_is_recorded_is_of_no_effect():
    everything = whole("regression")
    reduced = {"t": ss.Moments(size, every=3), "h": ss.Histogram(size, (0.0, 1.0), every=1)}
    for record in ({"w": flat}, {"w": flat, **reduced}):
        assert_same(run("regression", record=record), everything, ["w", "status", "diverged_at"])


def test_a_longer_run_begins_as_the_shorter_one():
    longer = run("regression", num_steps=24).sel(step=slice(0, 12))
    assert_same(longer, whole("regression"), ["w", "noisy", "over_seeds_mean", "over_seeds_variance_stderr"])


FACTORIES = {
    "momentum": lambda lr, b: ss.SGD(lr, ss.WithReplacement(b), momentum=0.5),
    "gaussian": lambda lr, b: ss.SGD(lr, ss.Gaussian(b)),
    "flow": lambda lr, b: ss.GradientFlow(lr),
}


def grid(processes, learning_rates, batch_sizes):
    return ss.sweep(problem_of("regression"), {name: FACTORIES[name] for name in processes}, batch_sizes=batch_sizes,
                    learning_rates=learning_rates, num_seeds=90, num_steps=12, record_every=3, record=RECORD,
                    key=jax.random.key(KEY))


def test_other_cells_are_of_no_effect():
    """Cells share tiles and programs, yet each is what it is alone, and what `simulate` says."""
    everything = grid(FACTORIES, (0.2, 0.1, 0.05), (3, 5))
    some = grid(["flow", "momentum"], (0.05, 0.1), (5,))
    assert_same(everything.sel({dim: some[dim] for dim in ("process", "learning_rate", "batch_size")}), some)
    for name in FACTORIES:
        alone = ss.simulate(problem_of("regression"), FACTORIES[name](0.1, 5), num_seeds=90, num_steps=12,
                            record_every=3, record=RECORD, key=jax.random.key(KEY))
        assert_same(alone, everything.sel(process=name, learning_rate=0.1, batch_size=5))


# --- devices ---------------------------------------------------------------------------------------------------------


def digests():
    found = {}
    for name in RUNS:
        ds = run(name)
        for variable in sorted(ds.data_vars):
            found[f"{name}.{variable}"] = hashlib.sha256(ds[variable].values.tobytes()).hexdigest()
    return found


@pytest.mark.parametrize("num_devices", [2, 4, 8])
def test_the_number_of_devices_is_of_no_effect(num_devices):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, str(num_devices)]
    told = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    elsewhere, here = json.loads(told), digests()
    assert elsewhere.pop("devices") == num_devices
    assert sorted(name for name in here if here[name] != elsewhere[name]) == []


# --- the 64-bit step counter -----------------------------------------------------------------------------------------

BEGIN = 2**32 - 3


def crossing(begin, num_steps, num_lanes=4):
    """Return where four lanes stand after ``num_steps`` steps from step ``begin``, with moments of every second one."""
    process, root = RUNS["well"][0], jax.random.key_data(jax.random.key(KEY))
    problem, mesh = problem_of("well"), lane_mesh()
    quantities = Quantities({}, {"m": ss.Moments(flat, every=2)})
    per_lane = jax.tree.map(lambda leaf: jnp.broadcast_to(jnp.asarray(leaf), (1, num_lanes)), process)
    members = Lanes(jnp.arange(num_lanes, dtype=jnp.uint32)[None], per_lane)
    one_tile = np.ones(mesh.size, np.int32)
    params = first_params(problem, None, members.ids, root, one_tile, mesh=mesh, tile=num_lanes)
    carry = start(problem, quantities, members, params, one_tile, mesh=mesh, tile=num_lanes)
    clock = clock_for(begin, 1, num_steps, 1, False, {"m": (2, 0)})
    carry, (survived, _) = advance(problem, quantities, members, root, carry, one_tile, clock, mesh=mesh,
                                   tile=num_lanes, rows=1)
    np.testing.assert_array_equal(survived, num_steps)
    return np.asarray(carry.state.params)[0], int(carry.accumulators["m"][""].count[0, 0])


def plainly(begin, num_steps, lane):
    """Return the same for one lane by a loop over 64-bit step numbers in Python."""
    process, problem = RUNS["well"][0], problem_of("well")
    state = process.init(problem, jnp.float32(-1.0))
    step = jax.jit(lambda *arguments: process.step(*arguments))
    for number in range(begin, begin + num_steps):
        key = lane_key(jax.random.key(KEY), jnp.uint32(lane), jnp.uint32(number >> 32), DYNAMICS)
        state = step(problem, state, Draws(key, jnp.uint32(number & 0xFFFFFFFF)))
    return float(state.params)


def test_the_step_counter_goes_on_beyond_32_bits():
    reached, count = crossing(BEGIN, 6)
    assert count == 3  # steps 2**32 - 2, 2**32 and 2**32 + 2
    np.testing.assert_allclose(reached, [plainly(BEGIN, 6, lane) for lane in range(4)], rtol=1e-6)
    for begin in (2**32, 5 * 2**32 + 7):
        np.testing.assert_allclose(crossing(begin, 3)[0][2], plainly(begin, 3, 2), rtol=1e-6)
    after, again = crossing(2**32, 3)[0], crossing(0, 3)[0]
    assert (after != again).all()  # step 2**32 + k is not step k


# --- teeth -----------------------------------------------------------------------------------------------------------


@jax.custom_batching.custom_vmap
def shared(params):
    return params


@shared.def_vmap
def _mean_of_lanes(axis_size, in_batched, params):
    return params + 1e-6 * jnp.mean(params, axis=0), True


class Mixing(ss.SGD):
    """Lets the lanes of a tile see each other."""

    def step(self, problem, state, draws):
        new = super().step(problem, state, draws)
        return new._replace(params=shared(new.params))


def test_teeth_a_process_that_mixes_lanes_is_seen():
    def first_lanes(process, num_seeds):
        return ss.simulate(problem_of("regression"), process, num_seeds=num_seeds, num_steps=3, record={"w": flat},
                           key=jax.random.key(KEY)).isel(seed=slice(3))

    mixing = Mixing(0.1, ss.WithReplacement(5))
    with pytest.raises(AssertionError):
        assert_same(first_lanes(mixing, 3), first_lanes(mixing, 40), ["w"])


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
    print(json.dumps({**digests(), "devices": jax.local_device_count()}))
