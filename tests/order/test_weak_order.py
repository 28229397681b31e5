"""Weak orders of the models of SGD, from exact moments: no sampling, so a slope is a number and not an estimate.

A slope alone certifies little: with the covariance doubled, or with no noise at all, a model still has order one. So
each slope stands beside the *relative* error of the covariance, which noise alone makes, and which has to vanish with
the step. The wrong models at the end fail one or the other.
"""

import numpy as np
import pytest

from sde_sgd import theory
from sde_sgd.theory.moment_maps import evolve, flow_map, initial_state, step_map
from sde_sgd.theory.moments import descent
from sde_sgd.theory.moments_momentum import kinetic_drift

START, TRACE = np.array([1.0, -0.7, 0.4]), np.array([0.5, -0.3, 0.2])
BATCH_SIZE, DURATION, FRICTION = 2, 2.0, 1.5
SIZES = 2.0 ** -np.arange(3, 10)
TOLERANCE = 0.05


def _problem():
    """Curvature and noise that commute with nothing, noise that depends on the parameters in every direction."""
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(6, 3, 3))
    hessians = np.diag([0.6, 1.0, 1.4]) + 0.18 * (spread + spread.transpose(0, 2, 1))
    return theory.affine_gradients(hessians, rng.normal(size=(6, 3)))


PROBLEM = _problem()


def _errors(model, reference):
    """Return the largest error over mean and second moment, and the relative error of the covariance."""
    moments = np.max(np.abs(model.mean - reference.mean)), np.max(np.abs(model.second - reference.second))
    # step 0 has no covariance to compare
    spread = np.abs(model.covariance - reference.covariance)[1:].max(axis=(1, 2))
    return max(moments), np.max(spread / np.abs(reference.covariance)[1:].max(axis=(1, 2)))


def _study(model, reference, sizes=SIZES):
    """Return both errors for every size, over the times T/4, T/2, 3T/4 and T."""
    return np.array([_errors(model(size), reference(size)) for size in sizes]).T


def _slopes(errors):
    return np.log2(errors[:-1] / errors[1:])[-3:]


