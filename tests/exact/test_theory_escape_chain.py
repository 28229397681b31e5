"""The exact chain of SGD on a line: reference values, random walks with closed forms, and where plain algebra fails."""

import itertools
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

from sde_sgd import theory
from sde_sgd.theory.absorption import expected_reward

# Mean times of the double well from -1 to 0.8 at learning rate 0.01. In extended precision the last one is 5.42267e8;
# plain elimination in float64 gives 5.42150e8 there.
TIMES = {3: 25.9551, 4: 68.0252, 6: 479.2451, 8: 3457.89, 10: 25217.1, 15: 3.68252e6, 20: 5.42267e8}


def double_well(x):
    return (x**2 - 1) ** 2


def chain(barrier, learning_rate, law=theory.gaussian_noise):
    return theory.SGDChain(double_well, learning_rate, law((2 / barrier / learning_rate) ** 0.5))


@pytest.mark.parametrize("barrier", TIMES)
def test_mean_times_of_the_double_well(barrier):
    assert chain(barrier, 0.01).mean_first_passage_time(-1.0, 0.8) == pytest.approx(TIMES[barrier], rel=1e-5)


def test_a_small_learning_rate():
    assert chain(6, 0.001).mean_first_passage_time(-1.0, 0.8) == pytest.approx(484.2159, rel=1e-5)


@pytest.mark.parametrize(("learning_rate", "time"), [(0.005, 36.743), (0.01, 37.721), (0.02, 38.811)])
def test_a_target_at_the_saddle_is_seen_late(learning_rate, time):
    assert chain(4, learning_rate).mean_first_passage_time(-1.0, 0.0) == pytest.approx(time, rel=1e-5)


def test_steps_and_directions():
    forward = chain(4, 0.02).mean_first_passage_steps(-1.0, 0.8)
    assert chain(4, 0.02).mean_first_passage_steps(1.0, -0.8) == pytest.approx(forward, rel=1e-12)
    assert chain(4, 0.02).mean_first_passage_time(-1.0, 0.8) == pytest.approx(0.02 * forward)
    skewed, mirrored = chain(4, 0.02, theory.exponential_noise), chain(4, 0.02, theory.exponential_noise).mirrored()
    assert mirrored.mean_first_passage_steps(1.0, -0.8) == pytest.approx(
        skewed.mean_first_passage_steps(-1.0, 0.8), rel=1e-12)


# Unit-variance noise times 5 on the double well: exact time of the chain over that of the SDE at barrier 6, 8, 10.
RATIOS = {
    "gaussian": (theory.gaussian_noise, (0.984, 0.988, 0.990)),
    "laplace": (theory.laplace_noise, (0.715, 0.637, 0.568)),
    "uniform": (theory.uniform_noise, (1.145, 1.214, 1.285)),
    "towards the exit": (theory.exponential_noise, (0.231, 0.139, 0.084)),
    "away from the exit": (lambda s: theory.exponential_noise(s).mirrored(), (16.1, 41.5, 106.1)),
}


@pytest.mark.parametrize("law", RATIOS)
def test_noise_of_one_covariance_escapes_at_different_rates(law):
    make, expected = RATIOS[law]
    for barrier, ratio in zip((6, 8, 10), expected, strict=True):
        learning_rate = 2 / (25 * barrier)
        time = theory.SGDChain(double_well, learning_rate, make(5.0)).mean_first_passage_time(-1.0, 0.8)
        sde = theory.mean_first_passage_time(double_well, 1 / barrier, -1.0, 0.8)
        assert time / sde == pytest.approx(ratio, rel=6e-3)  # the digits given


@pytest.mark.parametrize(("barrier", "probability"), [(6, 2.2711e-3)])
def test_the_hill_relation(barrier, probability):
    loop = chain(barrier, 0.01).loop(basin=-0.95, surface=-0.75, target=0.8)
    assert loop.success_probability == pytest.approx(probability, rel=5e-4)
    # From the quasi-stationary entrance the time is that from the basin's edge, but for less than a relaxation.
    from_edge = chain(barrier, 0.01).mean_first_passage_time(-0.95, 0.8)
    assert 0.01 * loop.mean_first_passage_steps == pytest.approx(from_edge, abs=1 / 8)
    assert 0.01 * loop.mean_first_passage_steps == pytest.approx(479.2, rel=1e-4)


def test_the_loop_does_not_depend_on_its_surface():
    near = chain(12, 0.01).loop(-0.97, -0.8, 0.8)
    far = chain(12, 0.01).loop(-0.95, -0.6, 0.8)
    assert far.success_probability > 5 * near.success_probability
    assert near.mean_first_passage_steps == pytest.approx(far.mean_first_passage_steps, rel=1e-5)


def test_the_committor_of_a_walk_with_laplace_steps():
    # Overshoots are exponential whatever the start: as if the edges lay one scale s / sqrt(2) further out.
    walk = theory.SGDChain(lambda x: 0.0 * x, 0.1, theory.laplace_noise(2**0.5))
    points = np.array([-0.9, 0.3, 0.95])
    np.testing.assert_allclose(walk.committor(points, -1.0, 1.0), (points + 1 + 0.1) / 2.2, rtol=1e-12)


