"""Stationary ensembles against the closed forms, as z-scores; formulas for another setting must fail.

Only settings whose fourth moment is finite: beyond, the estimate of a variance has no standard error, and the exact
recursions of tests/exact are the judge.
"""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sde_sgd as ss
from sde_sgd import theory

THRESHOLD = 5.0
A2 = np.diag([1.0, 0.5])


class FreshState(NamedTuple):
    params: Any
    trace: Any


class FreshRegression(ss.processes.AbstractProcess):
    """SGD on linear regression that draws its batch anew at each step; the params are the distance from the teacher."""

    rate: Any  # Lambda, a matrix
    root: Any  # of the features' covariance
    blur: Any  # of the input noise's covariance, or None
    teacher: Any
    sigma: float
    decay: float
    momentum: float
    batch_size: int = eqx.field(static=True)

    @property
    def time_per_step(self):
        return 1.0

    def check(self, problem):
        pass

    def init(self, problem, params):
        return FreshState(params, jnp.zeros_like(params))

    def step(self, problem, state, draws):
        dim = self.teacher.shape[0]
        numbers = dim + 1 if self.blur is None else 2 * dim + 1
        normals = jax.random.normal(draws.jax_key(), (self.batch_size, numbers), jnp.float32)
        clean = normals[:, 1 : dim + 1] @ self.root.T
        seen = clean if self.blur is None else clean + normals[:, dim + 1 :] @ self.blur.T
        weights = state.params + self.teacher
        residual = seen @ weights - clean @ self.teacher - jnp.float32(self.sigma) * normals[:, 0]
        gradient = residual @ seen / np.float32(self.batch_size) + jnp.float32(self.decay) * weights
        trace = jnp.float32(self.momentum) * state.trace + gradient
        return FreshState(state.params - self.rate @ trace, trace)


def fresh(rate, batch_size, features=A2, teacher=None, blur=None, sigma=0.0, decay=0.0, momentum=0.0):
    dim = len(features)
    matrices = (rate * np.eye(dim) if np.ndim(rate) == 0 else rate, np.linalg.cholesky(features),
                None if blur is None else np.sqrt(blur), np.zeros(dim) if teacher is None else teacher)
    single = [None if array is None else jnp.asarray(array, jnp.float32) for array in matrices]
    return FreshRegression(*single, sigma, decay, momentum, batch_size)


def measured(process, dim):
    """Return E[v v'] of the distance v from the teacher, and its standard error."""
    problem = ss.problems.potential(lambda w: jnp.sum(w**2), start=jnp.zeros(dim, jnp.float32))
    # Large batches are costly and relax fast, much momentum relaxes slowly.
    num_seeds = 512 if process.batch_size >= 40 else 2048
    num_steps, burn_in = (600, 100) if process.momentum == 0.9 else (240, 40)
    ds = ss.simulate(problem, process, num_seeds=num_seeds, num_steps=num_steps, progress=False, key=jax.random.key(0),
                     record={"second": ss.Moments(lambda problem, w: jnp.outer(w, w), every=2, burn_in=burn_in)})
    return np.asarray(ds.second_mean, np.float64), np.asarray(ds.second_mean_stderr, np.float64)


def second_moment(state, teacher=0.0):
    return state.covariance + np.outer(state.mean - teacher, state.mean - teacher)


def _label_noise(eigenvalues, rate, momentum, batch_size):
    features = np.diag(eigenvalues)
    process = fresh(rate, batch_size, features, sigma=1.0, momentum=momentum)
    state = theory.online_regression(features, rate, batch_size, label_noise=1.0, momentum=momentum)
    return process, second_moment(state)


