"""Matrix-free curvature against dense matrices."""

import operator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from scipy import stats

import sde_sgd as ss
from sde_sgd import curvature
from sde_sgd.curvature.lanczos import lanczos
from sde_sgd.curvature.noise_scale import _fieller

KEY = jax.random.key(0)
pytestmark = pytest.mark.usefixtures("x64")


class Network(nn.Module):
    hidden: int
    classes: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.classes)(nn.tanh(nn.Dense(self.hidden)(x)))


def digits_network(hidden, classes, num_examples, pixels=slice(None), steps=100):
    """Return a network in float64 on the first digits, and its params after some gradient descent."""
    features, labels = ss.problems.digits()
    inputs = features[:num_examples, pixels].astype(np.float64)
    net = ss.problems.from_flax(Network(hidden, classes), inputs, labels[:num_examples] % classes,
                                optax.softmax_cross_entropy_with_integer_labels)
    start = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), net.init(jax.random.key(1)))

    @jax.jit
    def descend(net, params):
        return jax.lax.fori_loop(
            0, steps, lambda _, p: jax.tree.map(lambda leaf, g: leaf - 0.5 * g, p, net.gradient(p)), params)

    return net, descend(net, start)


@pytest.fixture(scope="module")
def small():
    with jax.enable_x64(True):
        return digits_network(5, 3, 50, slice(20, 30))


@pytest.fixture(scope="module")
def large():
    """1,885 parameters, with the dense Hessian's eigenvalues and vectors."""
    with jax.enable_x64(True):
        net, params = digits_network(25, 10, 150)
        return net, params, np.linalg.eigh(np.asarray(curvature.dense_matrix(net, params)))


@pytest.mark.parametrize(("weighting", "chunk_size"), [("risk", 1024), ("risk", 7), ("weights", 7), ("batch", 4)])
def test_hessian_is_that_of_the_weighted_loss(weighting, chunk_size):
    rng = np.random.default_rng(0)
    problem = ss.problems.softmax_regression(rng.normal(size=(50, 3)), rng.integers(0, 3, 50))
    params = {"weight": jnp.asarray(rng.normal(size=(3, 3))), "bias": jnp.asarray(rng.normal(size=3))}
    weights = {"risk": None, "weights": jnp.linspace(-0.1, 0.3, 50),
               "batch": ss.Batch(jnp.array([3, 3, 0, 41, 17, 9, 8, 7, 6]), jnp.linspace(0.1, 1, 9))}[weighting]
    flat, unravel = ravel_pytree(params)
    expected = jax.hessian(lambda vector: problem.loss(unravel(vector), weights))(flat)
    found = curvature.dense_matrix(problem, params, operator=curvature.Hessian(weights, chunk_size))
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_gauss_newton_is_jacobian_loss_hessian_jacobian(small):
    net, params = small
    flat, unravel = ravel_pytree(params)
    inputs, _ = net.data
    jacobian = jax.jacobian(lambda vector: ss.problems.predict(net, unravel(vector), inputs))(flat)
    p = jax.nn.softmax(ss.problems.predict(net, params, inputs))
    curved = jax.vmap(jnp.diag)(p) - p[:, :, None] * p[:, None, :]
    expected = jnp.einsum("nci,ncd,ndj->ij", jacobian, curved, jacobian) / 50
    found = curvature.dense_matrix(net, params, operator=curvature.GaussNewton())
    np.testing.assert_allclose(found, expected, atol=1e-14)
    assert jnp.abs(found - curvature.dense_matrix(net, params)).max() > 1e-3  # the two are not the same matrix
    np.testing.assert_allclose(curvature.fisher_trace(net, params), jnp.trace(expected), rtol=1e-12)


def test_noise_covariance_by_products_and_its_identity_with_the_empirical_fisher(small):
    net, params = small
    expected = curvature.noise_covariance(net, params)
    found = curvature.dense_matrix(net, params, operator=curvature.NoiseCovariance(7))
    np.testing.assert_allclose(found, expected, atol=1e-15)
    gradient = ravel_pytree(net.gradient(params))[0]
    np.testing.assert_allclose(curvature.empirical_fisher_trace(net, params), jnp.trace(expected) + gradient @ gradient,
                               rtol=1e-12)
    np.testing.assert_allclose(curvature.gradient_noise_scale(net, params),
                               jnp.trace(expected) / (gradient @ gradient), rtol=1e-9)


def test_adaptive_matrix_is_in_units_of_the_params(small):
    net, params = small
    sizes = jnp.abs(ravel_pytree(params)[0])
    hessian = curvature.dense_matrix(net, params)
    np.testing.assert_allclose(curvature.dense_matrix(net, params, operator=curvature.Adaptive()),
                               sizes[:, None] * hessian * sizes, atol=1e-15)


