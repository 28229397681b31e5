"""Local maxima, signs, alignment, resetting and the tail of the SDE, each by an ensemble of the package's own."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sde_sgd as ss
from sde_sgd import theory

THRESHOLD = 5.0


def scaled_square(w, curvature):
    return 0.5 * curvature * w**2


def log_distance(problem, w):
    return jnp.log(jnp.abs(w))


def test_runs_enter_a_local_maximum_where_the_exponent_is_negative():
    """Curvatures 1 and -1.1: the origin is a maximum of the mean loss, and SGD converges to it at rates 0.5 and 1.3."""
    curvatures, steps = [1.0, -1.1], 120
    problem = ss.Problem(example_loss=scaled_square, data=jnp.asarray(curvatures), init=lambda key: jnp.asarray(1.0))
    ds = ss.sweep(problem, {"sgd": lambda lr, b: ss.SGD(lr, ss.WithReplacement(b))}, batch_sizes=(1,),
                  learning_rates=(0.05, 0.5, 1.3, 1.5), num_seeds=4096, num_steps=steps, record={"log": log_distance},
                  key=jax.random.key(0))
    logs = ds["log"].isel(step=-1).squeeze().transpose("learning_rate", "seed").values.astype(np.float64)
    for rate, row in zip(ds.learning_rate.values, logs, strict=True):
        exponent = theory.lyapunov_exponent(curvatures, float(rate))
        stderr = row.std() / steps / len(row) ** 0.5
        assert abs(row.mean() / steps - exponent) < THRESHOLD * stderr
        assert stderr < 0.01 * max(abs(exponent), 0.1)
        if abs(exponent) > 0.1:
            assert np.mean(np.sign(row) == np.sign(exponent)) > 0.9
    assert abs(logs[1].mean() / steps) > 100 * logs[1].std() / steps / 64  # teeth: resolved a hundredfold


@pytest.mark.parametrize("scale", [0.5, 4.0])
def test_the_variance_of_sign_sgd_is_linear_in_the_noise(scale):
    rate, steps = 0.02, 4000 if scale > 1 else 1000
    problem = ss.problems.quadratic(jnp.asarray([[1.0]]), jnp.asarray([[scale], [-scale]]))
    process = ss.from_optax(optax.sign_sgd, ss.Gaussian(1), learning_rate=rate)
    expected = float(theory.sign_sgd_stationary_variance(1.0, scale, rate))
    ds = ss.simulate(problem, process, num_seeds=2048, num_steps=steps, params=jnp.asarray([expected**0.5]),
                     record={"square": ss.Moments(lambda problem, w: w[0] ** 2, every=5, burn_in=steps // 5)},
                     key=jax.random.key(1))
    found, stderr = ds.square_mean.item(), ds.square_mean_stderr.item()
    assert stderr < 0.01 * expected
    # To leading order in the learning rate: relative corrections of the order of rate * curvature / noise.
    assert abs(found - expected) < THRESHOLD * stderr + 0.5 * rate / scale * expected
    assert abs(found - rate * scale**2 / 2) > 0.2 * expected  # teeth: the variance of SGD is quadratic in the noise


def test_alignment_tells_the_loss_after_a_step_of_sgd():
    rng = np.random.default_rng(6)
    features, targets = rng.normal(size=(12, 4)), rng.normal(size=12)
    known, w, rate, batch = theory.least_squares(features, targets), np.array([0.5, -1.0, 0.3, 0.2]), 0.2, 1
    problem = ss.problems.least_squares(features.astype(np.float32), targets.astype(np.float32))
    ds = ss.simulate(problem, ss.SGD(rate, ss.WithReplacement(batch)), num_seeds=65_536, num_steps=1,
                     params=jnp.asarray(w, jnp.float32), key=jax.random.key(2))
    loss = float(np.mean((features @ w - targets) ** 2) / 2)
    gradient = known.hessian @ w - known.offset
    plain = loss - rate * gradient @ gradient + rate**2 / 2 * gradient @ known.hessian @ gradient
    mu = theory.loss_alignment(known.hessian, known.noise_covariance(w), loss)
    expected = plain + rate**2 / batch * mu * loss * np.sum(known.hessian**2)
    found = ds.loss.isel(step=-1).values.astype(np.float64)
    stderr = found.std() / len(found) ** 0.5
    assert abs(found.mean() - expected) < THRESHOLD * stderr and stderr < 0.01 * expected
    assert abs(found.mean() - plain) > THRESHOLD * stderr  # teeth: without the noise


class Walker(NamedTuple):
    params: Any


class ResettingWalk(ss.processes.AbstractProcess):
    """Brownian motion with drift that is set back to the origin at a rate."""

    dt: float
    rate: float
    diffusion: float
    velocity: float

    @property
    def time_per_step(self):
        return self.dt

    def check(self, problem):
        pass

    def init(self, problem, params):
        return Walker(params)

    def step(self, problem, state, draws):
        kick = jax.random.normal(draws.jax_key(), (2,), jnp.float32)
        moved = state.params + self.velocity * self.dt + (2 * self.diffusion * self.dt) ** 0.5 * kick[0]
        reset = jax.scipy.stats.norm.cdf(kick[1]) < self.rate * self.dt
        return Walker(jnp.where(reset, 0.0, moved))


def beyond_one(w):
    return w > 1.0


@pytest.mark.parametrize(("velocity", "rate"), [(0.0, 2.54), (-1.0, 3.0)])
def test_resetting_shortens_the_first_passage(velocity, rate):
    dt, diffusion = 1e-3, 1.0
    plane = ss.problems.potential(lambda w: 0.0 * w, start=np.float32(0.0))
    exits = ss.first_passage(plane, ResettingWalk(dt, rate, diffusion, velocity), region=beyond_one, num_lanes=4096,
                             max_steps=1_000_000, key=jax.random.key(3))
    times = exits.durations.values.astype(np.float64)
    # Seen at the steps only, a boundary lies further off.
    seen = 1.0 + 0.5826 * (2 * diffusion * dt) ** 0.5
    expected = theory.resetting_first_passage_time(rate, distance=seen, diffusion=diffusion, velocity=velocity)
    stderr = times.std() / len(times) ** 0.5
    assert abs(times.mean() - expected) < 4 * stderr + 0.01 * expected
    other = theory.resetting_first_passage_time(3 * rate, distance=seen, diffusion=diffusion, velocity=velocity)
    assert abs(times.mean() - other) > 4 * stderr + 0.01 * expected  # teeth


def test_the_sde_has_students_tail_and_sgd_has_not():
    """Twelve examples with the moments of a normal feature up to the fourth: the SDE's law is Student's, exactly."""
    feature = np.sqrt(3) * np.array([1, -1, 0, 0, 0, 0] * 2, np.float32)[:, None]
    problem = ss.problems.least_squares(feature, np.repeat([1.0, -1.0], 6).astype(np.float32))
    rate = 0.8
    ds = ss.simulate(problem, ss.SME(rate, ss.Gaussian(1), order=1, substeps=24), num_seeds=20_000, num_steps=16,
                     params=jnp.zeros(1), record={"w": lambda problem, w: w[0]}, key=jax.random.key(4))
    tails = ss.analysis.tail_index(ds.w.isel(step=-1))
    law = theory.sde_student_law(rate, 1, label_noise=1.0)
    assert law.degrees_of_freedom == pytest.approx(2.25)
    assert tails.tail_index_lower < law.degrees_of_freedom < tails.tail_index_upper
    assert tails.tail_index_lower > theory.tail_exponent(rate, 1)  # 1.546 of SGD itself
