"""SGD balances a product of parameters, to the last digit; its SDE has the Gamma law; two layers find their equilibrium."""

import jax
import jax.numpy as jnp
import numpy as np

import sde_sgd as ss
from sde_sgd import theory

THRESHOLD = 5.0


def product_loss(params, example):
    feature, target = example
    return (params["u"] * params["w"] * feature - target) ** 2


def both(problem, params):
    return jnp.stack([params["u"], params["w"]])


def product_problem(features, targets, u, w):
    start = {"u": jnp.asarray(u), "w": jnp.asarray(w)}
    return ss.Problem(example_loss=product_loss, data=(jnp.asarray(features), jnp.asarray(targets)),
                      init=lambda key: start)


def test_every_step_contracts_the_imbalance_to_the_last_digit(x64):
    rng = np.random.default_rng(0)
    problem = product_problem(rng.normal(size=20), rng.normal(size=20), 1.3, -0.4)
    ds = ss.simulate(problem, ss.SGD(0.05, ss.WithReplacement(3)), num_seeds=20, num_steps=50, record_every=1,
                     record={"both": both}, key=jax.random.key(0))
    u, w = np.moveaxis(ds.both.values, -1, 0)
    well = np.abs(w[:, :-1]) > 0.1  # where the gradient can be had from the step of u without loss of digits
    gradient = ((u[:, :-1] - u[:, 1:])[well]) / (0.05 * w[:, :-1][well])
    before, after = (u**2 - w**2)[:, :-1][well], (u**2 - w**2)[:, 1:][well]
    np.testing.assert_allclose(after, theory.balance_contraction(0.05, gradient) * before, rtol=0, atol=1e-13)
    assert well.mean() > 0.3 and np.abs(after - before).max() > 1e-3  # teeth: it is not conserved


def test_the_balanced_product_has_the_gamma_law():
    signal, noise, rate = 1.0, 5.0, 0.01
    law = theory.balanced_gamma_law(signal, noise, rate)
    problem = product_problem([1.0, 1.0], [signal + noise, signal - noise], 1.0, 1.0)
    ds = ss.simulate(problem, ss.SME(rate, ss.Gaussian(1), order=1, substeps=32), num_seeds=4096, num_steps=250,
                     record={"both": both}, key=jax.random.key(1))
    product = np.prod(ds.both.isel(step=-1).values.astype(np.float64), axis=-1)
    z = (product.mean() - law.mean) / (product.std() / len(product) ** 0.5)
    assert abs(z) < THRESHOLD
    squares = (product - law.mean) ** 2
    assert abs(squares.mean() - law.variance) / (squares.std() / len(product) ** 0.5) < THRESHOLD
    # Teeth: without the shift by T sigma^2.
    assert (signal - product.mean()) / (product.std() / len(product) ** 0.5) > THRESHOLD


def layers_loss(params, example):
    features, target = example
    return 0.5 * jnp.sum((params["second"] @ (params["first"] @ features) - target) ** 2)


def layers_problem(first, second, rng, num_examples=400):
    features = rng.normal(size=(num_examples, first.shape[1]))
    noise = 0.5 * rng.normal(size=(num_examples, second.shape[0]))
    noise -= features @ np.linalg.lstsq(features, noise, rcond=None)[0]  # the minimum is the map itself
    start = {"first": jnp.asarray(first, jnp.float32), "second": jnp.asarray(second, jnp.float32)}
    data = jnp.asarray(features, jnp.float32), jnp.asarray(features @ (second @ first).T + noise, jnp.float32)
    return ss.Problem(example_loss=layers_loss, data=data, init=lambda key: start), features, noise


def norms(problem, params):
    return jnp.stack([jnp.sum(params["first"] ** 2), jnp.sum(params["second"] ** 2)])


def test_two_layers_find_their_noise_equilibrium_from_either_side():
    first, second = np.array([[1.0, 0.5, -0.5]]), np.array([[1.0], [0.4]])
    found = []
    for scale in (1.5, 1 / 1.5):
        problem, features, noise = layers_problem(first / scale, second * scale, np.random.default_rng(3))
        ds = ss.simulate(problem, ss.SGD(0.03, ss.WithReplacement(1)), num_seeds=64, num_steps=24_000,
                         record={"norms": ss.Moments(norms, every=20, burn_in=20_000)}, key=jax.random.key(2))
        found.append(ds.norms_mean.values)
    covariances = features.T @ features / 400, noise.T @ noise / 400
    balanced = theory.noise_equilibrium(theory.TwoLayerWeights(first, second), *covariances)
    expected = [np.sum(layer**2) for layer in balanced]
    np.testing.assert_allclose(found, [expected] * 2, rtol=0.05)  # the law is of leading order in the learning rate
    assert abs(expected[0] / np.sum(first**2) - 1) > 0.1 and abs(found[0][0] / found[1][0] - 1) < 0.02