def test_top_eigenpairs_of_a_network_of_1885_parameters(large):
    net, params, (values, vectors) = large
    pairs = curvature.top_eigenpairs(net, params, 5, key=KEY)
    np.testing.assert_allclose(pairs.values, values[::-1][:5], rtol=1e-10)
    assert float(pairs.residuals.max()) < 1e-6
    rows = jax.vmap(lambda vector: ravel_pytree(vector)[0])(pairs.vectors)
    np.testing.assert_allclose(np.abs(rows @ vectors[:, ::-1][:, :5]), np.eye(5), atol=1e-6)
    few = curvature.top_eigenpairs(net, params, 5, key=KEY, num_steps=12)  # not yet there, and the residuals say so
    off = np.abs(few.values - values[::-1][:5])
    assert off.max() > 1e-3 and (off <= few.residuals + 1e-12).all()


def test_top_eigenvalue_in_single_precision_and_over_an_ensemble(large):
    net, params, (values, _) = large
    single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    assert float(curvature.top_eigenvalue(net, single, key=KEY)) == pytest.approx(values[-1], rel=1e-5)
    ensemble = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.2 * leaf]), params)
    lanes = jax.vmap(lambda p: curvature.top_eigenvalue(net, p, key=KEY))(ensemble)
    for lane in range(2):
        alone = curvature.top_eigenvalue(net, jax.tree.map(operator.itemgetter(lane), ensemble), key=KEY)
        np.testing.assert_allclose(lanes[lane], alone, rtol=1e-10)


def symmetric(eigenvalues, seed=0):
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(eigenvalues),) * 2))[0]
    return jnp.asarray(basis * np.asarray(eigenvalues) @ basis.T)


def test_lanczos_keeps_its_basis_orthonormal_where_the_bare_recurrence_makes_copies():
    matrix = symmetric(np.concatenate([np.linspace(0, 1, 98), [10, 100]]))
    start = jnp.asarray(np.random.default_rng(1).normal(size=100))
    found = lanczos(lambda v: matrix @ v, start, 60)
    np.testing.assert_allclose(found.basis @ found.basis.T, np.eye(60), atol=1e-13)
    assert int(jnp.sum(found.eigenpairs()[0] > 99)) == 1
    previous, vector, beta = 0 * start, start / jnp.linalg.norm(start), 0.0
    diagonal, off_diagonal = [], []
    for _ in range(60):
        image = matrix @ vector - beta * previous
        diagonal.append(image @ vector)
        image = image - diagonal[-1] * vector
        previous, beta = vector, jnp.linalg.norm(image)
        vector = image / beta
        off_diagonal.append(beta)
    bare = np.diag(diagonal) + np.diag(off_diagonal[:-1], 1) + np.diag(off_diagonal[:-1], -1)
    assert np.sum(np.linalg.eigvalsh(bare) > 99) > 1


@pytest.mark.parametrize("eigenvalues", [(0, 0, 0, 0), (2, 2, 2, 2), (0, 0, 3, 3), (-3, -1, -1, -1)])
def test_lanczos_goes_on_where_the_krylov_space_is_exhausted(eigenvalues):
    matrix = symmetric(eigenvalues)
    bowl = ss.problems.potential(lambda w: 0.5 * w @ matrix @ w, start=jnp.zeros(4))
    pairs = curvature.top_eigenpairs(bowl, jnp.zeros(4), 4, key=KEY)
    np.testing.assert_allclose(pairs.values, sorted(eigenvalues, reverse=True), atol=1e-12)
    np.testing.assert_allclose(pairs.residuals, 0, atol=1e-12)


def test_trace_is_exact_where_the_sketch_holds_the_range_or_the_matrix_is_diagonal():
    matrix = symmetric((0, 0, 0, 0, 0, 0, 1, 5, -2))
    bowl = ss.problems.potential(lambda w: 0.5 * w @ matrix @ w, start=jnp.zeros(9))
    value, stderr = curvature.trace(bowl, jnp.zeros(9), key=KEY, rank=3)
    assert float(value) == pytest.approx(4, rel=1e-12) and float(stderr) < 1e-12
    value, stderr = curvature.trace(bowl, jnp.zeros(9), key=KEY, rank=2)
    assert abs(float(value) - 4) > 1e-6 and float(stderr) > 1e-6
    diagonal = ss.problems.potential(lambda w: 0.5 * jnp.sum(jnp.arange(1.0, 10) * w**2), start=jnp.zeros(9))
    value, stderr = curvature.trace(diagonal, jnp.zeros(9), key=KEY, rank=0)
    assert float(value) == pytest.approx(45, rel=1e-12) and float(stderr) < 1e-12


