"""The moment recursions against enumeration of the true updates and against the moment equations written out."""

import itertools

import numpy as np
import optax
import pytest
from scipy.integrate import solve_ivp

from sde_sgd import theory
from sde_sgd.theory.moment_maps import evolve, initial_state, step_map

NUM_EXAMPLES, DIM = 6, 2
START = np.array([0.9, -0.6])
TRACE = np.array([0.4, 0.3])
ETA = 0.3


def _affine(num_examples=NUM_EXAMPLES, dim=DIM, seed=0):
    """Per-example Hessians that neither commute nor are definite, about a mean that is positive definite."""
    rng = np.random.default_rng(seed)
    spread = rng.normal(size=(num_examples, dim, dim))
    hessians = np.diag(np.linspace(0.7, 1.4, dim)) + 0.25 * (spread + spread.transpose(0, 2, 1))
    return theory.affine_gradients(hessians, rng.normal(size=(num_examples, dim)), loss_constant=0.7)


def _regression(num_examples=NUM_EXAMPLES, dim=DIM, seed=1):
    rng = np.random.default_rng(seed)
    return theory.least_squares(rng.normal(size=(num_examples, dim)), rng.normal(size=num_examples))


PROBLEMS = {"affine": _affine(), "regression": _regression()}


@pytest.fixture(params=PROBLEMS)
def problem(request):
    return PROBLEMS[request.param]


def _losses(problem, w):
    return np.sum(w @ problem.hessian * w, axis=-1) / 2 - w @ problem.offset + problem.loss_constant


def _assert_moments(moments, problem, outcomes, tolerance=1e-12):
    """Compare with equally likely end points, one a row."""
    np.testing.assert_allclose(moments.mean, outcomes.mean(axis=0), rtol=0, atol=tolerance)
    second = outcomes.T @ outcomes / len(outcomes)
    np.testing.assert_allclose(moments.second, second, rtol=0, atol=tolerance)
    np.testing.assert_allclose(moments.covariance, np.cov(outcomes.T, bias=True), rtol=0, atol=10 * tolerance)
    np.testing.assert_allclose(moments.loss, _losses(problem, outcomes).mean(), rtol=0, atol=tolerance)


def _batch_gradients(problem, batch_size, replacement, w):
    """Return the mean gradient of every equally likely batch at every row of ``w``: shape (batches, rows, d)."""
    if replacement:
        batches = list(itertools.product(range(problem.num_examples), repeat=batch_size))
    else:
        batches = list(itertools.combinations(range(problem.num_examples), batch_size))
    gradients = np.einsum("nij,rj->nri", problem.hessians, w) - problem.offsets[:, None]
    return gradients[np.array(batches)].mean(axis=1)


def _enumerate_sgd(problem, batch_size, replacement, num_steps, momentum=0.0, starts=START[None]):
    w, trace = starts, np.tile(TRACE, (len(starts), 1))
    for _ in range(num_steps):
        gradients = _batch_gradients(problem, batch_size, replacement, w)
        new_trace = momentum * trace + gradients
        w, trace = (w - ETA * new_trace).reshape(-1, DIM), new_trace.reshape(-1, DIM)
    return w


SCHEMES = [(2, True, 3), (3, True, 2), (2, False, 4), (3, False, 3), (6, False, 5), (1, True, 5)]


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize(("batch_size", "replacement", "num_steps"), SCHEMES)
def test_sgd_is_the_average_over_all_batches(problem, batch_size, replacement, num_steps, momentum):
    moments = theory.sgd_moments(problem, ETA, batch_size, num_steps, start=START, momentum=momentum,
                                 start_trace=TRACE, replacement=replacement)
    _assert_moments(moments, problem, _enumerate_sgd(problem, batch_size, replacement, num_steps, momentum))


