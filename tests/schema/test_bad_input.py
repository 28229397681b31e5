"""Bad input raises the right exception before anything runs, naming the argument, the value and the fix."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sde_sgd as ss
from sde_sgd.run import lanes

KEY = jax.random.key(0)
NAN, INF = float("nan"), float("inf")


@functools.cache
def problem():
    return ss.problems.linear_regression(num_examples=16, dim=2, key=jax.random.key(0))


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch):
    """Fail if a run gets as far as its compiled programs."""
    def refuse(*arguments, **keywords):
        pytest.fail("the run started")

    monkeypatch.setattr(lanes, "start", refuse)
    monkeypatch.setattr(lanes, "advance", refuse)


def refused(call, kind, *words):
    """Assert that a call raises exactly this kind of error, with these words in its one-line message."""
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind, repr(caught.value)
    message = str(caught.value)
    for word in words:
        assert word in message, f"{word!r} is not in: {message}"
    assert len(message) > 25


# --- numbers of processes --------------------------------------------------------------------------------------------

WITH_RATE = {
    "SGD": lambda lr: ss.SGD(lr, ss.WithReplacement(2)),
    "GradientFlow": ss.GradientFlow,
    "SME": lambda lr: ss.SME(lr, ss.Gaussian(2), order=1),
    "MomentumSME": lambda lr: ss.MomentumSME(lr, ss.Gaussian(2), momentum=0.9, order=1, substeps=10),
    "Langevin": lambda lr: ss.Langevin(lr, temperature=1.0),
    "HomogenizedSGD": lambda lr: ss.HomogenizedSGD(lr, 2, features=np.ones((4, 1))),
    "RMSpropSDE": lambda lr: ss.RMSpropSDE(lr, ss.Gaussian(2)),
    "AdamSDE": lambda lr: ss.AdamSDE(lr, ss.Gaussian(2)),
    "LevyLangevin": lambda lr: ss.LevyLangevin(lr, tail_index=1.5, scale=1.0),
    "KineticLangevin": lambda lr: ss.KineticLangevin(lr, friction=1.0, temperature=1.0),
    "SVAG": lambda lr: ss.SVAG(lr, ss.WithReplacement(2), substeps=2),
    "OrnsteinUhlenbeck": lambda lr: ss.OrnsteinUhlenbeck(lr, hessian=[[1.0]], noise_covariance=[[1.0]],
                                                         minimum=jnp.zeros(1)),
    "from_optax": lambda lr: ss.from_optax(optax.sgd, ss.WithReplacement(2), learning_rate=lr),
    "heavy ball": lambda lr: ss.KineticLangevin.of_heavy_ball(lr, momentum=0.9, gradient_variance=1.0),
}
BAD_RATES = [(0.0, ValueError, "0.0"), (-0.1, ValueError, "-0.1"), (NAN, ValueError, "nan"), (INF, ValueError, "inf"),
             ("0.1", TypeError, "'0.1'"), (True, TypeError, "True"), (np.True_, TypeError, "True"),
             ([0.1, 0.2], TypeError, "shape (2,)"), (jnp.array(-1.0), ValueError, "-1.0"), (1j, TypeError, "1j")]


@pytest.mark.parametrize(("value", "kind", "shown"), BAD_RATES, ids=lambda value: str(value)[:12])
@pytest.mark.parametrize("name", WITH_RATE)
def test_learning_rates(name, value, kind, shown):
    refused(lambda: WITH_RATE[name](value), kind, "learning_rate", shown, "number")


@pytest.mark.parametrize("name", sorted(set(WITH_RATE) - {"from_optax"}))
def test_a_missing_learning_rate(name):
    refused(lambda: WITH_RATE[name](None), TypeError, "learning_rate", "None")


def ou(hessian=((1.0, 0.0), (0.0, 1.0)), noise_covariance=((1.0, 0.0), (0.0, 1.0))):
    return ss.OrnsteinUhlenbeck(0.1, hessian=hessian, noise_covariance=noise_covariance, minimum=jnp.zeros(2))


OTHERS = {
    "momentum 1": (lambda: ss.SGD(0.1, ss.Gaussian(2), momentum=1.0), ValueError, "momentum", "1.0", "[0, 1)"),
    "momentum -0.1": (lambda: ss.SGD(0.1, ss.Gaussian(2), momentum=-0.1), ValueError, "momentum", "-0.1", "[0, 1)"),
    "momentum text": (lambda: ss.SGD(0.1, ss.Gaussian(2), momentum="0.9"), TypeError, "momentum", "'0.9'"),
    "momentum True": (lambda: ss.SGD(0.1, ss.Gaussian(2), momentum=True), TypeError, "momentum", "True"),
    "momentum SME 1": (lambda: ss.MomentumSME(0.1, ss.Gaussian(2), momentum=1.0, order=1),
        ValueError, "momentum", "1.0"),
    "momentum SME text": (lambda: ss.MomentumSME(0.1, ss.Gaussian(2), momentum="0.9", order=1), TypeError, "momentum"),
    "order 3": (lambda: ss.SME(0.1, ss.Gaussian(2), order=3), ValueError, "order", "1, 2", "3"),
    "order text": (lambda: ss.SME(0.1, ss.Gaussian(2), order="2"), ValueError, "order", "1, 2", "'2'"),
    "momentum order 0": (lambda: ss.MomentumSME(0.1, ss.Gaussian(2), momentum=0.9, order=0), ValueError, "order", "0"),
    "substeps 0": (lambda: ss.SME(0.1, ss.Gaussian(2), order=1, substeps=0), ValueError, "substeps", "0", "at least 1"),
    "substeps 2.5": (lambda: ss.SVAG(0.1, ss.WithReplacement(2), substeps=2.5), TypeError, "substeps", "2.5", "int"),
    "substeps flow": (lambda: ss.GradientFlow(0.1, substeps=-1), ValueError, "substeps", "-1"),
    "substeps None": (lambda: ss.Langevin(0.1, temperature=1.0, substeps=None), TypeError, "substeps", "None"),
    "temperature": (lambda: ss.Langevin(0.1, temperature=-1.0), ValueError, "temperature", "-1.0", "positive"),
    "temperature nan": (lambda: ss.Langevin(0.1, temperature=NAN), ValueError, "temperature", "nan"),
    "temperature text": (lambda: ss.Langevin(0.1, temperature="1"), TypeError, "temperature", "'1'"),
    "tail index 0": (lambda: ss.LevyLangevin(0.1, tail_index=0.0, scale=1.0), ValueError, "tail_index", "(0, 2]", "0.0"),
    "tail index 2.1": (lambda: ss.Stable(2, tail_index=2.1), ValueError, "tail_index", "(0, 2]", "2.1"),
    "tail index text": (lambda: ss.Stable(2, tail_index="1.5"), TypeError, "tail_index", "'1.5'"),
    "scale": (lambda: ss.LevyLangevin(0.1, tail_index=1.5, scale=-1.0), ValueError, "scale", "-1.0", "positive"),
    "SME stable": (lambda: ss.SME(0.1, ss.Stable(2, tail_index=1.5), order=1), TypeError, "noise", "Stable", "Gaussian"),
    "homogenized batch": (lambda: ss.HomogenizedSGD(0.1, 0, features=np.ones((4, 1))), ValueError, "batch_size", "0"),
    "homogenized features": (lambda: ss.HomogenizedSGD(0.1, 2, features=np.ones(4)), ValueError, "features", "(4,)"),
    "Adam b1": (lambda: ss.AdamSDE(0.1, ss.Gaussian(2), b1=1.0), ValueError, "b1", "1.0", "[0, 1)"),
    "RMSprop eps": (lambda: ss.RMSpropSDE(0.1, ss.Gaussian(2), eps=0.0), ValueError, "eps", "0.0"),
    "Adam noise": (lambda: ss.AdamSDE(0.1, ss.WithReplacement(2)), TypeError, "noise", "AdamSDE", "Gaussian"),
    "friction 0": (lambda: ss.KineticLangevin(0.1, friction=0.0, temperature=1.0), ValueError, "friction", "0.0"),
    "friction True": (lambda: ss.KineticLangevin(0.1, friction=True, temperature=1.0), TypeError, "friction", "True"),
    "no noise": (lambda: ss.SGD(0.1, 8), TypeError, "noise", "8", "WithReplacement"),
    "SME minibatch": (lambda: ss.SME(0.1, ss.WithReplacement(2), order=1),
        TypeError, "noise", "WithReplacement", "Gaussian"),
    "SVAG epochs": (lambda: ss.SVAG(0.1, ss.EpochShuffle(2), substeps=2), TypeError, "noise", "EpochShuffle", "Pass"),
    "misspelt": (lambda: ss.Langevin(0.1, temprature=1.0), TypeError, "temprature"),
    "optax misspelt": (lambda: ss.from_optax(optax.adam, ss.Gaussian(2), learning_rate=0.1, beta1=0.9),
        TypeError, "beta1"),
    "optax extra": (lambda: ss.from_optax(optax.adam(0.1), ss.Gaussian(2), b1=0.9), ValueError, "b1", "constructor"),
    "optax neither": (lambda: ss.from_optax("adam", ss.Gaussian(2)), TypeError, "optimizer", "'adam'"),
    "optax no rate": (lambda: ss.from_optax(optax.adam, ss.Gaussian(2)), TypeError, "learning_rate"),
    "optax schedule as rate": (lambda: ss.from_optax(optax.sgd, ss.Gaussian(2), learning_rate=lambda count: 0.1),
                               TypeError, "learning_rate", "function"),
    "OU shape": (lambda: ou(noise_covariance=np.eye(3)), ValueError, "noise_covariance", "(2, 2)", "(3, 3)"),
    "OU negative": (lambda: ou(noise_covariance=-np.eye(2)), ValueError, "noise_covariance", "-1", "semi-definite"),
    "OU lopsided": (lambda: ou(hessian=[[1.0, 2.0], [0.0, 1.0]]), ValueError, "hessian", "symmetric"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_numbers_of_processes(name):
    call, kind, *words = OTHERS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(kind, tuple):
            with pytest.raises(kind):
                call()
        else:
            refused(call, kind, *words)


def test_few_substeps_of_an_equation_warn():
    for make in (lambda count: ss.SME(0.1, ss.Gaussian(2), order=1, substeps=count),
                 lambda count: ss.MomentumSME(0.1, ss.Gaussian(2), momentum=0.9, order=1, substeps=count)):
        with pytest.warns(UserWarning, match="substeps=9"):
            make(9)
        make(10)


SCHEMES = [ss.WithReplacement, ss.WithoutReplacement, ss.EpochShuffle, ss.Gaussian, ss.Isotropic]


@pytest.mark.parametrize(("value", "kind", "shown"), [
    (0, ValueError, "0"), (-1, ValueError, "-1"), (2.5, TypeError, "2.5"), (4.0, TypeError, "4.0"),
    ("4", TypeError, "'4'"), (True, TypeError, "True"), (None, TypeError, "None"), (2**31, ValueError, "2147483648")], ids=str)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_batch_sizes(scheme, value, kind, shown):
    refused(lambda: scheme(value), kind, "batch_size", shown)


# --- problems --------------------------------------------------------------------------------------------------------


def made(**changes):
    parts = {"example_loss": lambda w, x: 0.5 * (w - x) ** 2, "data": jnp.ones(4), "init": lambda key: jnp.zeros(())}
    return ss.Problem(**{**parts, **changes})


def regression(features, targets):
    return lambda: ss.problems.least_squares(features, targets)


PROBLEMS = {
    "empty data": (lambda: made(data=jnp.ones(0)), ValueError, "data", "0", "at least one"),
    "no data": (lambda: made(data=()), ValueError, "data", "no arrays"),
    "scalar data": (lambda: made(data=(jnp.ones(4), jnp.ones(()))), ValueError, "data[1]", "leading axis"),
    "axes disagree": (lambda: made(data={"x": jnp.ones(4), "y": jnp.ones(5)}), ValueError, "4", "5", "row per example"),
    "int params": (lambda: made(init=lambda key: {"w": jnp.zeros(2, jnp.int32)}),
        TypeError, "params['w']", "int32", "float32"),
    "no params": (lambda: made(init=lambda key: ()), ValueError, "params", "at least one"),
    "vector loss": (lambda: made(example_loss=lambda w, x: jnp.stack([w, x])),
        ValueError, "example_loss", "(2,)|[2]", "scalar"),
    "int loss": (lambda: made(example_loss=lambda w, x: 1), (TypeError, ValueError), "example_loss"),
    "loss not callable": (lambda: made(example_loss=3), TypeError, "example_loss", "3"),
    "init not callable": (lambda: made(init=0.5), TypeError, "init", "0.5"),
    "nan features": (regression([[1.0], [NAN]], [1.0, 2.0]), ValueError, "features", "NaN"),
    "nan targets": (regression([[1.0], [2.0]], [1.0, INF]), ValueError, "targets", "NaN"),
    "flat features": (regression([1.0, 2.0], [1.0, 2.0]), ValueError, "features", "(2,)", "2 axes"),
    "rows disagree": (regression(np.ones((3, 1)), np.ones(2)), ValueError, "features", "targets", "3", "2"),
    "no rows": (regression(np.ones((0, 1)), np.ones(0)), ValueError, "0", "at least one"),
    "no examples": (lambda: ss.problems.linear_regression(num_examples=0, dim=2, key=KEY),
        ValueError, "num_examples", "0"),
    "label noise": (lambda: ss.problems.linear_regression(num_examples=4, dim=2, label_noise=-1.0, key=KEY),
                    ValueError, "label_noise", "-1.0"),
    "no key": (lambda: ss.problems.linear_regression(num_examples=4, dim=2, key=None),
        TypeError, "key", "jax.random.key"),
    "negative covariance": (lambda: ss.problems.linear_regression(
        num_examples=4, dim=2, feature_covariance=np.diag([1.0, -1.0]), key=KEY), ValueError, "feature_covariance", "-1"),
    "labels 2": (lambda: ss.problems.logistic_regression(np.ones((2, 1)), [0, 2]), ValueError, "labels", "0", "2"),
    "labels float": (lambda: ss.problems.softmax_regression(np.ones((2, 1)), [0.0, 1.0]),
        TypeError, "labels", "float", "int"),
    "labels range": (lambda: ss.problems.softmax_regression(np.ones((2, 1)), [0, 3], 3),
        ValueError, "labels", "0..2", "3"),
    "lopsided hessian": (lambda: ss.problems.quadratic([[1.0, 2.0], [0.0, 1.0]], np.zeros((2, 2))),
        ValueError, "hessian",
                         "symmetric"),
    "hessian shape": (lambda: ss.problems.quadratic(np.eye(3), np.zeros((4, 2))),
        ValueError, "hessian", "(3, 3)", "(2, 2)"),
    "potential not callable": (lambda: ss.problems.potential(3.0, start=1.0), TypeError, "function", "3.0"),
    "potential int start": (lambda: ss.problems.potential(lambda w: w**2, start=np.arange(2)),
        TypeError, "params", "int"),
    "potential vector": (lambda: ss.problems.potential(lambda w: w**2, start=np.ones(2, np.float32)),
        ValueError, "scalar"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems(name):
    call, kind, *words = PROBLEMS[name]
    if isinstance(kind, tuple):
        with pytest.raises(kind, match=words[0]):
            call()
    else:
        refused(call, kind, *(word for word in words if "|" not in word))


# --- runs ------------------------------------------------------------------------------------------------------------

SGD = {"sgd": lambda lr, b: ss.SGD(lr, ss.WithReplacement(b))}


def sweep(problem_=None, processes=SGD, **changes):
    settings = {"learning_rates": (0.1, 0.2), "batch_sizes": (2,), "num_seeds": 2, "num_steps": 4, "key": KEY}
    settings = {name: value for name, value in {**settings, **changes}.items() if value is not ...}
    return lambda: ss.sweep(problem() if problem_ is None else problem_, processes, **settings)


def simulate(process=None, **changes):
    settings = {"num_seeds": 2, "num_steps": 4, "key": KEY}
    settings = {name: value for name, value in {**settings, **changes}.items() if value is not ...}
    return lambda: ss.simulate(problem(), process or ss.SGD(0.1, ss.WithReplacement(2)), **settings)


KEYS = {
    "None": (None, TypeError, "jax.random.key(seed)"),
    "an integer": (0, TypeError, "0"),
    "a legacy key": (jax.random.PRNGKey(0), TypeError, "uint32"),
    "a batch of keys": (jax.random.split(jax.random.key(0), 3), ValueError, "(3,)"),
    "another generator": (jax.random.key(0, impl="rbg"), ValueError, "rbg"),
}


@pytest.mark.parametrize("run", [sweep, simulate])
@pytest.mark.parametrize("name", KEYS)
def test_keys(run, name):
    key, kind, shown = KEYS[name]
    refused(run(key=key), kind, "key", shown, "jax.random.key")


@pytest.mark.parametrize("run", [sweep, simulate])
def test_a_forgotten_key(run):
    refused(run(key=...), TypeError, "key")


def text(problem, params):
    return "loss"


def failing(problem, params):
    return params["no such leaf"]


def nothing(problem, params):
    return None


def loss_of(problem, params):
    return problem.loss(params)


RUNS = {
    "num_steps 0": (dict(num_steps=0), ValueError, "num_steps", "0"),
    "num_steps -4": (dict(num_steps=-4, record_every=None), ValueError, "num_steps", "-4"),
    "num_steps 2.5": (dict(num_steps=2.5), TypeError, "num_steps", "2.5"),
    "num_steps True": (dict(num_steps=True), TypeError, "num_steps", "True"),
    "num_seeds 0": (dict(num_seeds=0), ValueError, "num_seeds", "0"),
    "num_seeds -1": (dict(num_seeds=-1), ValueError, "num_seeds", "-1"),
    "num_seeds text": (dict(num_seeds="4"), TypeError, "num_seeds", "'4'"),
    "num_seeds 2**32": (dict(num_seeds=2**32), ValueError, "num_seeds", str(2**32)),
    "record_every": (dict(record_every=3), ValueError, "record_every", "3", "4", "num_steps=3"),
    "record_every beyond": (dict(record_every=8), ValueError, "record_every", "8", "4"),
    "record_every 0": (dict(record_every=0), ValueError, "record_every", "0"),
    "record list": (dict(record=[loss_of]), TypeError, "record", "dict", "Problem.loss"),
    "record nothing": (dict(record={}), TypeError, "record", "Problem.loss"),
    "record text": (dict(record={"a": text}), ValueError, "record['a']"),
    "record fails": (dict(record={"a": failing}), ValueError, "record['a']"),
    "record None": (dict(record={"a": None}), TypeError, "function", "None"),
    "record returns None": (dict(record={"a": nothing}), ValueError, "record['a']"),
    "record wrong name": (dict(record={3: loss_of}), ValueError, "3", "another name"),
    "record empty name": (dict(record={"": loss_of}), ValueError, "''", "another name"),
    "record class": (dict(record={"a": ss.Moments}), (TypeError, ValueError), "record['a']"),
    "histogram of a vector": (dict(record={"a": ss.Histogram(lambda problem, w: w, (0.0, 1.0))}),
        ValueError, "Histogram",
                              "(2,)"),
    "covariance of a scalar": (dict(record={"a": ss.Covariance(loss_of)}), ValueError, "Covariance", "()", "Moments"),
    "every": (dict(num_steps=12, record_every=6, record={"a": ss.Moments(loss_of, every=4)}), ValueError, "every",
              "record['a']", "4", "6"),
    "burn_in": (dict(record={"a": ss.Moments(loss_of, burn_in=4)}), ValueError, "burn_in", "record['a']", "4"),
    "params shape": (dict(params=jnp.zeros(3)), ValueError, "params", "(2,)", "(3,)"),
    "params tree": (dict(params={"w": jnp.zeros(2)}), ValueError, "params", "(2,)"),
    "params NaN": (dict(params=jnp.array([0.0, NAN])), ValueError, "params", "NaN"),
    "params int": (dict(params=jnp.zeros(2, jnp.int32)), TypeError, "params", "int32"),
    **{f"record {name}": (dict(record={name: loss_of}), ValueError, name, "another name")
       for name in ("process", "learning_rate", "batch_size", "seed", "step", "time", "status", "diverged_at")},
    "record clash": (dict(record={"a": ss.EnsembleMoments(loss_of), "a_mean": loss_of}), ValueError, "a_mean"),
    "record clash with a dim": (dict(record={"a": lambda problem, w: w, "a_dim_0": loss_of}), ValueError, "a_dim_0"),
    "record clash with a bin": (dict(record={"a": ss.Histogram(loss_of, (0.0, 1.0)), "a_bin": loss_of}),
        ValueError, "a_bin"),
    "record clash of leaves": (dict(record={"a": lambda problem, w: {"b": w}, "a.b": loss_of}), ValueError, "a.b"),
}


DEVICES = {
    "0": (0, ValueError),
    "-1": (-1, ValueError),
    "2.5": (2.5, TypeError),
    "late": (512, RuntimeError, "Call it after the imports"),  # the backend has started: there cannot be as many
}


@pytest.mark.parametrize("name", DEVICES)
def test_devices(name):
    number, kind, *words = DEVICES[name]
    before = jax.local_device_count()
    refused(lambda: ss.configure(cpu_devices=number), kind, *(words or ["cpu_devices", str(number)]))
    assert jax.local_device_count() == before


@pytest.mark.parametrize("run", [sweep, simulate])
@pytest.mark.parametrize("name", RUNS)
def test_runs(run, name):
    changes, kind, *words = RUNS[name]
    if isinstance(kind, tuple):
        with pytest.raises(kind):
            run(**changes)()
    else:
        refused(run(**changes), kind, *words)


SWEEPS = {
    "no rates": (sweep(learning_rates=()), ValueError, "learning_rates", "()"),
    "one rate": (sweep(learning_rates=0.1), ValueError, "learning_rates", "0.1", "sequence"),
    "rates twice": (sweep(learning_rates=(0.1, 0.1)), ValueError, "learning_rates", "0.1", "once"),
    "rate 0": (sweep(learning_rates=(0.1, 0.0)), ValueError, "learning_rate", "0.0"),
    "rate nan": (sweep(learning_rates=(NAN,)), ValueError, "learning_rate", "nan"),
    "rate text": (sweep(learning_rates=("0.1",)), TypeError, "learning_rate", "'0.1'"),
    "rates text": (sweep(learning_rates="0.1"), (TypeError, ValueError), "learning_rate"),
    "no batches": (sweep(batch_sizes=[]), ValueError, "batch_sizes", "[]"),
    "batch 0": (sweep(batch_sizes=(0,)), ValueError, "batch_size", "0"),
    "batch N+1": (sweep(batch_sizes=(2, 17)), ValueError, "batch_size", "17", "16"),
    "batch 2.5": (sweep(batch_sizes=(2.5,)), TypeError, "batch_size", "2.5"),
    "batches twice": (sweep(batch_sizes=(2, 4, 2)), ValueError, "batch_sizes", "2", "once"),
    "neither length": (sweep(num_steps=None), ValueError, "num_steps", "time"),
    "both lengths": (sweep(time=1.0), ValueError, "num_steps=4", "time=1.0"),
    "time 0": (sweep(num_steps=None, time=0.0), ValueError, "time", "0.0"),
    "time text": (sweep(num_steps=None, time="1"), TypeError, "time", "'1'"),
    "time of a rate": (sweep(num_steps=None, time=0.5), ValueError, "0.5", "0.2", "whole number"),
    "records of a time": (sweep(num_steps=None, time=1.0, record_every=0.4), ValueError, "record_every", "0.4", "1.0"),
    "no processes": (sweep(processes={}), TypeError, "processes", "{}"),
    "a process": (sweep(processes=ss.GradientFlow(0.1)), TypeError, "processes", "dict"),
    "processes made": (sweep(processes={"a": ss.GradientFlow(0.1)}), TypeError, "processes['a']", "lambda lr, b"),
    "not a process": (sweep(processes={"a": lambda lr, b: None}), TypeError, "processes['a']", "NoneType"),
    "a process by name": (sweep(processes={"a": "sgd"}), TypeError, "processes['a']", "str"),
    "not a problem": (sweep(problem_=lambda w: w**2), TypeError, "problem", "sde_sgd.problems"),
    "simulate no process": (simulate(process="sgd"), TypeError, "process", "str"),
    "simulate class": (simulate(process=ss.SGD), TypeError, "process"),
    "simulate batch": (simulate(process=ss.SGD(0.1, ss.Gaussian(17))), ValueError, "batch_size", "17", "16"),
    "state of one process only": (
        sweep(processes={"ball": lambda lr, b: ss.KineticLangevin(lr, friction=1.0, temperature=1.0), **SGD},
              record={"v": lambda problem, params, state: state.velocity}), ValueError, "record['v']", "SGD"),
    "OU of another size": (simulate(process=WITH_RATE["OrnsteinUhlenbeck"](0.1)), ValueError, "minimum"),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_sweeps(name):
    call, kind, *words = SWEEPS[name]
    if isinstance(kind, tuple):
        with pytest.raises(kind):
            call()
    else:
        refused(call, kind, *words)


def test_statistics_refuse_bad_settings():
    for call, kind, words in (
        (lambda: ss.Moments(3), TypeError, ("function", "3")),
        (lambda: ss.EnsembleMoments("loss"), TypeError, ("function", "'loss'")),
        (lambda: ss.Moments(loss_of, every=0), ValueError, ("every", "0")),
        (lambda: ss.Moments(loss_of, every=1.5), TypeError, ("every", "1.5")),
        (lambda: ss.Moments(loss_of, burn_in=-1), ValueError, ("burn_in", "-1")),
        (lambda: ss.Covariance(3), TypeError, ("function", "3")),
        (lambda: ss.Covariance(loss_of, burn_in=-1), ValueError, ("burn_in", "-1")),
        (lambda: ss.Histogram(loss_of, (1.0, 0.0)), ValueError, ("edges", "increasing")),
        (lambda: ss.Histogram(loss_of, (1.0,)), ValueError, ("edges", "two")),
        (lambda: ss.Histogram(loss_of, (0.0, NAN)), ValueError, ("edges", "nan")),
    ):
        refused(call, kind, *words)


def test_good_input_would_have_run():
    """Teeth: what is not refused does get to the compiled programs, also in the forms users write it."""
    for call in (sweep(), simulate(), sweep(learning_rates=np.array([0.1, 0.2]), batch_sizes=np.array([2, 4])),
                 sweep(learning_rates=jnp.array([0.1, 0.2])), simulate(num_steps=np.int64(4)),
                 simulate(params=np.array([0.5, 1.0])), sweep(num_steps=None, time=1.0)):
        with pytest.raises(pytest.fail.Exception, match="the run started"):
            call()


def test_transformations_for_a_params_tree_of_their_own_are_accepted():
    """An optimiser for the problem's own tree, which a trial on another tree would refuse."""
    labels = {"weight": "slow", "bias": "fast"}
    split = optax.multi_transform({"slow": optax.sgd(0.01), "fast": optax.sgd(0.1)}, labels)
    process = ss.from_optax(split, ss.WithReplacement(2))
    softmax = ss.problems.softmax_regression(np.ones((4, 2)), [0, 1, 1, 0])
    params = process.init(softmax, softmax.init(KEY)).params
    assert set(params) == set(labels)
