"""The tables of the battery: one line a process, one line a noise, and the problems they run on."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

import sde_sgd as ss
from sde_sgd._core.random import DYNAMICS, Draws, lane_key

NUM_EXAMPLES = 64  # programs with few examples compile up to ten times as long
DIM = 5  # numbers in the params of `mixed_problem`


def draws(lane=0, step=0, seed=3, step_high=0):
    """Return the draws of one lane at one step, as a run makes them."""
    return Draws(lane_key(jax.random.key(seed), jnp.uint32(lane), jnp.uint32(step_high), DYNAMICS), jnp.uint32(step))


def start(dtype, other):
    """Return params of three leaves, two dtypes and the shapes (2,), (2, 1) and ()."""
    rng = np.random.default_rng(5)
    return {"a": jnp.asarray(0.3 * rng.normal(size=2), dtype),
            "b": {"c": jnp.asarray(0.3 * rng.normal(size=(2, 1)), other), "d": jnp.asarray(0.2, dtype)}}


def mixed_loss(params, example):
    """A smooth loss, neither quadratic nor symmetric, of params with several leaves."""
    features, target = example
    bent = jnp.sum(jnp.tanh(params["b"]["c"]) * features[1:])
    error = features[:2] @ params["a"] + bent + params["b"]["d"] - target
    return 0.5 * error**2 + 0.05 * jnp.sum(params["b"]["c"] ** 4) + 0.1 * jnp.sum(params["a"] ** 2)


def mixed_problem(dtype=jnp.float32, other=jnp.float32, num_examples=NUM_EXAMPLES):
    """Return a problem whose params are a pytree of several shapes and dtypes."""
    rng = np.random.default_rng(6)
    features = rng.normal(size=(num_examples, 3)).astype(np.dtype(dtype))
    targets = rng.normal(size=num_examples).astype(np.dtype(dtype))
    return ss.Problem(example_loss=mixed_loss, data=(features, targets), init=lambda key: start(dtype, other))


def ornstein_uhlenbeck(learning_rate, batch_size, covariance=0.1):
    matrix = np.diag(np.linspace(0.2, 2.0, DIM)) + 0.1
    minimum = jax.tree.map(jnp.zeros_like, start(jnp.float32, jnp.float32))
    noise = covariance * (np.eye(DIM) + 0.5) / batch_size
    return ss.OrnsteinUhlenbeck(learning_rate, hessian=matrix, noise_covariance=noise, minimum=minimum)


FEATURES = np.random.default_rng(7).normal(size=(NUM_EXAMPLES, DIM))
ADAM = optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(lambda count: -0.1 / (1 + count)))


# Half the time to compile. For tests of meaning; those of bits leave the compiler as it is.
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@dataclasses.dataclass(frozen=True)
class Case:
    """A process as a function of learning rate and batch size, and its clock as a function of the learning rate."""

    name: str
    make: Callable
    clock: Callable = lambda lr: lr
    noisy: bool = True


PROCESSES = [
    Case("SGD", lambda lr, b: ss.SGD(lr, ss.WithReplacement(b))),
    Case("SGD, momentum", lambda lr, b: ss.SGD(lr, ss.WithReplacement(b), momentum=0.9)),
    Case("SGD, without replacement", lambda lr, b: ss.SGD(lr, ss.WithoutReplacement(b))),
    Case("SGD, epochs", lambda lr, b: ss.SGD(lr, ss.EpochShuffle(b))),
    Case("SGD, Gaussian", lambda lr, b: ss.SGD(lr, ss.Gaussian(b))),
    Case("SGD, isotropic", lambda lr, b: ss.SGD(lr, ss.Isotropic(b), momentum=0.5)),
    Case("SGD, stable", lambda lr, b: ss.SGD(lr, ss.Stable(b, tail_index=1.8))),
    Case("optax constructor",
         lambda lr, b: ss.from_optax(optax.adam, ss.WithReplacement(b), learning_rate=lr, b2=0.99)),
    Case("optax schedule", lambda lr, b: ss.from_optax(ADAM, ss.WithReplacement(b)), clock=lambda lr: 1.0),
    Case("gradient flow", lambda lr, b: ss.GradientFlow(lr, substeps=2), noisy=False),
    Case("SME 1", lambda lr, b: ss.SME(lr, ss.Gaussian(b), order=1, substeps=10)),
    Case("SME 2", lambda lr, b: ss.SME(lr, ss.Gaussian(b), order=2, substeps=10)),
    Case("MomentumSME 1", lambda lr, b: ss.MomentumSME(lr, ss.Gaussian(b), momentum=0.9, order=1, substeps=10),
         clock=lambda lr: lr**0.5),
    Case("MomentumSME 2", lambda lr, b: ss.MomentumSME(lr, ss.Isotropic(b), momentum=0.9, order=2, substeps=10),
         clock=lambda lr: lr**0.5),
    Case("Langevin", lambda lr, b: ss.Langevin(lr, temperature=0.1 / b, substeps=3)),
    Case("Levy Langevin", lambda lr, b: ss.LevyLangevin(lr, tail_index=1.7, scale=0.05 / b, substeps=3)),
    Case("kinetic Langevin", lambda lr, b: ss.KineticLangevin(lr, friction=2.0, temperature=0.1 / b, substeps=3)),
    Case("Ornstein-Uhlenbeck", ornstein_uhlenbeck),
    Case("RMSprop SDE", lambda lr, b: ss.RMSpropSDE(lr, ss.Gaussian(b), eps=0.1, substeps=10), clock=lambda lr: lr**2),
    Case("Adam SDE", lambda lr, b: ss.AdamSDE(lr, ss.Isotropic(b), eps=0.1, substeps=10), clock=lambda lr: lr**2),
    Case("homogenised SGD", lambda lr, b: ss.HomogenizedSGD(lr, b, features=FEATURES, substeps=10),
         clock=lambda lr: 3 / NUM_EXAMPLES),
    Case("SVAG", lambda lr, b: ss.SVAG(lr, ss.WithReplacement(b), substeps=4)),
]
BY_NAME = {case.name: case for case in PROCESSES}

NOISES = {
    "with replacement": ss.WithReplacement,
    "without replacement": ss.WithoutReplacement,
    "epochs": ss.EpochShuffle,
    "Gaussian": ss.Gaussian,
    "Gaussian without": lambda b: ss.Gaussian(b, replacement=False),
    "isotropic": ss.Isotropic,
    "stable of index 2": lambda b: ss.Stable(b, tail_index=2.0),  # the only index with a variance
}


def leaves_equal(one, other):
    """Return whether two pytrees agree bit for bit, dtypes included; NaN equals NaN."""
    left, right = jax.tree.leaves(one), jax.tree.leaves(other)
    same = (np.asarray(a).dtype == np.asarray(b).dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()
            for a, b in zip(left, right, strict=True))
    return jax.tree.structure(one) == jax.tree.structure(other) and all(same)


def rounding(tree):
    """Return how far a few steps may drift by rounding in the coarsest dtype of the tree."""
    coarsest = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(tree)
                   if jnp.issubdtype(leaf.dtype, jnp.floating))
    return (4 if coarsest > 1e-4 else 64) * coarsest


def assert_close(one, other):
    """Assert that two states agree up to rounding, dtypes exactly."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    allowed = rounding(one)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a.astype(np.float64), b.astype(np.float64), rtol=allowed, atol=allowed)
