"""The law of a minibatch of exponential noise: its moments, its cumulants and its limits."""

import numpy as np
import pytest
import scipy.integrate

from sde_sgd import theory


@pytest.mark.parametrize("shape", [1, 2, 5])
def test_moments_and_cumulants_are_those_of_the_density(shape):
    law = theory.gamma_noise(1.5, shape)
    low, high = law.reach

    def mean(function):
        return scipy.integrate.quad(lambda x: function(x) * law.density(np.asarray(x)), low, high, limit=400)[0]

    assert mean(lambda x: 1.0) == pytest.approx(1, abs=1e-7)
    assert mean(lambda x: x) == pytest.approx(0, abs=1e-7)
    assert mean(lambda x: x**2) == pytest.approx(1.5**2, rel=1e-7)
    assert mean(lambda x: x**3) / 1.5**3 == pytest.approx(law.skewness, rel=1e-6)
    theta = 0.3 * law.exponential_range[1]
    assert np.log(mean(lambda x: np.exp(theta * x))) == pytest.approx(law.cumulant_generating_function(theta), rel=1e-6)
    x = np.array([0.5, 2.0])
    np.testing.assert_allclose(law.below(x) + law.above(x), 1, rtol=1e-12)


def test_one_example_is_the_exponential_law_and_many_tend_to_the_normal():
    x = np.linspace(-1.4, 8, 50)
    one, exponential = theory.gamma_noise(1.5, 1), theory.exponential_noise(1.5)
    np.testing.assert_allclose(one.density(x), exponential.density(x), rtol=1e-12)
    np.testing.assert_allclose(one.above(x), exponential.above(x), rtol=1e-12)
    many, normal = theory.gamma_noise(1.5, 40_000), theory.gaussian_noise(1.5)
    np.testing.assert_allclose(many.density(x), normal.density(x), atol=3e-3)
    assert np.abs(one.density(x) - normal.density(x)).max() > 0.1


def test_bad_input():
    with pytest.raises(ValueError, match="shape"):
        theory.gamma_noise(1.0, 0)
    with pytest.raises(ValueError, match="standard_deviation"):
        theory.gamma_noise(-1.0, 2)
