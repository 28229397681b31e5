"""Escape times against exact references: laws of Brownian paths, quadratures, the chain of SGD; wrong ways must fail."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sde_sgd as ss
from sde_sgd import theory
from sde_sgd.run import queue

THRESHOLD = 5.0


def z_of_mean(durations, exact):
    """Return the z-score of a mean of durations, all of them observed."""
    assert durations.event_observed.all()
    values = durations.durations.values
    return (values.mean() - exact) / (values.std(ddof=1) / math.sqrt(len(values)))


# --- drift and noise constant: the bridge is exact, at any step ------------------------------------------------------

RATE, SUBSTEPS, NUM_LANES = 4.0, 10, 40_000
DATA = np.random.default_rng(3).normal(size=(64, 2)).astype(np.float32) @ np.asarray([[1.0, 0.4], [0.0, 0.6]], np.float32)
DATA += np.asarray([0.5, 0.3], np.float32) - DATA.mean(axis=0)
NORMAL, DISTANCE = np.asarray([1.2, -0.5]), 1.5
BATCH = 4


def level(params):
    """Linear, of a gradient that has not unit length; the path starts at -DISTANCE."""
    return 1.2 * params["a"] - 0.5 * params["b"] - DISTANCE


def plane():
    """Losses linear in the params: single-example gradients do not depend on where they are taken."""
    return ss.Problem(example_loss=lambda params, x: -params["a"] * x[0] - params["b"] * x[1], data=jnp.asarray(DATA),
                      init=lambda key: {"a": jnp.zeros(()), "b": jnp.zeros(())})


class DoubledVariance(ss.SME):
    """Takes the noise for twice as strong as it is when it looks for crossings."""

    def variance(self, problem, state, direction):
        return 2 * super().variance(problem, state, direction)


class HalvedVariance(ss.SME):
    """Takes the noise for half as strong."""

    def variance(self, problem, state, direction):
        return super().variance(problem, state, direction) / 2


def passed_by(times, drift, variance):
    """Return the probability that a Brownian path of this drift and variance a unit of time has gone DISTANCE by then.

    The inverse Gaussian law.
    """
    def cdf(x):
        return 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))

    spread = np.sqrt(variance * times)
    back = np.exp(2 * drift * DISTANCE / variance) * cdf((-DISTANCE - drift * times) / spread)
    return cdf((drift * times - DISTANCE) / spread) + back


def largest_z(process, drift, variance, observe="continuous", problem=None):
    """Return the largest |z| of the share of runs that have crossed by the first twenty substeps."""
    num_steps = 6
    ds = ss.first_passage(plane() if problem is None else problem, process, region=level, observe=observe,
                          num_lanes=NUM_LANES, max_steps=num_steps, key=jax.random.key(0))
    dt = RATE / process.substeps
    times = dt * np.arange(1, process.substeps * num_steps + 1)
    if observe == "iterates":
        times = times[process.substeps - 1 :: process.substeps]
    crossed = ds.durations.values[ds.event_observed.values]
    share = np.searchsorted(np.sort(crossed), times + dt / 4) / NUM_LANES
    exact = passed_by(times, drift, variance)
    assert exact[0] < 0.9 * exact[-1] and exact[-1] > 0.7
    return np.max(np.abs(share - exact) / np.sqrt(exact * (1 - exact) / NUM_LANES))


def sme_law():
    return NORMAL @ DATA.mean(axis=0), RATE / BATCH * np.var(DATA.astype(np.float64) @ NORMAL)


def test_crossings_of_the_modified_equation_have_the_exact_law():
    process = ss.SME(RATE, ss.Gaussian(BATCH), order=1, substeps=SUBSTEPS)
    assert largest_z(process, *sme_law()) < THRESHOLD


@pytest.mark.parametrize("wrong", [DoubledVariance, HalvedVariance])
def test_crossings_found_with_a_wrong_variance_are_rejected(wrong):
    assert largest_z(wrong(RATE, ss.Gaussian(BATCH), order=1, substeps=SUBSTEPS), *sme_law()) > 2 * THRESHOLD


def test_a_path_seen_at_its_iterates_crosses_late():
    process = ss.SME(RATE, ss.Gaussian(BATCH), order=1, substeps=SUBSTEPS)
    assert largest_z(process, *sme_law(), observe="iterates") > 2 * THRESHOLD


def test_crossings_of_isotropic_noise_have_the_exact_law():
    """Total variance shared by both directions."""
    process = ss.SME(RATE, ss.Isotropic(BATCH), order=1, substeps=SUBSTEPS)
    variance = RATE / BATCH * np.sum(np.var(DATA.astype(np.float64), axis=0)) / 2 * (NORMAL @ NORMAL)
    assert largest_z(process, NORMAL @ DATA.mean(axis=0), variance) < THRESHOLD


def test_crossings_of_langevin_dynamics_have_the_exact_law():
    process = ss.Langevin(RATE, temperature=0.2, substeps=SUBSTEPS)
    assert largest_z(process, NORMAL @ DATA.mean(axis=0), 2 * 0.2 * (NORMAL @ NORMAL)) < THRESHOLD


# --- the double well (x^2 - 1)^2 at a temperature of a quarter of the barrier ----------------------------------------

TO_SADDLE, TO_OTHER = 33.94574, 68.63034  # of the diffusion: to 0 and to 0.8


def double_well(w):
    return (w**2 - 1) ** 2


@functools.cache
def escapes(step, target, observe="iterates", substeps=1, num_lanes=10_000):
    well = ss.problems.potential(double_well, start=-1.0)
    process = ss.Langevin(step * substeps, temperature=0.25, substeps=substeps)
    return ss.first_passage(well, process, region={0.0: saddle, 0.8: beyond}[target], observe=observe,
                            num_lanes=num_lanes, max_steps=10**7, key=jax.random.key(2))


def chain(step, temperature):
    """Return gradient descent with Gaussian noise, the same chain as Euler-Maruyama."""
    return theory.SGDChain(double_well, step, theory.gaussian_noise(math.sqrt(2 * temperature / step)))


def saddle(w):
    return w


def beyond(w):
    return w - 0.8


def test_brute_force_is_the_chain():
    ds = escapes(0.01, 0.8)
    assert chain(0.01, 0.25).mean_first_passage_time(start=-1.0, target=0.8) == pytest.approx(68.0252, rel=1e-5)
    assert abs(z_of_mean(ds, 68.0252)) < THRESHOLD


def test_a_diffusion_seen_continuously_is_the_quadrature():
    ds = escapes(0.005, 0.0, observe="continuous", substeps=4)
    assert theory.mean_first_passage_time(double_well, 0.25, -1.0, 0.0) == pytest.approx(TO_SADDLE, rel=1e-6)
    assert abs(z_of_mean(ds, TO_SADDLE)) < THRESHOLD


def test_a_discrete_process_is_seen_at_its_iterates():
    """Its escape at the saddle takes 11 % longer than the diffusion's, and no bridge may take that away."""
    exact = chain(0.01, 0.25).mean_first_passage_time(start=-1.0, target=0.0)
    assert exact == pytest.approx(37.721, rel=1e-4)
    ds = escapes(0.01, 0.0)
    assert abs(z_of_mean(ds, exact)) < THRESHOLD
    assert z_of_mean(ds, TO_SADDLE) > THRESHOLD
    bridged = escapes(0.01, 0.0, observe="continuous")
    assert z_of_mean(bridged, exact) < -THRESHOLD


