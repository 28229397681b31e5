"""Escape at a finite learning rate and by noise that is not Gaussian: asymptotic laws against the exact chain."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize

from sde_sgd import theory


def double_well(x):
    return (x**2 - 1) ** 2


def cosine(x):
    return (1 - jnp.cos(4 * x)) / 2


def flat_minimum(x):
    return x**2 + 4 * x**4 - 4 * x**6


# Potential, minimum, saddle, target, barrier over temperature; learning rate: (law, exact chain over exact SDE).
WELLS = {
    "double well, 10": (double_well, -1.0, 0.0, 0.8, 10,
                        {0.005: (0.995, 0.9945), 0.01: (0.989, 0.9879), 0.02: (0.975, 0.9715), 0.05: (0.919, 0.8941)}),
    "double well, 20": (double_well, -1.0, 0.0, 0.8, 20,
                        {0.005: (0.994, 0.9942), 0.01: (0.987, 0.9863), 0.02: (0.970, 0.9662), 0.05: (0.889, 0.8632)}),
    "as sharp as its saddle": (cosine, 0.0, np.pi / 4, 1.4, 20,
                               {0.01: (0.9929, 0.9918), 0.02: (0.9720, 0.9671), 0.04: (0.8925, 0.8723)}),
    "flatter than its saddle": (flat_minimum, 0.0, 0.8799, 1.05, 20,
                                {0.005: (1.0327, 1.0286), 0.01: (1.0530, 1.0426), 0.02: (1.0547, 1.0307)}),
}


@pytest.mark.parametrize("name", WELLS)
def test_the_law_of_the_learning_rate(name):
    potential, minimum, saddle, _, barrier, ratios = WELLS[name]
    temperature = float(potential(saddle) - potential(minimum)) / barrier
    for learning_rate, (law, _) in ratios.items():
        computed = theory.finite_rate_factor(potential, temperature, learning_rate, minimum, saddle)
        assert computed.value == pytest.approx(law, abs=6e-4)


@pytest.mark.parametrize("name", ["double well, 10", "double well, 20"])
def test_the_exact_chain_follows_it(name):
    potential, minimum, saddle, target, barrier, ratios = WELLS[name]
    temperature = float(potential(saddle) - potential(minimum)) / barrier
    for learning_rate, (law, exact) in ratios.items():
        noise = theory.gaussian_noise((2 * temperature / learning_rate) ** 0.5)
        time = theory.SGDChain(potential, learning_rate, noise).mean_first_passage_time(minimum, target)
        ratio = time / theory.mean_first_passage_time(potential, temperature, minimum, target)
        assert ratio == pytest.approx(exact, abs=3e-4)
        assert ratio == pytest.approx(law, abs=0.006 if 8 * learning_rate <= 0.17 else 0.03)


@pytest.mark.parametrize(
    ("target", "ratios"),
    [(0.0, (1.060, 1.083, 1.112, 1.143)), (0.8, (0.9976, 0.9949, 0.9889, 0.9742))],
)
def test_a_target_at_the_saddle_feels_the_monitoring(target, ratios):
    temperature = 1 / 6
    sde = theory.mean_first_passage_time(double_well, temperature, -1.0, target)
    for learning_rate, ratio in zip((0.0025, 0.005, 0.01, 0.02), ratios, strict=True):
        noise = theory.gaussian_noise((2 * temperature / learning_rate) ** 0.5)
        time = theory.SGDChain(double_well, learning_rate, noise).mean_first_passage_time(-1.0, target)
        assert time / sde == pytest.approx(ratio, abs=6e-4)


@pytest.mark.parametrize(("learning_rate", "ratio"), [(0.001, 1.040), (0.0025, 1.063), (0.005, 1.089), (0.01, 1.126)])
def test_the_shift_of_monitoring(learning_rate, ratio):
    shift = theory.monitoring_shift(1 / 6, learning_rate)
    seen, exact = (theory.mean_first_passage_time(double_well, 1 / 6, -1.0, target) for target in (shift, 0.0))
    assert seen / exact == pytest.approx(ratio, abs=1e-3)


def test_in_many_dimensions_the_bracket_counts_every_curvature():
    def gate(w):
        return (w[0] ** 2 - 1) ** 2 + 5 * w[1] ** 2 + w[2] ** 2

    flat = theory.finite_rate_factor(double_well, 0.1, 0.02, -1.0, 0.0)
    embedded = theory.finite_rate_factor(gate, 0.1, 0.02, [-1, 0, 0], [0, 0, 0])
    assert embedded.value == pytest.approx(flat.value, rel=1e-5)  # the transverse curvatures are the same at both ends
    assert theory.finite_rate_factor(double_well, 0.1, 0.05, -1.0, 0.0).reason.startswith("learning_rate * curvature")
    with pytest.raises(ValueError, match="the path down from the saddle ends"):
        theory.finite_rate_factor(cosine, 0.1, 0.01, 0.0, 3 * np.pi / 4)


# Noise of unit variance times 5 and 10: exponent over the SDE's.
EXPONENTS = {
    "gaussian": (theory.gaussian_noise, 1.0, 1.0),
    "laplace": (theory.laplace_noise, 0.9430, 0.9845),
    "uniform": (theory.uniform_noise, 1.0265, 1.0065),
    "towards the exit": (theory.exponential_noise, 0.7514, 0.8591),
    "away from the exit": (lambda s: theory.exponential_noise(s).mirrored(), 1.4675, 1.1918),
}


@pytest.mark.parametrize("law", EXPONENTS)
def test_the_exponent_of_noise_that_is_not_gaussian(law):
    make, five, ten = EXPONENTS[law]
    for s, expected in ((5.0, five), (10.0, ten)):
        action = theory.escape_action(double_well, make(s), -1.0, 0.0)
        assert action / (2 / s**2) == pytest.approx(expected, abs=6e-5)
        assert theory.escape_action(double_well, make(s).mirrored(), 1.0, 0.0) == pytest.approx(action, rel=1e-10)


def test_the_chain_follows_the_exponent_and_not_the_variance():
    learning_rate = 2 / (25 * 10)
    for make, *_ in EXPONENTS.values():
        time = theory.SGDChain(double_well, learning_rate, make(5.0)).mean_first_passage_time(-1.0, 0.8)
        law = theory.large_deviation_time(double_well, learning_rate, make(5.0), -1.0, 0.0)
        # Below ln 1.11 + O(T) of the prefactor to the Gaussian case's own 0.145.
        kramers = 2 * np.pi / np.sqrt(32) * np.exp(theory.escape_action(double_well, make(5.0), -1, 0) / learning_rate)
        assert law.value == pytest.approx(kramers)
        assert 0.0 < np.log(time / law.value) < 0.2


def test_batches_divide_the_noise_and_not_the_error():
    noise = theory.exponential_noise(5.0)
    one = theory.escape_action(double_well, noise, -1.0, 0.0)
    assert theory.escape_action(double_well, noise, -1.0, 0.0, batch_size=7) == pytest.approx(7 * one)
    # The batch's own law by hand: Lambda_B(theta) = B Lambda(theta / B).
    def root(x):
        slope = 4 * x**3 - 4 * x
        return optimize.brentq(lambda theta: 7 * noise.cumulant_generating_function(theta / 7) / theta - slope, 1e-9,
                               7 / 5 * (1 - 1e-12))

    assert integrate.quad(root, -1 + 1e-9, -1e-9)[0] == pytest.approx(7 * one, rel=1e-6)


def test_a_data_set_is_its_own_law():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=40), rng.normal(size=40)
    features, labels = features - features.mean(), labels - labels.mean()

    def gradients(x):  # of the examples; their mean is the gradient of the double well
        return 4 * x**3 - 4 * x + 5 * features + 3 * labels * x

    law = theory.empirical_noise(gradients(-0.5))
    noise = gradients(-0.5).mean() - gradients(-0.5)
    for theta in (-0.7, 1e-4, 0.3):
        assert law.cumulant_generating_function(np.array(theta)) == pytest.approx(
            np.log(np.mean(np.exp(theta * noise))), rel=1e-6)
    assert law.skewness == pytest.approx(np.mean(noise**3) / noise.std() ** 3)
    action = theory.escape_action(double_well, gradients, -1.0, 0.0)
    middle = theory.escape_action(double_well, law, -1.0, 0.0)
    assert action == pytest.approx(middle, rel=0.2) and action != pytest.approx(middle, rel=1e-3)


def test_the_effect_of_skewness_is_the_first_term():
    for s in (50.0, 100.0):
        noise = theory.exponential_noise(s)
        exact = (theory.escape_action(double_well, noise, -1.0, 0.0) - 2 / s**2) * s**2 / 2 * 6
        first = theory.skewness_effect(double_well, 1 / 6, noise, -1.0, 0.0).value
        assert exact / first == pytest.approx(1, abs=2 / s)
        assert theory.skewness_effect(double_well, 1 / 6, noise, 1.0, 0.0).value == pytest.approx(-first)
    assert theory.skewness_effect(double_well, 1 / 6, theory.laplace_noise(5.0), -1.0, 0.0) == (0.0, True, "")
    assert not theory.skewness_effect(double_well, 1 / 6, theory.exponential_noise(5.0), -1.0, 0.0).valid


def test_bounded_noise_cannot_leave_a_steep_well():
    # The steepest slope of the double well is 1.5396.
    assert theory.escape_action(double_well, theory.uniform_noise(1.5 / 3**0.5), -1.0, 0.0) == np.inf
    assert theory.escape_action(double_well, theory.uniform_noise(1.6 / 3**0.5), -1.0, 0.0) < np.inf
    refused = theory.large_deviation_time(double_well, 0.01, theory.uniform_noise(0.5), -1.0, 0.0)
    assert refused.value == np.inf and refused.reason == "the noise cannot overcome the slope"


def test_bad_input():
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        theory.escape_action(double_well, theory.gaussian_noise(1.0), -1.0, 0.0, batch_size=0)
    with pytest.raises(ValueError, match="gradients must differ"):
        theory.empirical_noise([1.0, 1.0])
    with pytest.raises(TypeError, match="noise must be a NoiseLaw"):
        theory.skewness_effect(double_well, 0.1, 5.0, -1.0, 0.0)  # pyright: ignore[reportArgumentType]
