"""Ready-made networks, their data, what is recorded of them, and the memory they take."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sde_sgd as ss
from sde_sgd.problems import examples
from sde_sgd.problems.examples import rows_at_once

cross_entropy = optax.softmax_cross_entropy_with_integer_labels
P = ss.problems
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def quickly(function, *arguments):
    """Return the value of a function compiled with little effort."""
    return jax.jit(function).lower(*arguments).compile(QUICKLY)(*arguments)


def images(shape=(8, 8, 1), count=6):
    return np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32), np.arange(count) % 3


MODELS = {
    "mlp": (P.mlp((12, 7), 3), (8, 8, 1), 12 * 65 + 7 * 13 + 3 * 8),
    "mlp with layer norm": (P.mlp((12,), 3, layer_norm=True, activation=jnp.tanh), (64,), 12 * 65 + 2 * 12 + 3 * 13),
    "lenet": (P.lenet(), (28, 28, 1), 61_706),
    "small cnn": (P.small_cnn(3, channels=(8, 16), widths=(10,)), (8, 8, 1),
                  8 * 10 + 16 + 16 * 73 + 32 + 10 * 65 + 3 * 11),
}


@pytest.mark.parametrize("name", MODELS)
def test_ready_made_networks(name):
    """The number of their parameters, He's variance of the first weights, and a loss of one example alone."""
    module, shape, size = MODELS[name]
    inputs, labels = images(shape)
    net = P.from_flax(module, inputs, labels, cross_entropy)
    params = quickly(net.init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == size
    kernel = params[next(layer for layer in sorted(params) if "Conv" in layer or "Dense" in layer)]["kernel"]
    spread = float(jnp.sqrt(jnp.mean(kernel**2) * np.prod(kernel.shape[:-1])))
    assert abs(spread - 2**0.5) < 5 / kernel.size**0.5  # He: variance 2/fan-in
    alone, among = quickly(lambda net, p: (net.example_loss(p, jax.tree.map(lambda x: x[2], net.data)),
                                           net.example_losses(p)[2]), net, params)
    np.testing.assert_allclose(alone, among, rtol=1e-5)


@pytest.mark.parametrize(("size", "stride", "padding", "shape"), [
    (5, 1, "SAME", (9, 8)), (5, 2, "SAME", (9, 8)), (3, 2, "VALID", (9, 8)), (2, 3, "SAME", (7, 7)), (1, 1, "SAME", (3, 4)),
])
def test_a_convolution_is_that_of_flax(size, stride, padding, shape):
    ours = P.convolution(4, size, stride=stride, padding=padding)
    flax = nn.Conv(4, (size, size), (stride, stride), padding)
    image = jnp.asarray(images((*shape, 2))[0])
    params = ours.init(jax.random.key(0), image)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, flax.init(jax.random.key(0), image))
    np.testing.assert_allclose(ours.apply(params, image), flax.apply(params, image), rtol=1e-4, atol=1e-5)


def test_pooling_is_that_of_flax():
    from sde_sgd.problems.linen_models import pooled

    image = jnp.asarray(images((9, 8, 2))[0])
    for window in (1, 2, 3):
        np.testing.assert_array_equal(pooled(image, window), nn.max_pool(image, (window, window), (window, window)))


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda: P.mlp(64), TypeError, "widths must be a sequence"),
    (lambda: P.mlp((0,)), ValueError, "widths must be at least 1"),
    (lambda: P.lenet(0), ValueError, "num_classes"),
    (lambda: P.small_cnn(channels=(6,), num_groups=4), ValueError, "num_groups must divide"),
    (lambda: P.convolution(4, 3, padding="FULL"), ValueError, "padding must be one of"),
    (lambda: P.small_cnn(channels=()), TypeError, "channels must be a sequence of at least 1"),
])
def test_bad_models(make, error, words):
    with pytest.raises(error, match=words):
        make()


# --- data -------------------------------------------------------------------------------------------------------------


