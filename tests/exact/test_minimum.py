"""A problem at its minimum in the theory's terms: float64 whatever the mode, exact for quadratics, honest for others."""

import jax.numpy as jnp
import numpy as np
import pytest

import sde_sgd as ss
from sde_sgd import theory

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(12, 3)).astype(np.float32)
TARGETS = RNG.normal(size=12).astype(np.float32)
PROBLEM = ss.problems.least_squares(FEATURES, TARGETS)
MODEL = theory.least_squares(FEATURES, TARGETS)


@pytest.mark.parametrize("point", [None, jnp.array([1.0, -2.0, 0.5])])
def test_regression_is_its_own_model(precision, point):
    model = ss.quadratic_model(PROBLEM, point)
    np.testing.assert_allclose(model.hessians, MODEL.hessians, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(model.offsets, MODEL.offsets, rtol=1e-10, atol=1e-12)
    assert model.loss_constant == pytest.approx(MODEL.loss_constant, rel=1e-10)


CASES = {
    "sgd": (lambda: ss.SGD(0.1, ss.WithReplacement(3)), lambda: theory.sgd_limit_covariance(MODEL, 0.1, 3)),
    "without": (lambda: ss.SGD(0.1, ss.WithoutReplacement(3), momentum=0.5),
                lambda: theory.sgd_limit_covariance(MODEL, 0.1, 3, momentum=0.5, replacement=False)),
    "gaussian": (lambda: ss.SGD(0.1, ss.Gaussian(3, replacement=False)),
                 lambda: theory.sgd_limit_covariance(MODEL, 0.1, 3, replacement=False)),
    "sme1": (lambda: ss.SME(0.1, ss.Gaussian(3), order=1), lambda: theory.sme_limit_covariance(MODEL, 0.1, 3, order=1)),
    "sme2": (lambda: ss.SME(0.1, ss.Gaussian(3), order=2), lambda: theory.sme_limit_covariance(MODEL, 0.1, 3, order=2)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_covariance_of_a_process(precision, case):
    process, expected = CASES[case]
    # learning rates are float32 in a process
    np.testing.assert_allclose(ss.stationary_covariance(PROBLEM, process()), expected(), rtol=1e-6, atol=1e-9)


def test_params_of_any_shape_and_losses_that_are_not_quadratic(precision):
    inputs = np.array([0.5, -1.0, 2.0], np.float32)
    problem = ss.Problem(example_loss=lambda w, x: (w["slope"] * x + w["offset"]) ** 4 / 12, data=jnp.asarray(inputs),
                         init=lambda key: {"slope": jnp.zeros(()), "offset": jnp.zeros(())})
    model = ss.quadratic_model(problem, {"slope": jnp.asarray(0.75), "offset": jnp.asarray(-0.5)})
    direction = np.stack([np.ones(3), inputs], axis=1)  # flat params are in the order offset, slope
    value = direction @ [-0.5, 0.75]
    np.testing.assert_allclose(model.hessians, value[:, None, None] ** 2 * direction[:, :, None] * direction[:, None, :],
                               rtol=1e-12)
    np.testing.assert_allclose(model.example_gradients(np.array([-0.5, 0.75])), value[:, None] ** 3 / 3 * direction,
                               rtol=1e-12)
    w = np.array([-0.5, 0.75])
    loss = w @ model.hessian @ w / 2 - model.offset @ w + model.loss_constant
    assert loss == pytest.approx(np.mean(value**4) / 12, rel=1e-12)


def test_bad_input_is_named():
    bare = ss.problems.potential(lambda w: jnp.sum(w**4), start=jnp.zeros(2))
    with pytest.raises(ValueError, match="does not know its minimum"):
        ss.quadratic_model(bare)
    wide = ss.problems.least_squares(np.ones((60, 1000), np.float32), np.ones(60, np.float32))
    with pytest.raises(ValueError, match=r"60 examples and 1000 parameters.*krylov_minimum"):
        ss.quadratic_model(wide)
    with pytest.raises(ValueError, match="below the mean-square threshold"):
        ss.stationary_covariance(PROBLEM, ss.SGD(3.0, ss.WithReplacement(1)))
    with pytest.raises(ValueError, match="batch_size"):
        ss.stationary_covariance(PROBLEM, ss.SGD(0.1, ss.WithReplacement(13)))
    with pytest.raises(TypeError, match="not independent"):
        ss.stationary_covariance(PROBLEM, ss.SGD(0.1, ss.EpochShuffle(3)))
    with pytest.raises(TypeError, match="must be an SGD or an SME, got Langevin"):
        ss.stationary_covariance(PROBLEM, ss.Langevin(0.1, temperature=1.0))
