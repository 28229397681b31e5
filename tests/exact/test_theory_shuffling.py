"""Epoch shuffling against enumeration of all orders, the covariance of whole epochs, and the Fejer filter."""

import itertools

import numpy as np
import pytest
import scipy.linalg

from sde_sgd import theory


def test_autocovariance_by_enumeration_of_orders():
    num, gradients = 4, np.array([1.0, -2.0, 0.5, 3.0])
    noise = gradients - gradients.mean()
    orders = np.array(list(itertools.permutations(noise)))
    within = orders.T @ orders / len(orders)  # noise covariance of two phases of one epoch
    two_epochs = scipy.linalg.block_diag(within, within)
    for lag in range(6):
        mean = np.mean([two_epochs[k, k + lag] if k + lag < 8 else 0.0 for k in range(num)])
        assert theory.epoch_noise_autocovariance(num, lag) == pytest.approx(mean / np.mean(noise**2))
    lags = np.arange(-9, 10)
    assert np.sum(theory.epoch_noise_autocovariance(7, lags)) == pytest.approx(0, abs=1e-14)


def test_the_spectrum_is_one_minus_the_fejer_kernel():
    omega = np.linspace(0.1, 6, 50)
    fejer = (np.sin(9 * omega / 2) / np.sin(omega / 2)) ** 2 / 9
    np.testing.assert_allclose(theory.epoch_noise_spectrum(9, omega), (9 - fejer) / 8, atol=1e-13)
    assert float(theory.epoch_noise_spectrum(9, 0.0)) == pytest.approx(0, abs=1e-14)
    assert float(theory.epoch_noise_spectrum(9, 1e-3)) == pytest.approx(9 * 10 * 1e-6 / 12, rel=1e-4)


CASES = [(0.1, 0.0), (1.0, 0.0), (4.0, 0.0), (0.3, 0.9), (0.1, 0.5)]


@pytest.mark.parametrize(("curvature", "momentum"), CASES)
def test_the_variance_is_the_filtered_spectrum(curvature, momentum):
    eta, noise, num = 0.4, 2.0, 8
    omega = np.linspace(0, 2 * np.pi, 200_001)[:-1]
    response = np.exp(1j * omega) - (1 + momentum - eta * curvature) + momentum * np.exp(-1j * omega)
    integral = np.mean(eta**2 / np.abs(response) ** 2 * theory.epoch_noise_spectrum(num, omega)) * noise
    assert theory.epoch_stationary_variance(curvature, noise, eta, num, momentum) == pytest.approx(integral, rel=1e-6)


@pytest.mark.parametrize(("curvature", "momentum"), CASES)
def test_phases_by_the_covariance_of_many_epochs(curvature, momentum):
    """All steps of 60 epochs as one linear map of all noises."""
    eta, num, epochs = 0.4, 5, 60
    one = (np.eye(num) - 1 / num) * num / (num - 1)
    noise = scipy.linalg.block_diag(*[one] * epochs)
    response = [1.0, 1 + momentum - eta * curvature]
    while len(response) < num * epochs:
        response.append((1 + momentum - eta * curvature) * response[-1] - momentum * response[-2])
    rows = scipy.linalg.toeplitz(response, np.zeros(num * epochs))[-num:]
    expected = eta**2 * 3.0 * np.einsum("ij,jk,ik->i", rows, noise, rows)
    found = theory.epoch_phase_variance(curvature, 3.0, eta, num, momentum)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_flat_directions():
    eta, num, noise, curvature = 0.1, 20, 6.0, 1e-6
    assert theory.epoch_stationary_variance(curvature, noise, eta, num) == pytest.approx(
        eta**2 * noise * (num + 1) / 6, rel=1e-5)
    phases = np.arange(1, num)
    found = theory.epoch_phase_variance(curvature, noise, eta, num)
    np.testing.assert_allclose(found[:-1], eta**2 * noise * phases * (num - phases) / (num - 1), rtol=1e-4)
    assert found[-1] == pytest.approx(eta**2 * noise * eta * curvature * num * (num + 1) / 24, rel=1e-4)


def test_the_crossover():
    crossover = theory.epoch_crossover_curvature(0.01, 50)
    share = theory.epoch_stationary_variance(crossover, 1.0, 0.01, 50) / (0.01 / (crossover * (2 - 0.01 * crossover)))
    assert 0.53 < share < 0.56


def test_the_mean_over_orders_follows_the_modified_loss_to_third_order():
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(4, 2, 2))
    problem = theory.affine_gradients(roots @ roots.transpose(0, 2, 1) / 2, rng.normal(size=(4, 2)))
    start, factor = np.array([1.0, -0.5]), theory.sampling_factor(4, 1, replacement=False)

    def epoch(eta):
        ends = []
        for order in itertools.permutations(range(4)):
            w = start
            for i in order:
                w = w - eta * (problem.hessians[i] @ w - problem.offsets[i])
            ends.append(w)
        return np.mean(ends, axis=0)

    def flow(eta, noise_share):
        """The gradient of the modified loss is affine: its flow is an exponential."""
        def gradient(w, step=1e-3):
            def loss(w):
                with_noise = theory.shuffled_modified_loss(problem, w, eta, 1)
                return with_noise - (1 - noise_share) * eta / 4 * factor * np.trace(problem.noise_covariance(w))
            return np.array([(loss(w + step * e) - loss(w - step * e)) / (2 * step) for e in np.eye(2)])

        constant = gradient(np.zeros(2))
        matrix = np.stack([gradient(e) - constant for e in np.eye(2)], axis=1)
        generator = np.block([[-matrix, -constant[:, None]], [np.zeros((1, 3))]])
        return (scipy.linalg.expm(4 * eta * generator) @ np.append(start, 1.0))[:2]

    rates = np.array([0.02, 0.01, 0.005])
    for share, order in ((1.0, 3.0), (0.0, 2.0)):  # teeth: without the spread of the batches, second order only
        errors = [np.linalg.norm(epoch(rate) - flow(rate, share)) for rate in rates]
        assert np.polyfit(np.log(rates), np.log(errors), 1)[0] == pytest.approx(order, abs=0.15)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="num_batches"):
        theory.epoch_noise_autocovariance(1, 0)
    with pytest.raises(TypeError, match="lag must hold integers"):
        theory.epoch_noise_autocovariance(3, 0.5)
    with pytest.raises(ValueError, match=r"learning_rate must be below .* = 3,"):
        theory.epoch_phase_variance(1.0, 1.0, 3.0, 4, momentum=0.5)
    with pytest.raises(ValueError, match="must divide the 3 examples"):
        theory.shuffled_modified_loss(theory.affine_gradients(np.ones((3, 1, 1)), np.ones((3, 1))), [0.0], 0.1, 2)