def test_standardised_by_two_numbers():
    train, test = np.random.default_rng(1).uniform(0, 9, (2, 50, 4))
    one, other = P.standardised(train, test)
    assert one.dtype == other.dtype == np.float32
    np.testing.assert_allclose([one.mean(), one.std()], [0, 1], atol=1e-6)
    np.testing.assert_allclose(other, (test - train.mean()) / train.std(), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="not constant"):
        P.standardised(np.ones(3))
    with pytest.raises(ValueError, match="must be finite"):
        P.standardised(np.array([1.0, np.nan]))


def test_label_noise_redraws_uniformly():
    labels = np.arange(10_000) % 10
    noisy = P.with_label_noise(labels, 0.2, num_classes=10, key=jax.random.key(5))
    changed = noisy != labels
    expected, spread = 2000 * 0.9, (2000 * 0.9 * 0.1) ** 0.5
    assert abs(changed.sum() - expected) < 5 * spread
    counts = np.bincount(noisy[changed], minlength=10)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 40  # chi-square of 9 degrees of freedom
    assert noisy.dtype == np.int32
    np.testing.assert_array_equal(P.with_label_noise(labels, 0.0, num_classes=10, key=jax.random.key(5)), labels)


@pytest.mark.parametrize(("labels", "fraction", "classes", "error", "words"), [
    ([0, 1], 1.2, 2, ValueError, "fraction must lie in"),
    ([0, 1], -0.1, 2, ValueError, "fraction"),
    ([0, 3], 0.1, 3, ValueError, "labels must lie in 0..2"),
    ([0.0, 1.0], 0.1, 2, TypeError, "labels must be integers"),
    ([0, 1], 0.1, 1, ValueError, "num_classes"),
])
def test_bad_label_noise(labels, fraction, classes, error, words):
    with pytest.raises(error, match=words):
        P.with_label_noise(np.asarray(labels), fraction, num_classes=classes, key=jax.random.key(0))


def test_accuracy_on_the_problem_and_on_another():
    inputs, labels = images(count=20)
    net = P.from_flax(P.mlp((9,), 3), inputs, labels, cross_entropy)
    test = P.with_data(net, inputs[:7] + 1, labels[:7])
    params = net.init(jax.random.key(1))
    for problem in (net, test):
        expected = np.mean(np.argmax(P.predict(problem, params, problem.data[0]), axis=-1) == problem.data[1])
        np.testing.assert_allclose(P.accuracy(problem, params), expected, atol=1e-6)
    assert float(P.on(test, P.accuracy)(net, params)) == float(P.accuracy(test, params)) != float(P.accuracy(net, params))
    keyed = P.on(test, lambda problem, params, key: jax.random.uniform(key) + problem.num_examples)
    assert 7 < float(keyed(net, params, key=jax.random.key(0))) < 8


def test_a_test_set_is_an_argument_of_the_program_and_no_constant():
    net = P.from_flax(P.mlp((4,), 3), *images(), cross_entropy)
    test = P.with_data(net, *images(count=50))
    params = net.init(jax.random.key(0))

    def largest_constant(function, *arguments):
        return max((np.size(one) for one in jax.make_jaxpr(function)(*arguments).consts), default=0)

    assert largest_constant(lambda quantity, p: quantity(net, p), P.on(test, P.accuracy), params) < 50
    assert largest_constant(lambda p: P.accuracy(test, p), params) >= 50 * 64  # teeth: what closing over it does


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda net: P.with_data(net, np.ones((3, 5, 5, 1), np.float32), np.zeros(3, int)), ValueError, "inputs must be like"),
    (lambda net: P.with_data(net, images()[0], np.full(6, 3)), ValueError, "labels must lie in 0..2"),
    (lambda net: P.with_data(net, np.full_like(images()[0], np.nan), images()[1]), ValueError, "inputs holds NaN"),
    (lambda net: P.with_data(net, images()[0], np.zeros(5, int)), ValueError, "leading axes"),
    (lambda net: P.with_data(P.double_well(), *images()), TypeError, "made by from_flax"),
    (lambda net: P.accuracy(P.double_well(), 0.0), TypeError, "made by from_flax"),
    (lambda net: P.on(3, P.accuracy), TypeError, "problem must be"),
    (lambda net: P.on(net, 3), TypeError, "function must be"),
    (lambda net: P.loss_below(float("nan")), ValueError, "target must be finite"),
    (lambda net: net.steps_per_epoch(7), ValueError, "batch_size must be in 1..6"),
])
def test_bad_quantities(make, error, words):
    net = P.from_flax(P.mlp((4,), 3), *images(), cross_entropy)
    with pytest.raises(error, match=words):
        make(net)