def test_spectral_quadrature_integrates_polynomials_and_finds_the_edges(large):
    net, params, (values, _) = large
    spectrum = curvature.spectral_density(net, params, key=KEY, num_probes=4, num_steps=50)
    np.testing.assert_allclose(spectrum.weights.sum(axis=-1), 1, rtol=1e-12)
    np.testing.assert_allclose(spectrum.nodes[:, -1], values[-1], rtol=1e-10)
    assert (spectrum.nodes[:, 0] >= values[0] - 1e-14).all()
    np.testing.assert_allclose(spectrum.nodes[:, 0], values[0], rtol=0.02)
    few = curvature.spectral_density(net, params, key=KEY, num_probes=4, num_steps=5)
    for power in range(11):  # the same probes: five nodes integrate up to power nine as fifty do, but not ten
        moments = [(s.weights * (s.nodes / values[-1]) ** power).sum(axis=-1) for s in (few, spectrum)]
        assert np.allclose(*moments, rtol=1e-8, atol=0) == (power < 10)
    grid, width = np.linspace(values[0] - 0.2, values[-1] + 0.2, 400), 0.03
    density = spectrum.density(grid, width)
    assert float(jnp.sum(density.value) * (grid[1] - grid[0])) == pytest.approx(1, abs=1e-3)


def test_trace_and_density_of_a_network_of_1885_parameters_are_those_of_its_eigenvalues(large):
    net, params, (values, _) = large
    found, stderr = curvature.trace(net, params, key=KEY, num_probes=100)
    bound = stats.t.isf(5e-6, 99) * stderr
    assert abs(found - values.sum()) < bound < 0.1 * values.sum()
    grid, width = np.linspace(0, values[-1], 30), 0.03
    exact = np.mean(np.exp(-((grid[:, None] - values) ** 2) / 2 / width**2), axis=1) / width / (2 * np.pi) ** 0.5
    density, error = curvature.spectral_density(net, params, key=KEY, num_probes=16, num_steps=50).density(grid, width)
    bound = stats.t.isf(5e-6 / len(grid), 15)
    assert (np.abs(density - exact) < bound * error).all()
    assert (np.abs(density - 1.2 * exact) > bound * error).any()  # teeth


def test_an_ensemble_at_once_is_its_members_one_by_one(small):
    net, params = small

    def quantities(p):
        return jnp.stack([curvature.trace(net, p, key=KEY, rank=2, num_probes=2).value,
                          curvature.worst_case_sharpness(net, p, curvature.KeskarBox(1e-3), num_steps=3)])

    ensemble = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.2 * leaf]), params)
    members = [quantities(jax.tree.map(operator.itemgetter(lane), ensemble)) for lane in range(2)]
    np.testing.assert_allclose(jax.vmap(quantities)(ensemble), members, rtol=1e-9)
    assert (members[0] != members[1]).all()


def test_fieller_interval_is_the_set_of_ratios_that_the_samples_do_not_refute():
    rng = np.random.default_rng(0)
    kinds = set()
    for shift, floor in ((3.0, 1.0), (0.5, 3.0), (0.0, 3.0), (0.1, -0.3), (-3.0, 3.0)):
        under = shift + rng.normal(size=12)
        over = floor + rng.normal(size=12) + 0.3 * under
        value, low, high = _fieller(jnp.asarray(over), jnp.asarray(under), 2.2)
        ratios = np.concatenate([np.linspace(0, 60, 60_001), [1e9]])
        gaps = over[:, None] - ratios * under[:, None]
        inside = np.abs(gaps.mean(0)) <= 2.2 * gaps.std(0, ddof=1) / 12**0.5
        if shift < -1:  # refuted for every ratio: less than no signal
            assert not inside.any() and np.isinf(low) and np.isinf(high) and np.isinf(value)
            continue
        np.testing.assert_array_equal(inside, (ratios >= low) & (ratios <= high))
        kinds |= {(bool(low > 0), bool(np.isinf(high)))}
    assert len(kinds) >= 3


def test_alignment_of_proportional_and_of_orthogonal_matrices():
    features = np.concatenate([np.eye(4), -np.eye(4)])

    def problem(flip):
        def loss(w, z):
            return 0.5 * jnp.sum(jnp.array([1.0, 2, 0, 0]) * w**2) + w @ (z * jnp.array([1.0, 2**0.5, 0, 0])[flip])

        return ss.Problem(example_loss=loss, data=jnp.asarray(features), init=lambda key: jnp.zeros(4))

    same, apart = problem(slice(None)), problem(slice(None, None, -1))
    aligned = curvature.noise_alignment(same, jnp.zeros(4), key=KEY, num_probes=4)
    np.testing.assert_allclose(aligned, (1, 0), atol=1e-12)
    np.testing.assert_allclose(curvature.noise_alignment(apart, jnp.zeros(4), key=KEY, num_probes=4), 0, atol=1e-12)
    top = [curvature.top_eigenpairs(p, jnp.zeros(4), 2, key=KEY, operator=matrix).vectors
           for p in (same, apart) for matrix in (curvature.Hessian(), curvature.NoiseCovariance())]
    np.testing.assert_allclose(curvature.subspace_overlap(*top[:2]), 1, rtol=1e-12)
    np.testing.assert_allclose(curvature.subspace_overlap(*top[2:]), 0, atol=1e-12)
