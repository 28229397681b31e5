"""How lanes are cut into tiles and shared out to devices."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sde_sgd as ss
from sde_sgd.problems import problem as problems
from sde_sgd.run import lanes as host
from sde_sgd.run.places import Places, every_place
from sde_sgd.run.shares import Shares, lane_mesh, tile_by_tile
from sde_sgd.run.tiles import tile_size, tiles_in_a_call

KEY = jax.random.key(5)


def regression(dim, num_examples=256):
    return ss.problems.linear_regression(num_examples=num_examples, dim=dim, key=jax.random.key(0))


def lanes_of(dim, process):
    problem = regression(dim)
    return tile_size(problem, problem.minimum, process)


# --- their size ------------------------------------------------------------------------------------------------------


def test_minibatches_fit_the_cache_and_full_gradients_share_their_examples():
    sizes = {batch: lanes_of(64, ss.SGD(0.1, ss.WithReplacement(batch))) for batch in (1, 8, 32, 256)}
    assert sizes == {1: 64, 8: 8, 32: 2, 256: 1}
    for process in (ss.GradientFlow(0.1), ss.SGD(0.1, ss.Gaussian(8)), ss.SME(0.1, ss.Gaussian(8), order=1)):
        assert lanes_of(64, process) == 64 and lanes_of(256, process) == 16
    assert lanes_of(3, ss.SGD(0.1, ss.EpochShuffle(4))) == 64


def test_batches_of_one_capacity_share_a_tile():
    sizes = {lanes_of(64, ss.SGD(0.1, ss.WithReplacement(batch))) for batch in (13, 14)}
    assert len(sizes) == 1


@pytest.mark.parametrize("noise", [ss.WithReplacement(9), ss.WithoutReplacement(9), ss.EpochShuffle(9),
                                   ss.Augmented(ss.EpochShuffle(9), lambda key, example: example)])
def test_a_noise_says_how_many_examples_it_copies(noise):
    """As many as it draws."""
    problem = regression(3, num_examples=9)
    sampling = noise.noise if isinstance(noise, ss.Augmented) else noise
    draws = ss.Draws((jnp.uint32(0), jnp.uint32(1)), jnp.uint32(2))
    batch, _ = sampling.sample(problem, problem.minimum, sampling.init(), draws)
    assert noise.num_rows(problem, problem.minimum) == batch.indices.shape[0]


class Few(ss.noise.AbstractMinibatch):
    """A sampling scheme of a user, who says nothing of rows."""

    batch_size: int = 3

    def init(self):
        return ()

    def num_slots(self, problem, params):
        return 1

    def factor(self, problem):
        return 1 / 3

    def sample(self, problem, params, sampler, draws, slot=0):
        return ss.Batch(draws.indices(3, problem.num_examples, slot), jnp.full(3, 1 / 3)), sampler


def test_the_rows_of_a_scheme_that_says_nothing_are_found():
    problem = regression(3)
    assert Few().num_rows(problem, problem.minimum) == 3
    assert ss.Gaussian(4).num_rows(problem, problem.minimum) == 0


def test_the_signature_names_every_tile_of_a_sweep():
    ds = ss.sweep(regression(64), {"sgd": lambda lr, b: ss.SGD(lr, ss.WithReplacement(b)),
                                   "flow": lambda lr, b: ss.GradientFlow(lr)},
                  learning_rates=(0.01,), batch_sizes=(8, 32), num_seeds=2, num_steps=2, key=KEY)
    assert json.loads(ds.attrs["numerics_signature"])["tile_size"] == [2, 8, 64]


def test_room_is_bounded_by_lanes_and_by_memory():
    assert tiles_in_a_call(64, 4) == 128
    assert tiles_in_a_call(8, 2**19) == 1
    assert tiles_in_a_call(2048, 0) == 4


# --- their shares ----------------------------------------------------------------------------------------------------


class Mesh:
    """What `Shares` asks of a mesh."""

    def __init__(self, size):
        self.size = size


@pytest.mark.parametrize("places", [every_place(4), Places(4, np.asarray([1, 3]))])
def test_every_lane_has_one_slot_of_a_tile_that_runs(places):
    for devices, room in itertools.product((1, 2, 3), (1, 2, 5)):
        most = Shares(Mesh(devices), places, room, 1).most_lanes
        for num_lanes in range(1, most + 1):
            shares = Shares(Mesh(devices), places, room, num_lanes)
            held = shares.spread(np.arange(num_lanes))
            np.testing.assert_array_equal(shares.take(held), np.arange(num_lanes))
            runs = np.arange(held.shape[1]) < shares.num_tiles[:, None] * places.tile
            assert set(held[runs]) == set(range(num_lanes))
            tiles = -(-num_lanes // places.num_usable)
            assert shares.num_tiles.sum() == tiles and shares.num_tiles.max() == -(-tiles // devices)
            assert np.all(shares.num_tiles <= room)


def test_lanes_come_back_from_the_devices_as_they_went():
    for num_lanes in (1, 5, 8):
        shares = Shares(lane_mesh(), every_place(2), 4, num_lanes)
        values = np.arange(3.0 * num_lanes).reshape(num_lanes, 3)
        np.testing.assert_array_equal(shares.take(shares.put(values)), values)


def test_tiles_beyond_the_number_are_left_alone():
    def function(carry, lanes):
        return carry + lanes, 10 * lanes

    lanes = jnp.arange(1.0, 7.0)
    carry, output = tile_by_tile(function, jnp.zeros(6), lanes, jnp.int32(2), 2)
    np.testing.assert_array_equal(carry, [1, 2, 3, 4, 0, 0])
    np.testing.assert_array_equal(output, [10, 20, 30, 40, 0, 0])


def test_a_tile_function_is_traced_once():
    count = []

    def function(carry, lanes):
        count.append(1)
        return carry, lanes

    jax.jit(lambda lanes: tile_by_tile(function, lanes, lanes, jnp.int32(1), 2))(jnp.zeros(4))
    assert len(count) == 1


def test_few_lanes_are_shared_by_the_devices():
    """Ten tiles on four devices: three, three, three and one."""
    shares = Shares(Mesh(4), every_place(2), 64, 20)
    np.testing.assert_array_equal(shares.num_tiles, [3, 3, 3, 1])


# --- the copy of their examples --------------------------------------------------------------------------------------

AWKWARD = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 1e-45, -1e-39, 3.4e38], np.float32)


@pytest.mark.parametrize("length", [15, 16, 33, 99, 100, 101])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.float16])
def test_copied_rows_keep_their_bits(length, dtype):
    rng = np.random.default_rng(0)
    with np.errstate(over="ignore"):
        values = np.resize(AWKWARD, (7, length)) * rng.integers(1, 3, (7, length))
        data = values.astype(dtype) if dtype != np.int32 else rng.integers(-2**31, 2**31 - 1, (7, length), np.int32)
    indices = np.array([6, 0, 3, 3], np.int32)
    rows = jax.jit(problems._gathered)(jnp.asarray(data), indices)
    assert rows.dtype == dtype
    np.testing.assert_array_equal(np.asarray(rows).view(np.uint8), data[indices].view(np.uint8))


def test_the_copy_is_made_longer_than_what_is_unrolled():
    """A loop of so many operations stays a loop; and short rows, long rows and other dtypes are copied plainly."""
    def operations(length, dtype=jnp.float32):
        jaxpr = jax.make_jaxpr(problems._gathered)(jnp.zeros((5, length), dtype), jnp.zeros(3, jnp.int32))
        return sum(equation.primitive.name in ("add", "xor") and equation.outvars[0].aval.shape == (3, length)
                   for equation in jaxpr.eqns)

    for length in (16, 31, 64, 99):
        assert length * (operations(length) + problems._OF_A_COPY) >= problems._MOST_UNROLLED
    assert operations(100) == operations(784) == operations(15) == operations(64, jnp.float16) == 0


def test_the_host_takes_the_lanes_of_a_call_together(monkeypatch):
    """A thousand short lanes are one group, not one for every tile."""
    calls, original = [], host.advance
    monkeypatch.setattr(host, "advance", lambda *rest, **more: calls.append(1) or original(*rest, **more))
    ss.simulate(regression(64), ss.SGD(0.01, ss.WithReplacement(32)), num_seeds=1000, num_steps=3, key=KEY,
                record={"w": lambda problem, params: params[0]})
    assert len(calls) < 12
