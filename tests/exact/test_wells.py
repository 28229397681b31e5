"""Wells: the facts they carry, against automatic differentiation and closed forms; sums of examples, by enumeration."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import integrate, stats

import sde_sgd as ss

MATRIX = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, -0.2], [0.1, -0.2, 0.4]])
WELLS = {
    "double": lambda: ss.problems.double_well(1.7),
    "double, 3": lambda: ss.problems.double_well(dim=3),
    "tilted up": lambda: ss.problems.tilted_well(1.0, 0.9),
    "tilted down": lambda: ss.problems.tilted_well(0.5, -0.6, dim=2),
    "asymmetric": lambda: ss.problems.asymmetric_well(),
    "asymmetric, mirrored": lambda: ss.problems.asymmetric_well(-2.5),
    "styblinski": lambda: ss.problems.styblinski_tang(),
    "styblinski, 4": lambda: ss.problems.styblinski_tang(4, sharpness=0.3),
    "narrowing": lambda: ss.problems.narrowing_well(1.3),
    "narrowing, 4": lambda: ss.problems.narrowing_well(stiffness=5.0, saddle_stiffness=0.7, dim=4),
    "curved": lambda: ss.problems.curved_valley(0.9, stiffness=2.0, bend=-1.2),
    "finite sum": lambda: ss.problems.finite_sum(ss.problems.curved_valley(), ss.problems.LaplaceLaw(), strength=2.0,
                                                 num_examples=31),
    "factorization": lambda: ss.problems.matrix_factorization(MATRIX),
    "factorization, one positive": lambda: ss.problems.matrix_factorization(np.diag([-0.5, 1.5, -1.0])),
    "network": lambda: ss.problems.two_layer_network(num_examples=20, dim=3, signal=1.2, weight_decay=0.3,
                                                     key=jax.random.key(2)),
}


def index_and_slope(problem, params):
    """Return the number of falling directions, the number of rising ones and the slope over the largest curvature."""
    flat, restore = ravel_pytree(params)

    def risk(vector):
        return problem.loss(restore(vector))

    hessian, gradient = jax.jit(lambda vector: (jax.hessian(risk)(vector), jax.grad(risk)(vector)))(flat)
    values = np.linalg.eigvalsh(np.asarray(hessian, np.float64))
    return (values < -1e-3).sum(), (values > 1e-3).sum(), float(np.abs(gradient).max() / np.abs(values).max())


def assert_facts_hold(problem):
    size = ravel_pytree(problem.minimum)[0].size
    for fact, falling in ((problem.minimum, 0), (problem.saddle, 1)):
        downward, upward, distance = index_and_slope(problem, fact)
        assert (downward, upward) == (falling, size - falling)
        assert distance < 1e-6
    start = problem.init(jax.random.key(0))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)) and a.dtype == b.dtype == jnp.float32, start,
                                     problem.minimum))
    assert problem.barrier == pytest.approx(float(problem.loss(problem.saddle) - problem.loss(problem.minimum)),
                                            rel=2e-6)


@pytest.mark.parametrize("name", WELLS)
def test_facts_are_critical_points_of_the_right_index(name):
    assert_facts_hold(WELLS[name]())


@pytest.mark.parametrize("name", ["tilted up", "curved", "network"])
def test_facts_do_not_depend_on_x64(name, x64):
    assert_facts_hold(WELLS[name]())


def test_teeth_a_moved_fact_is_seen():
    problem = ss.problems.curved_valley(bend=0.8)
    assert index_and_slope(problem, jnp.array([0.0, 0.7]))[2] > 1e-3  # the saddle of another bend
    assert index_and_slope(problem, problem.minimum)[:2] != index_and_slope(problem, problem.saddle)[:2]
    mirrored = ss.problems.asymmetric_well(-1.0)
    assert index_and_slope(mirrored, ss.problems.asymmetric_well(1.0).saddle)[2] > 1e-2


@pytest.mark.parametrize("name", [name for name in WELLS if "factorization" not in name and "network" not in name])
def test_the_potential_is_the_risk_and_works_on_grids_in_float64(name):
    problem = WELLS[name]()
    shape = jnp.shape(problem.minimum)
    points = np.random.default_rng(3).normal(size=(4, 5, *shape))
    values = problem.potential(points)
    assert (values.shape, values.dtype) == ((4, 5), np.float64)
    risks = jax.jit(jax.vmap(problem.loss))(jnp.asarray(points.reshape(20, *shape), jnp.float32))
    np.testing.assert_allclose(values.ravel(), risks, rtol=2e-4, atol=2e-4)


def test_closed_forms_of_barriers():
    assert ss.problems.double_well(1.7).barrier == 1.7
    assert ss.problems.narrowing_well(1.3).barrier == 1.3
    assert ss.problems.curved_valley(0.9).barrier == pytest.approx(0.9, rel=1e-12)
    values = np.linalg.eigvalsh(MATRIX)
    assert WELLS["factorization"]().barrier == pytest.approx((values[-1] ** 2 - values[-2] ** 2) / 36, rel=1e-5)
    assert WELLS["factorization, one positive"]().barrier == pytest.approx(1.5**2 / 36, rel=1e-5)
    assert WELLS["network"]().barrier == pytest.approx((1.2 - 0.3) ** 2 / 2, rel=1e-5)
    one, many = ss.problems.styblinski_tang(), ss.problems.styblinski_tang(4, sharpness=0.3)
    assert one.barrier == pytest.approx(many.barrier, rel=1e-6)
    curvatures = [float(np.ravel(jax.hessian(problem.loss)(problem.minimum))[0]) for problem in (one, many)]
    assert curvatures[1] == pytest.approx(0.3 * curvatures[0], rel=1e-5)


def test_the_asymmetric_well_has_equal_depths_and_the_published_facts():
    """Numbers of U = (x^2 - 1)^2 exp(tanh x), each computed apart: curvatures, saddle, and the mass of the flat side."""
    problem = ss.problems.asymmetric_well()
    flat, sharp = (jax.hessian(problem.loss)(jnp.float32(x)) for x in (-1.0, 1.0))
    np.testing.assert_allclose([flat, sharp], [3.7354, 17.1335], rtol=1e-5)
    assert problem.potential(np.array([-1.0, 1.0])).tolist() == [0.0, 0.0]
    saddle = float(problem.saddle)
    np.testing.assert_allclose([saddle, problem.barrier], [0.22560, 1.12454], atol=5e-6)
    np.testing.assert_allclose(jax.hessian(problem.loss)(problem.saddle), -5.7221, rtol=1e-5)
    for temperature, ratio in ((0.3, 2.0336), (0.1, 2.1149), (0.05, 2.1292), (0.02, 2.1369)):
        x = np.linspace(-2.5, 2.5, 20001)
        mass = integrate.cumulative_simpson(np.exp(-problem.potential(x) / temperature), x=x, initial=0)
        below = np.interp(saddle, x, mass)
        assert below / (mass[-1] - below) == pytest.approx(ratio, rel=3e-4)


def test_eyring_kramers_factor_of_the_narrowing_well():
    """The B4 value at barrier 8: 2 pi / |l| sqrt(|det H_s| / det H_a) exp(8) = 7.1465e3; without y it is 2.1 x low."""
    problem = ss.problems.narrowing_well()
    at_minimum, at_saddle = (np.asarray(jax.hessian(problem.loss)(w), np.float64)
                             for w in (problem.minimum, problem.saddle))
    factor = 2 * np.pi / 4 * np.sqrt(abs(np.linalg.det(at_saddle)) / np.linalg.det(at_minimum))
    assert factor * np.exp(8) == pytest.approx(7.1465e3, rel=1e-4)


# ------------------------------------------------------------------------------------------------------- finite sums

LAWS = {
    "normal": (ss.problems.NormalLaw(), stats.norm()),
    "laplace": (ss.problems.LaplaceLaw(), stats.laplace()),
    "uniform": (ss.problems.UniformLaw(), stats.uniform()),
    "exponential": (ss.problems.ExponentialLaw(), stats.expon()),
}
each_law = pytest.mark.parametrize("name", LAWS)


def unit_moments(values):
    values = np.asarray(values, np.float64)
    centred = values - values.mean()
    return values.mean(), centred.var(), (centred**3).mean() / centred.std() ** 3, (centred**4).mean() / centred.var() ** 2


@each_law
def test_the_covariance_is_exact_by_enumeration(name, x64):
    base = ss.problems.double_well()
    well = dataclasses.replace(base, init=lambda key: jnp.asarray(-1.0, jnp.float64))
    problem = ss.problems.finite_sum(well, LAWS[name][0], strength=5.0, num_examples=37)
    for params in (jnp.float64(-1.0), jnp.float64(0.3)):
        gradients = np.asarray(problem.example_gradients(params))
        assert gradients.dtype == np.float64
        np.testing.assert_allclose(gradients.mean(), well.gradient(params), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(gradients.var(), 25.0, rtol=1e-12)
    pairs = np.array([np.mean(pair) for pair in itertools.product(np.asarray(problem.data), repeat=2)])
    np.testing.assert_allclose(pairs.var(), 12.5, rtol=1e-12)  # of a batch of two with replacement: half


@each_law
def test_the_law_of_the_examples_is_the_named_one(name):
    law, scipy_law = LAWS[name]
    u = np.linspace(0.001, 0.999, 57)
    np.testing.assert_allclose(law.quantile(u), scipy_law.ppf(u), rtol=1e-10, atol=1e-12)
    problem = ss.problems.finite_sum(ss.problems.double_well(), law, strength=3.0, num_examples=4001)
    mean, variance, skewness, kurtosis = unit_moments(problem.data)
    expected = [float(moment) for moment in scipy_law.stats("sk")]
    np.testing.assert_allclose([mean, variance], [0.0, 9.0], atol=2e-5)
    np.testing.assert_allclose([skewness, kurtosis - 3], expected, rtol=0.05, atol=0.01)
    assert stats.kstest((np.asarray(problem.data) / 3) * scipy_law.std() + scipy_law.mean(), scipy_law.cdf).statistic < 3e-3


def test_the_tail_of_the_exponential_law_points_where_it_says():
    def skewness(tail):
        law = ss.problems.ExponentialLaw(tail)
        problem = ss.problems.finite_sum(ss.problems.double_well(), law, strength=1.0, num_examples=999)
        steps = -(problem.example_gradients(problem.minimum) - problem.gradient(problem.minimum))
        return unit_moments(steps)[2]

    assert skewness(1) > 1.5
    assert skewness(-1) == pytest.approx(-skewness(1), rel=1e-4)


@pytest.mark.parametrize("dim", [2, 5])
@each_law
def test_several_dimensions_have_exact_covariance_and_nearly_independent_coordinates(name, dim):
    law, scipy_law = LAWS[name]
    problem = ss.problems.finite_sum(ss.problems.double_well(dim=dim), law, strength=2.0, num_examples=2003)
    noise = np.asarray(problem.data, np.float64)
    np.testing.assert_allclose(ss.curvature.noise_covariance(problem, problem.minimum), 4 * np.eye(dim), atol=2e-5)
    unit, kurtosis = noise / 2, 3 + float(scipy_law.stats("k"))
    for one, other in itertools.combinations(unit.T, 2):  # three standard errors of as many independent draws
        assert abs(np.mean(one**2 * other**2) - 1) < 3 * np.sqrt((kurtosis**2 - 1) / len(unit))
        assert abs(np.mean(one**2 * other)) < 3 * np.sqrt(kurtosis / len(unit))
    for coordinate in unit.T:
        assert stats.kstest(coordinate * scipy_law.std() + scipy_law.mean(), scipy_law.cdf).statistic < 0.02


def test_teeth_quantiles_without_scaling_have_another_variance():
    law = ss.problems.ExponentialLaw()
    raw = law.quantile((np.arange(37) + 0.5) / 37)
    assert abs(raw.var() - 1) > 0.02


# ---------------------------------------------------------------------------------------------------------- bad input

BAD = {
    "barrier": (lambda: ss.problems.double_well(-1.0), ValueError, "barrier"),
    "barrier 2-D": (lambda: ss.problems.curved_valley(0.0), ValueError, "barrier"),
    "dim": (lambda: ss.problems.double_well(dim=0), ValueError, "dim"),
    "dim of a valley": (lambda: ss.problems.narrowing_well(dim=1), ValueError, "dim"),
    "dim float": (lambda: ss.problems.styblinski_tang(2.0), TypeError, "dim"),
    "tilt": (lambda: ss.problems.tilted_well(1.0, 1.6), ValueError, "1.5396"),
    "asymmetry": (lambda: ss.problems.asymmetric_well(np.nan), ValueError, "asymmetry"),
    "fact": (lambda: ss.problems.potential(lambda w: w**2, start=1.0, minimum=np.zeros(2)), ValueError, "minimum"),
    "no potential": (lambda: ss.problems.finite_sum(ss.problems.matrix_factorization(MATRIX),
                                                    ss.problems.NormalLaw(), strength=1.0, num_examples=9),
                     ValueError, "potential"),
    "law": (lambda: ss.problems.finite_sum(ss.problems.double_well(), "normal", strength=1.0, num_examples=9),
            TypeError, "law"),
    "strength": (lambda: ss.problems.finite_sum(ss.problems.double_well(), ss.problems.NormalLaw(), strength=-1.0,
                                                num_examples=9), ValueError, "strength"),
    "too few examples": (lambda: ss.problems.finite_sum(ss.problems.double_well(dim=9), ss.problems.NormalLaw(),
                                                        strength=1.0, num_examples=9), ValueError, "num_examples"),
    "tail": (lambda: ss.problems.ExponentialLaw(0), ValueError, "tail"),
    "asymmetric matrix": (lambda: ss.problems.matrix_factorization([[1.0, 2.0], [0.0, 1.0]]), ValueError, "matrix"),
    "degenerate matrix": (lambda: ss.problems.matrix_factorization(np.eye(3)), ValueError, "degenerate"),
    "weight decay": (lambda: ss.problems.two_layer_network(num_examples=9, signal=1.0, weight_decay=1.0,
                                                           key=jax.random.key(0)), ValueError, "weight_decay"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(name):
    make, error, words = BAD[name]
    with pytest.raises(error, match=words):
        make()


# ------------------------------------------------------------------------------------------------- facts meet the theory


def test_theory_takes_the_potential_and_the_facts_as_they_are():
    well = ss.problems.double_well()
    time = ss.theory.mean_first_passage_time(well.potential, 1 / 4, float(well.minimum), 0.8)
    assert time == pytest.approx(68.63034, rel=1e-5)
    asymmetric = ss.problems.asymmetric_well()
    saddle = ss.theory.find_saddle(asymmetric.potential, float(asymmetric.saddle))
    np.testing.assert_allclose(np.ravel(saddle.position), asymmetric.saddle, rtol=1e-7)
    narrowing = ss.problems.narrowing_well()
    prediction = ss.theory.eyring_kramers_time(narrowing.potential, 1 / 8, narrowing.minimum, narrowing.saddle[None])
    assert prediction.value == pytest.approx(7.1465e3, rel=1e-4)


@pytest.mark.parametrize(("name", "theory"), [
    ("normal", ss.theory.gaussian_noise), ("laplace", ss.theory.laplace_noise), ("uniform", ss.theory.uniform_noise),
    ("exponential", ss.theory.exponential_noise)])
def test_examples_have_the_cumulants_of_the_theory(name, theory):
    """Both count noise along the step: a tail to the right here is one there, at tilts of either sign."""
    problem = ss.problems.finite_sum(ss.problems.double_well(), LAWS[name][0], strength=3.0, num_examples=200_001)
    steps = np.asarray(problem.data, np.float64)
    for theta in (-0.1, 0.1):  # tilts at which tails rarer than 1 / N count for less than 2e-3
        sampled = np.log(np.mean(np.exp(theta * steps)))
        assert sampled == pytest.approx(float(theory(3.0).cumulant_generating_function(np.array(theta))), rel=2e-3)