# --- noise that depends on the params --------------------------------------------------------------------------------


def residuals():
    """A regression of one parameter: far from the minimum the noise is stronger."""
    rng = np.random.default_rng(8)
    features = rng.uniform(0.5, 1.5, 64)
    return features, features * 0.3 + 0.5 * rng.normal(size=64)


def test_the_modified_equation_leaves_a_well_at_the_exact_time():
    """Finite data: D(w) = eta phi Sigma(w) / 2 in the quadrature, the same minibatch noise in the run."""
    rate, batch, target = 0.25, 1, 0.6
    features, targets = residuals()
    problem = ss.problems.least_squares(*(jnp.asarray(x, jnp.float32) for x in (features[:, None], targets)))
    a, b = np.mean(features**2), np.mean(features * targets)

    def diffusion(w):
        mean_square = jnp.mean((features * (features * jnp.asarray(w)[..., None] - targets)) ** 2, axis=-1)
        return rate / batch / 2 * (mean_square - (a * w - b) ** 2)

    exact = theory.mean_first_passage_time(lambda w: 0.5 * a * w**2 - b * w, diffusion, b / a, target)
    process = ss.SME(rate, ss.Gaussian(batch), order=1, substeps=16)

    def run(process, observe):
        return ss.first_passage(problem, process, region=lambda w: w[0] - target, observe=observe, num_lanes=4000,
                                max_steps=10**6, params=jnp.asarray([b / a], jnp.float32), key=jax.random.key(6))

    assert abs(z_of_mean(run(process, "continuous"), exact)) < THRESHOLD
    assert z_of_mean(run(process, "iterates"), exact) > THRESHOLD


# --- refilled lanes --------------------------------------------------------------------------------------------------


def test_refilled_lanes_are_not_biased_by_length(monkeypatch):
    """One tile of 256 lanes for 20,000 runs. The mean of what a deadline leaves complete would be far too short."""
    monkeypatch.setattr(queue, "_MOST_LANES", 1)
    well = ss.problems.potential(double_well, start=-1.0)
    ds = ss.first_passage(well, ss.Langevin(0.02, temperature=0.5), region=beyond, num_lanes=20_000, max_steps=10**6,
                          key=jax.random.key(4))
    exact = chain(0.02, 0.5).mean_first_passage_time(start=-1.0, target=0.8)
    assert abs(z_of_mean(ds, exact)) < THRESHOLD
    # The same runs, taken one after the other by lanes that stop at a deadline of four means.
    ended = np.cumsum(ds.durations.values.reshape(400, 50), axis=1)
    complete = ds.durations.values.reshape(400, 50)[ended < 4 * exact]
    assert len(complete) > 1000
    assert (complete.mean() - exact) / (complete.std(ddof=1) / math.sqrt(len(complete))) < -THRESHOLD


def test_censored_runs_carry_their_time_at_risk():
    """Time at risk over events is the mean of an exponential time; the mean of those that escaped is not."""
    well = ss.problems.potential(double_well, start=-1.0)
    late = escapes(0.01, 0.8)
    horizon = 3000
    ds = ss.first_passage(well, ss.Langevin(0.01, temperature=0.25), region=beyond, num_lanes=10_000,
                          max_steps=horizon, key=jax.random.key(2))
    np.testing.assert_array_equal(ds.durations, np.minimum(late.durations, 0.01 * horizon))
    escaped = ds.event_observed.values
    assert 0.2 < escaped.mean() < 0.5
    # After a relaxation time of 1 the hazard is constant.
    risk, events = np.sum(np.maximum(ds.durations.values - 1.0, 0.0)), np.sum(escaped & (ds.durations.values > 1.0))
    rest = chain(0.01, 0.25).mean_first_passage_time(start=-1.0, target=0.8)
    assert abs(math.log(risk / events / rest)) * math.sqrt(events) < THRESHOLD
    assert ds.durations.values[escaped].mean() < 0.5 * rest
