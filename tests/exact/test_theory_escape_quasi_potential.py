"""The quasi-potential by minimum action: gradient systems, linear drifts with closed forms, and a curved valley."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from sde_sgd import theory


def valley(w):
    """A double well along a parabola, with its saddle at (0, 0.8), one above the minima."""
    return (w[0] ** 2 - 1) ** 2 + 3 * (w[1] - 0.8 * (1 - w[0] ** 2)) ** 2


def downhill(w):
    return -jax.grad(valley)(w)


@pytest.mark.parametrize(("second", "action"), [(1.0, 1.0004), (5.0, 0.452), (0.2, 1.476)])
def test_the_exponent_depends_on_the_shape_of_the_noise(second, action):
    found = theory.quasi_potential(downhill, np.diag([1.0, second]), [-1, 0], [0, 0.8], num_points=40)
    assert found.action == pytest.approx(action, rel=0.005)
    if second != 1:  # no average temperature explains it
        assert abs(found.action * (1 + second) / 2 - 1) > 0.1
    else:  # up the valley floor
        assert np.all(np.diff([valley(w) for w in found.path]) > 0)
    arcs = np.linalg.norm(np.diff(found.path, axis=0), axis=1)
    np.testing.assert_allclose(arcs, np.mean(arcs), rtol=1e-2)
    np.testing.assert_array_equal(found.path[[0, -1]], [[-1, 0], [0, 0.8]])
    assert found.actions.shape == (3,) and np.min(found.actions) >= found.action


def test_a_linear_drift_that_is_no_gradient():
    # The rotation costs nothing, noise and curvature do not commute, and the path spirals.
    matrix = np.array([[3.0, 0.5], [0.5, 1.0]]) + 0.8 * np.array([[0.0, 1.0], [-1.0, 0.0]])
    noise, end = np.array([[1.0, -0.4], [-0.4, 2.0]]), np.array([0.7, 0.6])
    stationary = linalg.solve_continuous_lyapunov(matrix, 2 * noise)
    found = theory.quasi_potential(lambda w: -jnp.asarray(matrix) @ w, noise, [0, 0], end, num_points=40)
    assert found.action == pytest.approx(end @ np.linalg.solve(stationary, end) / 2, rel=3e-3)
    without_rotation = linalg.solve_continuous_lyapunov((matrix + matrix.T) / 2, 2 * noise)
    assert abs(found.action / (end @ np.linalg.solve(without_rotation, end) / 2) - 1) > 0.03


def test_noise_that_depends_on_the_position():
    def noise(w):
        return jnp.exp(w[0]) * jnp.eye(1)

    found = theory.quasi_potential(lambda w: -w, noise, [0.0], [1.0], num_points=60)
    assert found.action == pytest.approx(1 - 2 / np.e, rel=1e-3)  # the integral of x exp(-x)


def test_bad_input():
    with pytest.raises(ValueError, match="two points of one space"):
        theory.quasi_potential(downhill, np.eye(2), [0, 0], [0, 0])
    with pytest.raises(ValueError, match="diffusion must be positive definite"):
        theory.quasi_potential(downhill, np.diag([1.0, 0.0]), [-1, 0], [0, 0.8])
    with pytest.raises(ValueError, match="num_points must be at least"):
        theory.quasi_potential(downhill, np.eye(2), [-1, 0], [0, 0.8], num_points=2)
