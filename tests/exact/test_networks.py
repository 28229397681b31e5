import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import sde_sgd.problems.networks as networks
from sde_sgd.problems.networks import from_flax
from sde_sgd.problems.problem import Problem
from sde_sgd.problems.regression import least_squares

cross_entropy = optax.softmax_cross_entropy_with_integer_labels


class LinenMLP(nn.Module):
    hidden: int = 6

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(self.hidden)(x.reshape(x.shape[0], -1)))
        return nn.Dense(3)(nn.LayerNorm()(x))


class LinenConvolution(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.GroupNorm(num_groups=2)(nn.Conv(4, (3, 3))(x)))
        return nn.Dense(3)(nn.avg_pool(x, (2, 2), (2, 2)).reshape(x.shape[0], -1))


class NnxMLP(nnx.Module):
    """Layers in a list and a tied weight, which a flat naming of parameters would get wrong."""

    def __init__(self, hidden=6, *, rngs):
        self.first = nnx.Linear(16, hidden, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(hidden, hidden, rngs=rngs) for _ in range(2)])
        self.layers[1].kernel = self.layers[0].kernel
        self.norm = nnx.LayerNorm(hidden, rngs=rngs)
        self.last = nnx.Linear(hidden, 3, rngs=rngs)

    def __call__(self, x):
        x = nnx.tanh(self.first(x.reshape(x.shape[0], -1)))
        for layer in self.layers:
            x = nnx.tanh(layer(x))
        return self.last(self.norm(x))


class LinenExtra(nn.Module):
    """A dense layer and one layer that has no per-example loss, or a fault."""

    kind: str = "none"

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(3)(x.reshape(x.shape[0], -1))
        if self.kind == "batch norm":
            return nn.BatchNorm(use_running_average=False)(x)
        if self.kind == "dropout":
            return nn.Dropout(0.5, deterministic=False)(x)
        if self.kind == "dropout off":
            return nn.Dropout(0.5, deterministic=True)(x)
        if self.kind == "constant":
            return x + self.variable("constants", "shift", jnp.zeros, (3,)).value
        if self.kind == "squeeze":
            return x[:, 0].squeeze()
        return x


class NnxExtra(nnx.Module):
    def __init__(self, kind="none", *, rngs):
        self.linear = nnx.Linear(16, 3, rngs=rngs)
        self.extra = {
            "batch norm": lambda: nnx.BatchNorm(3, rngs=rngs),
            "dropout": lambda: nnx.Dropout(0.5, rngs=rngs),
            "dropout off": lambda: nnx.Dropout(0.5, deterministic=True),
            "dropout without rngs": lambda: nnx.Dropout(0.5),
            "constant": lambda: nnx.Variable(jnp.zeros(3)),
        }[kind]()

    def __call__(self, x):
        x = self.linear(x.reshape(x.shape[0], -1))
        return x + self.extra if isinstance(self.extra, nnx.Variable) else self.extra(x)


def data(num_examples=7):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(num_examples, 4, 4, 1)).astype(np.float32)
    return inputs, (np.arange(num_examples) % 3).astype(np.int64)


MODULES = {
    "linen MLP": LinenMLP(),
    "linen convolution": LinenConvolution(),
    "nnx instance": NnxMLP(rngs=nnx.Rngs(3)),
    "nnx constructor": lambda rngs: NnxMLP(5, rngs=rngs),
    "nnx class": NnxMLP,
}


def logits_of_batch(module, params, inputs):
    """The plain forward pass of the whole batch, as a flax user writes it."""
    if isinstance(module, nn.Module):
        return module.apply({"params": params}, inputs)
    module = module if isinstance(module, nnx.Module) else module(rngs=nnx.Rngs(0))
    graph, state = nnx.split(module, nnx.Param)
    nnx.replace_by_pure_dict(state, params)
    return nnx.merge(graph, state)(inputs)


@pytest.fixture(params=MODULES)
def module(request):
    return MODULES[request.param]


