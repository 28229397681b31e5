import math

import numpy as np
import pytest
import xarray

from sde_sgd.analysis import Claim, Relation, Verdict, claims_dataset, format_claims
from sde_sgd.results import load, save

INF, NAN = math.inf, math.nan


def verdict(theory, measured, stderr=0.0, **options):
    return Claim("a statement", "eq. 1", theory, measured, stderr, **options).verdict.value


@pytest.mark.parametrize(("theory", "measured", "stderr", "options", "expected"), [
    # An exact statement: the verdict turns with the deviation in standard errors, not with its share of the value.
    (1.0, 1.0029, 0.001, {}, "confirmed"),
    (1.0, 0.9971, 0.001, {}, "confirmed"),
    (1.0, 1.0035, 0.001, {}, "inconclusive"),
    (1.0, 1.0041, 0.001, {}, "refuted"),
    (1.0, 0.9959, 0.001, {}, "refuted"),
    (-1.0, -1.0029, 0.001, {}, "confirmed"),
    # A coarse error bar confirms nothing, and refutes what lies outside of it.
    (1.0, 1.0, 0.0101, {}, "inconclusive"),
    (1.0, 1.0, 0.0099, {}, "confirmed"),
    (1.0, 1.0, 0.02, {"resolution": 0.02}, "confirmed"),
    (1.0, 1.0, 0.005, {"resolution": 0.001}, "inconclusive"),
    (1.0, 2.0, 0.2, {}, "refuted"),
    # A tolerance is part of the claim.
    (1.0, 1.08, 0.001, {"tolerance": 0.1}, "confirmed"),
    (1.0, 1.1029, 0.001, {"tolerance": 0.1}, "confirmed"),
    (1.0, 1.1041, 0.001, {"tolerance": 0.1}, "refuted"),
    (1.0, 1.0, 0.05, {"tolerance": 0.1}, "confirmed"),
    (1.0, 1.0, 0.11, {"tolerance": 0.1}, "inconclusive"),
    # Nothing sampled.
    (0.0, 0.0, 0.0, {}, "confirmed"),
    (0.0, 1e-16, 0.0, {}, "refuted"),
    (0.0, 1e-16, 0.0, {"tolerance": 1e-12}, "confirmed"),
    (0.0, 0.001, 0.001, {}, "inconclusive"),  # 1 % of zero resolves nothing
    # Moments that do not exist.
    (INF, INF, 0.0, {}, "confirmed"),
    (INF, 7.0, 0.1, {}, "refuted"),
    (7.0, INF, 0.0, {}, "refuted"),
    (7.0, INF, NAN, {}, "inconclusive"),
    # Not measured, or the estimate failed.
    (1.0, None, 0.0, {}, "not shown"),
    (1.0, NAN, 0.1, {}, "inconclusive"),
    (1.0, 1.0, NAN, {}, "inconclusive"),
    # Inequalities.
    (0.0, -0.31, 0.1, {"relation": Relation.BELOW}, "confirmed"),
    (0.0, -0.29, 0.1, {"relation": Relation.BELOW}, "inconclusive"),
    (0.0, 0.39, 0.1, {"relation": Relation.BELOW}, "inconclusive"),
    (0.0, 0.41, 0.1, {"relation": Relation.BELOW}, "refuted"),
    (0.0, 0.41, 0.1, {"relation": Relation.ABOVE}, "confirmed"),
    (0.0, -0.41, 0.1, {"relation": Relation.ABOVE}, "refuted"),
    (0.0, 0.41, 0.1, {"relation": Relation.BELOW, "tolerance": 0.1}, "inconclusive"),
    (0.0, 0.0, 0.0, {"relation": Relation.BELOW}, "inconclusive"),
])
def test_verdicts(theory, measured, stderr, options, expected):
    assert verdict(theory, measured, stderr, **options) == expected


def test_true_statements_are_rarely_refuted_and_false_ones_nearly_always():
    """2000 measurements of a true and of a false claim, with their own standard errors from 64 lanes."""
    lanes = 1.0 + 0.05 * np.random.default_rng(0).normal(size=(2000, 64))
    means, stderrs = lanes.mean(axis=1), lanes.std(axis=1, ddof=1) / 8
    found = {}
    for name, theory in {"true": 1.0, "false": 1.05}.items():
        verdicts = [verdict(theory, *pair) for pair in zip(means, stderrs, strict=True)]
        found[name] = {value.value: verdicts.count(value.value) / 2000 for value in Verdict}
    assert found["true"]["confirmed"] > 0.98 and found["true"]["refuted"] < 0.002
    assert found["false"]["refuted"] > 0.98 and found["false"]["confirmed"] < 0.002


def some_claims():
    return [
        Claim("fluctuation of a long name that does not fit into one line of the table at all, a = 1", "Theorem 2, "
              "eq. 6", np.float64(0.1), np.float32(0.1001), 0.0002),
        Claim("tail exponent", "Fig. 2", 10.0, 7.5, 0.1, note="the form is right where the variance is matched, "
              "not in the tail: 10 is claimed, the Kesten root is 7.51"),
        Claim("variance does not exist", "Sec. 6", INF, INF),
        Claim("nets on MNIST", "Fig. 1", 0.0, None, relation=Relation.BELOW),
    ]


def test_claims_survive_a_file(tmp_path):
    dataset = claims_dataset(some_claims())
    assert dict(dataset.sizes) == {"claim": 4}
    assert list(dataset.verdict.values) == ["confirmed", "refuted", "confirmed", "not shown"]
    assert list(dataset.relation.values) == ["=", "=", "=", "<"]
    np.testing.assert_array_equal(dataset.measured, [np.float32(0.1001), 7.5, INF, NAN])
    np.testing.assert_allclose(dataset.resolution, [0.001, 0.1, INF, 0.0])
    save(dataset, tmp_path / "claims.nc")
    xarray.testing.assert_identical(load(tmp_path / "claims.nc"), dataset)


def test_the_table_shows_numbers_verdicts_and_notes():
    lines = format_claims(some_claims()).splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert lines[0].split() == ["claim", "theory", "measured", "standard", "error", "verdict"]
    assert lines[2].split()[-4:] == ["0.10000", "0.10010", "0.00020", "confirmed"]
    assert lines[3].startswith("  ")
    rows = {line.split(":")[0]: line.split()[-4:] for line in lines[2:] if ":" in line}
    assert rows["Sec. 6"] == ["inf", "inf", "0", "confirmed"]
    assert lines[-1] == "2 confirmed, 1 refuted, 1 not shown."
    assert any(line.startswith("Fig. 2, refuted: the form is right") for line in lines)
    assert next(line for line in lines if line.startswith("Fig. 1")).split()[-6:] == ["<", "0", "-", "-", "not", "shown"]


@pytest.mark.parametrize(("change", "message"), [
    ({"theory": NAN}, "theory.*nan"),
    ({"standard_error": -1.0}, "standard_error.*-1"),
    ({"tolerance": -1.0}, "tolerance.*-1"),
    ({"resolution": -1.0}, "resolution.*-1"),
])
def test_bad_claims_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Claim(**({"statement": "s", "source": "p", "theory": 1.0, "measured": 1.0} | change))


def test_no_claims_are_refused():
    for function in (claims_dataset, format_claims):
        with pytest.raises(ValueError, match="empty"):
            function([])