def test_the_time_of_a_walk_with_exponential_steps():
    # Wald's identity: the mean of each step is 0.05, and the last one overshoots by an exponential of mean eta s.
    walk = theory.SGDChain(lambda x: -0.5 * x, 0.1, theory.exponential_noise(1.0))
    assert 0.05 * walk.mean_first_passage_steps(0.0, 3.0) == pytest.approx(3.0 + 0.1, rel=1e-9)


def test_the_committor_keeps_its_digits_however_rare():
    points = np.array([-0.9, -0.5])
    rare = chain(60, 0.01).committor(points, -0.95, 0.8)
    assert rare[0] < 1e-22
    # The finite-rate law between two interior points is that of the time: neither sees the other's basin.
    sde = [theory.exit_probability(double_well, 1 / 60, point, -0.95, 0.8) for point in points]
    assert np.all(np.abs(np.log(rare / sde)) < 2)


def test_absorption_by_exact_fractions():
    # A walk down with probability 999 / 1000 a step: escapes are once in about 10^120 steps.
    size, up = 40, Fraction(1, 1000)
    transition = np.zeros((size, size))
    transition[np.arange(size - 1), np.arange(1, size)] = float(up)
    transition[np.arange(1, size), np.arange(size - 1)] = float(1 - up)
    transition[0, 0] = float(1 - up)
    absorption = np.zeros(size)
    absorption[-1] = float(up)
    climbs = [1 / up]
    for _ in range(size - 1):
        climbs.append(1 / up + (1 - up) / up * climbs[-1])
    exact = float(sum(climbs))
    assert exact > 1e115
    assert expected_reward(transition, absorption, np.ones((size, 1)))[0, 0] == pytest.approx(exact, rel=1e-12)
    plain = np.linalg.solve(np.eye(size) - transition, np.ones(size))[0]
    assert abs(plain / exact - 1) > 0.5  # wrong altogether: this is what the algorithm is for


def test_absorption_in_blocks_is_absorption_state_by_state():
    rng = np.random.default_rng(0)
    weights = rng.exponential(size=(150, 151))
    weights /= weights.sum(axis=1, keepdims=True)
    solved = expected_reward(weights[:, :-1], weights[:, -1], np.ones((150, 1)))[:, 0]
    np.testing.assert_allclose(solved, np.linalg.solve(np.eye(150) - weights[:, :-1], np.ones(150)), rtol=1e-10)


LAWS = [theory.gaussian_noise(0.7), theory.laplace_noise(0.7), theory.uniform_noise(0.7), theory.exponential_noise(0.7),
        theory.exponential_noise(0.7).mirrored()]


@pytest.mark.parametrize("law", LAWS)
def test_laws_of_noise_agree_with_their_densities(law):
    edges = np.unique(np.clip([-30, *law.kinks, 30], *law.reach))
    nodes, weights = np.polynomial.legendre.leggauss(200)
    x = np.concatenate([(a + b) / 2 + (b - a) / 2 * nodes for a, b in itertools.pairwise(edges)])
    w = np.concatenate([(b - a) / 2 * weights for a, b in itertools.pairwise(edges)]) * law.density(x)
    moments = [np.sum(w * x**n) for n in range(4)]
    s = law.standard_deviation
    np.testing.assert_allclose(moments, [1, 0, s**2, law.skewness * s**3], atol=1e-9)
    for theta in (-0.5, 0.001, 0.5):
        assert law.cumulant_generating_function(np.array(theta)) == pytest.approx(
            np.log(np.sum(w * np.exp(theta * x))), abs=1e-11)
    for point in (-0.5, 0.0, 0.9):
        assert law.above(point) == pytest.approx(1 - law.below(point), abs=1e-12)
    assert np.gradient(law.below(np.linspace(0.1, 0.2, 101)), 0.001)[50] == pytest.approx(law.density(0.15), rel=1e-4)


def test_bad_input():
    noise = theory.gaussian_noise(5.0)
    with pytest.raises(ValueError, match="learning_rate must be finite and positive"):
        theory.SGDChain(double_well, 0.0, noise)
    with pytest.raises(TypeError, match="noise must be a NoiseLaw"):
        theory.SGDChain(double_well, 0.1, 5.0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="noise must have a density"):
        theory.SGDChain(double_well, 0.1, theory.empirical_noise([1.0, 2.0]))
    with pytest.raises(ValueError, match="target must differ"):
        chain(6, 0.01).mean_first_passage_time(-1.0, -1.0)
    with pytest.raises(ValueError, match="must ascend"):
        chain(6, 0.01).loop(-0.75, -0.95, 0.8)
    with pytest.raises(ValueError, match="points must lie between"):
        chain(6, 0.01).committor([0.9], -0.95, 0.8)
    with pytest.raises(ValueError, match="nodes would be needed"):
        chain(1e6, 0.01).mean_first_passage_time(-1.0, 0.8)
    with pytest.raises(TypeError, match="with jax"):
        theory.SGDChain(lambda x: np.cosh(x), 0.1, noise).mean_first_passage_time(-1.0, 0.8)
    assert theory.SGDChain(lambda x: jnp.cosh(x), 0.1, noise).mean_first_passage_time(-1.0, 0.8) > 0