def assert_trees_close(got, expected):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_loss_and_gradient_are_those_of_the_batch(module):
    inputs, labels = data()
    problem = from_flax(module, inputs, labels, cross_entropy)
    params = jax.jit(problem.init)(jax.random.key(1))

    def batch_loss(params):
        log_probabilities = jax.nn.log_softmax(logits_of_batch(module, params, jnp.asarray(inputs)))
        return -jnp.mean(log_probabilities[jnp.arange(len(labels)), labels])

    @jax.jit
    def compute(problem, params):
        expected = jax.value_and_grad(batch_loss)(params)
        examples = problem.example_losses(params), problem.example_gradients(params)
        return expected, (problem.loss(params), problem.gradient(params)), jax.tree.map(lambda x: x.mean(0), examples)

    expected, of_problem, mean_of_examples = compute(problem, params)
    assert_trees_close(of_problem, expected)
    assert_trees_close(mean_of_examples, expected)


def test_float32_stays_float32(module, precision):
    problem = from_flax(module, *data(), cross_entropy)
    assert problem.data[0].dtype == jnp.float32 and problem.data[1].dtype == jnp.int32
    params = jax.eval_shape(problem.init, jax.random.key(1))
    results = [jax.eval_shape(function, params) for function in (problem.loss, problem.gradient)]
    assert {leaf.dtype for leaf in jax.tree.leaves((params, results))} == {jnp.dtype("float32")}


def test_params_are_nested_dicts_of_arrays(module):
    params = from_flax(module, *data(), cross_entropy).init(jax.random.key(1))
    assert type(params) is dict
    assert all(type(value) is dict for value in params.values())
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(params))


