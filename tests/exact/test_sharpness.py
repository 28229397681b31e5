"""Sharpness against known answers, brute force, and the reparametrisation of Dinh et al. (2017)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sde_sgd as ss
from sde_sgd import curvature
from sde_sgd.curvature.keskar import _box

pytestmark = pytest.mark.usefixtures("x64")
KEY = jax.random.key(0)


def quadratic(matrix, slope=0.0):
    matrix = jnp.asarray(matrix, jnp.float64)
    start = jnp.zeros(len(matrix))
    return ss.problems.potential(lambda w: 0.5 * w @ matrix @ w + jnp.sum(slope * w), start=start)


def corners(half_widths):
    return half_widths * (2 * (np.arange(2 ** len(half_widths))[:, None] >> np.arange(len(half_widths)) & 1) - 1)


def test_keskar_sharpness_of_quadratics_with_the_known_answer():
    """On a convex quadratic the maximum is at a corner: of a diagonal one at any, in general found by trying all."""
    params, epsilon = jnp.linspace(-2, 3, 8), 0.05
    half_widths = epsilon * (np.abs(params) + 1)
    curvatures = np.arange(1.0, 9)
    at_minimum = quadratic(np.diag(curvatures))
    found = curvature.keskar_sharpness(at_minimum, jnp.zeros(8), epsilon)
    assert found.value == pytest.approx(100 * 0.5 * curvatures.sum() * epsilon**2, rel=1e-12) and found.converged
    rng = np.random.default_rng(0)
    for rank in (1, 2, 8):
        root = rng.normal(size=(8, rank))
        bowl = quadratic(root @ root.T, slope=0.1)
        loss = float(bowl.loss(params))
        highest = max(float(bowl.loss(params + step)) for step in corners(half_widths)) - loss
        assert curvature.keskar_sharpness(bowl, params, epsilon).value == pytest.approx(
            100 * highest / (1 + loss), rel=1e-10)


def wavy(seed):
    """Return a smooth surface with several maxima in the box, some inside, none of them at the params."""
    rng = np.random.default_rng(seed)
    waves, phases = jnp.asarray(rng.normal(size=(4, 2))), jnp.asarray(rng.uniform(0, 6, size=4))
    return ss.problems.potential(lambda w: 1 + jnp.sum(jnp.sin(waves @ w + phases)) / 4, start=jnp.zeros(2))


@pytest.mark.parametrize(("seed", "epsilon", "inside"), [(0, 0.5, 0), (2, 0.5, 1), (8, 0.5, 2), (8, 1.0, 2)])
def test_keskar_sharpness_against_brute_force_in_two_dimensions(seed, epsilon, inside):
    problem, params = wavy(seed), jnp.array([0.3, -0.8])
    half_widths = epsilon * (np.abs(params) + 1)
    axes = np.linspace(-1, 1, 401)
    grid = np.stack(np.meshgrid(axes, axes), axis=-1).reshape(-1, 2) * half_widths
    loss, rises = float(problem.loss(params)), jax.vmap(problem.loss)(params + jnp.asarray(grid))
    expected = 100 * (float(rises.max()) - loss) / (1 + loss)
    found = curvature.keskar_sharpness(problem, params, epsilon).value
    assert expected * (1 - 1e-12) <= found < expected + 0.02
    assert np.sum(np.abs(grid[int(rises.argmax())]) < 0.99 * half_widths) == inside  # no corner, no edge


def test_keskar_sharpness_in_a_random_subspace_against_brute_force():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(30, 5))
    bowl, params = quadratic(root @ root.T, slope=0.3), jnp.asarray(rng.normal(size=30))
    key = jax.random.key(3)
    box = _box(bowl, params, 1e-2, 3, key)
    embedding = np.asarray(box._arguments[2])
    assert abs(embedding.mean()) < 0.5 and 0.8 < embedding.std() < 1.2  # standard normals, columns not normalised
    np.testing.assert_allclose(box.half_widths, 1e-2 * (np.abs(np.linalg.pinv(embedding) @ params) + 1), rtol=1e-10)
    loss = float(bowl.loss(params))
    highest = max(float(bowl.loss(params + embedding @ step)) for step in corners(box.half_widths)) - loss
    found = curvature.keskar_sharpness(bowl, params, 1e-2, subspace_dim=3, key=key)
    assert found.value == pytest.approx(100 * highest / (1 + loss), rel=1e-10)


def test_as_published_the_maximum_is_missed_where_the_gradient_is_small():
    bowl = quadratic(np.diag(np.linspace(0, 1, 20)))
    for offset, understated in ((1e-6, True), (1.0, False)):
        params = jnp.full(20, offset)
        published = curvature.keskar_sharpness_as_published(bowl, params)
        converged = curvature.keskar_sharpness(bowl, params)
        assert published.value <= converged.value * (1 + 1e-12) and converged.converged
        assert (published.value < 0.5 * converged.value) == understated


def test_worst_case_of_quadratics_is_known():
    matrix = np.diag([1.0, 2, 5])
    bowl, params = quadratic(matrix), jnp.array([1e-3, 1e-3, 1e-3])
    ball = curvature.worst_case_sharpness(bowl, params, curvature.Ball(2.0), num_steps=200)
    np.testing.assert_allclose(ball + bowl.loss(params), 0.5 * 5 * (2 + 1e-3) ** 2, rtol=1e-5)
    far = jnp.array([3.0, -1, 2])
    np.testing.assert_allclose(  # one step: along the gradient
        curvature.worst_case_sharpness(bowl, far, curvature.Ball(0.1)),
        bowl.loss(far + 0.1 * (matrix @ far) / np.linalg.norm(matrix @ far)) - bowl.loss(far), rtol=1e-12)
    scaled = np.abs(far) * (matrix @ far)
    np.testing.assert_allclose(
        curvature.worst_case_sharpness(bowl, far, curvature.AdaptiveBall(0.1)),
        bowl.loss(far + 0.1 * np.abs(far) * scaled / np.linalg.norm(scaled)) - bowl.loss(far), rtol=1e-12)
    for region, widths in ((curvature.AdaptiveBox(0.1), 0.1 * np.abs(far)),
                           (curvature.KeskarBox(0.1), 0.1 * (np.abs(far) + 1))):
        np.testing.assert_allclose(curvature.worst_case_sharpness(bowl, far, region, num_steps=5),
                                   bowl.loss(far + widths * np.sign(far)) - bowl.loss(far), rtol=1e-12)
    assert float(curvature.worst_case_sharpness(bowl, jnp.zeros(3), curvature.Ball(1.0), num_steps=5)) == 0


def test_average_sharpness_of_a_quadratic_is_half_the_trace():
    bowl, params = quadratic(np.diag([1.0, 2, 5]), slope=0.7), jnp.array([3.0, -1, 2])
    for adaptive, trace in ((False, 8), (True, 1 * 9 + 2 * 1 + 5 * 4)):
        value, stderr = curvature.average_sharpness(bowl, params, 0.3, key=KEY, num_probes=4000, adaptive=adaptive)
        assert abs(float(value) - 0.045 * trace) < 5 * float(stderr) < 0.2 * 0.045 * trace


class Relu(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10, use_bias=False, name="second")(nn.relu(nn.Dense(16, name="first")(x)))


def rescaled(params, a):
    """Return (a W1, a b1, W2 / a): the same function of a ReLU network."""
    return {"first": jax.tree.map(lambda leaf: a * leaf, params["first"]),
            "second": jax.tree.map(lambda leaf: leaf / a, params["second"])}


@pytest.fixture(scope="module")
def relu():
    with jax.enable_x64(True):
        features, labels = ss.problems.digits()
        net = ss.problems.from_flax(Relu(), features[:100].astype(np.float64), labels[:100],
                                    optax.softmax_cross_entropy_with_integer_labels)
        start = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), net.init(jax.random.key(1)))
        params = jax.jit(lambda start: jax.lax.fori_loop(
            0, 400, lambda _, p: jax.tree.map(lambda leaf, g: leaf - 0.3 * g, p, net.gradient(p)), start))(start)
        return net, params


INVARIANT = {
    "loss": lambda net, p: net.loss(p),
    "ASAM": lambda net, p: curvature.worst_case_sharpness(net, p, curvature.AdaptiveBall(0.5)),
    "adaptive box": lambda net, p: curvature.worst_case_sharpness(net, p, curvature.AdaptiveBox(0.01), num_steps=5),
    "largest eigenvalue of THT": lambda net, p: curvature.top_eigenvalue(net, p, key=KEY,
                                                                         operator=curvature.Adaptive()),
    "adaptive average": lambda net, p: curvature.average_sharpness(net, p, 0.05, key=KEY, adaptive=True).value,
}
VARIANT = {
    "largest eigenvalue": lambda net, p: curvature.top_eigenvalue(net, p, key=KEY),
    "empirical Fisher": curvature.empirical_fisher_trace,
    "SAM": lambda net, p: curvature.worst_case_sharpness(net, p, curvature.Ball(0.05)),
    "Keskar": lambda net, p: curvature.keskar_sharpness(net, p).value,
}


@pytest.mark.parametrize("name", INVARIANT)
def test_adaptive_measures_do_not_change_under_reparametrisation(relu, name):
    net, params = relu
    values = [float(INVARIANT[name](net, rescaled(params, a))) for a in (1, 20, 100)]
    np.testing.assert_allclose(values, values[0], rtol=1e-10)


@pytest.mark.parametrize("name", VARIANT)
def test_other_measures_grow_without_bound_under_reparametrisation(relu, name):
    net, params = relu
    one, twenty, hundred = (float(VARIANT[name](net, rescaled(params, a))) for a in (1, 20, 100))
    assert hundred > 100 * one and hundred > 10 * twenty
    if name == "largest eigenvalue":  # in the limit, that of the second layer's block times the square
        assert hundred / twenty == pytest.approx(25, rel=0.01)