@pytest.mark.parametrize(("level", "num_steps"), [(1, 2), (2, 1), (3, 1)])
@pytest.mark.parametrize("replacement", [True, False])
def test_svag_is_the_average_over_all_pairs_of_batches(problem, level, num_steps, replacement):
    batch_size = 1
    plus, minus = (1 + np.sqrt(2 * level - 1)) / 2, (1 - np.sqrt(2 * level - 1)) / 2
    w = START[None]
    for _ in range(level * num_steps):
        gradients = _batch_gradients(problem, batch_size, replacement, w)
        pairs = plus * gradients[:, None] + minus * gradients[None, :]
        w = (w - ETA / level * pairs).reshape(-1, DIM)
    moments = theory.svag_moments(problem, ETA, batch_size, num_steps, level=level, start=START,
                                  replacement=replacement)
    _assert_moments(moments, problem, w)


def _signed_deviations(problem, w):
    """Return a noise with mean zero and covariance Sigma(w), as its 2N equally likely values."""
    gradients = np.einsum("nij,rj->nri", problem.hessians, w) - problem.offsets[:, None]
    deviations = gradients - gradients.mean(axis=0)
    return np.concatenate([deviations, -deviations])


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize(("order", "substeps", "num_steps"), [(1, 1, 3), (1, 2, 2), (2, 1, 3), (2, 3, 1), (2, 2, 2)])
def test_euler_maruyama_is_the_average_over_its_updates(problem, order, substeps, num_steps, replacement):
    # Two moments do not see that the noise is drawn from 2N points instead of a Gaussian.
    factor = theory.sampling_factor(NUM_EXAMPLES, 2, replacement=replacement)
    dt = ETA / substeps
    w = START[None]
    for _ in range(substeps * num_steps):
        gradient = w @ problem.hessian - problem.offset
        correction = (ETA - dt) / 2 * gradient @ problem.hessian if order == 2 else 0.0
        noise = np.sqrt(ETA * dt * factor) * _signed_deviations(problem, w)
        w = (w - dt * (gradient + correction) + noise).reshape(-1, DIM)
    moments = theory.sme_moments(problem, ETA, 2, num_steps, order=order, substeps=substeps, start=START,
                                 replacement=replacement)
    _assert_moments(moments, problem, w)


def _kinetic_drift(problem, order, momentum, x, v):
    h = np.sqrt(ETA)
    mu = (1 - momentum) / h
    gradient = x @ problem.hessian - problem.offset
    if order == 1:
        return v, -(mu * v + gradient)
    drift_v = mu * v + h / 2 * (mu**2 * v - v @ problem.hessian) + (1 + h * mu / 2) * gradient
    return (1 - h * mu / 2) * v - h / 2 * gradient, -drift_v


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("substeps", "num_steps"), [(1, 3), (2, 2), (4, 1)])
def test_heun_is_the_average_over_its_updates(problem, order, substeps, num_steps):
    momentum, h = 0.6, np.sqrt(ETA)
    dt = h / substeps
    x, v = START[None], -h * TRACE[None]
    for _ in range(substeps * num_steps):
        noise = np.sqrt(dt * h / 2) * _signed_deviations(problem, x)
        drift_x, drift_v = _kinetic_drift(problem, order, momentum, x, v)
        next_x, next_v = _kinetic_drift(problem, order, momentum, x + dt * drift_x, v + dt * drift_v + noise)
        v = (v + dt / 2 * (drift_v + next_v) + noise).reshape(-1, DIM)
        x = (x + dt / 2 * (drift_x + next_x)).reshape(-1, DIM)
    moments = theory.momentum_sme_moments(problem, ETA, 2, num_steps, momentum=momentum, order=order,
                                          substeps=substeps, start=START, start_trace=TRACE)
    _assert_moments(moments, problem, x)