U2 = np.array([1.0, -1.0])
NEWTON = 0.5 * np.diag([1.0, 5.0, 20.0])
CASES = {
    "label noise 1": lambda: _label_noise([1.0], 0.5, 0.0, 4),
    "label noise 2": lambda: _label_noise([1.5], 1.0, 0.0, 40),
    "label noise 3": lambda: _label_noise([1.0, 0.5], 1.5, 0.0, 50),
    "label noise 4": lambda: _label_noise([1.0, 0.5], 0.6, 0.5, 5),
    "label noise 5": lambda: _label_noise([1.0, 0.5, 0.25], 0.4, 0.9, 16),
    "input noise": lambda: (
        fresh(0.4, 4, teacher=U2, blur=np.diag([0.2, 0.7])),
        second_moment(theory.input_noise_regression(A2, np.diag([0.2, 0.7]), U2, 0.4, 4), U2)),
    "weight decay": lambda: (
        fresh(0.5, 4, teacher=U2, decay=0.2),
        second_moment(theory.online_regression(A2, 0.5, 4, weight_decay=0.2, teacher=U2), U2)),
    "weight decay and momentum": lambda: (
        fresh(0.2, 8, teacher=U2, decay=0.3, momentum=0.9),
        second_moment(theory.online_regression(A2, 0.2, 8, weight_decay=0.3, teacher=U2, momentum=0.9), U2)),
    "damped Newton": lambda: (
        fresh(NEWTON, 8, np.diag([1.0, 0.2, 0.05]), sigma=1.0),
        theory.label_noise_covariance(np.diag([1.0, 0.2, 0.05]), 1.0, NEWTON, 8)),
}


@functools.cache
def run(case):
    process, exact = CASES[case]()
    return *measured(process, len(exact)), exact


@pytest.mark.parametrize("case", CASES)
def test_fresh_data(case):
    mean, stderr, exact = run(case)
    assert np.max(np.abs(mean - exact) / stderr) < THRESHOLD
    assert np.max(np.diag(stderr) / np.diag(exact)) < 0.01


def test_teeth_formulas_of_another_setting_are_rejected():
    mean, stderr, _ = run("label noise 4")
    wrong = {
        "frozen noise": theory.sgd_stationary_covariance(A2, A2 / 5, 0.6, 0.5),
        "batch size": theory.label_noise_covariance(A2, 1.0, 0.6, 6, 0.5),
        "momentum as a larger rate": theory.label_noise_covariance(A2, 1.0, 1.2, 5),
        "first-order SDE": theory.label_noise_sme_covariance(A2, 1.0, 1.2, 5, order=1),
    }
    for covariance in wrong.values():
        assert np.max(np.abs(mean - covariance) / stderr) > 2 * THRESHOLD


def _finite():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20, 3)).astype(np.float32)
    return ss.problems.least_squares(features, (features @ [1.0, 0.5, -1.0] + rng.normal(size=20)).astype(np.float32))


RATE, BATCH = 0.3, 5
FINITE = {
    "with": lambda: ss.SGD(RATE, ss.WithReplacement(BATCH)),
    "without": lambda: ss.SGD(RATE, ss.WithoutReplacement(BATCH)),
    "momentum": lambda: ss.SGD(RATE / 4, ss.WithReplacement(BATCH), momentum=0.7),
    "Gaussian": lambda: ss.SGD(RATE, ss.Gaussian(BATCH)),
}


def _finite_scores(process, claims):
    problem = _finite()
    centre = jnp.asarray(problem.minimum)

    def deviation(problem, w):
        return jnp.outer(w - centre, w - centre)

    ds = ss.simulate(problem, process, num_seeds=2048, num_steps=300, progress=False, key=jax.random.key(1),
                     record={"second": ss.Moments(deviation, every=4, burn_in=60)})
    exact = [ss.stationary_covariance(problem, claim) for claim in claims]
    return [np.max(np.abs(ds.second_mean.values - covariance) / ds.second_mean_stderr.values) for covariance in exact]


@pytest.mark.parametrize("case", FINITE)
def test_a_finite_data_set(case):
    """With and without replacement, momentum, and Gaussian noise of the same covariance, which shares the moments."""
    claim = FINITE[case]()
    others = [FINITE[name]() for name in ("without" if case != "without" else "with", "momentum") if name != case]
    right, *wrong = _finite_scores(claim, [claim, *others, ss.SME(RATE, ss.Gaussian(BATCH), order=1)])
    assert right < THRESHOLD
    assert min(wrong) > 2 * THRESHOLD
