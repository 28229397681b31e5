"""Diffrax as judge: our integrators beside its Euler on the same increments and its adaptive Runge-Kutta."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import sde_sgd as ss
from sde_sgd._core.random import DYNAMICS, Draws, lane_key

diffrax = pytest.importorskip("diffrax")

NUM_EXAMPLES, DIM, RATE, BATCH, STEPS, SUBSTEPS = 10, 2, 0.2, 3, 4, 10
DT = RATE / SUBSTEPS
KEY = jax.random.key(12)


@pytest.fixture
def problem(x64):
    rng = np.random.default_rng(3)
    features, targets = rng.normal(size=(NUM_EXAMPLES, DIM)), rng.normal(size=NUM_EXAMPLES)

    def loss(w, example):
        features, target = example
        return 0.5 * (features @ w - target) ** 2 + 0.1 * jnp.sum(w**4)

    return ss.Problem(example_loss=loss, data=(features, targets), init=lambda key: jnp.array([0.7, -0.4]))


def normals(size, lane=1):
    """Return the normals that a process uses, one row a substep: (STEPS * SUBSTEPS, size)."""
    rows = []
    for step in range(STEPS):
        draws = Draws(lane_key(KEY, jnp.uint32(lane), purpose=DYNAMICS), jnp.uint32(step))
        rows += [draws.normals(size, substep * size, jnp.float64) for substep in range(SUBSTEPS)]
    return jnp.stack(rows)


def ours(problem, process, lane=1):
    ds = ss.simulate(problem, process, num_seeds=2, num_steps=STEPS, record_every=1,
                     record={"w": lambda problem, params: params}, key=KEY)
    return ds.w.values[lane]


def euler(problem, diffusion):
    """Return diffrax's Euler-Maruyama of dX = -grad f dt + diffusion(X) dW, a function of the increments of W."""
    def solve(increments):
        motion = jnp.concatenate([jnp.zeros_like(increments[:1]), jnp.cumsum(increments, axis=0)])

        class Motion(diffrax.AbstractPath):
            t0 = 0.0
            t1 = STEPS * RATE

            def evaluate(self, t0, t1=None, left=True, use_jump=True):
                at = [None if time is None else motion[jnp.round(time / DT).astype(int)] for time in (t0, t1)]
                return at[0] if t1 is None else at[1] - at[0]

        terms = diffrax.MultiTerm(diffrax.ODETerm(lambda t, w, args: -problem.gradient(w)),
                                  diffrax.ControlTerm(lambda t, w, args: diffusion(w), Motion()))
        times = diffrax.StepTo(jnp.arange(STEPS * SUBSTEPS + 1) * DT)
        return diffrax.diffeqsolve(terms, diffrax.Euler(), t0=0.0, t1=STEPS * RATE, dt0=None, y0=problem.init(KEY),
                                   stepsize_controller=times,
                                   saveat=diffrax.SaveAt(ts=jnp.arange(STEPS + 1) * RATE)).ys

    return jax.jit(solve)


def by_examples(problem):
    """Return G(w), (d, N), with G G^T = eta/B Sigma: one Brownian motion for every example, their mean taken out."""
    def diffusion(w):
        gradients = jax.vmap(jax.grad(problem.example_loss), (None, 0))(w, problem.data)
        return -((RATE / (BATCH * NUM_EXAMPLES)) ** 0.5) * (gradients - gradients.mean(axis=0)).T

    return diffusion


def test_sme_1_is_euler_maruyama_on_the_same_increments(problem):
    increments = DT**0.5 * normals(NUM_EXAMPLES)
    found = ours(problem, ss.SME(RATE, ss.Gaussian(BATCH), order=1, substeps=SUBSTEPS))
    judge = euler(problem, by_examples(problem))
    np.testing.assert_allclose(found, judge(increments), rtol=1e-11, atol=1e-12)
    # Teeth: a forgotten square root of eta, a batch size wrong by one, other increments.
    for wrong in (RATE**0.5 * increments, (BATCH / (BATCH + 1)) ** 0.5 * increments,
                  DT**0.5 * normals(NUM_EXAMPLES, lane=0)):
        assert np.abs(found - judge(wrong)).max() > 1e-3


def test_the_weights_are_a_root_of_the_covariance(problem):
    """One Brownian motion an example drives the same law as a d-dimensional one with the matrix root."""
    w = problem.init(KEY)
    by_weights = by_examples(problem)(w)
    sigma = np.asarray(ss.curvature.noise_covariance(problem, w))
    root = scipy.linalg.sqrtm(RATE / BATCH * sigma)
    np.testing.assert_allclose(by_weights @ by_weights.T, root @ root.T, rtol=1e-12, atol=1e-14)


def test_langevin_is_euler_maruyama_on_the_same_increments(problem):
    found = ours(problem, ss.Langevin(RATE, temperature=0.3, substeps=SUBSTEPS))
    increments = DT**0.5 * normals(DIM)
    expected = euler(problem, lambda w: 0.6**0.5 * jnp.eye(DIM))(increments)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def test_gradient_flow_is_the_solution(problem):
    times = jnp.arange(STEPS + 1) * RATE
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, w, args: -problem.gradient(w)), diffrax.Tsit5(), t0=0.0, t1=STEPS * RATE, dt0=None,
        y0=problem.init(KEY), stepsize_controller=diffrax.PIDController(rtol=1e-11, atol=1e-12),
        saveat=diffrax.SaveAt(ts=times))
    errors = [np.abs(ours(problem, ss.GradientFlow(RATE, substeps=count)) - solution.ys).max() for count in (2, 4, 8)]
    assert errors[-1] < 1e-7
    for coarse, fine in itertools.pairwise(errors):
        assert 12 < coarse / fine < 22  # of fourth order