def _integrate(drift, constant, spread, mean, duration):
    """Integrate dm = A m + a, dM = A M + M A' + a m' + m a' + spread(m, M) from a fixed start."""
    size = len(mean)

    def rates(_, packed):
        m, second = packed[:size], packed[size:].reshape(size, size)
        forced = drift @ second + np.outer(constant, m)
        return np.concatenate([drift @ m + constant, (forced + forced.T + spread(m, second)).ravel()])

    solution = solve_ivp(rates, (0, duration), np.concatenate([mean, np.outer(mean, mean).ravel()]), method="DOP853",
                         rtol=1e-12, atol=1e-13)
    packed = solution.y[:, -1]
    return packed[:size], packed[size:].reshape(size, size)


def _mean_noise(problem, m, second):
    """E[Sigma(w)], written out term by term."""
    h, b = problem.hessians - problem.hessian, problem.offsets - problem.offset
    crossed = [np.outer(d @ m, e) for d, e in zip(h, b, strict=True)]
    terms = [d @ second @ d - c - c.T + np.outer(e, e) for d, e, c in zip(h, b, crossed, strict=True)]
    return np.mean(terms, axis=0)


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("model", ["gradient_flow", "modified_flow", "sme1", "sme2"])
def test_flows_solve_their_moment_equations(problem, model, replacement):
    num_steps, batch_size = 7, 2
    if model.endswith("flow"):
        strength = 0.0
        moments = getattr(theory, f"{model}_moments")(problem, ETA, num_steps, start=START)
    else:
        strength = ETA * theory.sampling_factor(NUM_EXAMPLES, batch_size, replacement=replacement)
        moments = theory.sme_moments(problem, ETA, batch_size, num_steps, order=int(model[-1]), start=START,
                                     replacement=replacement)
    modified = np.eye(DIM) + (ETA / 2 * problem.hessian if model in ("modified_flow", "sme2") else 0.0)
    mean, second = _integrate(-modified @ problem.hessian, modified @ problem.offset,
                              lambda m, s: strength * _mean_noise(problem, m, s), START, num_steps * ETA)
    np.testing.assert_allclose(moments.mean, mean, rtol=0, atol=1e-10)
    np.testing.assert_allclose(moments.second, second, rtol=0, atol=1e-10)


@pytest.mark.parametrize("order", [1, 2])
def test_momentum_sme_solves_its_moment_equation(problem, order):
    momentum, num_steps, h = 0.6, 5, np.sqrt(ETA)
    points = np.concatenate([np.zeros((1, 2 * DIM)), np.eye(2 * DIM)])
    images = np.hstack(_kinetic_drift(problem, order, momentum, points[:, :DIM], points[:, DIM:]))
    drift = (images[1:] - images[0]).T

    def spread(m, second):
        noise = h / 2 * _mean_noise(problem, m[:DIM], second[:DIM, :DIM])
        return np.pad(noise, ((DIM, 0), (DIM, 0)))

    mean, second = _integrate(drift, images[0], spread, np.concatenate([START, -h * TRACE]), num_steps * h)
    moments = theory.momentum_sme_moments(problem, ETA, 2, num_steps, momentum=momentum, order=order, start=START,
                                          start_trace=TRACE)
    np.testing.assert_allclose(moments.mean, mean[:DIM], rtol=0, atol=1e-10)
    np.testing.assert_allclose(moments.second, second[:DIM, :DIM], rtol=0, atol=1e-10)


def test_momentum_is_optax_momentum(x64):
    problem = theory.affine_gradients(_affine().hessian[None], _affine().offset[None])
    optimiser = optax.sgd(ETA, momentum=0.8)
    w, state = START, optimiser.init(START)
    for _ in range(6):
        update, state = optimiser.update(problem.hessian @ w - problem.offset, state)
        w = optax.apply_updates(w, update)
    np.testing.assert_allclose(theory.sgd_moments(problem, ETA, 1, 6, start=START, momentum=0.8).mean, w, atol=1e-14)


