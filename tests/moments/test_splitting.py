"""Splitting against the exact chain of SGD and against brute force; ways of splitting that are biased must fail."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sde_sgd as ss
from sde_sgd import theory
from sde_sgd.run import adaptive_multilevel, passage, replica
from sde_sgd.run.splitting import interval

THRESHOLD = 5.0
STEP, TARGET = 0.01, 0.8
CORE, RIM = -0.95, -0.75


def double_well(w):
    return (w**2 - 1) ** 2


WELL = ss.problems.potential(double_well, start=-1.0)


def position(w):
    return w


def beyond(w):
    return w >= TARGET


def chain(barrier):
    return theory.SGDChain(double_well, STEP, theory.gaussian_noise((2 / barrier / STEP) ** 0.5))


@functools.cache
def exact_loop():
    return chain(6).loop(CORE, RIM, TARGET)


def split(method, *, barrier=6, basin=(CORE, RIM), **settings):
    settings = {"num_replicas": 32, "key": jax.random.key(1), "progress": False, **settings}
    return ss.splitting(WELL, ss.Langevin(STEP, temperature=1 / barrier), score=position, region=beyond, method=method,
                        basin=basin, **settings)


# --- the mean time and its parts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("barrier", [6, 12])
@pytest.mark.parametrize("method", [ss.FixedEffort(128), ss.AdaptiveMultilevel(64)], ids=["fixed effort", "adaptive"])
def test_the_mean_time_is_that_of_the_chain(method, barrier):
    ds = split(method, barrier=barrier, basin=None)
    exact = chain(barrier).mean_first_passage_time(-1.0, TARGET)
    assert ds.escape_time_stderr < 0.12 * exact
    assert abs(ds.escape_time - exact) < THRESHOLD * ds.escape_time_stderr


def test_loops_have_the_length_of_the_hill_relation():
    ds = split(ss.FixedEffort(128))
    steps, error = float(ds.loop_time) / STEP, float(ds.loop_time_stderr) / STEP
    assert error < 0.03 * exact_loop().mean_steps
    assert abs(steps - exact_loop().mean_steps) < THRESHOLD * error
    assert abs(ds.probability - exact_loop().success_probability) < THRESHOLD * ds.probability_stderr
    assert float(ds.escape_time) == pytest.approx(float(ds.loop_time / ds.probability))


# --- no bias, however few the particles and the levels ---------------------------------------------------------------

FEW = ss.AdaptiveMultilevel(10, num_levels=8)


def ratio_and_z(method=FEW, num_replicas=640):
    """Return the mean probability over the exact one and the z-score of their difference."""
    exact = exact_loop().success_probability
    ds = split(method, num_replicas=num_replicas)
    ratio, error = float(ds.probability) / exact, float(ds.probability_stderr) / exact
    return ratio, (ratio - 1) / error, error


@pytest.mark.filterwarnings("ignore:one of")
def test_ties_everywhere_leave_no_bias():
    _, z, error = ratio_and_z()
    assert error < 0.12
    assert abs(z) < THRESHOLD


@pytest.fixture
def wrong(monkeypatch):
    """Replace functions of a replica, in a program compiled anew."""

    def replace(**functions):
        for name, function in functions.items():
            monkeypatch.setattr(replica, name, function)
        adaptive_multilevel.advance.clear_cache()

    yield replace
    adaptive_multilevel.advance.clear_cache()


def one_of_the_ties(highest, threshold):
    return jnp.arange(len(highest)) == jnp.argmin(highest)


def above_if_any(filled, threshold):
    """Return the first level above the threshold, or the last there is of a parent that ties with it."""
    levels = jnp.arange(len(filled))
    above = filled & (levels > threshold)
    return jnp.where(jnp.any(above), jnp.argmax(above), jnp.max(jnp.where(filled, levels, 0)))


def at_or_above(filled, threshold):
    return jnp.argmax(filled & (jnp.arange(len(filled)) >= threshold))


@pytest.mark.filterwarnings("ignore:one of")
def test_teeth_killing_ties_one_by_one_is_seen(wrong):
    wrong(killed=one_of_the_ties, entrance=above_if_any)
    ratio, z, _ = ratio_and_z(num_replicas=320)
    assert ratio > 2
    assert z > THRESHOLD


@pytest.mark.filterwarnings("ignore:one of", "ignore:all replicas")
def test_teeth_setting_out_at_the_level_is_seen(wrong):
    wrong(entrance=at_or_above)
    ratio, z, _ = ratio_and_z(ss.AdaptiveMultilevel(10, num_levels=64), num_replicas=320)
    assert ratio < 0.6
    assert z < -THRESHOLD


# --- the interval ----------------------------------------------------------------------------------------------------


@functools.cache
def repetitions():
    """Return 2,000 replicas of few particles."""
    return split(ss.FixedEffort(32), num_replicas=2000)


def coverage(bounds=interval, size=20):
    ds, exact = repetitions(), chain(6).mean_first_passage_time(-1.0, TARGET)
    blocks = [values.values.reshape(-1, size) for values in (ds.replica_loop_time, ds.replica_probability)]
    ends = np.asarray([bounds(*block, 0.95)[2:] for block in zip(*blocks, strict=True)])
    return np.mean((ends[:, 0] < exact) & (exact < ends[:, 1]))


def test_the_interval_covers():
    assert 0.90 <= coverage() <= 0.99


def test_teeth_an_interval_of_another_width_does_not_cover():
    assert coverage(lambda loops, probability, confidence: interval(loops, probability, 0.75)) < 0.90
    assert coverage(lambda loops, probability, confidence: interval(loops, probability, 0.9999)) > 0.99


# --- processes with more state than their params ---------------------------------------------------------------------

NUM_EXAMPLES, BATCH = 32, 4


def finite_sum(strength):
    """Return a double well of minibatch noise. Shuffling cancels most of it: it takes more for an equal time."""
    return ss.problems.finite_sum(ss.problems.double_well(), ss.problems.NormalLaw(), strength=strength,
                                  num_examples=NUM_EXAMPLES)


def first(w):
    return jnp.sum(w)


def in_the_next(w):
    return jnp.sum(w) > 0.8


SHUFFLED = ss.SGD(0.04, ss.EpochShuffle(BATCH)), 15.0, ss.FixedEffort(512)
HEAVY_BALL = ss.SGD(0.01, ss.WithReplacement(BATCH), momentum=0.8), 6.0, ss.FixedEffort(64)


def beside_brute_force(process, strength, method):
    """Return the time by splitting over that of brute force, and its standard error."""
    problem = finite_sum(strength)
    rare = ss.splitting(problem, process, score=first, region=in_the_next, method=method, num_replicas=32,
                        key=jax.random.key(2), progress=False)
    runs = ss.first_passage(problem, process, region=in_the_next, num_lanes=512, max_steps=10_000_000,
                            key=jax.random.key(3), progress=False)
    brute = ss.analysis.escape_time(runs)
    error = np.hypot(rare.escape_time_stderr, brute.escape_time_stderr)
    return float(rare.escape_time / brute.escape_time), float(error / brute.escape_time)


@pytest.mark.parametrize("case", [SHUFFLED, HEAVY_BALL], ids=["shuffled", "momentum"])
def test_state_is_copied_whole(case):
    ratio, error = beside_brute_force(*case)
    assert error < 0.12
    assert abs(ratio - 1) < THRESHOLD * error


@pytest.mark.filterwarnings("ignore:one of")
def test_teeth_copies_without_their_momentum_are_seen(monkeypatch):
    def anew(self, problem, process, root, run, start):
        return process.init(problem, jax.tree.map(lambda leaf: leaf[start], self.states.params))

    monkeypatch.setattr(passage.GivenStates, "state", anew)
    passage.advance.clear_cache()
    ratio, error = beside_brute_force(*HEAVY_BALL)
    passage.advance.clear_cache()
    assert abs(ratio - 1) > THRESHOLD * error