# --- transformations --------------------------------------------------------------------------------------------------


def moved(transform, image, count=64):
    keys = jax.random.split(jax.random.key(2), count)
    return np.asarray(jax.jit(jax.vmap(lambda key: transform(key, (image, jnp.int32(4)))[0]))(keys))


def test_shifts_move_by_whole_pixels_and_repeat_the_border():
    image = jnp.arange(50.0).reshape(5, 10, 1)
    found = moved(ss.noise.shifts(0.2), image)
    wide = np.pad(np.asarray(image)[..., 0], 9, mode="edge")
    allowed = {np.roll(wide, (r, c), (0, 1))[9:-9, 9:-9].tobytes() for r in (-1, 0, 1) for c in (-2, -1, 0, 1, 2)}
    seen = {one[..., 0].tobytes() for one in found}
    assert seen <= allowed and len(seen) > 10


def test_flips_and_rotations():
    image = jnp.asarray(np.random.default_rng(0).normal(size=(9, 9, 2)).astype(np.float32))
    flipped = moved(ss.noise.flips(), image)
    whole = (flipped == np.asarray(image)).all((1, 2, 3))
    assert 10 < whole.sum() < 54
    np.testing.assert_array_equal(flipped[~whole], np.broadcast_to(image[:, ::-1], flipped[~whole].shape))
    turned = moved(ss.noise.rotations(10.0), image)
    np.testing.assert_allclose(turned[:, 4, 4], np.broadcast_to(image[4, 4], (64, 2)), rtol=1e-5)  # the middle stays
    still = moved(ss.noise.rotations(1e-4), image, 3)
    np.testing.assert_allclose(still, np.broadcast_to(image, still.shape), atol=1e-4)
    row = jnp.broadcast_to(jnp.arange(9.0)[:, None, None], (9, 9, 1))  # a plane turns into a plane of the same slope
    slopes = np.diff(moved(ss.noise.rotations(10.0), row)[:, 3:6, 4, 0], axis=1)
    assert (slopes >= np.cos(np.deg2rad(10)) - 1e-5).all() and (slopes <= 1 + 1e-5).all() and slopes.std() > 1e-4


def test_fresh_labels_and_composition():
    transform = ss.noise.composed(ss.noise.fresh_labels(0.5, 4), lambda key, example: (example[0] + 1, example[1]))
    keys = jax.random.split(jax.random.key(0), 4000)
    inputs, labels = jax.vmap(lambda key: transform(key, (jnp.zeros(()), jnp.int32(3))))(keys)
    assert (inputs == 1).all() and labels.dtype == jnp.int32
    shares = np.bincount(labels, minlength=4) / 4000
    np.testing.assert_allclose(shares, [0.125, 0.125, 0.125, 0.625], atol=5 * (0.25 / 4000) ** 0.5)


def test_an_image_must_be_whole():
    with pytest.raises(ValueError, match="height, width, channels"):
        ss.noise.shifts(0.2)(jax.random.key(0), (jnp.ones(64), jnp.int32(0)))


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [6, 7])
def test_chunks_of_examples_change_nothing_but_the_memory(count, monkeypatch):
    """Losses, gradients, weighted or not, and Hessian products, three examples or fewer at a time and all at once."""
    net = P.from_flax(P.mlp((9,), 3), *images(count=count), cross_entropy)
    params, weights = net.init(jax.random.key(0)), jnp.linspace(-1.0, 1.0, count)

    def results(net, params):
        return (net.example_losses(params), net.loss(params), net.gradient(params), net.loss(params, weights),
                net.gradient(params, weights), net.gradient_and_hessian_product(params), P.accuracy(net, params))

    assert rows_at_once(net.example_loss, params, net.data) == count
    whole = jax.jit(lambda *given: results(*given))(net, params)
    size = examples.bytes_per_example(net.example_loss, params, net.data)
    monkeypatch.setattr(examples, "_BYTES", examples.lanes_together(size) * 3 * size)
    assert rows_at_once(net.example_loss, params, net.data) == 3
    chunked = jax.jit(lambda *given: results(*given))(net, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), chunked, whole)


