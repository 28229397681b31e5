"""The parts of the reproduction of Keskar et al.: network, processes, losses and claims against what is known."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sde_sgd as ss
from sde_sgd.analysis import Relation, Verdict
from sde_sgd.papers.keskar2016.adversarial import adversarial
from sde_sgd.papers.keskar2016.conservative import Conservative
from sde_sgd.papers.keskar2016.networks import C1, digit_images, pooled, setting
from sde_sgd.papers.keskar2016.paired import difference, ratio, trend
from sde_sgd.papers.keskar2016.sharpness_aware import SharpnessAware

KEY = jax.random.key(0)


@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
def test_pooling_is_that_of_flax(size):
    images = jax.random.normal(KEY, (2, *size, 3))
    np.testing.assert_array_equal(pooled(images), nn.max_pool(images, (3, 3), (2, 2), "SAME"))


def bowl(curvature):
    """Return (w - z)^2 curvature / 2 over four examples with mean 1."""
    return ss.Problem(example_loss=lambda w, z: 0.5 * jnp.sum(curvature * (w - z) ** 2),
                      data=jnp.array([[0.0, 0], [2, 2], [1, 1], [1, 1]]), init=lambda key: jnp.zeros(2))


def stepped(problem, process, params, num_steps=1):
    found = ss.simulate(problem, process, num_seeds=1, num_steps=num_steps, params=params, key=KEY, progress=False,
                        record={"w": lambda problem, w: w})
    return found.w.values[0, -1]


def test_conservative_training_solves_its_subproblem():
    """With many inner iterations: (h 1 + lambda w) / (h + lambda); without a bound, lambda = 0, the minimum."""
    h, start = np.array([1.0, 3.0]), jnp.array([0.4, -0.2])
    for strength in (0.0, 2.0):
        process = Conservative(0.01, ss.WithoutReplacement(4), strength, num_inner=2000)
        expected = (h + strength * np.asarray(start)) / (h + strength)
        np.testing.assert_allclose(stepped(bowl(h), process, start), expected, atol=2e-3)
    once = Conservative(0.01, ss.WithoutReplacement(4), 5.0, num_inner=1)  # the pull is zero where the step begins
    np.testing.assert_allclose(stepped(bowl(h), once, start), np.asarray(start) + 0.01, rtol=1e-4)


def test_sharpness_aware_step_takes_the_gradient_uphill_on_the_same_batch():
    h, start, rate, radius = np.array([1.0, 3.0]), jnp.array([0.4, -0.2]), 0.1, 0.5
    gradient = h * (np.asarray(start) - 1)
    uphill = np.asarray(start) + radius * gradient / np.linalg.norm(gradient)
    found = stepped(bowl(h), SharpnessAware(rate, ss.WithoutReplacement(4), radius), start)
    np.testing.assert_allclose(found, np.asarray(start) - rate * h * (uphill - 1), rtol=1e-5)
    noise = ss.EpochShuffle(1)
    plain, none = (stepped(bowl(h), process, start, 7) for process in (ss.SGD(rate, noise),
                                                                      SharpnessAware(rate, noise, 0.0)))
    np.testing.assert_allclose(none, plain, rtol=1e-6)
    assert np.abs(stepped(bowl(h), SharpnessAware(rate, noise, radius), start, 7) - plain).max() > 1e-2


def test_adversarial_loss_moves_the_inputs_uphill():
    """Logistic regression: the move lowers the margin of every example by epsilon times the 1-norm of the weights."""
    inputs, labels = jnp.array([[1.0, -1.0], [0.5, 2.0]]), jnp.array([1, 0])
    net = ss.problems.from_flax(nn.Dense(2), inputs, labels, optax.softmax_cross_entropy_with_integer_labels)
    params = {"kernel": jnp.array([[0.0, 1.5], [0.0, -0.5]]), "bias": jnp.zeros(2)}
    margins = np.asarray(inputs) @ [1.5, -0.5] * [1, -1]
    expected = (np.log1p(np.exp(-margins)) + np.log1p(np.exp(-margins + 0.1 * 2.0))) / 2
    np.testing.assert_allclose(adversarial(net, 0.1).example_losses(params), expected, rtol=1e-5)
    np.testing.assert_allclose(adversarial(net, 0.0).loss(params), net.loss(params), rtol=1e-6)


def test_claims_of_pairs():
    lower = np.array([1.0, 2, 4, 3, 2])
    claim = ratio("s", "t", 8 * lower * np.exp([0.1, -0.1, 0.2, -0.2, 0]), lower)
    assert claim.measured == pytest.approx(np.log(8)) and claim.verdict is Verdict.CONFIRMED
    assert claim.standard_error == pytest.approx(np.std([0.1, -0.1, 0.2, -0.2, 0], ddof=1) / 5**0.5)
    assert ratio("s", "t", lower, 8 * lower).verdict is Verdict.REFUTED
    missing = difference("s", "t", lower + np.array([3, 3.1, np.nan, 2.9, 3]), lower)
    assert missing.statement == "s; 4 of 5 seeds" and missing.degrees_of_freedom == 3
    assert difference("s", "t", [np.nan, np.nan, 1], [1, 1, 0]).verdict is Verdict.NOT_SHOWN
    equal = {"relation": Relation.WITHIN, "tolerance": 0.5}
    assert difference("s", "t", [0.1, 0, -0.1, 0.05], np.zeros(4), **equal).verdict is Verdict.CONFIRMED
    assert difference("s", "t", [1.01, 1, 0.99, 1.005], np.zeros(4), **equal).verdict is Verdict.REFUTED
    values = np.random.default_rng(0).normal(size=(12, 5))
    assert trend("s", "t", values).verdict is Verdict.INCONCLUSIVE
    assert trend("s", "t", values + 3 * np.arange(5)).verdict is Verdict.CONFIRMED
    assert trend("s", "t", values + 3 * np.arange(5), relation=Relation.BELOW).verdict is Verdict.REFUTED


def test_digits_and_the_networks_on_them():
    noisy, clean = digit_images(), digit_images(0.0)
    changed = np.mean(noisy.train[1] != clean.train[1])
    assert 0.14 < changed <= 0.2 and (noisy.test[1] == clean.test[1]).all()
    case = setting(C1(), noisy)
    assert case.train.num_examples == 500 and case.test.num_examples == 797
    params = case.train.init(KEY)
    assert params["Convolution_1"]["kernel"].shape == (5, 5, 8, 8) and params["Dense_0"]["kernel"].shape == (32, 48)
    assert 0 <= float(ss.problems.accuracy(case.test, params)) < 0.4
