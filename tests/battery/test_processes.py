"""Every process obeys the contract: transformations, dtypes, clocks, the limit without noise, NaN in its lane."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg
from cases import (
    BY_NAME,
    DIM,
    NUM_EXAMPLES,
    PROCESSES,
    QUICKLY,
    assert_close,
    draws,
    leaves_equal,
    mixed_problem,
    ornstein_uhlenbeck,
)
from jax.flatten_util import ravel_pytree

import sde_sgd as ss

each_process = pytest.mark.parametrize("case", PROCESSES, ids=lambda case: case.name)
DTYPES = {"x64 off": [(jnp.float16, jnp.float32), (jnp.float32, jnp.bfloat16)],
          "x64 on": [(jnp.float32, jnp.bfloat16), (jnp.float32, jnp.float64)]}


def dtypes(tree):
    return jax.tree.map(lambda leaf: jnp.result_type(leaf), tree)


@each_process
def test_dtypes_and_structure_of_the_state_are_kept(case, precision):
    for pair in DTYPES[precision]:
        problem, process = mixed_problem(*pair), case.make(0.1, 3)
        state = jax.eval_shape(lambda p=process, q=problem: p.init(q, q.init(jax.random.key(0))))
        after = jax.eval_shape(lambda s, p=process, q=problem: p.step(q, s, draws()), state)
        assert jax.tree.structure(after) == jax.tree.structure(state)
        assert dtypes(after) == dtypes(state)
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
        assert dtypes(state.params) == dtypes(problem.init(jax.random.key(0)))


@each_process
def test_jit_scan_and_vmap_agree_with_plain_steps(case, precision):
    problem = mixed_problem(*DTYPES[precision][1])
    processes = [case.make(rate, batch) for rate, batch in ((0.1, 5), (0.05, 5), (0.02, 5))]
    begin = [process.init(problem, problem.init(jax.random.key(0))) for process in processes]
    stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *processes)

    def step(process, state, lane, low):
        return process.step(problem, state, draws(lane, low))

    vmapped = jax.jit(jax.vmap(step, in_axes=(0, 0, 0, None)), compiler_options=QUICKLY)
    lanes = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *begin)]
    for low in range(3):
        lanes.append(vmapped(stacked, lanes[-1], jnp.arange(3), low))

    def scan(process, state, lane):
        return jax.lax.scan(lambda now, low: (step(process, now, lane, low),) * 2, state, jnp.arange(3))[1]

    scanned = jax.jit(scan, compiler_options=QUICKLY)

    for lane, process in enumerate(processes):
        assert_close(jax.tree.map(lambda *leaves, lane=lane: jnp.stack(leaves)[:, lane], *lanes[1:]),
                     scanned(process, begin[lane], lane))
    if precision == "x64 off":  # no jit at all; op by op is slow
        assert_close(step(processes[0], begin[0], 0, 0), jax.tree.map(lambda leaf: leaf[0], lanes[1]))

    same = vmapped(stacked, lanes[0], jnp.arange(3), 0)
    assert leaves_equal(same, lanes[1])  # same address, same path
    for lane, low in ((5, 0), (0, 1)):
        moved = vmapped(stacked, lanes[0], jnp.arange(3) + lane, low)
        assert leaves_equal(moved.params, same.params) != case.noisy


@each_process
def test_the_clock_and_the_leaves_of_a_process(case):
    process = case.make(0.04, 3)
    assert float(process.time_per_step) == pytest.approx(case.clock(0.04))
    assert all(isinstance(leaf, jax.Array | np.ndarray) for leaf in jax.tree.leaves(process))
    other = case.make(0.07, 3)
    assert jax.tree.structure(other) == jax.tree.structure(process), "a learning rate decides the program"


# --- the limit without noise -----------------------------------------------------------------------------------------

FULL = ss.Gaussian(NUM_EXAMPLES, replacement=False)  # of variance zero
RATE = 0.1


def steps_of(process, problem, num_steps=4):
    step = jax.jit(lambda state, low: process.step(problem, state, draws(0, low)), compiler_options=QUICKLY)
    state = process.init(problem, problem.init(jax.random.key(0)))
    for low in range(num_steps):
        state = step(state, low)
    return ravel_pytree(state.params)[0]


@functools.cache
def field():
    """Return the start, the gradient and the Hessian of the mixed problem in float64, as functions of a vector."""
    problem = mixed_problem(jnp.float64, jnp.float64)
    begin, unravel = ravel_pytree(problem.init(jax.random.key(0)))

    def risk(vector):
        return problem.loss(unravel(vector))

    return problem, begin, jax.jit(jax.grad(risk)), jax.jit(jax.hessian(risk))


def descent(rate, num_steps, momentum=0.0):
    _, w, gradient, _ = field()
    trace = 0 * w
    for _ in range(num_steps):
        trace = momentum * trace + gradient(w)
        w = w - rate * trace
    return w


def bent_descent(substeps, num_steps=4):
    """Euler steps along the drift of the second-order equation, corrected for the Euler steps themselves."""
    _, w, gradient, hessian = field()
    dt = RATE / substeps
    for _ in range(num_steps * substeps):
        w = w - dt * (gradient(w) + (RATE - dt) / 2 * hessian(w) @ gradient(w))
    return w


def rolling(order, momentum, substeps, num_steps=4):
    """Heun steps along the drift of the momentum equations, written out."""
    _, x, gradient, hessian = field()
    h, v = RATE**0.5, 0 * x
    mu, dt = (1 - momentum) / h, h / substeps

    def drift(x, v):
        if order == 1:
            return v, -mu * v - gradient(x)
        pull = (mu + h * mu**2 / 2) * v - h / 2 * hessian(x) @ v + (1 + h * mu / 2) * gradient(x)
        return (1 - h * mu / 2) * v - h / 2 * gradient(x), -pull

    for _ in range(num_steps * substeps):
        dx, dv = drift(x, v)
        dx2, dv2 = drift(x + dt * dx, v + dt * dv)
        x, v = x + dt * (dx + dx2) / 2, v + dt * (dv + dv2) / 2
    return x


def damped(friction, substeps, num_steps=4):
    """BAOAB without noise."""
    _, x, gradient, _ = field()
    v, dt = 0 * x, RATE / substeps
    for _ in range(num_steps * substeps):
        v = v - dt / 2 * gradient(x)
        x = x + dt / 2 * v
        v = v * np.exp(-friction * dt)
        x = x + dt / 2 * v
        v = v - dt / 2 * gradient(x)
    return x


def decayed(num_steps=4):
    matrix = np.diag(np.linspace(0.2, 2.0, DIM)) + 0.1
    return scipy.linalg.expm(-matrix * RATE * num_steps) @ np.asarray(field()[1])


NOISELESS = {
    "SGD, without replacement": (lambda: ss.SGD(RATE, ss.WithoutReplacement(NUM_EXAMPLES)), lambda: descent(RATE, 4)),
    "SGD, epochs": (lambda: ss.SGD(RATE, ss.EpochShuffle(NUM_EXAMPLES)), lambda: descent(RATE, 4)),
    "SGD, Gaussian": (lambda: ss.SGD(RATE, FULL), lambda: descent(RATE, 4)),
    "SGD, isotropic": (lambda: ss.SGD(RATE, ss.Isotropic(NUM_EXAMPLES, replacement=False)), lambda: descent(RATE, 4)),
    "SGD, momentum": (lambda: ss.SGD(RATE, ss.WithoutReplacement(NUM_EXAMPLES), momentum=0.9),
                      lambda: descent(RATE, 4, 0.9)),
    "optax": (lambda: ss.from_optax(optax.sgd, FULL, learning_rate=RATE, momentum=0.9), lambda: descent(RATE, 4, 0.9)),
    "SVAG": (lambda: ss.SVAG(RATE, ss.WithoutReplacement(NUM_EXAMPLES), substeps=4), lambda: descent(RATE / 4, 16)),
    "SME 1": (lambda: ss.SME(RATE, FULL, order=1, substeps=10), lambda: descent(RATE / 10, 40)),
    "SME 2": (lambda: ss.SME(RATE, FULL, order=2, substeps=10), lambda: bent_descent(10)),
    "MomentumSME 1": (lambda: ss.MomentumSME(RATE, FULL, momentum=0.8, order=1, substeps=10),
                      lambda: rolling(1, 0.8, 10)),
    "MomentumSME 2": (lambda: ss.MomentumSME(RATE, FULL, momentum=0.8, order=2, substeps=10),
                      lambda: rolling(2, 0.8, 10)),
    "Langevin": (lambda: ss.Langevin(RATE, temperature=0.0, substeps=3), lambda: descent(RATE / 3, 12)),
    "SGD, stable": (lambda: ss.SGD(RATE, ss.Stable(NUM_EXAMPLES, tail_index=1.5, replacement=False)),
                    lambda: descent(RATE, 4)),
    "Levy Langevin": (lambda: ss.LevyLangevin(RATE, tail_index=1.5, scale=0.0, substeps=3),
                      lambda: descent(RATE / 3, 12)),
    "kinetic Langevin": (lambda: ss.KineticLangevin(RATE, friction=2.0, temperature=0.0, substeps=3),
                         lambda: damped(2.0, 3)),
    "Ornstein-Uhlenbeck": (lambda: ornstein_uhlenbeck(RATE, 1, covariance=0.0), decayed),
}


@pytest.mark.parametrize("name", NOISELESS)
def test_without_noise_a_process_is_its_deterministic_limit(name, x64):
    process, expected = NOISELESS[name]
    np.testing.assert_allclose(steps_of(process(), field()[0]), expected(), rtol=0, atol=1e-12)


def test_gradient_flow_is_the_limit_of_small_steps(x64):
    problem = field()[0]
    fine = steps_of(ss.GradientFlow(RATE, substeps=64), problem)
    np.testing.assert_allclose(steps_of(ss.GradientFlow(RATE, substeps=4), problem), fine, rtol=0, atol=1e-7)
    # Richardson's extrapolation of gradient descent with many small steps.
    np.testing.assert_allclose(2 * descent(RATE / 200, 800) - descent(RATE / 100, 400), fine, rtol=0, atol=1e-5)


def test_teeth_of_the_noiseless_limits(x64):
    """A batch short of one example, a forgotten order and a forgotten momentum are seen."""
    problem = field()[0]
    wrong = {
        "SGD, Gaussian": ss.SGD(RATE, ss.Gaussian(NUM_EXAMPLES)),  # with replacement: the variance is not zero
        "SGD, without replacement": ss.SGD(RATE, ss.WithoutReplacement(NUM_EXAMPLES - 1)),
        "SGD, momentum": ss.SGD(RATE, ss.WithoutReplacement(NUM_EXAMPLES)),
        "SME 2": ss.SME(RATE, FULL, order=1, substeps=10),
        "MomentumSME 2": ss.MomentumSME(RATE, FULL, momentum=0.8, order=1, substeps=10),
    }
    for name, process in wrong.items():
        assert np.abs(steps_of(process, problem) - NOISELESS[name][1]()).max() > 1e-6, name


# --- a lane that overflows -------------------------------------------------------------------------------------------


def steep(params):
    return 0.25 * params**4


def steep_example(params, example):
    return example * steep(params)


def drawn(bad, key):
    """Start somewhere in (0.2, 1.2); of the starts above 0.9, ``bad`` makes values that run away."""
    start = 0.2 + jax.random.uniform(key)
    return jnp.where(bad & (start > 0.9), 1e4 * start, start)


def one_bad_start(bad):
    return ss.Problem(example_loss=steep_example, data=jnp.linspace(0.5, 1.5, 64),
                      init=functools.partial(drawn, np.bool_(bad)))


FROM_ABOVE = functools.partial(drawn, np.bool_(False))


def one_bad_example(bad):
    """Return a problem with an example that throws every lane off that meets it."""
    return ss.Problem(example_loss=steep_example, data=jnp.linspace(0.5, 1.5, 64).at[7].mul(1e25 if bad else 1.0),
                      init=FROM_ABOVE)


RUNAWAYS = {
    "SGD, momentum": (one_bad_example, BY_NAME["SGD, momentum"].make(0.1, 4)),
    "SGD, epochs": (one_bad_example, ss.SGD(0.1, ss.EpochShuffle(4))),
    "optax": (one_bad_example, ss.from_optax(optax.sgd, ss.WithReplacement(4), learning_rate=0.1, momentum=0.5)),
    "SME 2": (one_bad_start, BY_NAME["SME 2"].make(0.1, 4)),
    "kinetic Langevin": (one_bad_start, BY_NAME["kinetic Langevin"].make(0.1, 4)),
}


@pytest.mark.parametrize("name", RUNAWAYS)
def test_a_lane_that_overflows_leaves_the_others_alone(name):
    problem, process = RUNAWAYS[name]

    def run(bad, record_every):
        return ss.simulate(problem(bad), process, num_seeds=70, num_steps=12, record_every=record_every,
                           record={"w": lambda problem, w: w}, key=jax.random.key(7))

    healthy = run(False, 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ill = run(True, 1)
    lost, at = ill.status.values == 1, ill.diverged_at.values
    assert 5 < lost.sum() < 65
    assert [str(warning.message).split(":")[0] for warning in caught] == [f"{lost.sum()} of 70 lanes diverged"]
    assert issubclass(caught[0].category, UserWarning)
    if problem is one_bad_start:
        np.testing.assert_array_equal(lost, healthy.w.values[:, 0] > 0.9)
    untouched = ~lost & (np.abs(ill.w.values) < 100).all(axis=1)  # thrown off by the last step: large, not yet infinite
    assert untouched.sum() > 5 and leaves_equal(ill.w.values[untouched], healthy.w.values[untouched])
    assert np.isfinite(healthy.w).all() and (healthy.status == 0).all() and (healthy.diverged_at == -1).all()
    assert (at[~lost] == -1).all() and (at[lost] >= 1).all()
    expected = (ill.step.values[None] >= at[:, None]) & (at[:, None] >= 0)
    np.testing.assert_array_equal(np.isnan(ill.w), expected)  # finite just before, NaN from then on

    with pytest.warns(UserWarning, match="diverged"):
        assert leaves_equal(run(True, 6).diverged_at.values, at)  # found between records, too


def test_the_step_of_divergence_is_that_of_a_plain_loop():
    problem = ss.problems.potential(steep, start=6.0)
    with pytest.warns(UserWarning, match="3 of 3 lanes"):
        ds = ss.simulate(problem, ss.SGD(0.1, ss.WithReplacement(1)), num_seeds=3, num_steps=20, record_every=10,
                         key=jax.random.key(0))
    w, step = np.float32(6.0), 0
    with np.errstate(over="ignore", invalid="ignore"):
        while np.isfinite(w):
            w, step = w - np.float32(0.1) * w * w * w, step + 1
    np.testing.assert_array_equal(ds.diverged_at, [step] * 3)


def test_a_start_that_is_not_finite_diverged_at_step_zero():
    problem = ss.Problem(example_loss=lambda w, x: x * w, data=jnp.ones(2),
                         init=lambda key: jnp.where(jax.random.uniform(key) > 0.5, jnp.nan, 1.0))
    with pytest.warns(UserWarning, match="lanes diverged"):
        ds = ss.simulate(problem, ss.SGD(0.1, ss.WithReplacement(1)), num_seeds=20, num_steps=2, key=jax.random.key(0),
                         record={"w": lambda problem, w: w, "kept": ss.EnsembleMoments(lambda problem, w: w)})
    lost = np.isnan(ds.w.values[:, 0])
    assert 0 < lost.sum() < 20
    np.testing.assert_array_equal(ds.diverged_at, np.where(lost, 0, -1))
    assert np.isnan(ds.w.values[lost]).all() and np.isfinite(ds.w.values[~lost]).all()
    assert np.isnan(ds.kept_mean).all()  # no mean over survivors


def test_a_learning_rate_that_diverges_leaves_the_other_cells_alone():
    problem = ss.problems.linear_regression(num_examples=16, dim=2, key=jax.random.key(0))
    run = functools.partial(ss.sweep, problem, {"sgd": lambda lr, b: ss.SGD(lr, ss.WithReplacement(b))},
                            batch_sizes=(2,), num_seeds=40, num_steps=40, key=jax.random.key(1),
                            record={"w": lambda problem, w: w, "mean": ss.Moments(lambda problem, w: w)})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        both = run(learning_rates=(0.1, 1e8))
    assert len(caught) == 1 and "40 of 80 lanes" in str(caught[0].message)
    alone = run(learning_rates=(0.1,))
    for name in ("w", "mean_mean", "mean_variance_stderr", "status", "diverged_at"):
        assert leaves_equal(both[name].sel(learning_rate=0.1).values, alone[name].sel(learning_rate=0.1).values), name
    assert (both.status.sel(learning_rate=1e8) == 1).all()
    assert np.isnan(both.mean_mean.sel(learning_rate=1e8)).all()


# --- teeth of the contract -------------------------------------------------------------------------------------------


class Frozen(ss.SGD):
    """Draws the same numbers at every step."""

    def step(self, problem, state, draws):
        return super().step(problem, state, type(draws)(draws.key, jnp.zeros_like(draws.step)))


class Rounded(ss.SGD):
    """Lets the dtype of the learning rate into the params."""

    def step(self, problem, state, draws):
        new = super().step(problem, state, draws)
        return new._replace(params=jax.tree.map(lambda leaf: leaf * jnp.asarray(self.learning_rate), new.params))


def test_teeth_of_the_contract(x64):
    problem = mixed_problem(jnp.float32, jnp.bfloat16)
    frozen, rounded = Frozen(0.1, ss.WithReplacement(3)), Rounded(0.1, ss.WithReplacement(3))
    state = frozen.init(problem, problem.init(jax.random.key(0)))
    assert leaves_equal(frozen.step(problem, state, draws(2, 0)), frozen.step(problem, state, draws(2, 1)))
    after = jax.eval_shape(lambda s: rounded.step(problem, s, draws()), state)
    assert dtypes(after) != dtypes(state)