def test_the_memory_of_a_wide_network_does_not_grow_with_the_data():
    """By the compiler's own account, for four lanes: the activations alone would take 655 MB at once."""
    count, lanes = 40_000, 4
    data = jax.ShapeDtypeStruct((count, 784), jnp.float32), jax.ShapeDtypeStruct((count,), jnp.int32)
    small = P.from_flax(P.mlp((512, 512), 10), np.zeros((2, 784), np.float32), np.zeros(2, int), cross_entropy)
    net = jax.tree.unflatten(jax.tree.structure(small), data)
    params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((lanes, *leaf.shape), leaf.dtype),
                          jax.eval_shape(small.init, jax.random.key(0)))
    at_once = lanes * count * (512 + 512) * 4

    def temporary(function):
        compiled = jax.jit(jax.vmap(function, in_axes=(None, 0))).lower(net, params).compile(QUICKLY)
        return compiled.memory_analysis().temp_size_in_bytes

    def naive(net, params):
        return jax.vmap(net.example_loss, in_axes=(None, 0))(params, net.data).mean()

    bound = 2 * examples._BYTES  # a gradient holds an activation and its cotangent, a Hessian product the tangents too
    assert temporary(ss.Problem.loss) < bound
    assert temporary(ss.Problem.gradient) < bound
    assert temporary(lambda net, params: jax.grad(net.loss)(params)) < bound
    assert temporary(lambda net, params: net.gradient_and_hessian_product(params)) < bound
    assert temporary(jax.grad(naive, argnums=1)) > at_once > bound  # teeth


# --- input errors, all before anything is compiled ---------------------------------------------------------------------


@pytest.mark.parametrize("module", [P.lenet(), P.small_cnn()], ids=["lenet", "small cnn"])
@pytest.mark.parametrize("shape", [(784,), (28, 28)])
def test_images_of_the_wrong_rank(module, shape):
    with pytest.raises(ValueError, match=r"must have the shape \(n, height, width, channels\), got \(1, .*Reshape"):
        P.from_flax(module, *images(shape), cross_entropy)


def test_images_too_small_for_the_network():
    with pytest.raises(ValueError, match="module cannot be applied to a batch of one example"):
        P.from_flax(P.lenet(), *images((4, 4, 1)), cross_entropy)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_pixel_that_is_no_number(value):
    inputs, labels = images()
    inputs[3, 2, 5, 0] = value
    with pytest.raises(ValueError, match="inputs holds NaN or infinite values"):
        P.from_flax(P.mlp(), inputs, labels, cross_entropy)


@pytest.mark.parametrize("labels", [np.array([0, 1, 2, 0, 1, 10]), np.array([0, -1, 2, 0, 1, 2])])
def test_labels_out_of_range(labels):
    with pytest.raises(ValueError, match=r"labels must lie in 0..9, .* got values from"):
        P.from_flax(P.small_cnn(), images()[0], labels, cross_entropy)


def test_a_loss_of_other_shapes():
    with pytest.raises(ValueError, match="loss of one prediction of shape"):
        P.from_flax(P.mlp((), 3), *images(), lambda prediction, label: (prediction - label) ** 2)


def test_too_many_parameters_for_a_dense_matrix():
    net = P.from_flax(P.mlp((200,)), *images(), cross_entropy)
    params = net.init(jax.random.key(0))
    for dense in (ss.curvature.dense_matrix, ss.curvature.noise_covariance):
        with pytest.raises(ValueError, match=r"hold 15010 numbers, a dense matrix takes at most .* matrix-free"):
            dense(net, params)
