"""Every noise obeys the contract: unbiased, of the variance it states, no slot used twice, padding without effect."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import NOISES, PROCESSES, QUICKLY, draws, leaves_equal, mixed_problem

import sde_sgd as ss
from sde_sgd._core.random import Draws, slots_for_bits, slots_for_indices, slots_for_normals, slots_for_stable
from sde_sgd.curvature import noise_covariance, noise_trace
from sde_sgd.noise import minibatch
from sde_sgd.noise.minibatch import batch_capacity
from sde_sgd.problems.problem import float_dtype

SMALL = 7
SCHEMES = {name: NOISES[name] for name in ("with replacement", "without replacement", "epochs")}
each_noise = pytest.mark.parametrize("name", NOISES)
each_scheme = pytest.mark.parametrize("name", SCHEMES)


def batches(noise, problem, num_draws, lane=0):
    """Return indices and weights of consecutive batches of one lane, and the sampler at the end."""
    params = problem.init(jax.random.key(0))

    def one(sampler, step):
        batch, sampler = noise.sample(problem, params, sampler, draws(lane, step))
        return sampler, batch

    sampler, found = jax.jit(lambda: jax.lax.scan(one, noise.init(), jnp.arange(num_draws)), compiler_options=QUICKLY)()
    return np.asarray(found.indices), np.asarray(found.weights), sampler


# --- batches as weightings -------------------------------------------------------------------------------------------


def line(num_examples):
    """A problem whose gradient at zero is minus the mean of the examples that the batch holds."""
    return ss.Problem(example_loss=lambda w, x: 0.5 * (w - x) ** 2, data=jnp.arange(1.0, num_examples + 1),
                      init=lambda key: jnp.zeros(()))


@each_scheme
@pytest.mark.parametrize("batch_size", range(1, SMALL + 1))
def test_a_batch_holds_its_own_number_of_examples(name, batch_size):
    problem, noise = line(SMALL), NOISES[name](batch_size)
    noise.check(problem)
    indices, weights, _ = batches(noise, problem, 12)
    assert indices.min() >= 0 and indices.max() < SMALL
    if name != "epochs":
        for rows, share in zip(indices, weights, strict=True):
            assert (share[:batch_size] == np.float32(1) / np.float32(batch_size)).all()  # exactly 1/B
            assert (share[batch_size:] == 0).all()  # padding
            assert name == "with replacement" or len(set(rows[:batch_size])) == batch_size
        return
    per_epoch = -(-SMALL // batch_size)
    for epoch in range(12 // per_epoch):
        uses = np.zeros(SMALL, int)
        for position in range(per_epoch):
            rows, share = indices[epoch * per_epoch + position], weights[epoch * per_epoch + position]
            size = min(batch_size, SMALL - position * batch_size)  # the last batch holds the remainder
            used = share > 0
            assert used.sum() == size and (share[used] == np.float32(1) / np.float32(size)).all()
            uses[rows[used]] += 1
        np.testing.assert_array_equal(uses, 1)


@pytest.mark.parametrize(("num_examples", "batch_size"), [(10, 4), (64, 9), (65, 33), (5, 5), (1, 1)])
def test_an_epoch_uses_every_example_once_and_then_shuffles_anew(num_examples, batch_size):
    noise, per_epoch = ss.EpochShuffle(batch_size), -(-num_examples // batch_size)
    indices, weights, sampler = batches(noise, line(num_examples), 3 * per_epoch)
    orders = [rows[share > 0] for rows, share in zip(np.split(indices, 3), np.split(weights, 3), strict=True)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(num_examples))
    assert int(sampler.batch) == 0  # three whole epochs
    if num_examples >= 10:
        assert not any(np.array_equal(one, other) for one, other in itertools.pairwise(orders))
        elsewhere, _, _ = batches(noise, line(num_examples), 3 * per_epoch, lane=1)
        assert not np.array_equal(elsewhere, indices)


def test_capacity_padding_has_no_effect_on_the_value():
    """Nine examples in ten rows give the gradient of nine examples."""
    problem = line(64)
    for name, batch_size in (("with replacement", 9), ("without replacement", 33), ("epochs", 9), ("epochs", 33)):
        noise = NOISES[name](batch_size)
        assert noise.capacity == batch_capacity(batch_size) > batch_size
        indices, weights, _ = batches(noise, problem, 9)
        for rows, share in zip(indices, weights, strict=True):
            held = rows[share > 0]
            gradient = problem.gradient(jnp.zeros(()), ss.Batch(jnp.asarray(rows), jnp.asarray(share)))
            np.testing.assert_allclose(gradient, -np.mean(held + 1.0), rtol=1e-6)


def test_capacity_is_the_batch_size_rounded_up_to_three_bits():
    sizes = np.arange(1, 5000)
    capacities = np.asarray([batch_capacity(size) for size in sizes])
    assert (capacities >= sizes).all() and (capacities <= 1.25 * sizes).all()
    assert len(set(capacities)) <= 4 * np.log2(5000)
    assert [batch_capacity(size) for size in (1, 7, 8, 9, 10, 11, 64, 65)] == [1, 7, 8, 10, 10, 12, 64, 80]


@each_noise
def test_batch_sizes_outside_the_data_are_refused(name):
    NOISES[name](SMALL).check(line(SMALL))
    with pytest.raises(ValueError, match=r"batch_size.*8.*7 examples"):
        NOISES[name](SMALL + 1).check(line(SMALL))


# --- law -------------------------------------------------------------------------------------------------------------


def z_scores(noise, factor, problem, params, num_lanes=20_000):
    """Return z-scores of the mean of each component and of the total variance of one gradient."""
    one = jax.vmap(lambda lane: noise.gradient(problem, params, noise.init(), draws(lane, 0))[0])
    found = np.asarray(jax.jit(one, compiler_options=QUICKLY)(jnp.arange(num_lanes)), np.float64)
    exact = np.asarray(problem.gradient(params), np.float64)
    of_mean = (found.mean(axis=0) - exact) / (found.std(axis=0) / num_lanes**0.5)
    squares = np.sum((found - exact) ** 2, axis=1)
    of_variance = (squares.mean() - factor * float(noise_trace(problem, params))) / (squares.std() / num_lanes**0.5)
    return np.append(of_mean, of_variance)


@pytest.fixture(scope="module")
def regression():
    problem = ss.problems.linear_regression(num_examples=12, dim=3, key=jax.random.key(2))
    return problem, jnp.asarray([0.5, -1.0, 2.0])


@each_noise
def test_a_gradient_is_unbiased_and_of_the_stated_variance(name, regression):
    problem, params = regression
    noise = NOISES[name](5)
    without = name in ("without replacement", "epochs", "Gaussian without")
    factor = (12 - 5) / (5 * 11) if without else 1 / 5
    assert float(noise.factor(problem)) == pytest.approx(factor)
    assert np.abs(z_scores(noise, factor, problem, params)).max() < 5


def test_teeth_of_the_law(regression):
    """A wrong batch size, a wrong factor and a lost mean are seen by the same z-scores."""
    problem, params = regression
    assert np.abs(z_scores(ss.Gaussian(6), 1 / 5, problem, params)).max() > 5
    assert np.abs(z_scores(ss.WithoutReplacement(5), 1 / 5, problem, params)).max() > 5

    class Lost(ss.WithReplacement):
        def gradient(self, problem, params, sampler, draws, slot=0):
            gradient, sampler = super().gradient(problem, params, sampler, draws, slot)
            return 0.95 * gradient, sampler

    assert np.abs(z_scores(Lost(5), 1 / 5, problem, params)).max() > 5


@pytest.mark.parametrize("name", ["Gaussian", "isotropic"])
def test_the_parts_of_a_gaussian_noise_fit_together(name, regression):
    problem, params = regression
    noise = NOISES[name](4)
    gradient = problem.gradient(params)
    fluctuation = noise.fluctuation(problem, params, draws(1, 2), 3)
    for scale in (0.0, 1.0, -2.5):
        scaled = noise.scaled_gradient(problem, params, draws(1, 2), 3, scale)
        np.testing.assert_allclose(scaled, gradient + scale * fluctuation, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["Gaussian", "Gaussian without", "isotropic"])
def test_the_variances_of_a_gaussian_noise_are_those_of_its_covariance(name, regression):
    problem, params = regression
    noise = NOISES[name](4)
    diagonal = noise.factor(problem) * np.diag(noise_covariance(problem, params))
    expected = np.full(3, diagonal.mean()) if name == "isotropic" else diagonal
    np.testing.assert_allclose(noise.variances(problem, params), expected, rtol=1e-5)


# --- samplers and slots ----------------------------------------------------------------------------------------------


@each_noise
def test_the_sampler_keeps_its_structure_and_dtypes(name, precision):
    problem = mixed_problem(jnp.float32, jnp.bfloat16)
    noise = NOISES[name](5)
    params = problem.init(jax.random.key(0))
    gradient, after = jax.eval_shape(lambda: noise.gradient(problem, params, noise.init(), draws()))
    assert jax.tree.structure(after) == jax.tree.structure(noise.init())
    assert [leaf.dtype for leaf in jax.tree.leaves(after)] == [leaf.dtype for leaf in jax.tree.leaves(noise.init())]
    assert jax.tree.map(lambda leaf: leaf.dtype, gradient) == jax.tree.map(lambda leaf: leaf.dtype, params)


class Ledger(Draws):
    """Draws that write down which slots were used. Only outside of compiled programs."""

    used = []  # noqa: RUF012

    def note(self, slot, count):
        Ledger.used.append(range(int(slot), int(slot) + count))

    def bits(self, count, slot=0):
        self.note(slot, slots_for_bits(count))
        return super().bits(count, slot)

    def normals(self, count, slot=0, dtype=jnp.float32):
        self.note(slot, slots_for_normals(count, dtype))
        return jnp.zeros(count, dtype)

    def stable(self, count, alpha, slot=0, dtype=jnp.float32):
        self.note(slot, slots_for_stable(count, dtype))
        return jnp.zeros(count, dtype)

    def indices(self, count, maximum, slot=0):
        self.note(slot, slots_for_indices(count))
        return jnp.zeros(count, jnp.int32)

    def subset(self, count, num, slot=0):
        self.note(slot, 1)
        return jnp.arange(count, dtype=jnp.int32)


def slots_used(function):
    Ledger.used = []
    with jax.disable_jit(), pytest.MonkeyPatch.context() as patch:  # loops then run in Python, their slots in sight
        patch.setattr(minibatch, "permuted", lambda index, *_: index)
        function(Ledger((jnp.uint32(1), jnp.uint32(2)), jnp.uint32(0)))
    return [slot for span in Ledger.used for slot in span]


@pytest.mark.parametrize("case", PROCESSES, ids=lambda case: case.name)
def test_no_slot_is_used_twice_in_a_step(case):
    problem, process = mixed_problem(num_examples=6), case.make(0.1, 5)
    state = process.init(problem, problem.init(jax.random.key(0)))
    used = slots_used(lambda ledger: process.step(problem, state, ledger))
    assert len(used) == len(set(used))
    assert (len(used) > 0) == case.noisy
    substeps = getattr(process, "substeps", 1)
    assert len(used) % substeps == 0 and (not case.noisy or len(used) >= substeps)  # fresh numbers in every substep


@each_noise
def test_a_noise_stays_within_the_slots_it_states(name):
    problem, noise = mixed_problem(num_examples=6), NOISES[name](5)
    params = problem.init(jax.random.key(0))
    used = slots_used(lambda ledger: noise.gradient(problem, params, noise.init(), ledger, 40))
    assert 0 < len(used) and set(used) <= set(range(40, 40 + noise.num_slots(problem, params)))
    assert float_dtype(params) == jnp.float32


def test_teeth_a_substep_that_draws_the_same_slots_is_seen():
    class Stuck(ss.SVAG):
        def step(self, problem, state, draws):
            for _ in range(self.substeps):
                self.noise.gradient(problem, state.params, (), draws, 0)
            return state

    problem = mixed_problem(num_examples=6)
    process = Stuck(0.1, ss.WithReplacement(3), substeps=2)
    state = process.init(problem, problem.init(jax.random.key(0)))
    used = slots_used(lambda ledger: process.step(problem, state, ledger))
    assert len(used) != len(set(used))


@each_noise
def test_other_slots_steps_and_lanes_give_other_draws(name, regression):
    problem, params = regression
    noise = NOISES[name](4)

    gradient = jax.jit(lambda lane, step, slot: noise.gradient(
        problem, params, noise.init(), draws(lane, step), slot)[0], compiler_options=QUICKLY)
    first = gradient(0, 0, 0)
    others = [gradient(1, 0, 0), gradient(0, 1, 0), gradient(0, 0, noise.num_slots(problem, params))]
    assert leaves_equal(first, gradient(0, 0, 0))
    assert not any(leaves_equal(first, other) for other in others)
