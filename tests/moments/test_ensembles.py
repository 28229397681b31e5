"""Ensembles of every process against the exact moment recursions, as z-scores; wrong processes must fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sde_sgd as ss
from sde_sgd import theory

NUM_SEEDS, NUM_STEPS, RATE, BATCH, BETA = 16384, 12, 0.2, 2, 0.6
START = np.asarray([1.5, -1.0])
THRESHOLD = 5.0


def data():
    rng = np.random.default_rng(5)
    features = rng.normal(size=(7, 2)) @ np.asarray([[1.0, 0.4], [0.0, 0.6]])
    return features, features @ [0.5, -0.3] + 0.5 * rng.normal(size=7)


def largest_z(process, exact, seed=0):
    """Return the largest |z| over the entries of mean and covariance (about the exact mean) at the last step."""
    problem = ss.problems.least_squares(*(jnp.asarray(array, jnp.float32) for array in data()))
    ds = ss.simulate(
        problem,
        process,
        num_seeds=NUM_SEEDS,
        num_steps=NUM_STEPS,
        params=jnp.asarray(START, jnp.float32),
        record={"params": lambda problem, params: params},
        key=jax.random.key(seed),
    )
    params = ds.params.isel(step=-1).values.astype(np.float64)
    centred = params - exact.mean
    products = np.einsum("ni,nj->nij", centred, centred)
    scores = []
    for samples, truth in ((params, exact.mean), (products, exact.covariance)):
        stderr = samples.std(axis=0, ddof=1) / np.sqrt(NUM_SEEDS)
        # Rounding of float32 is no sampling error; without noise it is all there is.
        scores.append(np.max(np.abs(samples.mean(axis=0) - truth) / np.hypot(stderr, 2e-6)))
    return max(scores)


def exact_of(name):
    problem = theory.least_squares(*data())
    common = {"start": START}
    return {
        "flow": lambda: theory.gradient_flow_moments(problem, RATE, NUM_STEPS, **common),
        "sgd": lambda: theory.sgd_moments(problem, RATE, BATCH, NUM_STEPS, **common),
        "without": lambda: theory.sgd_moments(problem, RATE, BATCH, NUM_STEPS, replacement=False, **common),
        "momentum": lambda: theory.sgd_moments(problem, RATE, BATCH, NUM_STEPS, momentum=BETA, **common),
        "sme1": lambda: theory.sme_moments(problem, RATE, BATCH, NUM_STEPS, order=1, substeps=10, **common),
        "sme2": lambda: theory.sme_moments(problem, RATE, BATCH, NUM_STEPS, order=2, substeps=10, **common),
        "momentum sme1": lambda: theory.momentum_sme_moments(
            problem, RATE, BATCH, NUM_STEPS, momentum=BETA, order=1, substeps=10, **common
        ),
        "momentum sme2": lambda: theory.momentum_sme_moments(
            problem, RATE, BATCH, NUM_STEPS, momentum=BETA, order=2, substeps=10, **common
        ),
        "svag": lambda: theory.svag_moments(problem, RATE, BATCH, NUM_STEPS, level=3, **common),
    }[name]()


RIGHT = {
    "gradient flow": (lambda: ss.GradientFlow(RATE, substeps=2), "flow"),
    "SGD": (lambda: ss.SGD(RATE, ss.WithReplacement(BATCH)), "sgd"),
    "SGD without replacement": (lambda: ss.SGD(RATE, ss.WithoutReplacement(BATCH)), "without"),
    "SGD with momentum": (lambda: ss.SGD(RATE, ss.WithReplacement(BATCH), momentum=BETA), "momentum"),
    "Gaussian GD": (lambda: ss.SGD(RATE, ss.Gaussian(BATCH)), "sgd"),
    "Gaussian GD without": (lambda: ss.SGD(RATE, ss.Gaussian(BATCH, replacement=False)), "without"),
    "SME-1": (lambda: ss.SME(RATE, ss.Gaussian(BATCH), order=1, substeps=10), "sme1"),
    "SME-2": (lambda: ss.SME(RATE, ss.Gaussian(BATCH), order=2, substeps=10), "sme2"),
    "momentum SME-1": (
        lambda: ss.MomentumSME(RATE, ss.Gaussian(BATCH), momentum=BETA, order=1, substeps=10),
        "momentum sme1",
    ),
    "momentum SME-2": (
        lambda: ss.MomentumSME(RATE, ss.Gaussian(BATCH), momentum=BETA, order=2, substeps=10),
        "momentum sme2",
    ),
    "SVAG": (lambda: ss.SVAG(RATE, ss.WithReplacement(BATCH), substeps=3), "svag"),
}


@pytest.mark.parametrize("case", RIGHT)
def test_ensemble_agrees_with_the_exact_recursion(case):
    process, name = RIGHT[case]
    assert largest_z(process(), exact_of(name)) < THRESHOLD


WRONG = {
    "batch size one too small": (lambda: ss.SGD(RATE, ss.WithReplacement(BATCH - 1)), "sgd"),
    "replacement confused": (lambda: ss.SGD(RATE, ss.WithoutReplacement(BATCH)), "sgd"),
    "order 1 for order 2": (lambda: ss.SME(RATE, ss.Gaussian(BATCH), order=1, substeps=10), "sme2"),
    "momentum order 1 for order 2": (
        lambda: ss.MomentumSME(RATE, ss.Gaussian(BATCH), momentum=BETA, order=1, substeps=10),
        "momentum sme2",
    ),
    "discrete for continuous": (lambda: ss.SGD(RATE, ss.Gaussian(BATCH)), "sme1"),
    "one level of SVAG too few": (lambda: ss.SVAG(RATE, ss.WithReplacement(BATCH), substeps=1), "svag"),
    "forgotten noise": (lambda: ss.GradientFlow(RATE, substeps=2), "sme1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_process_is_rejected(case):
    process, name = WRONG[case]
    assert largest_z(process(), exact_of(name)) > THRESHOLD


def test_ornstein_uhlenbeck_has_its_exact_law():
    """From a point, mean exp(-H t) x and the covariance of the transition; at long times the Lyapunov solution."""
    hessian = np.asarray([[1.0, 0.3], [0.3, 0.5]])
    covariance = np.asarray([[0.8, -0.2], [-0.2, 0.4]])
    problem = ss.problems.potential(lambda w: 0.5 * w @ jnp.asarray(hessian, jnp.float32) @ w, start=jnp.zeros(2))
    process = ss.OrnsteinUhlenbeck(0.5, hessian=hessian, noise_covariance=covariance, minimum=jnp.zeros(2))
    ds = ss.simulate(problem, process, num_seeds=NUM_SEEDS, num_steps=60, key=jax.random.key(2),
                     record={"params": lambda problem, params: params})
    params = ds.params.isel(step=-1).values.astype(np.float64)
    products = np.einsum("ni,nj->nij", params, params)
    stderr = products.std(axis=0, ddof=1) / np.sqrt(NUM_SEEDS)
    stationary = theory.ou_stationary_covariance(hessian, covariance, 0.5)
    assert np.max(np.abs(products.mean(axis=0) - stationary) / stderr) < THRESHOLD
    exact_sgd = theory.sgd_stationary_covariance(hessian, covariance, 0.5)
    assert np.max(np.abs(products.mean(axis=0) - exact_sgd) / stderr) > THRESHOLD


@pytest.mark.parametrize("friction", [0.5, 4.0])
def test_kinetic_langevin_has_the_configurational_temperature_of_its_well(friction):
    """BAOAB on a harmonic well: position variance T/l at any stable step; Euler-Maruyama's is T/(l (1 - l dt/2))."""
    problem = ss.problems.potential(_harmonic, start=0.0)
    moments = ss.Moments(lambda problem, w: w**2, every=5, burn_in=200)
    process = ss.KineticLangevin(0.5, friction=friction, temperature=0.7)
    ds = ss.simulate(problem, process, num_seeds=2048, num_steps=1200, record={"square": moments},
                     key=jax.random.key(4))
    assert abs(float(ds.square_mean) - 0.35) < THRESHOLD * float(ds.square_mean_stderr)
    overdamped = ss.simulate(problem, ss.Langevin(0.5, temperature=0.7), num_seeds=2048, num_steps=1200,
                             record={"square": moments}, key=jax.random.key(4))
    z = (float(overdamped.square_mean) - 0.35 / (1 - 2 * 0.5 / 2)) / float(overdamped.square_mean_stderr)
    assert abs(z) < THRESHOLD


def _harmonic(w):
    return w**2


def test_heavy_ball_map_of_kinetic_langevin():
    process = ss.KineticLangevin.of_heavy_ball(0.04, momentum=0.9, gradient_variance=2.0)
    assert float(process.time_per_step) == pytest.approx(0.2)
    assert float(process.friction) == pytest.approx(0.5)
    assert float(process.temperature) == pytest.approx(0.04 * 2.0 / 0.2)
