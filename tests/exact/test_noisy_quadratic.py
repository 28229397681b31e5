"""The noisy quadratic model against step-by-step recursions, closed forms and a table made independently; temperatures."""

import math

import numpy as np
import pytest

from sde_sgd import theory
from sde_sgd.theory import QuadraticOptimizer

H, C, S = np.array([1.0, 0.3, 0.02]), np.array([0.5, 0.4, 0.1]), np.array([1.0, 2.0, 5.0])
OPTIMIZERS = [QuadraticOptimizer(), QuadraticOptimizer(momentum=0.9), QuadraticOptimizer(averaging=0.95),
              QuadraticOptimizer(preconditioning=0.5), QuadraticOptimizer(momentum=0.5, preconditioning=1.0)]


def brute_force(optimizer, rate, batch, num_steps, wrong=1.0):
    """Second moments step by step by means and covariances of the pair, for the loss after every step."""
    losses = np.zeros(num_steps + 1)
    for h, c, s in zip(H, C, S, strict=True):
        a = rate * h**-optimizer.preconditioning
        m, keep = optimizer.momentum, optimizer.averaging
        if keep:
            linear = np.array([[1 - a * h, 0], [(1 - keep) * (1 - a * h), keep]])
            noise, second, judged = np.array([a, (1 - keep) * a]), np.full((2, 2), s), 1
        else:
            linear = np.array([[1 - a * h, -a * m], [h, m]])  # (w, v)
            noise, second, judged = np.array([-a, 1.0]), np.diag([s, 0.0]), 0
        for step in range(num_steps + 1):
            losses[step] += h * second[judged, judged] / 2
            second = linear @ second @ linear.T + wrong * np.outer(noise, noise) * c / batch
    return losses


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_losses_and_steps_step_by_step(optimizer):
    model = theory.noisy_quadratic(H, C, initial=S)
    losses = brute_force(optimizer, 0.15, 8, 400)
    found = [float(theory.noisy_quadratic_loss(model, 0.15, 8, k, optimizer)) for k in (0, 1, 2, 3, 77, 400)]
    np.testing.assert_allclose(found, losses[[0, 1, 2, 3, 77, 400]], rtol=1e-12)
    target = 1.1 * losses[-1]
    below = np.flatnonzero(losses > target)[-1] + 1  # reached for good
    assert theory.noisy_quadratic_steps(model, target, 0.15, 8, optimizer) == below
    wrong = brute_force(optimizer, 0.15, 8, 400, wrong=2.0)
    assert abs(wrong[-1] / losses[-1] - 1) > 0.002  # teeth: the noise is seen


def test_stationary_losses_in_closed_form():
    a, batch, m, gamma = 0.3, 4, 0.8, 0.9
    model, long = theory.noisy_quadratic(H, C, initial=S), 2**20
    sgd = np.sum(a * C / (2 * batch * (2 - a * H)))
    ball = np.sum((1 + m) * a * C / (2 * batch * (2 * m + 2 - a * H) * (1 - m)))
    ratio = (1 - gamma) * (1 + (1 - a * H) * gamma) / ((1 + gamma) * (1 - (1 - a * H) * gamma))
    averaged = np.sum(a * C / (2 * batch * (2 - a * H)) * ratio)
    newton = np.sum(a * C / H / (2 * batch * (2 - a)))
    for optimizer, exact in ((QuadraticOptimizer(), sgd), (QuadraticOptimizer(momentum=m), ball),
                             (QuadraticOptimizer(averaging=gamma), averaged),
                             (QuadraticOptimizer(preconditioning=1.0), newton)):
        assert theory.noisy_quadratic_loss(model, a, batch, long, optimizer) == pytest.approx(exact, rel=1e-10)


def test_beyond_the_edge_of_stability_nothing_is_reached():
    model = theory.noisy_quadratic(H, 0 * C)
    for momentum in (0.0, 0.9):
        edge = theory.max_stable_learning_rate(np.diag(H), momentum)
        steps = theory.noisy_quadratic_steps(model, 1e-6, [0.999 * edge, 1.001 * edge], 1, QuadraticOptimizer(momentum))
        assert np.isfinite(steps[0]) and np.isinf(steps[1])
    assert theory.noisy_quadratic_steps(model, 10.0, 0.1, 1) == 0
    assert np.isinf(theory.noisy_quadratic_steps(theory.noisy_quadratic(H, C), 1e-6, 0.1, 1))


def test_bins_keep_the_directions_and_their_loss():
    whole = theory.noisy_quadratic(1 / np.arange(1, 2001))
    binned = theory.noisy_quadratic(1 / np.arange(1, 2001), num_bins=150)
    assert len(binned.curvatures) < 150 and binned.multiplicities.sum() == 2000
    for steps in (0, 100, 3000):
        one, other = (theory.noisy_quadratic_loss(model, 0.5, 32, steps) for model in (whole, binned))
        assert other == pytest.approx(one, rel=1e-3)


@pytest.fixture(scope="module")
def spectrum():
    return theory.noisy_quadratic(1 / np.arange(1, 10_001), num_bins=200)


