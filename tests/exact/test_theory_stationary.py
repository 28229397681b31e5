"""Stationary covariances against scipy's Lyapunov solvers and against the moment recursions run to their end."""

import numpy as np
import pytest
from scipy.linalg import expm, solve_continuous_lyapunov, solve_discrete_lyapunov
from scipy.optimize import minimize_scalar

from sde_sgd import theory

DIM = 5


def _minimum(dim=DIM, seed=0):
    """A Hessian and a noise covariance that do not commute."""
    rng = np.random.default_rng(seed)
    root, noise_root = rng.normal(size=(2, dim, dim))
    hessian, noise = root @ root.T / dim + 0.1 * np.eye(dim), noise_root @ noise_root.T / dim
    assert np.linalg.norm(hessian @ noise - noise @ hessian) > 0.1
    return hessian, noise


HESSIAN, NOISE = _minimum()
SHARPNESS = np.linalg.eigvalsh(HESSIAN)[-1]


def _assert_zero(residual, scale):
    assert np.max(np.abs(residual)) < 1e-10 * np.max(np.abs(scale))


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_sgd_solves_its_discrete_lyapunov_equation(momentum, fraction):
    eta = fraction * 2 * (1 + momentum) / SHARPNESS
    covariance = theory.sgd_stationary_covariance(HESSIAN, NOISE, eta, momentum)
    velocity = theory.heavy_ball_velocity_covariance(HESSIAN, NOISE, eta, momentum)
    one = np.eye(DIM)
    step = np.block([[one - eta * HESSIAN, -eta * momentum * one], [HESSIAN, momentum * one]])
    injection = np.concatenate([-eta * one, one])
    joint = solve_discrete_lyapunov(step, injection @ NOISE @ injection.T)
    _assert_zero(covariance - joint[:DIM, :DIM], covariance)
    _assert_zero(velocity - eta**2 * joint[DIM:, DIM:], velocity)
    assert np.linalg.eigvalsh(covariance)[0] > 0


def _preconditioner(dim=DIM, seed=2):
    root = np.random.default_rng(seed).normal(size=(dim, dim))
    return root @ root.T / dim + 0.2 * np.eye(dim)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("dim", [1, 2, 4])
def test_a_matrix_learning_rate_that_commutes_with_nothing(dim, momentum):
    """The stationary equation with matrix rate and momentum, and the recursion that it comes from."""
    hessian, noise = (matrix[:dim, :dim] for matrix in (HESSIAN, NOISE))
    rate = _preconditioner(dim)
    rate *= 0.7 * 2 * (1 + momentum) / np.max(np.linalg.eigvals(rate @ hessian).real)
    covariance = theory.sgd_stationary_covariance(hessian, noise, rate, momentum)
    one, drift = np.eye(dim), rate @ hessian
    step = np.block([[(1 + momentum) * one - drift, -momentum * one], [one, 0 * one]])
    kick = np.zeros((2 * dim, 2 * dim))
    kick[:dim, :dim] = rate @ noise @ rate
    joint = solve_discrete_lyapunov(step, kick)
    _assert_zero(covariance - joint[:dim, :dim], covariance)
    displacement = np.hstack([one, -one])
    velocity = theory.heavy_ball_velocity_covariance(hessian, noise, rate, momentum)
    _assert_zero(velocity - displacement @ joint @ displacement.T, velocity)
    b, pair = momentum, drift @ covariance
    equation = (1 - b) * (pair + pair.T) - (1 + b**2) / (1 - b**2) * pair @ drift.T
    equation += b / (1 - b**2) * (drift @ pair + (drift @ pair).T) - rate @ noise @ rate
    _assert_zero(equation, rate @ noise @ rate)


def test_a_matrix_learning_rate_in_continuous_time():
    rate = 0.1 * _preconditioner()
    drift, kick = rate @ HESSIAN, rate @ NOISE @ rate
    ou = theory.ou_stationary_covariance(HESSIAN, NOISE, rate, 0.6)
    _assert_zero(ou - solve_continuous_lyapunov(drift, kick / 0.4), ou)
    bent = drift + drift @ drift / 2
    plain = theory.sme2_stationary_covariance(HESSIAN, NOISE, rate)
    _assert_zero(plain - solve_continuous_lyapunov(bent, kick), plain)
    corrected = theory.sme2_corrected_stationary_covariance(HESSIAN, NOISE, rate)
    diffusion = kick + (drift @ kick + kick @ drift.T) / 2
    _assert_zero(corrected - solve_continuous_lyapunov(bent, diffusion), corrected)