def _assert_order(study, order):
    errors, relative = study
    np.testing.assert_allclose(_slopes(errors), order, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(_slopes(relative), 1, rtol=0, atol=TOLERANCE)


def _clock(time_per_step):
    num_steps = round(DURATION / time_per_step)
    return dict(num_steps=num_steps, record_every=num_steps // 4, start=START)


def _sgd(eta, replacement=True):
    return theory.sgd_moments(PROBLEM, eta, BATCH_SIZE, replacement=replacement, **_clock(eta))


def _sme(eta, order, replacement=True, **options):
    options = {"batch_size": BATCH_SIZE, **options}
    return theory.sme_moments(PROBLEM, eta, order=order, replacement=replacement, **_clock(eta), **options)


def _heavy_ball(h):
    """Optax's momentum beta = 1 - mu h with the friction mu fixed, at learning rate h^2 and time k h."""
    return dict(learning_rate=h**2, momentum=1 - FRICTION * h, start_trace=TRACE, **_clock(h))


def _momentum_sgd(h, replacement=True):
    return theory.sgd_moments(PROBLEM, batch_size=BATCH_SIZE, replacement=replacement, **_heavy_ball(h))


def _momentum_sme(h, order, replacement=True, **options):
    return theory.momentum_sme_moments(PROBLEM, batch_size=BATCH_SIZE, order=order, replacement=replacement,
                                       **_heavy_ball(h), **options)


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("substeps", [None, 16])
def test_sme(order, substeps, replacement):
    """The equations, and the Euler-Maruyama schemes that stand for them, at a fixed number of substeps."""
    study = _study(lambda eta: _sme(eta, order, replacement, substeps=substeps), lambda eta: _sgd(eta, replacement))
    _assert_order(study, order)


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("substeps", [None, 1, 4])
def test_momentum_sme(order, substeps, replacement):
    """Orders in h, the root of the learning rate; Heun's scheme keeps them from one substep on."""
    study = _study(lambda h: _momentum_sme(h, order, replacement, substeps=substeps),
                   lambda h: _momentum_sgd(h, replacement))
    _assert_order(study, order)


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("flow", [theory.gradient_flow_moments, theory.modified_flow_moments])
def test_flows_have_order_one_and_no_variance(flow, replacement):
    errors, relative = _study(lambda eta: flow(PROBLEM, eta, **_clock(eta)), lambda eta: _sgd(eta, replacement))
    np.testing.assert_allclose(_slopes(errors), 1, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(relative, 1, rtol=0, atol=1e-8)


def test_modified_flow_has_order_two_against_gradient_descent():
    def full_batch(eta):
        return theory.sgd_moments(PROBLEM, eta, PROBLEM.num_examples, replacement=False, **_clock(eta)).mean

    for flow, order in ((theory.gradient_flow_moments, 1), (theory.modified_flow_moments, 2)):
        errors = [np.max(np.abs(flow(PROBLEM, eta, **_clock(eta)).mean - full_batch(eta))) for eta in SIZES]
        np.testing.assert_allclose(_slopes(np.array(errors)), order, rtol=0, atol=TOLERANCE)


def test_svag_tends_to_the_first_order_equation_at_fixed_learning_rate():
    eta = 0.25
    equation = _sme(eta, 1)
    levels = 2 ** np.arange(9)
    study = _study(lambda level: theory.svag_moments(PROBLEM, eta, BATCH_SIZE, level=int(level), **_clock(eta)),
                   lambda _: equation, levels)
    _assert_order(study, 1)


@pytest.mark.parametrize("order", [1, 2])
def test_euler_maruyama_tends_to_its_equation(order):
    """Its error against the equation is O(eta/m) for order 1 and O(eta^2/m) for order 2."""
    in_substeps = _study(lambda m: _sme(0.25, order, substeps=int(m)), lambda _: _sme(0.25, order), 2 ** np.arange(9))
    _assert_order(in_substeps, 1)
    in_learning_rate = _study(lambda eta: _sme(eta, order, substeps=16), lambda eta: _sme(eta, order))
    _assert_order(in_learning_rate, order)


@pytest.mark.parametrize(
    ("model", "slope"),
    [("gradient flow", 1.005), ("modified flow", 1.002), ("sme 1", 0.996), ("sme 2", 2.003)],
)
def test_scalar_multiplicative_noise(model, slope):
    """The numbers of the note: gradient (a + s1 z) x + s0 z', second moment, eta from 2^-3 to 2^-9."""
    signs = np.array([(1, 1), (1, -1), (-1, 1), (-1, -1)])
    problem = theory.affine_gradients((1.0 + 0.8 * signs[:, 0])[:, None, None], 0.7 * signs[:, 1:])
    models = {
        "gradient flow": lambda **run: theory.gradient_flow_moments(problem, **run),
        "modified flow": lambda **run: theory.modified_flow_moments(problem, **run),
        "sme 1": lambda **run: theory.sme_moments(problem, batch_size=1, order=1, **run),
        "sme 2": lambda **run: theory.sme_moments(problem, batch_size=1, order=2, **run),
    }
    errors = []
    for eta in 2.0 ** -np.arange(3, 10):
        run = dict(learning_rate=eta, num_steps=round(1 / eta), start=[1.0])
        exact = theory.sgd_moments(problem, batch_size=1, **run).second
        errors.append(np.abs(models[model](**run).second - exact).item())
    assert _slopes(np.array(errors))[-1] == pytest.approx(slope, abs=6e-4)


# Teeth: deliberately wrong models. Each must fail the assertions that the right one passes.


def _altered_sme(eta, modification=0.0, strength=1.0):
    """A first-order equation with a drift and a diffusion of one's own choice."""
    factor = strength * eta * theory.sampling_factor(PROBLEM.num_examples, BATCH_SIZE)
    one_step = flow_map(PROBLEM, descent(PROBLEM, modification), np.eye(4)[:, 1:], factor, eta)
    return evolve(PROBLEM, one_step, initial_state(PROBLEM, START, None), _clock(eta)["num_steps"],
                  _clock(eta)["record_every"])


def _euler_with_the_whole_correction(eta, substeps=16):
    """Euler-Maruyama of the second-order drift as it stands: it forgets that Euler itself adds dt/2."""
    dt = eta / substeps
    propagator = np.eye(4) + dt * descent(PROBLEM, eta / 2)
    factor = dt * eta * theory.sampling_factor(PROBLEM.num_examples, BATCH_SIZE)
    one_step = step_map(PROBLEM, propagator, np.eye(4)[:, 1:], factor, repeats=substeps)
    return evolve(PROBLEM, one_step, initial_state(PROBLEM, START, None), _clock(eta)["num_steps"],
                  _clock(eta)["record_every"])


UNBIASED = PROBLEM.num_examples / (PROBLEM.num_examples - 1)
WRONG = {
    "missing eta/2": (2, lambda eta: _sme(eta, 1)),
    "wrong sign of eta/2": (2, lambda eta: _altered_sme(eta, -eta / 2)),
    "eta/4 for eta/2": (2, lambda eta: _altered_sme(eta, eta / 4)),
    "whole eta/2 in an Euler step": (2, _euler_with_the_whole_correction),
    "doubled covariance": (1, lambda eta: _altered_sme(eta, strength=2.0)),
    "doubled covariance, order 2": (2, lambda eta: _altered_sme(eta, eta / 2, strength=2.0)),
    "B - 1 for B": (1, lambda eta: _sme(eta, 1, batch_size=BATCH_SIZE - 1)),
    "B - 1 for B, order 2": (2, lambda eta: _sme(eta, 2, batch_size=BATCH_SIZE - 1)),
    "without replacement": (1, lambda eta: _sme(eta, 1, replacement=False)),
    "1/(N-1) covariance": (1, lambda eta: _altered_sme(eta, strength=UNBIASED)),
    "1/(N-1) covariance, order 2": (2, lambda eta: _altered_sme(eta, eta / 2, strength=UNBIASED)),
    "forgotten square root": (1, lambda eta: _altered_sme(eta, strength=eta)),
    "forgotten square root, order 2": (2, lambda eta: _altered_sme(eta, eta / 2, strength=eta)),
    "no noise": (1, lambda eta: _altered_sme(eta, strength=0.0)),
}


def test_the_altered_equation_is_right_when_unaltered():
    _assert_order(_study(_altered_sme, _sgd), 1)
    _assert_order(_study(lambda eta: _altered_sme(eta, eta / 2), _sgd), 2)


@pytest.mark.parametrize("name", WRONG)
def test_teeth(name):
    order, wrong = WRONG[name]
    with pytest.raises(AssertionError):
        _assert_order(_study(wrong, _sgd), order)


def test_teeth_a_slope_of_one_does_not_see_the_covariance():
    """Why the covariance is judged by itself: these slopes alone would pass."""
    for strength in (0.0, 2.0):
        errors, relative = _study(lambda eta, s=strength: _altered_sme(eta, strength=s), _sgd)
        np.testing.assert_allclose(_slopes(errors), 1, rtol=0, atol=TOLERANCE)
        assert np.min(relative) > 0.9


def _altered_kinetic(h, order, time_per_step=1.0, friction=1.0, strength=1.0, velocity=1.0):
    """Kinetic Langevin with clock, friction, noise or start off by a factor."""
    drift = kinetic_drift(PROBLEM, friction * FRICTION, h / 2 if order == 2 else 0.0)
    factor = strength * h * theory.sampling_factor(PROBLEM.num_examples, BATCH_SIZE)
    one_step = flow_map(PROBLEM, drift, np.eye(7)[:, 4:], factor, time_per_step * h)
    state = initial_state(PROBLEM, START, None, -velocity * h * TRACE)
    return evolve(PROBLEM, one_step, state, _clock(h)["num_steps"], _clock(h)["record_every"])


WRONG_KINETIC = {
    "clock of SGD": lambda h, order: _altered_kinetic(h, order, time_per_step=h),
    "friction of the clock of SGD": lambda h, order: _altered_kinetic(h, order, friction=1 / h),
    "doubled covariance": lambda h, order: _altered_kinetic(h, order, strength=2.0),
    "forgotten square root": lambda h, order: _altered_kinetic(h, order, strength=h),
    "1/(N-1) covariance": lambda h, order: _altered_kinetic(h, order, strength=UNBIASED),
    "trace for velocity": lambda h, order: _altered_kinetic(h, order, velocity=-1 / h),
}


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", WRONG_KINETIC)
def test_teeth_with_momentum(name, order):
    _assert_order(_study(lambda h: _altered_kinetic(h, order), _momentum_sgd), order)
    with pytest.raises(AssertionError):
        _assert_order(_study(lambda h: WRONG_KINETIC[name](h, order), _momentum_sgd), order)


def test_teeth_the_first_order_equation_is_not_of_second_order():
    for wrong in (lambda h: _momentum_sme(h, 1), lambda h: _altered_kinetic(h, 2, velocity=-1.0)):
        with pytest.raises(AssertionError):
            _assert_order(_study(wrong, _momentum_sgd), 2)
