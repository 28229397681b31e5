"""Paths, slices and planes of the loss surface; the plane of a trajectory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sde_sgd as ss
from sde_sgd import curvature

pytestmark = pytest.mark.usefixtures("x64")
KEY = jax.random.key(0)


def sets():
    """Return a training and a test problem of three parameters, and two solutions."""
    rng = np.random.default_rng(0)
    train, test = (ss.problems.least_squares(rng.normal(size=(n, 3)), rng.normal(size=n)) for n in (8, 5))
    return {"train": train, "test": test}, jnp.array([1.0, 0, 2]), jnp.array([0.0, -1, 1])


def test_interpolation_is_the_loss_along_the_path():
    problems, first, second = sets()
    positions = [-0.5, 0, 0.25, 1]
    quantities = {"loss": ss.Problem.loss, "size": lambda problem, params: jnp.sum(params**2)}
    for path, weights in ((curvature.linear_path, lambda a: (1 - a, a)),
                          (curvature.curved_path, lambda a: (np.cos(a * np.pi / 2), np.sin(a * np.pi / 2)))):
        curves = curvature.interpolate(problems, first, second, positions, path=path, quantities=quantities)
        assert curves.loss.dims == ("data", "position") and list(curves.data.values) == ["train", "test"]
        for position in positions:
            one, two = weights(position)
            point = one * first + two * second
            for name, problem in problems.items():
                here = curves.sel(data=name, position=position)
                np.testing.assert_allclose(here.loss, problem.loss(point), rtol=1e-12)
                np.testing.assert_allclose(here["size"], point @ point, rtol=1e-12, atol=1e-20)


def test_slices_and_planes_have_their_axes_in_order():
    problems, params, second = sets()
    line = curvature.loss_slice(problems["train"], params, second, [-1.0, 0.0, 2.0])
    plane = curvature.loss_plane(problems, params, second, params, [-1.0, 0.0, 2.0], [0.0, 0.5])
    assert plane.loss.dims == ("data", "first", "second") and plane.loss.shape == (2, 3, 2)
    np.testing.assert_allclose(plane.loss.sel(data="train", second=0.0), line.loss.sel(data="train"), rtol=1e-12)
    np.testing.assert_allclose(plane.loss.sel(data="test", first=2.0, second=0.5),
                               problems["test"].loss(params + 2 * second + 0.5 * params), rtol=1e-12)


def test_filter_normalised_direction_has_the_norms_of_the_filters():
    rng = np.random.default_rng(0)
    params = {"kernel": jnp.asarray(rng.normal(size=(3, 3, 2, 4))).at[..., 2].set(0), "bias": jnp.ones(4)}
    direction = curvature.filter_normalised_direction(params, key=KEY)
    norms = [jnp.sqrt(jnp.sum(tree["kernel"] ** 2, axis=(0, 1, 2))) for tree in (params, direction)]
    np.testing.assert_allclose(*norms, rtol=1e-12)
    assert jnp.abs(direction["kernel"] - params["kernel"]).max() > 0.1 and not direction["bias"].any()


def test_principal_plane_of_a_trajectory_in_a_plane_is_that_plane():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(30, 2)))[0].T
    inside = rng.normal(size=(12, 2)) * [5, 1]
    points = 3 + inside @ basis
    plane = curvature.principal_plane({"a": jnp.asarray(points[:, :10]), "b": jnp.asarray(points[:, 10:])})
    rebuilt = [np.concatenate([tree["a"], tree["b"]]) for tree in (plane.origin, plane.first, plane.second)]
    np.testing.assert_allclose(plane.explained.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(rebuilt[0] + plane.coordinates @ np.stack(rebuilt[1:]), points, atol=1e-12)
    np.testing.assert_allclose(np.stack(rebuilt[1:]) @ np.stack(rebuilt[1:]).T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(plane.coordinates[-1], 0, atol=1e-12)


def test_the_plane_of_a_random_walk_explains_what_the_docstring_says():
    walk = np.cumsum(np.random.default_rng(0).normal(size=(100, 2_000)), axis=0)
    explained = curvature.principal_plane(jnp.asarray(walk)).explained
    np.testing.assert_allclose(explained, [8 / np.pi**2, 8 / 9 / np.pi**2], rtol=0.03)