@pytest.mark.parametrize("name", ["sgd", "ou", "sme2", "sme2_corrected"])
def test_a_multiple_of_the_identity_is_a_scalar_rate(name):
    law = getattr(theory, f"{name}_stationary_covariance")
    scalar = law(HESSIAN, NOISE, 0.1)
    _assert_zero(law(HESSIAN, NOISE, 0.1 * np.eye(DIM)) - scalar, scalar)


def test_the_posterior_by_a_full_preconditioner():
    """The rate 2B/N Sigma^-1 makes the first-order SDE sample exp(-N w'Hw/2) exactly; SGD itself overshoots it."""
    num_examples, batch_size = 50, 4
    rate = 2 * batch_size / num_examples * np.linalg.inv(NOISE)
    posterior = np.linalg.inv(num_examples * HESSIAN)
    ou = theory.ou_stationary_covariance(HESSIAN, NOISE / batch_size, rate)
    _assert_zero(ou - posterior, posterior)
    slow = rate / np.max(np.linalg.eigvals(rate @ HESSIAN).real)
    assert theory.sgd_stationary_covariance(HESSIAN, NOISE, slow)[0, 0] > theory.ou_stationary_covariance(
        HESSIAN, NOISE, slow)[0, 0]


def test_the_scalar_rate_that_is_closest_to_the_posterior():
    """eta = 2 d B / (N Tr Sigma) minimises the Kullback-Leibler divergence from the posterior."""
    num_examples, batch_size = 50, 4

    def divergence(log_rate):
        covariance = theory.ou_stationary_covariance(HESSIAN, NOISE / batch_size, float(np.exp(log_rate)))
        precision = num_examples * HESSIAN
        return (np.trace(precision @ covariance) - np.linalg.slogdet(precision @ covariance)[1]) / 2

    best = minimize_scalar(divergence, bounds=(-8.0, 1.0), method="bounded", options={"xatol": 1e-9})
    assert np.exp(best.x) == pytest.approx(2 * DIM * batch_size / (num_examples * np.trace(NOISE)), rel=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_ou_solves_its_lyapunov_equation(momentum):
    covariance = theory.ou_stationary_covariance(HESSIAN, NOISE, 0.2, momentum)
    _assert_zero(covariance - solve_continuous_lyapunov(HESSIAN, 0.2 / (1 - momentum) * NOISE), covariance)


def test_second_order_equations_solve_theirs():
    eta = 0.2
    drift = HESSIAN + eta / 2 * HESSIAN @ HESSIAN
    plain = theory.sme2_stationary_covariance(HESSIAN, NOISE, eta)
    _assert_zero(plain - solve_continuous_lyapunov(drift, eta * NOISE), plain)
    product = HESSIAN @ NOISE
    corrected = theory.sme2_corrected_stationary_covariance(HESSIAN, NOISE, eta)
    diffusion = eta * (NOISE + eta / 2 * (product + product.T))
    _assert_zero(corrected - solve_continuous_lyapunov(drift, diffusion), corrected)


@pytest.mark.parametrize("fraction", [0.02, 0.4])
def test_matched_ou_has_the_transition_of_sgd(fraction):
    eta, noise = fraction / SHARPNESS, NOISE + np.eye(DIM)
    drift, diffusion = theory.matched_ou(HESSIAN, noise, eta)
    contraction = np.eye(DIM) - eta * HESSIAN
    _assert_zero(expm(-eta * drift) - contraction, contraction)
    stationary = solve_continuous_lyapunov(drift, diffusion)
    _assert_zero(stationary - theory.sgd_stationary_covariance(HESSIAN, noise, eta), stationary)
    # the covariance that one step adds, straight from drift and diffusion (Van Loan)
    block = expm(eta * np.block([[-drift, diffusion], [np.zeros((DIM, DIM)), drift.T]]))
    added = block[:DIM, DIM:] @ block[:DIM, :DIM].T
    _assert_zero(added - eta**2 * noise, eta**2 * noise)


def test_matched_ou_need_not_exist():
    hessian, eta = np.diag([0.1, 1.0]), 0.9
    commuting = theory.matched_ou(hessian, np.diag([1.0, 0.0]), eta)
    assert np.linalg.eigvalsh(commuting.diffusion)[0] == 0.0
    with pytest.raises(ValueError, match=r"noise_covariance is too close to singular.*-0"):
        theory.matched_ou(hessian, np.ones((2, 2)), eta)


@pytest.mark.parametrize(
    ("model", "product", "percent"),
    [("ou", 0.2, -10.0), ("sme2", 0.2, -18.2), ("sme2_corrected", 0.2, -1.8), ("sme2_corrected", 0.05, -0.12)],
)
def test_ladder_of_relative_errors(model, product, percent):
    """The numbers of the note: the second-order equation is the worse of the two at stationarity."""
    curvature = 2.5
    arguments = ([[curvature]], [[0.7]], product / curvature)
    exact = theory.sgd_stationary_covariance(*arguments).item()
    assert exact == pytest.approx(arguments[2] * 0.7 / (curvature * (2 - product)), rel=1e-13)
    measured = getattr(theory, f"{model}_stationary_covariance")(*arguments).item() / exact - 1
    assert 100 * measured == pytest.approx(percent, abs=0.05 if product == 0.2 else 0.005)


def test_heavy_ball_per_mode():
    eta, beta, h, c = 0.3, 0.8, 1.7, 0.6
    edge = 2 * (1 + beta) - eta * h
    position = theory.sgd_stationary_covariance([[h]], [[c]], eta, beta).item()
    velocity = theory.heavy_ball_velocity_covariance([[h]], [[c]], eta, beta).item()
    assert position == pytest.approx(eta * c * (1 + beta) / ((1 - beta) * h * edge), rel=1e-13)
    assert velocity == pytest.approx(2 * eta**2 * c / ((1 - beta) * edge), rel=1e-13)


ETA, LONG = 0.3, 100_000


def _additive_problem(noise_seed=1):
    """Examples that share one Hessian: noise that does not depend on the parameters."""
    offsets = np.random.default_rng(noise_seed).normal(size=(8, DIM))
    problem = theory.affine_gradients(np.broadcast_to(HESSIAN, (8, DIM, DIM)), offsets)
    return problem, problem.noise_covariance(np.zeros(DIM)) * theory.sampling_factor(8, 3, replacement=False)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_the_recursion_ends_at_sgds_covariance(momentum):
    problem, noise = _additive_problem()
    limit = theory.sgd_moments(problem, ETA, 3, LONG, start=np.ones(DIM), momentum=momentum, replacement=False)
    expected = theory.sgd_stationary_covariance(HESSIAN, noise, ETA, momentum)
    _assert_zero(limit.covariance - expected, expected)


@pytest.mark.parametrize(("order", "model"), [(1, "ou"), (2, "sme2")])
def test_the_flows_end_at_theirs(order, model):
    problem, noise = _additive_problem()
    limit = theory.sme_moments(problem, ETA, 3, LONG, order=order, start=np.ones(DIM), replacement=False)
    expected = getattr(theory, f"{model}_stationary_covariance")(HESSIAN, noise, ETA)
    _assert_zero(limit.covariance - expected, expected)


@pytest.mark.parametrize("commuting", [True, False])
def test_kinetic_langevin_ends_at_the_ou_law_where_noise_and_curvature_commute(commuting):
    problem, noise = _additive_problem()
    if commuting:
        # offsets +- sqrt(h_i) u_i along the eigenvectors: the covariance is a multiple of H
        values, vectors = np.linalg.eigh(HESSIAN)
        offsets = np.concatenate([vectors.T * np.sqrt(values)[:, None], -vectors.T * np.sqrt(values)[:, None]])
        problem = theory.affine_gradients(np.broadcast_to(HESSIAN, (2 * DIM, DIM, DIM)), offsets)
        noise = problem.noise_covariance(np.zeros(DIM)) * theory.sampling_factor(2 * DIM, 3, replacement=False)
    limit = theory.momentum_sme_moments(problem, ETA, 3, LONG, momentum=0.7, order=1, start=np.ones(DIM),
                                        replacement=False)
    expected = theory.ou_stationary_covariance(HESSIAN, noise, ETA, 0.7)
    difference = np.max(np.abs(limit.covariance - expected)) / np.max(np.abs(expected))
    assert difference < 1e-10 if commuting else difference > 1e-3


def test_teeth_wrong_laws_are_told_apart():
    """The tolerance of this file rejects each plausible slip."""
    problem, noise = _additive_problem()
    limit = theory.sgd_moments(problem, ETA, 3, LONG, start=np.zeros(DIM), replacement=False).covariance
    single = problem.noise_covariance(np.zeros(DIM))
    wrong = {
        "single-example covariance": theory.sgd_stationary_covariance(HESSIAN, single, ETA),
        "with replacement": theory.sgd_stationary_covariance(HESSIAN, single / 3, ETA),
        "1/(N-1) covariance": theory.sgd_stationary_covariance(HESSIAN, noise * 8 / 7, ETA),
        "continuous": theory.ou_stationary_covariance(HESSIAN, noise, ETA),
        "second order": theory.sme2_stationary_covariance(HESSIAN, noise, ETA),
        "corrected": theory.sme2_corrected_stationary_covariance(HESSIAN, noise, ETA),
    }
    for covariance in wrong.values():
        with pytest.raises(AssertionError):
            _assert_zero(limit - covariance, limit)


def test_inputs_in_single_precision_are_taken():
    covariance = theory.sgd_stationary_covariance(HESSIAN.astype(np.float32), NOISE.astype(np.float32), ETA)
    expected = theory.sgd_stationary_covariance(HESSIAN, NOISE, ETA)
    assert covariance.dtype == np.float64
    np.testing.assert_allclose(covariance, expected, rtol=1e-4)


EVERY_LAW = [
    theory.sgd_stationary_covariance,
    theory.ou_stationary_covariance,
    theory.sme2_stationary_covariance,
    theory.sme2_corrected_stationary_covariance,
    theory.matched_ou,
]


@pytest.mark.parametrize("law", EVERY_LAW)
def test_bad_input_is_named(law):
    bad = [
        ((np.diag([1.0, -1.0]), np.eye(2), 0.1), "hessian must be positive definite.*-1"),
        ((np.diag([1.0, 0.0]), np.eye(2), 0.1), "hessian must be positive definite"),
        (([[1.0, 1.0], [0.0, 1.0]], np.eye(2), 0.1), "hessian must be symmetric"),
        ((np.ones((2, 3)), np.eye(2), 0.1), "hessian must be square"),
        ((np.eye(2), np.eye(3), 0.1), r"noise_covariance must have shape \(2, 2\)"),
        ((np.eye(2), -np.eye(2), 0.1), "noise_covariance must be positive semi-definite"),
        ((np.eye(2), np.eye(2), -0.1), "learning_rate must be finite and positive, got -0.1"),
    ]
    for arguments, message in bad:
        with pytest.raises(ValueError, match=message):
            law(*arguments)


def test_thresholds_are_named():
    hessian = np.diag([1.0, 4.0])
    with pytest.raises(ValueError, match=r"learning_rate must be below .* = 0\.5, got 0\.5"):
        theory.sgd_stationary_covariance(hessian, np.eye(2), 0.5)
    with pytest.raises(ValueError, match=r"= 0\.75, got 0\.8"):
        theory.heavy_ball_velocity_covariance(hessian, np.eye(2), 0.8, 0.5)
    with pytest.raises(ValueError, match=r"below 1 / lambda_max = 0\.25, got 0\.3"):
        theory.matched_ou(hessian, np.eye(2), 0.3)
    with pytest.raises(ValueError, match="momentum must lie in"):
        theory.sgd_stationary_covariance(hessian, np.eye(2), 0.1, 1.0)
    with pytest.raises(ValueError, match=r"below 2 \(1 \+ momentum\) = 2, got 4:.* by less than 0\.5"):
        theory.sgd_stationary_covariance(hessian, np.eye(2), np.eye(2))
    with pytest.raises(ValueError, match="learning_rate must be positive or, as a matrix, positive definite"):
        theory.sgd_stationary_covariance(hessian, np.eye(2), np.diag([1.0, 0.0]))
