"""Every rung of the stationary ladder, and the velocity of heavy ball, measured by ensembles at one quadratic minimum.

Hessian and noise do not commute and the noise does not depend on the params, so that the closed forms are exact; of a
scheme of substeps the exact recursion is the judge.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sde_sgd as ss
from sde_sgd import theory

HESSIAN = np.array([[1.0, 0.4], [0.4, 0.5]])
THRESHOLD, RATE, BATCH, SUBSTEPS = 5.0, 0.4, 2, 10


@functools.cache
def minimum():
    """Return the problem, its noise per step and its moments."""
    offsets = np.random.default_rng(1).normal(size=(12, 2)) @ np.array([[1.0, 0.0], [-0.6, 0.3]])
    offsets -= offsets.mean(axis=0)
    problem = ss.problems.quadratic(HESSIAN.astype(np.float32), offsets.astype(np.float32))
    return problem, offsets.T @ offsets / 12 / BATCH, theory.affine_gradients(np.broadcast_to(HESSIAN, (12, 2, 2)),
                                                                                 offsets)


def scheme(order):
    """Return the exact stationary covariance of Euler-Maruyama."""
    return theory.sme_moments(minimum()[2], RATE, BATCH, 400, order=order, substeps=SUBSTEPS, start=np.zeros(2)).covariance


def ornstein_uhlenbeck(rate, hessian, diffusion):
    return ss.OrnsteinUhlenbeck(rate, hessian=hessian, noise_covariance=diffusion / rate, minimum=jnp.zeros(2))


def matched():
    drift, diffusion = theory.matched_ou(HESSIAN, minimum()[1] + 0.3 * np.eye(2), RATE)
    return ornstein_uhlenbeck(RATE, drift, diffusion)


def corrected():
    noise, product = minimum()[1], HESSIAN @ minimum()[1]
    bent = HESSIAN + RATE / 2 * HESSIAN @ HESSIAN
    return ornstein_uhlenbeck(RATE, bent, RATE * (noise + RATE / 2 * (product + product.T)))


def rung(name):
    """Return a process and its stationary covariance."""
    noise = minimum()[1]
    return {
        "SGD": lambda: (ss.SGD(RATE, ss.WithReplacement(BATCH)), theory.sgd_stationary_covariance(HESSIAN, noise, RATE)),
        "Gaussian GD": lambda: (ss.SGD(RATE, ss.Gaussian(BATCH)),
                                theory.sgd_stationary_covariance(HESSIAN, noise, RATE)),
        "first-order SDE": lambda: (ss.SME(RATE, ss.Gaussian(BATCH), order=1, substeps=SUBSTEPS), scheme(1)),
        "SME-2": lambda: (ss.SME(RATE, ss.Gaussian(BATCH), order=2, substeps=SUBSTEPS), scheme(2)),
        "Ornstein-Uhlenbeck": lambda: (ornstein_uhlenbeck(RATE, HESSIAN, RATE * noise),
                                       theory.ou_stationary_covariance(HESSIAN, noise, RATE)),
        "corrected SME-2": lambda: (corrected(), theory.sme2_corrected_stationary_covariance(HESSIAN, noise, RATE)),
        "matched": lambda: (matched(),
                            theory.sgd_stationary_covariance(HESSIAN, noise + 0.3 * np.eye(2), RATE)),
    }[name]()


def params(problem, w):
    return w


@functools.cache
def measured(name):
    process, _ = rung(name)
    return ss.simulate(minimum()[0], process, num_seeds=2048, num_steps=160, params=jnp.zeros(2),
                       record={"w": ss.Covariance(params, every=4, burn_in=40)}, key=jax.random.key(3))


NAMES = ("SGD", "Gaussian GD", "first-order SDE", "SME-2", "Ornstein-Uhlenbeck", "corrected SME-2",
         "matched")


@pytest.mark.parametrize("name", NAMES)
def test_a_rung_of_the_ladder(name):
    found, exact = measured(name), rung(name)[1]
    stderr = found.w_covariance_stderr.values
    assert np.max(np.abs(found.w_covariance.values - exact) / stderr) < THRESHOLD
    assert np.max(np.diag(stderr) / np.diag(exact)) < 0.01


def test_teeth_the_rungs_are_told_apart():
    noise = minimum()[1]
    rungs = [theory.sgd_stationary_covariance(HESSIAN, noise, RATE), scheme(1), scheme(2),
             theory.sme2_corrected_stationary_covariance(HESSIAN, noise, RATE)]
    for name, right in (("SGD", 0), ("first-order SDE", 1), ("SME-2", 2), ("corrected SME-2", 3)):
        found = measured(name)
        for place, other in enumerate(rungs):
            score = np.max(np.abs(found.w_covariance.values - other) / found.w_covariance_stderr.values)
            assert (score < THRESHOLD) == (place == right), (name, place, score)


def both(problem, w, *, state):
    return {"w": w, "velocity": state.trace}


def test_positions_and_velocities_of_heavy_ball():
    problem, noise, _ = minimum()
    momentum = 0.7
    found = ss.simulate(problem, ss.SGD(RATE, ss.WithReplacement(BATCH), momentum=momentum), num_seeds=2048,
                        num_steps=320, params=jnp.zeros(2), key=jax.random.key(4),
                        record={"at": ss.Covariance(both, every=4, burn_in=80)})
    for name, exact, unit in (("w", theory.sgd_stationary_covariance(HESSIAN, noise, RATE, momentum), 1.0),
                              ("velocity", theory.heavy_ball_velocity_covariance(HESSIAN, noise, RATE, momentum), RATE)):
        covariance, stderr = (unit**2 * found[f"at.{name}_covariance{part}"].values for part in ("", "_stderr"))
        assert np.max(np.abs(covariance - exact) / stderr) < THRESHOLD
        assert np.max(np.diag(stderr) / np.diag(exact)) < 0.01
        overdamped = theory.ou_stationary_covariance(HESSIAN, noise, RATE, momentum)
        assert np.max(np.abs(covariance - overdamped) / stderr) > THRESHOLD  # teeth
