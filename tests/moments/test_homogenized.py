"""SGD in 300 dimensions has the risk curve of homogenised SGD, and the process has it in any dimension."""

import jax
import jax.numpy as jnp
import numpy as np

import sde_sgd as ss
from sde_sgd import theory


def data(num, dim, noise, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num, dim)) / dim**0.5
    return x, x @ rng.normal(size=dim) + noise * rng.normal(size=num)


def as_problem(x, y):
    return ss.problems.least_squares(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))


def test_the_risk_of_sgd_in_high_dimension():
    num, dim, rate = 600, 300, 0.8
    x, y = data(num, dim, 0.6, 0)
    ds = ss.simulate(as_problem(x, y), ss.SGD(rate, ss.WithReplacement(1)), num_seeds=24, num_steps=4 * num,
                     record_every=num, key=jax.random.key(0))
    found = ds.loss.mean("seed").values
    expected = theory.homogenized_risk(x, y, rate, 1, ds.step.values)
    np.testing.assert_allclose(found, expected, rtol=0.05)
    flow = theory.homogenized_risk(x, y, rate, 10**9, ds.step.values)
    assert np.all(found[1:] > 1.2 * flow[1:])  # teeth: gradient flow is far off


def test_the_process_has_the_expected_risk():
    x, y = data(12, 4, 0.5, 1)
    rate, batch_size = 0.5, 2
    process = ss.HomogenizedSGD(rate, batch_size, features=np.asarray(x, np.float32), substeps=64)
    ds = ss.simulate(as_problem(x, y), process, num_seeds=2048, num_steps=12, record_every=3, key=jax.random.key(1))
    expected = theory.homogenized_risk(x, y, rate, batch_size, ds.step.values)
    mean, stderr = ds.loss.mean("seed").values, ds.loss.std("seed").values / 4096**0.5
    # Euler-Maruyama of 64 substeps is off by less than half a per cent.
    assert np.all(np.abs(mean - expected)[1:] < 5 * stderr[1:] + 0.005 * expected[1:])
    assert ds.time.values[-1] == 2.0  # epochs
    wrong = theory.homogenized_risk(x, y, rate, 1, ds.step.values)
    assert np.any(np.abs(mean - wrong)[1:] > 5 * stderr[1:] + 0.005 * wrong[1:])