# Least steps to loss 0.01 over the learning rate: batch size, SGD, its learning rate, heavy ball with momentum 0.9 and
# effective learning rates up to 30, and with the best momentum where the table's grid of learning rates reaches it.
TABLE = [(16, 3.79e5, 0.056, 3.82e5, 3.78e5), (256, 2.58e4, 0.75, 2.36e4, 2.32e4), (1024, 1.04e4, 1.65, 6.0e3, 5.6e3),
         (4096, 7.84e3, 1.88, 1.6e3, 1.3e3), (65536, 7.1e3, 1.88, 4.6e2, None)]


@pytest.mark.parametrize(("batch", "sgd", "rate", "ball", "best"), TABLE)
def test_least_steps_against_the_table(spectrum, batch, sgd, rate, ball, best):
    rates = np.geomspace(0.03, 1.99, 160)
    steps = theory.noisy_quadratic_steps(spectrum, 0.01, rates, batch)
    assert steps.min() == pytest.approx(sgd, rel=0.03)
    assert rates[np.argmin(steps)] == pytest.approx(rate, rel=0.07)  # the minimum is flat
    effective = np.geomspace(0.03, 30, 120)
    steps = theory.noisy_quadratic_steps(spectrum, 0.01, effective * 0.1, batch, QuadraticOptimizer(0.9))
    assert steps.min() == pytest.approx(ball, rel=0.04)  # the table has two digits
    if best is not None:
        heavy = (QuadraticOptimizer(m) for m in (0.3, 0.99, 0.995))
        least = min(theory.noisy_quadratic_steps(spectrum, 0.01, effective * (1 - optimizer.momentum), batch, optimizer).min()
                    for optimizer in heavy)
        assert least == pytest.approx(best, rel=0.03)


def test_temperatures_follow_the_covariance_of_a_step():
    assert theory.sgd_temperature(0.2, 8) == pytest.approx(0.2 / 8)
    assert theory.sgd_temperature(0.2, 8, momentum=0.75) == pytest.approx(0.8 / 8)
    assert theory.sgd_temperature(0.2, 100, num_examples=100) == 0
    # The stationary variance of SGD about a minimum is T c / (2 h), to first order in the learning rate.
    for momentum in (0.0, 0.9):
        variance = theory.sgd_stationary_covariance([[2.0]], [[3.0 / 16]], 1e-5, momentum)[0, 0]
        assert variance == pytest.approx(theory.sgd_temperature(1e-5, 16, momentum=momentum) * 3 / 4, rel=2e-4)
    scale = theory.sgd_noise_scale(0.1, 20, 500, momentum=0.9)
    assert scale == pytest.approx(0.1 / 0.1 * (500 / 20 - 1))


def test_the_learning_rate_of_the_largest_decrease():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 4))
    h, sigma, g = root @ root.T, np.diag(rng.uniform(1, 2, 4)), rng.normal(size=4)
    for batch in (1, 16, 512):
        rates = np.linspace(1e-5, 1, 200_001)
        decrease = rates * (g @ g) - rates**2 / 2 * (g @ h @ g + np.trace(h @ sigma) / batch)
        best = theory.optimal_learning_rate(batch, (g @ g) / (g @ h @ g), np.trace(h @ sigma) / (g @ h @ g))
        assert best == pytest.approx(rates[np.argmax(decrease)], abs=1e-5)


def test_the_evidence_of_a_linear_model_is_exact():
    """Gaussian likelihood and prior: Laplace's approximation is the integral itself."""
    rng = np.random.default_rng(1)
    x, y, decay = rng.normal(size=(30, 3)), rng.normal(size=30), 0.7
    hessian = x.T @ x + decay * np.eye(3)
    best = np.linalg.solve(hessian, x.T @ y)
    at_best = np.sum((x @ best - y) ** 2) / 2 + decay * best @ best / 2
    covariance = np.eye(30) + x @ x.T / decay
    exact = -(y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(covariance)[1]) / 2
    assert theory.log_evidence(at_best, np.linalg.eigvalsh(hessian), decay) == pytest.approx(exact, rel=1e-12)
    scaled = np.diag([1.0, 5.0, 0.2])  # weights in other units, the prior with them
    generalised = np.linalg.eigvals(np.linalg.solve(decay * scaled @ scaled, scaled @ hessian @ scaled)).real * decay
    assert theory.log_evidence(at_best, generalised, decay) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: theory.noisy_quadratic([1.0, 0.0]), "positive"),
    (lambda: theory.noisy_quadratic([1.0], [1.0, 2.0]), "shape"),
    (lambda: theory.noisy_quadratic_loss(theory.noisy_quadratic([1.0]), -0.1, 1, 1), "learning_rate"),
    (lambda: theory.noisy_quadratic_loss(theory.noisy_quadratic([1.0]), 0.1, 1, 1, QuadraticOptimizer(0.5, 0.5)), "together"),
    (lambda: theory.noisy_quadratic_steps(theory.noisy_quadratic([1.0]), 0.0, 0.1, 1), "target"),
    (lambda: theory.sgd_temperature(0.1, 200, num_examples=100), "batch_size"),
    (lambda: theory.log_evidence(math.nan, [1.0], 1.0), "summed_loss"),
    (lambda: theory.log_evidence(1.0, [1.0, -1.0], 1.0), "minimum"),
])
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
