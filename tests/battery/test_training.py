"""Training networks: until a loss is reached, for so many epochs, on changed examples, with quantities of a test set."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import leaves_equal

import sde_sgd as ss
from sde_sgd.run.targets import HIGH, LOW, REGION, Band

cross_entropy = optax.softmax_cross_entropy_with_integer_labels
N = 60


@functools.cache
def digits():
    """Return a small network on digits and the same network on a test set."""
    features, labels = ss.problems.digits()
    train, test = ss.problems.standardised(features[:N].reshape(-1, 8, 8, 1), features[N:200].reshape(-1, 8, 8, 1))
    net = ss.problems.from_flax(ss.problems.mlp((12,)), train, labels[:N], cross_entropy)
    return net, ss.problems.with_data(net, test, labels[N:200])


def weights(problem, params):
    return jax.flatten_util.ravel_pytree(params)[0]


# --- until a loss is reached ------------------------------------------------------------------------------------------

PROCESS = ss.SGD(0.1, ss.EpochShuffle(7), momentum=0.5)
LANES, MOST, EVERY, TARGET = 20, 60, 6, 0.55


@functools.cache
def until(look_every=EVERY, num_lanes=LANES, target=TARGET):
    net, test = digits()
    record = {"w": weights, "loss": ss.Problem.loss, "test": ss.problems.on(test, ss.problems.accuracy)}
    return ss.first_passage(net, PROCESS, region=ss.problems.loss_below(target), look_every=look_every,
                            num_lanes=num_lanes, max_steps=MOST, record=record, key=jax.random.key(3))


def test_a_run_ends_at_the_first_look_at_which_the_loss_is_low():
    """Step for step the trajectory of its seed in `simulate`; censored runs are recorded where they are given up."""
    net, test = digits()
    ds = ss.simulate(net, PROCESS, num_seeds=LANES, num_steps=MOST, record_every=EVERY, key=jax.random.key(3),
                     record={"w": weights, "loss": ss.Problem.loss, "test": ss.problems.on(test, ss.problems.accuracy)})
    low = ds.loss.values <= TARGET
    reached = low.any(axis=1)
    at = np.where(reached, low.argmax(axis=1), low.shape[1] - 1)
    runs = until()
    assert 0.2 < reached.mean() < 0.95 and len(np.unique(at)) > 3
    np.testing.assert_array_equal(runs.steps, at * EVERY)
    np.testing.assert_array_equal(runs.event_observed, reached)
    np.testing.assert_array_equal(runs.durations, at * EVERY * 0.1)
    lane = np.arange(LANES)
    np.testing.assert_allclose(runs.exit_w, ds.w.values[lane, at], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(runs.exit_test, ds.test.values[lane, at], atol=1e-6)
    assert (runs.exit_loss.values[reached] <= TARGET).all() and (runs.exit_loss.values[~reached] > TARGET).all()


def test_runs_that_are_looked_at_now_and_then_depend_on_their_address_alone():
    few, many = until(num_lanes=3), until()
    for name in many.data_vars:
        assert leaves_equal(few[name].values, many[name].isel(lane=slice(3)).values if many[name].ndim else many[name].values)


def test_looking_at_every_step_is_looking_every_one():
    """Spacing the looks by one gives the same trajectories as the loop that has no such thing, and never later ends."""
    often = until(look_every=1)
    assert (often.steps <= until().steps).all() and (often.steps < until().steps).any()


def test_a_loss_below_the_target_by_nothing_counts():
    problem = ss.problems.potential(lambda w: w**2, start=1.0)
    level = ss.problems.loss_below(0.25)
    assert float(level(problem, jnp.float32(0.5))) > 0 > float(level(problem, jnp.nextafter(jnp.float32(0.5), 1.0)))


@pytest.mark.parametrize(("settings", "error", "words"), [
    ({"look_every": 7}, ValueError, "look_every must divide max_steps"),
    ({"look_every": 0}, ValueError, "look_every"),
    ({"look_every": 2.0}, TypeError, "look_every must be an int"),
    ({"look_every": 2, "max_steps": 2**32}, ValueError, "max_steps"),
    ({"look_every": 2, "observe": "continuous"}, ValueError, "look_every must be 1 with observe='continuous'"),
    ({"region": lambda problem, params: True}, ValueError, "does not depend on the params"),
    ({"region": lambda problem, params: problem.loss(1.0) < 0}, ValueError, "does not depend on the params"),
])
def test_bad_looks(settings, error, words):
    problem = ss.problems.potential(lambda w: w**2, start=1.0)
    process = ss.Langevin(0.1, temperature=0.1, substeps=10)
    given = {"region": lambda problem, params: 0.1 - problem.loss(params), "max_steps": 60} | settings
    with pytest.raises(error, match=words):
        ss.first_passage(problem, process, num_lanes=2, key=jax.random.key(0), **given)


def test_a_band_takes_scores_and_regions_of_the_problem():
    """What splitting looks at: the problem is an argument, so that no data are closed over."""
    problem = ss.Problem(example_loss=lambda w, z: w - z, data=jnp.array([1.0, 3.0]), init=lambda key: jnp.zeros(()))
    band = Band(lambda problem, w: w > problem.data[1], lambda problem, w: problem.loss(w), 0.0, 0.5)
    codes = jax.jit(jax.vmap(band.code, in_axes=(None, 0)))(problem, jnp.array([1.9, 2.2, 2.6, 3.1]))
    np.testing.assert_array_equal(codes, [LOW, 0, HIGH, REGION])


# --- tiles ------------------------------------------------------------------------------------------------------------

NETWORKS = {"small": (ss.problems.mlp((80,)), 8), "wide": (ss.problems.mlp((700,)), 2),
            "convolutions": (ss.problems.small_cnn(channels=(32, 8), widths=(20,)), 1)}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_place_of_a_network_in_its_tile_is_of_no_effect(name):
    """Seven lanes of one cell behind seven of another, and the same seven from the first place on, bit for bit."""
    module, tile = NETWORKS[name]
    net = ss.problems.from_flax(module, *digits()[0].data, cross_entropy)
    both, alone = (ss.sweep(net, {"sgd": factory}, learning_rates=rates, batch_sizes=(9,), num_seeds=7, num_steps=4,
                            record={"w": weights}, key=jax.random.key(0)) for rates in ((0.05, 0.2), (0.2,)))
    assert json.loads(both.attrs["numerics_signature"])["tile_size"] == tile
    assert leaves_equal(both.w.sel(learning_rate=0.2).values, alone.w.sel(learning_rate=0.2).values)
    assert len(np.unique(alone.w.values[..., -1, 0])) == 7


# --- epochs -----------------------------------------------------------------------------------------------------------


def factory(lr, b):
    return ss.SGD(lr, ss.EpochShuffle(b))


def test_an_epoch_is_a_pass_over_the_examples():
    net, _ = digits()
    ds = ss.sweep(net, {"sgd": factory}, learning_rates=(0.1, 0.2), batch_sizes=(7, 20), num_seeds=2, num_epochs=4,
                  record_every=2, record={"w": weights}, key=jax.random.key(0))
    assert ds.w.dims[:5] == ("process", "learning_rate", "batch_size", "seed", "epoch")
    np.testing.assert_array_equal(ds.epoch, [0, 2, 4])
    np.testing.assert_array_equal(ds.step, [[0, 18, 36], [0, 6, 12]])  # ceil(60/7) = 9 and 3 steps an epoch
    assert ds.time.dims == ("process", "learning_rate", "batch_size", "epoch")
    np.testing.assert_allclose(ds.time.isel(process=0, epoch=-1), [[3.6, 1.2], [7.2, 2.4]])
    for batch in (7, 20):
        steps = 4 * net.steps_per_epoch(batch)
        one = ss.simulate(net, factory(0.2, batch), num_seeds=2, num_steps=steps, record={"w": weights},
                          key=jax.random.key(0))
        assert leaves_equal(one.w.values[:, -1], ds.w.sel(process="sgd", learning_rate=0.2, batch_size=batch).values[:, -1])
        same = ss.simulate(net, factory(0.2, batch), num_seeds=2, num_epochs=4, record={"w": weights},
                           key=jax.random.key(0))
        np.testing.assert_array_equal(same.step, [0, steps])
        assert same.w.dims[:2] == ("seed", "epoch") and leaves_equal(same.w.values, one.w.values)


@pytest.mark.parametrize(("run", "settings", "words"), [
    ("sweep", {"num_epochs": 2, "num_steps": 3}, "pass one of num_steps, time and num_epochs"),
    ("sweep", {"num_epochs": 4, "record_every": 3}, "record_every must divide num_epochs"),
    ("simulate", {"num_epochs": 2, "num_steps": 3}, "pass either num_steps or num_epochs"),
    ("simulate", {}, "pass either num_steps or num_epochs"),
])
def test_bad_epochs(run, settings, words):
    net, _ = digits()
    with pytest.raises(ValueError, match=words):
        if run == "sweep":
            ss.sweep(net, {"sgd": factory}, learning_rates=(0.1,), batch_sizes=(7,), num_seeds=1, key=jax.random.key(0),
                     **settings)
        else:
            ss.simulate(net, factory(0.1, 7), num_seeds=1, key=jax.random.key(0), **settings)


def test_a_process_without_a_batch_size_has_no_epochs():
    with pytest.raises(TypeError, match="num_epochs needs a process with a batch size, got Langevin"):
        ss.simulate(ss.problems.double_well(), ss.Langevin(0.1, temperature=0.1), num_seeds=1, num_epochs=1,
                    key=jax.random.key(0))


# --- examples that change ---------------------------------------------------------------------------------------------


def add_normal(key, example):
    inputs, label = example
    return inputs + jax.random.normal(key, inputs.shape), label


def test_augmented_examples_are_drawn_by_their_address():
    """A step on transformed examples equals a step on those examples computed by hand, and the batch is the same."""
    net, _ = digits()
    noise = ss.WithReplacement(5)
    params = net.init(jax.random.key(0))
    draws = ss.Draws((jnp.uint32(1), jnp.uint32(2)), jnp.uint32(3))
    gradient, _ = ss.Augmented(noise, add_normal).gradient(net, params, (), draws, 4)
    batch, _ = noise.sample(net, params, (), draws, 4)
    words = draws.bits(2 * len(batch.indices), 4 + noise.num_slots(net, params)).reshape(-1, 2)
    rows = [add_normal(jax.random.wrap_key_data(word), jax.tree.map(lambda leaf, i=i: leaf[i], net.data))
            for i, word in zip(batch.indices, words, strict=True)]
    slopes = [jax.grad(net.example_loss)(params, row) for row in rows[:5]]
    expected = jax.tree.map(lambda *leaves: sum(leaves) / 5, *slopes)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), gradient, expected)
    assert ss.Augmented(noise, add_normal).num_slots(net, params) == noise.num_slots(net, params) + len(batch.indices)


def test_augmented_noise_has_the_covariance_of_its_docstring():
    """In one dimension, where l(w, z) = (w - z)^2/2 and the examples are moved by normals: (var z + 1)/B."""
    examples = jnp.linspace(-1.0, 2.0, 7)
    problem = ss.Problem(example_loss=lambda w, z: 0.5 * (w - z) ** 2, data=examples, init=lambda key: jnp.zeros(()))
    noise = ss.Augmented(ss.WithReplacement(4), lambda key, z: z + jax.random.normal(key))
    each = jax.jit(jax.vmap(lambda lane: noise.gradient(
        problem, jnp.zeros(()), (), ss.Draws((jnp.uint32(5), lane), jnp.uint32(0)))[0]))
    count = 40_000
    gradients = np.asarray(each(jnp.arange(count, dtype=jnp.uint32)), np.float64)
    variance = (float(jnp.var(examples)) + 1.0) / 4
    assert abs(gradients.mean() + float(examples.mean())) < 5 * (variance / count) ** 0.5
    assert abs(gradients.var() - variance) < 5 * variance * (2 / count) ** 0.5
    assert abs(gradients.var() - float(jnp.var(examples)) / 4) > 50 * variance * (2 / count) ** 0.5  # teeth


def test_augmented_lanes_do_not_depend_on_their_number():
    net, _ = digits()
    transform = ss.noise.composed(ss.noise.flips(), ss.noise.shifts(0.2), ss.noise.fresh_labels(0.3, 10))
    process = ss.SGD(0.1, ss.Augmented(ss.EpochShuffle(7), transform))
    many, few = (ss.simulate(net, process, num_seeds=count, num_steps=5, record={"w": weights}, key=jax.random.key(0))
                 for count in (40, 2))
    assert leaves_equal(many.w.values[:2], few.w.values)
    plain = ss.simulate(net, factory(0.1, 7), num_seeds=2, num_steps=5, record={"w": weights}, key=jax.random.key(0))
    assert not leaves_equal(plain.w.values[:, -1], few.w.values[:, -1])


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda: ss.Augmented(ss.Gaussian(4), add_normal), TypeError, "must be a sampling scheme"),
    (lambda: ss.Augmented(ss.EpochShuffle(4), 3), TypeError, "transform must be a function"),
    (lambda: ss.SVAG(0.1, ss.Augmented(ss.EpochShuffle(4), add_normal), substeps=2), TypeError, "remembers earlier"),
    (lambda: ss.noise.shifts(1.5), ValueError, "fraction must lie in"),
    (lambda: ss.noise.rotations(-1.0), ValueError, "degrees must be finite and positive"),
    (lambda: ss.noise.fresh_labels(0.1, 1), ValueError, "num_classes must be at least 2"),
])
def test_bad_augmentations(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(("transform", "words"), [
    (lambda key, example: example[0], "must return an example of the same shapes"),
    (lambda key, example: (example[0][..., 0], example[1]), "must return an example of the same shapes"),
    (lambda key, example: 1 / 0, "transform of .key, example. failed"),
])
def test_a_transform_that_makes_other_examples(transform, words):
    with pytest.raises(ValueError, match=words):
        ss.Augmented(ss.EpochShuffle(4), transform).check(digits()[0])
