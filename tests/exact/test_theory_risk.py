"""Homogenised risk: the Volterra equation by direct integration, its limit and its threshold."""

import numpy as np
import pytest
from scipy.integrate import trapezoid

from sde_sgd import theory


def data(num=20, dim=6, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num, dim)) / dim**0.5
    return x, x @ rng.normal(size=dim) + noise * rng.normal(size=num), rng.normal(size=dim)


@pytest.mark.parametrize(("num", "dim", "batch_size"), [(20, 6, 1), (20, 6, 3), (5, 8, 2)])
def test_the_volterra_equation_holds(num, dim, batch_size):
    x, y, start = data(num, dim)
    eta = 0.6 * theory.max_homogenized_learning_rate(x, batch_size)
    steps = np.linspace(0, 30, 6001)
    risk = theory.homogenized_risk(x, y, eta, batch_size, steps, start=start)
    values, vectors = np.linalg.eigh(x.T @ x / num)
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    squares = (vectors.T @ (start - best)) ** 2
    lowest = np.mean((x @ best - y) ** 2) / 2
    for index in (0, 200, 3000, 6000):
        past = steps[: index + 1]
        flow = lowest + np.sum(values * squares * np.exp(-2 * eta * values * steps[index])) / 2
        kernel = eta**2 / batch_size * np.exp(-2 * eta * np.outer(steps[index] - past, values)) @ values**2
        assert risk[index] == pytest.approx(flow + trapezoid(kernel * risk[: index + 1], past), rel=1e-5)
    assert risk[0] == pytest.approx(np.mean((x @ start - y) ** 2) / 2)


def test_the_limit_and_the_threshold():
    x, y, _ = data()
    threshold = theory.max_homogenized_learning_rate(x, 2)
    assert threshold == pytest.approx(4 / np.trace(x.T @ x / len(x)))
    limit = theory.homogenized_risk_limit(x, y, 0.7 * threshold, 2)
    assert theory.homogenized_risk(x, y, 0.7 * threshold, 2, [1e5])[0] == pytest.approx(limit)
    assert theory.homogenized_risk_limit(x, y, threshold, 2) == np.inf
    below, above = (theory.homogenized_risk(x, y, share * threshold, 2, [300, 3000]) for share in (0.99, 1.01))
    assert above[1] > 2 * above[0] and np.isfinite(below).all()
    with pytest.raises(OverflowError, match="Lower it"):
        theory.homogenized_risk(x, y, 1.5 * threshold, 2, [1e6])
    assert theory.max_mean_square_learning_rate(theory.least_squares(x, y), 2) < threshold


def test_interpolation_has_no_floor():
    x, y, _ = data(5, 8)
    assert theory.homogenized_risk(x, y, 0.5, 1, [20_000])[0] < 1e-6
    assert theory.homogenized_risk_limit(x, y, 0.5, 1) < 1e-25


def test_bad_input_is_refused():
    x, y, _ = data()
    with pytest.raises(ValueError, match="steps must not be negative"):
        theory.homogenized_risk(x, y, 0.1, 1, [-1.0])
    with pytest.raises(ValueError, match="targets must have shape"):
        theory.homogenized_risk(x, y[1:], 0.1, 1, [1.0])
    with pytest.raises(ValueError, match="features must not all be zero"):
        theory.max_homogenized_learning_rate(0 * x, 1)
