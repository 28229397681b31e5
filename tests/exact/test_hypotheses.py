"""Equivalence, trend and Holm against enumeration, SciPy and simulation; inequalities of claims as tests."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from sde_sgd.analysis import Claim, Relation, equivalence_test, format_claims, holm, jackknife, trend_test

NAN = math.nan


def test_two_one_sided_tests_by_scipy():
    differences = np.random.default_rng(0).normal(0.3, 1, 9)
    found = equivalence_test(differences, 1.0)
    above = stats.ttest_1samp(differences, 1.0, alternative="less").pvalue
    below = stats.ttest_1samp(differences, -1.0, alternative="greater").pvalue
    assert found.p_value == pytest.approx(max(above, below), rel=1e-12)
    interval = stats.ttest_1samp(differences, 0).confidence_interval(0.9)
    np.testing.assert_allclose([found.low, found.high], interval)
    assert (found.p_value < 0.05) == (-1 < found.low and found.high < 1)


def test_equivalence_at_the_margin_is_found_as_often_as_its_level():
    """At a true difference of exactly the margin, and with teeth: at none it is nearly always found."""
    samples = np.random.default_rng(1).normal(0, 1, (4000, 8))
    at_margin = np.mean([equivalence_test(row + 2.5, 2.5).p_value < 0.05 for row in samples])
    at_none = np.mean([equivalence_test(row, 2.5).p_value < 0.05 for row in samples])
    assert abs(at_margin - 0.05) < 5 * (0.05 * 0.95 / 4000) ** 0.5
    assert at_none > 0.98


def test_equal_pairs_are_equivalent():
    assert equivalence_test([0.0, 0.0], 0.1).p_value == 0
    assert equivalence_test([0.1, 0.1], 0.1).p_value == 1


def test_page_by_enumeration_of_orders():
    values = np.array([[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]])
    sums = [sum(np.dot((1, 2, 3), ranks) for ranks in pair)
            for pair in itertools.product(itertools.permutations((1, 2, 3)), repeat=2)]
    found = trend_test(values)
    assert found.p_value == pytest.approx(np.mean(np.array(sums) >= 14 + 13))
    assert found.correlation == pytest.approx(0.75) and found.stderr == pytest.approx(0.25)
    assert trend_test(-values).p_value > 0.9
    assert trend_test(values + np.array([[100.0], [-3.0]])) == found  # seeds may differ
    assert trend_test([[1, 1, 1], [1, 2, 3]]).correlation == 0.5


def test_holm_by_its_definition_and_without_what_is_no_test():
    values = np.array([0.04, NAN, 0.001, 0.02, 0.9])
    adjusted = holm(values)
    for alpha in (0.01, 0.05, 0.1, 0.95):
        rejected = set()
        for place, index in enumerate(np.argsort(values)[:4]):
            if values[index] > alpha / (4 - place):
                break
            rejected.add(index)
        assert rejected == set(np.flatnonzero(adjusted <= alpha))
    assert math.isnan(adjusted[1])
    assert holm([]).shape == (0,)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    samples = np.random.default_rng(2).normal(size=(12, 3))
    found = jackknife(lambda mean: mean, samples)
    np.testing.assert_allclose(found.stderr, samples.std(axis=0, ddof=1) / 12**0.5)
    ratio = jackknife(lambda one, other: one / other, samples[:, 0] + 30, samples[:, 1] + 20)
    linear = (samples[:, 0] - 30 / 20 * samples[:, 1]) / 20
    assert ratio.stderr == pytest.approx(linear.std(ddof=1) / 12**0.5, rel=0.1)


@pytest.mark.parametrize(("relation", "measured", "verdict"), [
    (Relation.ABOVE, 1.31, "confirmed"), (Relation.ABOVE, 1.29, "inconclusive"), (Relation.ABOVE, 0.59, "refuted"),
    (Relation.BELOW, 0.69, "confirmed"), (Relation.BELOW, 1.41, "refuted"),
    (Relation.WITHIN, 1.69, "confirmed"), (Relation.WITHIN, 1.71, "inconclusive"), (Relation.WITHIN, 2.39, "inconclusive"),
    (Relation.WITHIN, 2.41, "refuted"), (Relation.WITHIN, 0.31, "confirmed"), (Relation.WITHIN, -0.41, "refuted"),
])
def test_verdicts_of_tests_and_their_p_values(relation, measured, verdict):
    claim = Claim("s", "p", 1.0, measured, 0.1, relation, tolerance=1.0 if relation is Relation.WITHIN else 0.0)
    assert claim.verdict.value == verdict
    assert (claim.p_value < stats.norm.sf(3)) == (verdict == "confirmed")


def test_few_seeds_need_more_standard_errors():
    """A claim confirmed is as rarely wrong with five seeds as with a thousand."""
    for seeds in (5, 8):
        edge = float(stats.t.isf(stats.norm.sf(3), seeds - 1))
        for factor, verdict in ((1.01, "confirmed"), (0.99, "inconclusive")):
            claim = Claim("s", "p", 0.0, factor * edge, 1.0, Relation.ABOVE, degrees_of_freedom=seeds - 1)
            assert claim.verdict.value == verdict
            assert (claim.p_value < stats.norm.sf(3)) == (verdict == "confirmed")
    samples = np.random.default_rng(3).normal(size=(40_000, 5))
    scaled = samples.mean(axis=1) / samples.std(axis=1, ddof=1) * 5**0.5
    wrong = {dof: np.mean([Claim("s", "p", 0.0, x, 1.0, Relation.ABOVE, degrees_of_freedom=dof).verdict.value == "confirmed"
                           for x in scaled]) for dof in (4, math.inf)}
    assert wrong[4] < 0.00135 + 5 * (0.00135 / 40_000) ** 0.5
    assert wrong[math.inf] > 0.01  # teeth: the normal's three are not enough


def test_equivalence_of_a_claim_is_the_equivalence_test():
    differences = np.random.default_rng(4).normal(0.1, 0.2, 7)
    found = equivalence_test(differences, 0.5)
    claim = Claim("s", "p", 0.0, found.difference, found.stderr, Relation.WITHIN, tolerance=0.5, degrees_of_freedom=6)
    assert claim.p_value == pytest.approx(found.p_value, rel=1e-12)


def test_the_table_says_what_holds_together():
    strong = Claim("s", "p", 0.0, 5.0, 1.0, Relation.ABOVE)
    weak = Claim("s", "p", 0.0, 1.7, 1.0, Relation.ABOVE)
    equal = Claim("s", "p", 1.0, 1.0, 0.001)
    assert format_claims([strong, weak, equal]).endswith(
        "2 confirmed, 1 inconclusive. Of 2 inequalities and equivalences 2 hold together at 5 % (Holm).")
    assert "2 hold" not in format_claims([strong, weak, weak])
    assert "Holm" not in format_claims([equal])


@pytest.mark.parametrize(("call", "message"), [
    (lambda: equivalence_test([0.1], 1.0), "at least 2 seeds"),
    (lambda: equivalence_test([0.1, NAN], 1.0), "NaN"),
    (lambda: equivalence_test([0.1, 0.2], 0.0), "margin"),
    (lambda: trend_test([[1.0, 2.0], [1.0, 2.0]]), "3 levels"),
    (lambda: trend_test([1.0, 2.0]), "2 axes"),
    (lambda: holm([1.2]), "0, 1"),
    (lambda: Claim("s", "p", 0.0, 0.0, 0.1, Relation.WITHIN), "tolerance.*margin"),
    (lambda: Claim("s", "p", 0.0, 0.0, 0.1, degrees_of_freedom=0), "degrees_of_freedom.*n - 1"),
])
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