def test_a_key_is_a_start(module):
    init = from_flax(module, *data(), cross_entropy).init
    one, again, other = (jax.tree.leaves(init(jax.random.key(seed))) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    differs = any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert differs != isinstance(module, nnx.Module), "an nnx module starts every seed at its own parameters"


def test_an_nnx_module_starts_at_its_own_parameters():
    module = NnxMLP(rngs=nnx.Rngs(3))
    kernel = np.array(module.first.kernel[...])
    problem = from_flax(module, *data(), cross_entropy)
    module.first.kernel[...] = jnp.zeros_like(kernel)
    np.testing.assert_array_equal(problem.init(jax.random.key(0))["first"]["kernel"], kernel)


def test_seeds_are_initialised_under_vmap_and_jit(module):
    problem = from_flax(module, *data(), cross_entropy)
    keys = jax.random.split(jax.random.key(0), 3)
    stacked = jax.jit(jax.vmap(problem.init))(keys)
    assert_trees_close(jax.tree.map(lambda leaf: leaf[2], stacked), problem.init(keys[2]))


def test_equal_modules_share_their_compiled_programs():
    traces = []

    @jax.jit
    def loss(problem, params):
        traces.append(1)
        return problem.loss(params)

    for _ in range(2):
        problem = from_flax(LinenMLP(), *data(), cross_entropy)
        loss(problem, problem.init(jax.random.key(0)))
    constructor = MODULES["nnx constructor"]
    for _ in range(2):
        problem = from_flax(constructor, *data(), cross_entropy)
        loss(problem, problem.init(jax.random.key(0)))
    assert len(traces) == 2


class NnxList(nnx.Module):
    def __init__(self, *, rngs):
        self.sizes = [16, 3]
        self.linear = nnx.Linear(*self.sizes, rngs=rngs)

    def __call__(self, x):
        return self.linear(x.reshape(x.shape[0], -1))


@pytest.mark.parametrize("module", [nn.Sequential([lambda x: x.reshape(x.shape[0], -1), nn.Dense(3)]), NnxList])
def test_fields_without_a_hash_are_accepted(module):
    problem = from_flax(module, *data(), cross_entropy)
    params = problem.init(jax.random.key(0))
    np.testing.assert_allclose(jax.jit(Problem.loss)(problem, params), problem.loss(params), rtol=1e-6)


def test_predictions_are_those_of_the_batch(module):
    problem = from_flax(module, *data(), cross_entropy)
    params = problem.init(jax.random.key(1))
    inputs, _ = data(4)
    np.testing.assert_allclose(networks.predict(problem, params, inputs),
                               logits_of_batch(module, params, jnp.asarray(inputs)), rtol=1e-4, atol=1e-6)


def test_predict_refuses_another_problem():
    problem = least_squares(np.ones((3, 2)), np.ones(3))
    with pytest.raises(TypeError, match="must be made by from_flax"):
        networks.predict(problem, jnp.ones(2), jnp.ones((1, 2)))


def test_token_inputs_keep_their_dtype():
    problem = from_flax(nn.Embed(5, 2), np.array([0, 4]), np.zeros((2, 2)), lambda p, y: jnp.sum((p - y) ** 2))
    assert jnp.issubdtype(problem.data[0].dtype, jnp.integer)
    assert problem.gradient(problem.init(jax.random.key(0)))["embedding"].shape == (5, 2)


class TwoHeads(nn.Module):
    @nn.compact
    def __call__(self, x):
        return {"mean": nn.Dense(1)(x)[:, 0], "scale": nn.softplus(nn.Dense(1)(x)[:, 0])}


def test_a_prediction_may_be_a_pytree():
    def likelihood(prediction, label):
        return 0.5 * ((label - prediction["mean"]) / prediction["scale"]) ** 2 + jnp.log(prediction["scale"])

    problem = from_flax(TwoHeads(), np.ones((4, 2), np.float32), np.zeros(4, np.float32), likelihood)
    params = problem.init(jax.random.key(0))
    assert networks.predict(problem, params, problem.data[0])["scale"].shape == (4,)
    assert jnp.isfinite(problem.loss(params))


@pytest.mark.parametrize(("kind", "reason"), [
    ("batch norm", "batch_stats.*no per-example loss or gradient.*GroupNorm"),
    ("dropout", "InvalidRngError"),
    ("dropout", "Dropout draws random numbers inside the loss"),
    ("constant", "'constants'.*State has no place"),
    ("squeeze", r"keep the batch axis in front.*\(1, 4, 4, 1\).*shape \(\)"),
])
def test_linen_layers_without_a_per_example_loss_are_refused(kind, reason):
    with pytest.raises(ValueError, match=reason):
        from_flax(LinenExtra(kind), *data(), cross_entropy)


@pytest.mark.parametrize("of_instance", [True, False])
@pytest.mark.parametrize(("kind", "reason"), [
    ("batch norm", r"extra\.mean, a BatchStat.*no per-example loss or gradient"),
    ("dropout", r"extra\.rngs.*Dropout draws random numbers"),
    ("dropout without rngs", "cannot be applied.*no `rngs` argument was provided to Dropout"),
    ("constant", "extra, a Variable.*State has no place"),
])
def test_nnx_layers_without_a_per_example_loss_are_refused(kind, reason, of_instance):
    module = NnxExtra(kind, rngs=nnx.Rngs(0)) if of_instance else lambda rngs: NnxExtra(kind, rngs=rngs)
    with pytest.raises(ValueError, match=f"(?s){reason}"):
        from_flax(module, *data(), cross_entropy)


@pytest.mark.parametrize("module", [LinenExtra("dropout off"), lambda rngs: NnxExtra("dropout off", rngs=rngs)])
def test_dropout_switched_off_is_accepted(module):
    assert from_flax(module, *data(), cross_entropy).num_examples == 7


class NeedsFlag(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(3)(x)


@dataclasses.dataclass
class NotAModule:
    size: int = 3


@pytest.mark.parametrize(("module", "error", "message"), [
    (NeedsFlag(), ValueError, "no other arguments.*train"),
    (LinenMLP, TypeError, "instance of flax.linen.Module"),
    (NotAModule(), TypeError, "instance of flax.linen.Module"),
    (lambda: nnx.Linear(4, 3, rngs=nnx.Rngs(0)), ValueError, "rngs alone.*unexpected keyword argument 'rngs'"),
    (lambda rngs: 3.0, ValueError, "must return a flax.nnx.Module.*of type float"),
    (nnx.Linear, ValueError, "called with rngs alone, as does lambda"),
    (nnx.Linear(5, 3, rngs=nnx.Rngs(0)), ValueError, r"cannot be applied to a batch of one example, of shape \(1, 4\)"),
    (nn.Conv(3, (2, 2, 2, 2)), ValueError, r"cannot be applied to a batch of one example, of shape \(1, 4\)"),
    (nn.Sequential((nn.tanh,)), ValueError, "params holds no arrays"),
])
def test_a_module_that_cannot_serve_is_refused(module, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        from_flax(module, np.ones((3, 4), np.float32), np.array([0, 1, 2]), cross_entropy)


ONES = np.ones((3, 4), np.float32)


@pytest.mark.parametrize(("inputs", "labels", "message"), [
    (ONES, np.array([0, 1]), r"leading axes of data disagree.*inputs.*3.*labels.*2"),
    (ONES[:0], np.zeros(0, int), "data is empty"),
    (np.float32(1), np.array([0]), "is a scalar"),
    (ONES * np.nan, np.array([0, 1, 2]), "inputs holds NaN"),
    (ONES * np.inf, np.array([0, 1, 2]), "inputs holds NaN or infinite"),
    (ONES, np.array([0, 1, 3]), r"labels must lie in 0\.\.2.*from 0 to 3"),
    (ONES, np.array([-1, 1, 2]), r"labels must lie in 0\.\.2.*from -1 to 2"),
    (ONES, np.array([[0], [1], [2]]), r"loss of one prediction of shape \(3,\) and one label of shape \(1,\)"),
    (ONES, np.zeros(3, np.float32), r"loss of one prediction.*and one label of shape \(\) and dtype float32 failed"),
])
def test_bad_data_are_refused(inputs, labels, message):
    with pytest.raises(ValueError, match=message):
        from_flax(nn.Dense(3), inputs, labels, cross_entropy)


def test_nan_targets_are_refused():
    with pytest.raises(ValueError, match="labels holds NaN"):
        from_flax(nn.Dense(1), ONES, np.array([0.0, np.nan, 1.0]), lambda p, y: (p[0] - y) ** 2)


def test_integer_labels_of_another_meaning():
    def counts(prediction, label):
        return jnp.exp(prediction[0]) - label * prediction[0]

    assert from_flax(nn.Dense(1), ONES, np.array([0, 5, 9]), counts).num_examples == 3
    assert from_flax(nn.Dense(2), ONES, np.array([0.0, 5.0, 9.0]), counts).num_examples == 3


def test_a_loss_must_be_a_scalar():
    message = r"prediction of shape \(1,\) and one label of shape \(\).*must be a scalar, got shape \(1,\)"
    with pytest.raises(ValueError, match=message):
        from_flax(nn.Dense(1), ONES, np.ones(3, np.float32), lambda p, y: (p - y) ** 2)
    with pytest.raises(TypeError, match="loss must be callable"):
        from_flax(nn.Dense(1), ONES, np.ones(3, np.float32), "mse")


def test_a_layer_that_looks_at_the_batch_has_other_gradients():
    """Teeth: with batch normalisation the sum of per-example losses is not the loss of the batch."""
    inputs, labels = data()
    module = LinenExtra("batch norm")
    variables = module.init(jax.random.key(0), inputs)

    def loss(inputs, labels):
        logits, _ = module.apply(variables, inputs, mutable=["batch_stats"])
        return jnp.mean(cross_entropy(logits, labels))

    alone = jnp.mean(jnp.array([loss(inputs[i:i + 1], labels[i:i + 1]) for i in range(7)]))
    assert abs(loss(inputs, labels) - alone) > 1e-2
