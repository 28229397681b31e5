"""diffrax as an independent judge of the integrators, on the same noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sde_sgd as ss
from sde_sgd._core.random import Draws, lane_key

diffrax = pytest.importorskip("diffrax")

SUBSTEPS, RATE, BATCH = 10, 0.1, 2


def quartic():
    """A problem whose Hessian and noise both depend on the params."""
    centres = jnp.asarray(np.random.default_rng(1).normal(size=(5, 2)))
    return ss.Problem(
        example_loss=lambda w, z: jnp.sum((w - z) ** 4) / 4 + 0.5 * (w[0] * w[1]) * z[0],
        data=centres,
        init=lambda key: jnp.asarray([0.5, -0.4]),
    )


def test_gradient_flow_equals_an_adaptive_solver(x64):
    problem = quartic()
    start = problem.init(jax.random.key(0))
    state = ss.GradientFlow(RATE, substeps=4).init(problem, start)
    draws = Draws(lane_key(jax.random.key(0), jnp.uint32(0)), jnp.uint32(0))
    for _ in range(5):
        state = ss.GradientFlow(RATE, substeps=4).step(problem, state, draws)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, w, args: -problem.gradient(w)), diffrax.Tsit5(), 0.0, 5 * RATE, 0.01, start,
        stepsize_controller=diffrax.PIDController(rtol=1e-10, atol=1e-10),
    )
    np.testing.assert_allclose(state.params, solution.ys[-1], rtol=1e-7)


@pytest.mark.parametrize("order", [1, 2])
def test_sme_equals_diffrax_euler_on_the_same_brownian_path(x64, order):
    """The Brownian motion is N-dimensional; its increments are the normals of our substeps times sqrt(dt)."""
    problem = quartic()
    start, num_examples = problem.init(jax.random.key(0)), problem.num_examples
    dt = RATE / SUBSTEPS
    draws = Draws(lane_key(jax.random.key(3), jnp.uint32(7)), jnp.uint32(0))
    process = ss.SME(RATE, ss.Gaussian(BATCH), order=order, substeps=SUBSTEPS)
    ours = process.step(problem, process.init(problem, start), draws).params
    normals = jnp.stack([draws.normals(num_examples, j * num_examples, jnp.float64) for j in range(SUBSTEPS)])
    path = jnp.concatenate([jnp.zeros((1, num_examples)), jnp.cumsum(normals, axis=0) * dt**0.5])
    brownian = diffrax.LinearInterpolation(ts=jnp.arange(SUBSTEPS + 1) * dt, ys=path)

    def drift(t, w, args):
        gradient, hessian_product = problem.gradient_and_hessian_product(w)
        # The scheme of order 2 leaves out of the drift what an Euler step adds by itself.
        return -gradient - (0.0 if order == 1 else (RATE - dt) / 2) * hessian_product

    def diffusion(t, w, args):
        gradients = problem.example_gradients(w)
        centred = gradients - jnp.mean(gradients, axis=0)
        return -jnp.sqrt(RATE / BATCH / num_examples) * centred.T

    terms = diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(diffusion, brownian))
    theirs = diffrax.diffeqsolve(terms, diffrax.Euler(), 0.0, RATE, dt, start, max_steps=SUBSTEPS + 1).ys[-1]
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    assert np.abs(np.asarray(ours - start)).max() > 1e-2
