"""What the moment recursions take: the description of a problem, the sampling factor, and errors that name a fix."""

import itertools

import numpy as np
import pytest

from sde_sgd import theory

NUM_EXAMPLES, DIM = 6, 2
START, ETA = np.array([0.9, -0.6]), 0.3
PROBLEM = theory.least_squares(np.random.default_rng(1).normal(size=(NUM_EXAMPLES, DIM)), np.ones(NUM_EXAMPLES))


def test_regression_is_described_by_its_examples():
    rng = np.random.default_rng(3)
    features, targets, w = rng.normal(size=(9, 3)), rng.normal(size=9), rng.normal(size=3)
    problem = theory.least_squares(features, targets)
    residuals = features @ w - targets
    gradients = features * residuals[:, None]
    np.testing.assert_allclose(problem.hessian @ w - problem.offset, gradients.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(problem.noise_covariance(w), np.cov(gradients.T, bias=True), atol=1e-14)
    moments = theory.gradient_flow_moments(problem, 0.1, 0, start=w)
    assert moments.loss == pytest.approx(np.mean(residuals**2) / 2, abs=1e-14)
    with pytest.raises(ValueError, match="read-only"):
        problem.offsets[0] = 0.0
    # float32 data are taken as they are and worked on in float64
    assert theory.least_squares(features.astype(np.float32), targets).hessians.dtype == np.float64


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_sampling_factor_by_enumeration(batch_size, replacement):
    values = np.random.default_rng(5).normal(size=NUM_EXAMPLES)
    draw = itertools.product if replacement else itertools.combinations
    batches = draw(values, repeat=batch_size) if replacement else draw(values, batch_size)
    variance = np.var([np.mean(batch) for batch in batches])
    expected = theory.sampling_factor(NUM_EXAMPLES, batch_size, replacement=replacement)
    assert variance / np.var(values) == pytest.approx(expected, rel=1e-12)


def test_sampling_factor_of_a_single_example():
    assert theory.sampling_factor(1, 1, replacement=False) == 0.0


def test_divergence_beyond_float64_is_said_in_words():
    with pytest.raises(OverflowError, match="mean-square stability"):
        theory.sgd_moments(PROBLEM, 50.0, 1, 100_000, start=START)
    with pytest.raises(OverflowError, match="fewer steps"):
        theory.svag_moments(PROBLEM, 1e6, 1, 2, level=64, start=START)


def _run(problem=PROBLEM, learning_rate=ETA, batch_size=2, num_steps=3, **options):
    return theory.sgd_moments(problem, learning_rate, batch_size, num_steps, **{"start": START, **options})


def _large(dim):
    return theory.affine_gradients(np.eye(dim)[None], np.zeros((1, dim)))


BAD_CALLS = {
    "problem": (lambda: _run(problem=np.eye(2)), TypeError, "problem must be an AffineGradients.*least_squares"),
    "learning_rate": (lambda: _run(learning_rate=0.0), ValueError, "learning_rate must be .* got 0.0"),
    "batch_size": (lambda: _run(batch_size=0), ValueError, "batch_size must be .* got 0"),
    "batch above data": (lambda: _run(batch_size=7, replacement=False), ValueError, "batch_size .*7.*6 examples"),
    "batch type": (lambda: _run(batch_size=2.0), TypeError, "batch_size must be an int"),
    "num_steps": (lambda: _run(num_steps=-1), ValueError, "num_steps must be at least 0, got -1"),
    "momentum": (lambda: _run(momentum=1.0), ValueError, "momentum must lie in"),
    "start": (lambda: _run(start=np.zeros(3)), ValueError, r"start must have shape \(2\), got \(3,\)"),
    "start type": (lambda: _run(start="zero"), TypeError, "start must be an array of numbers, got str"),
    "start nan": (lambda: _run(start=[0.0, np.nan]), ValueError, "start holds NaN"),
    "start trace": (lambda: _run(start_trace=[0.0]), ValueError, "start_trace must have shape"),
    "start covariance": (lambda: _run(start_covariance=-np.eye(2)), ValueError, "start_covariance .* semi-definite"),
    "record_every": (lambda: _run(record_every=2), ValueError, "record_every must divide num_steps, got 2 and 3"),
    "order": (lambda: theory.sme_moments(PROBLEM, ETA, 2, 3, order=3, start=START), ValueError,
              "order must be one of 1, 2; got 3"),
    "substeps": (lambda: theory.sme_moments(PROBLEM, ETA, 2, 3, order=1, substeps=0, start=START),
                 ValueError, "substeps must be at least 1, got 0"),
    "level": (lambda: theory.svag_moments(PROBLEM, ETA, 2, 3, level=0, start=START), ValueError,
              "level must be at least 1"),
    "momentum order": (lambda: theory.momentum_sme_moments(PROBLEM, ETA, 2, 3, momentum=0.9, order=0,
                                                           start=START), ValueError, "order must be one of"),
    "dim": (lambda: theory.sme_moments(_large(44), ETA, 1, 3, order=1, start=np.zeros(44)), ValueError,
            "dim 44.*at most 1000"),
    "dim with momentum": (lambda: theory.momentum_sme_moments(_large(22), ETA, 1, 3, order=1, start=np.zeros(22),
                                                              momentum=0.5), ValueError, "dim 22.*21 with momentum"),
    "hessians": (lambda: theory.affine_gradients(np.ones((3, 2, 2)), np.ones((4, 2))), ValueError,
                 r"hessians must have shape \(4, 2, 2\), got \(3, 2, 2\)"),
    "asymmetric": (lambda: theory.affine_gradients([[[1.0, 0.5], [0.0, 1.0]]], np.ones((1, 2))), ValueError,
                   "hessians must be symmetric.*0.5"),
    "targets": (lambda: theory.least_squares(np.ones((3, 2)), np.ones(4)), ValueError, "targets must have shape"),
    "no examples": (lambda: theory.least_squares(np.ones((0, 2)), np.ones(0)), ValueError, "features must have shape"),
    "params": (lambda: PROBLEM.noise_covariance(np.ones(3)), ValueError, "params must have shape"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_input_is_named(case):
    call, error, message = BAD_CALLS[case]
    with pytest.raises(error, match=message):
        call()
