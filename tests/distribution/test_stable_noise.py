"""Processes of stable noise against the characteristic functions of their laws, at fixed keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sde_sgd as ss

SIGMAS = 5.0
FREQUENCIES = np.array([0.3, 1.0, 2.5])


def bowl(w):
    return 0.5 * w**2


WELL = ss.problems.potential(bowl, start=0.0)


def score(samples, scale, alpha):
    """Return the largest |z| of E cos(k x) against that of a symmetric stable law, at frequencies about 1/scale."""
    cosines = np.cos(np.outer(FREQUENCIES / scale, samples.astype(np.float64)))
    stderr = cosines.std(axis=1) / len(samples) ** 0.5
    return np.max(np.abs(cosines.mean(axis=1) - np.exp(-(FREQUENCIES**alpha))) / stderr)


def last_position(process, num_steps):
    ds = ss.simulate(WELL, process, num_seeds=20_000, num_steps=num_steps, record={"w": lambda problem, w: w},
                     key=jax.random.key(3))
    return ds.w.isel(step=-1).values


@pytest.mark.parametrize("alpha", [1.0, 1.5, 2.0])
def test_levy_langevin_in_a_quadratic_well_has_its_stable_law(alpha):
    rate, substeps, scale = 1.0, 2, 0.3
    found = last_position(ss.LevyLangevin(rate, tail_index=alpha, scale=scale, substeps=substeps), 40)
    dt = rate / substeps
    stationary = scale * (dt / (1 - (1 - dt) ** alpha)) ** (1 / alpha)
    assert score(found, stationary, alpha) < SIGMAS
    # Teeth: the scale of continuous time and that of Brownian steps, where they differ, and another index.
    assert alpha == 1.0 or score(found, scale * alpha ** (-1 / alpha), alpha) > SIGMAS
    assert alpha == 2.0 or score(found, stationary * dt ** (0.5 - 1 / alpha), alpha) > SIGMAS
    assert score(found, stationary, alpha - 0.1) > SIGMAS


def test_levy_langevin_of_index_two_is_langevin_of_temperature_scale_squared():
    jumps = last_position(ss.LevyLangevin(0.4, tail_index=2.0, scale=0.3), 30)
    variance = 0.3**2 / (1 - 0.4 / 2)
    assert abs(jumps.var() / variance - 1) < SIGMAS * (2 / len(jumps)) ** 0.5


@pytest.mark.parametrize("alpha", [1.2, 2.0])
def test_stable_noise_keeps_the_scale_of_the_minibatch(alpha):
    problem = ss.problems.linear_regression(num_examples=12, dim=3, key=jax.random.key(2))
    params = jnp.asarray([0.5, -1.0, 2.0])
    ds = ss.simulate(problem, ss.SGD(1.0, ss.Stable(5, tail_index=alpha)), num_seeds=20_000, num_steps=1,
                     params=params, record={"w": lambda problem, w: w}, key=jax.random.key(4))
    kicks = ds.w.isel(step=-1).values - np.asarray(params - problem.gradient(params))
    scale = float(ss.curvature.noise_trace(problem, params) / 5 / (2 * 3)) ** 0.5
    for component in kicks.T:
        assert score(component, scale, alpha) < SIGMAS
    assert score(kicks[:, 0] + kicks[:, 1], 2 ** (1 / alpha) * scale, alpha) < SIGMAS  # independent coordinates
    assert score(kicks[:, 0], 1.1 * scale, alpha) > SIGMAS  # teeth