@pytest.mark.parametrize("order", [1, 2])
def test_one_euler_substep_is_a_surrogate_of_sgd_not_its_sde(problem, order):
    sgd = theory.sgd_moments(problem, ETA, 2, 9, start=START)
    surrogate = theory.sme_moments(problem, ETA, 2, 9, order=order, substeps=1, start=START)
    equation = theory.sme_moments(problem, ETA, 2, 9, order=order, start=START)
    np.testing.assert_allclose(surrogate.second, sgd.second, rtol=1e-13)
    assert np.max(np.abs(equation.second - sgd.second)) > 1e-3


def test_svag_and_euler_maruyama_share_two_moments(problem):
    svag = theory.svag_moments(problem, ETA, 2, 9, level=5, start=START)
    euler = theory.sme_moments(problem, ETA, 2, 9, order=1, substeps=5, start=START)
    np.testing.assert_allclose(svag.second, euler.second, rtol=1e-13)


def test_a_full_batch_has_no_noise(problem):
    w = START
    for _ in range(8):
        w = w - ETA * (problem.hessian @ w - problem.offset)
    moments = theory.sgd_moments(problem, ETA, NUM_EXAMPLES, 8, start=START, replacement=False)
    np.testing.assert_allclose(moments.mean, w, atol=1e-14)
    np.testing.assert_allclose(moments.covariance, 0, atol=1e-14)
    assert moments.loss == pytest.approx(_losses(problem, w), abs=1e-14)


def test_a_spread_start_is_the_average_over_its_points(problem):
    offset = np.array([0.2, 0.5])
    outcomes = _enumerate_sgd(problem, 2, False, 2, starts=np.stack([START - offset, START + offset]))
    moments = theory.sgd_moments(problem, ETA, 2, 2, start=START, start_covariance=np.outer(offset, offset),
                                 replacement=False)
    _assert_moments(moments, problem, outcomes)


def test_records_are_the_moments_of_shorter_runs_and_can_be_continued(problem):
    records = theory.sgd_moments(problem, ETA, 2, 12, start=START, record_every=4)
    np.testing.assert_array_equal(records.steps, [0, 4, 8, 12])
    assert records.mean.shape == (4, DIM) and records.covariance.shape == (4, DIM, DIM) and records.loss.shape == (4,)
    np.testing.assert_array_equal(records.mean[0], START)
    for index in range(1, 4):
        alone = theory.sgd_moments(problem, ETA, 2, 4 * index, start=START)
        assert alone.steps == 4 * index
        np.testing.assert_allclose(records.second[index], alone.second, rtol=1e-12)
    rest = theory.sgd_moments(problem, ETA, 2, 8, start=records.mean[1], start_covariance=records.covariance[1])
    np.testing.assert_allclose(rest.second, records.second[-1], rtol=1e-12)
    np.testing.assert_array_equal(theory.sgd_moments(problem, ETA, 2, 0, start=START).mean, START)


def _sgd_with(problem, factor, num_steps):
    """SGD with a sampling factor of one's own choice."""
    identity = np.eye(DIM + 1)
    drift = np.concatenate([np.zeros((1, DIM + 1)), -np.column_stack([-problem.offset, problem.hessian])])
    one_step = step_map(problem, identity + ETA * drift, ETA * identity[:, 1:], factor)
    return evolve(problem, one_step, initial_state(problem, START, None), num_steps, None)


def test_teeth_a_wrong_covariance_is_not_the_average_over_all_batches(problem):
    batch_size, num_steps = 2, 3
    outcomes = _enumerate_sgd(problem, batch_size, True, num_steps)
    _assert_moments(_sgd_with(problem, 1 / batch_size, num_steps), problem, outcomes)
    unbiased = NUM_EXAMPLES / (NUM_EXAMPLES - 1)
    without = theory.sampling_factor(NUM_EXAMPLES, batch_size, replacement=False)
    for wrong in (1 / (batch_size - 1), 1 / (batch_size + 1), 2 / batch_size, unbiased / batch_size, without, 0.0):
        with pytest.raises(AssertionError):
            _assert_moments(_sgd_with(problem, wrong, num_steps), problem, outcomes)
