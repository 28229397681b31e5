"""One lane, one result, bit for bit, at every place that a lane may take."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import BY_NAME, leaves_equal, mixed_problem
from jax.flatten_util import ravel_pytree

import sde_sgd as ss
from sde_sgd.run import lanes as host
from sde_sgd.run import places, queue

KEY = jax.random.key(11)
MIXED = mixed_problem()
ADAM = BY_NAME["optax constructor"].make(0.05, 5)
EPOCHS = ss.SGD(0.15, ss.EpochShuffle(5), momentum=0.9)


class Network(nn.Module):
    """A network of two layers."""

    @nn.compact
    def __call__(self, inputs):
        return nn.Dense(3)(nn.tanh(nn.Dense(4)(inputs)))


def network():
    rng = np.random.default_rng(1)
    inputs, labels = rng.normal(size=(24, 5)).astype(np.float32), rng.integers(0, 3, 24)
    return ss.problems.from_flax(Network(), inputs, labels, optax.softmax_cross_entropy_with_integer_labels)


def flat(problem, params):
    return ravel_pytree(params)[0]


def far(params):
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)) - 1e6


def simulated(problem, process):
    record = {"w": flat, "loss": ss.Problem.loss, "m": ss.Moments(flat, every=3)}
    ds = ss.simulate(problem, process, num_seeds=64, num_steps=24, record_every=6, record=record, key=KEY)
    return ds.rename(seed="lane")


def passed(problem, process, observe="iterates"):
    with pytest.warns(UserWarning, match="bounded from below"):
        return ss.first_passage(problem, process, region=far, observe=observe, num_lanes=128, max_steps=24, key=KEY,
                                record={"w": flat, "loss": ss.Problem.loss})


# In the first two a compiler for x86 computes the last lanes of a tile in another way.
RUNS = {
    "Adam": lambda: simulated(MIXED, ADAM),
    "epochs, first passage": lambda: passed(MIXED, EPOCHS),
    "network": lambda: simulated(network(), ss.SGD(0.3, ss.WithReplacement(4))),
    "well, first passage": lambda: passed(ss.problems.double_well(), ss.Langevin(0.05, temperature=0.3), "continuous"),
}


@pytest.fixture
def one_lane(monkeypatch):
    """Give every lane of a run the number 3: they are all the same lane."""
    first_params, lanes_advance = host.first_params, host.advance

    def at_start(problem, params, ids, *rest, **more):
        return first_params(problem, params, jnp.full_like(ids, 3), *rest, **more)

    def on_the_way(problem, quantities, lanes, *rest, **more):
        return lanes_advance(problem, quantities, lanes._replace(ids=jnp.full_like(lanes.ids, 3)), *rest, **more)

    monkeypatch.setattr(host, "first_params", at_start)
    monkeypatch.setattr(host, "advance", on_the_way)
    advance = queue.advance

    def of_slots(passage, states, slots, *rest, **more):
        return advance(passage, states, slots._replace(run=jnp.full_like(slots.run, 3)), *rest, **more)

    monkeypatch.setattr(queue, "advance", of_slots)


def differing(ds):
    """Return the lanes that differ in any variable from the first."""
    own = [ds[name].transpose("lane", ...).values for name in ds.data_vars if "lane" in ds[name].dims]
    first = [values[0] for values in own]
    return [lane for lane in range(ds.sizes["lane"]) if not leaves_equal([values[lane] for values in own], first)]


@pytest.mark.parametrize("name", RUNS)
def test_a_lane_is_the_same_at_every_place(name, one_lane):
    assert differing(RUNS[name]()) == []


@pytest.mark.parametrize("name", list(RUNS)[:2])
def test_teeth_at_the_places_left_empty_it_is_not(name, one_lane, monkeypatch):
    found = []

    def whole(program, tile, results):
        found.append(places.usable_places(program, tile, results))
        return places.every_place(tile)

    for module in (host, queue):
        monkeypatch.setattr(module, "usable_places", whole)
    different = {lane % 64 for lane in differing(RUNS[name]())}
    if found[0].num_usable == 64:
        assert not different
        pytest.skip("this compiler computes the same bits at every place of a tile")
    assert different and not different & set(found[0].usable)


def test_a_cell_is_at_other_places_in_a_sweep():
    """Three cells of 37 lanes; alone, each begins at the first place."""
    def run(rates):
        return ss.sweep(MIXED, {"adam": BY_NAME["optax constructor"].make}, learning_rates=rates, batch_sizes=(5,),
                        num_seeds=37, num_steps=24, record={"w": flat}, key=KEY)

    together = run((0.02, 0.05, 0.1))
    for rate in (0.05, 0.1):
        assert leaves_equal(together.w.sel(learning_rate=[rate]).values, run((rate,)).w.values)


# --- the trial -------------------------------------------------------------------------------------------------------


def usable(*leaves, program=None):
    tile = len(leaves[0])
    results = [{"x": np.asarray(leaf)[None]} for leaf in leaves]
    return list(places.usable_places(program or object(), tile, iter(results)).usable)


def test_the_largest_set_of_equal_places_is_found():
    assert usable(np.ones(4)) == [0, 1, 2, 3]
    assert usable([1.0, 2.0, 2.0, 2.0]) == [1, 2, 3]  # the first is the odd one
    assert usable([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0 + 2**-52]]) == [0, 1]
    assert usable([5, 5, 5, 4], [0.0, 0.0, 1.0, 0.0]) == [0, 1]  # another place differs in each trial
    assert usable([np.nan, -np.nan, np.nan, 1.0]) == [0, 1, 2]
    assert usable([0.0, -0.0, 0.0]) == [0, 2]
    assert usable([True, True, False]) == [0, 1]
    assert usable(np.asarray([1, 1, 1.5, 1], jnp.bfloat16)) == [0, 1, 3]


def test_a_large_result_is_compared_on_its_device():
    values = jnp.asarray([[1.0, np.nan], [1.0, np.nan], [np.nan, 1.0], [1.0, 2.0]])
    np.testing.assert_array_equal(places._differ_from_first(values), [0, 0, 1, 1])


def test_a_program_is_tried_once():
    program = object()
    assert usable([1, 1, 2], program=program) == [0, 1]
    assert usable([1, 1, 1], program=program) == [0, 1]
    assert usable([1, 1, 1]) == [0, 1, 2]


def test_lanes_are_put_to_their_places_and_taken_from_them():
    some = places.Places(4, np.asarray([1, 3]))
    lanes = np.arange(12).reshape(2, 6)  # three tiles on each of two devices
    placed = some.put(lanes)
    np.testing.assert_array_equal(placed[0], [0, 0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5])
    np.testing.assert_array_equal(some.take(placed), lanes)
    np.testing.assert_array_equal(placed[0][some.index(np.arange(6))], lanes[0])
    vectors = np.arange(24.0).reshape(2, 4, 3)
    np.testing.assert_array_equal(some.take(some.put(vectors)), vectors)


def test_a_trial_has_its_own_numbers():
    """So that neither a small learning rate hides a rounding nor the first cell of a sweep decides for the others."""
    process = ss.SGD(1e-6, ss.WithReplacement(5), momentum=0.5)
    tried, other = places.numbered(process, 0.3), places.numbered(ss.SGD(0.2, ss.WithReplacement(5), momentum=0.9), 0.3)
    assert float(tried.learning_rate) == float(tried.momentum) == pytest.approx(0.3)
    assert leaves_equal(tried, other) and int(tried.noise.batch_size) == 5
    assert [np.asarray(leaf).dtype for leaf in jax.tree.leaves(tried)] == [
        np.asarray(leaf).dtype for leaf in jax.tree.leaves(process)]


def test_large_params_need_few_steps():
    lengths = functools.partial(map, lambda trial: trial[0])
    assert list(lengths(places.trials(jnp.zeros(5)))) == [1, 4, 16, 64]
    assert list(lengths(places.trials(jnp.zeros(100)))) == [1, 4, 16]
    assert list(lengths(places.trials(jnp.zeros(10**6)))) == [1, 4]
