"""The dataset of a run: dims, coordinates, dtypes, attributes, files, and the same again from what they say."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sde_sgd as ss
from sde_sgd.results import load, save
from sde_sgd.run import ensemble

RATES, BATCHES, SEEDS = (0.1, 0.4, 0.2), (8, 2), 5
FACTORIES = {
    "SGD": lambda lr, b: ss.SGD(lr, ss.WithReplacement(b)),
    "flow": lambda lr, b: ss.GradientFlow(lr),
    "a heavy ball": lambda lr, b: ss.MomentumSME(lr, ss.Gaussian(b), momentum=0.9, order=1, substeps=10),
}
RECORD = {"loss": ss.Problem.loss, "w": lambda problem, params: params, "m": ss.EnsembleMoments(ss.Problem.loss),
          "t": ss.Moments(ss.Problem.loss), "h": ss.Histogram(ss.Problem.loss, (0.0, 0.5, 1.0))}


@functools.cache
def problem():
    return ss.problems.linear_regression(num_examples=64, dim=2, key=jax.random.key(0))


def sweep(key=3, **changes):
    settings = {"learning_rates": RATES, "batch_sizes": BATCHES, "num_seeds": SEEDS, "num_steps": 12,
                "record_every": 4, "record": RECORD, "key": jax.random.key(key)}
    return ss.sweep(problem(), changes.pop("processes", FACTORIES), **{**settings, **changes})


@functools.cache
def by_steps():
    return sweep()


@functools.cache
def by_time():
    return sweep(num_steps=None, time=2.4, record_every=0.8)


def test_dims_and_dtypes():
    ds = by_steps()
    lead = ("process", "learning_rate", "batch_size")
    expected = {
        "loss": (*lead, "seed", "step"), "w": (*lead, "seed", "step", "w_dim_0"), "status": (*lead, "seed"),
        "diverged_at": (*lead, "seed"), "t_mean": lead, "t_mean_stderr": lead, "t_variance": lead,
        "t_variance_stderr": lead, "h_density": (*lead, "h_bin"), "h_density_stderr": (*lead, "h_bin"),
        "h_outside": (*lead, "h_side"),
        **{f"m_{part}": (*lead, "step") for part in ("mean", "mean_stderr", "variance", "variance_stderr")},
    }
    assert {name: ds[name].dims for name in ds.data_vars} == expected
    assert dict(ds.sizes) == {"process": 3, "learning_rate": 3, "batch_size": 2, "seed": 5, "step": 4, "w_dim_0": 2,
                              "h_bin": 2, "h_side": 2}
    kinds = {"loss": "float32", "w": "float32", "m_mean": "float64", "t_variance_stderr": "float64",
             "h_density": "float64", "status": "int8", "diverged_at": "int64", "learning_rate": "float64",
             "batch_size": "int64", "seed": "int64", "step": "int64", "time": "float64"}
    assert {name: str(ds[name].dtype) for name in kinds} == kinds


def test_coordinates_are_in_the_order_given():
    ds = by_steps()
    assert list(ds.process.values) == list(FACTORIES)
    assert ds.learning_rate.values.tolist() == list(RATES) and ds.batch_size.values.tolist() == list(BATCHES)
    assert ds.step.values.tolist() == [0, 4, 8, 12] and ds.seed.values.tolist() == list(range(5))
    assert ds.time.dims == ("process", "learning_rate", "step")
    np.testing.assert_allclose(ds.time.sel(process="SGD", learning_rate=0.2), [0.0, 0.8, 1.6, 2.4])
    np.testing.assert_allclose(ds.time.sel(process="a heavy ball", learning_rate=0.4), 0.4**0.5 * ds.step.values)
    for name in ("learning_rate", "batch_size", "step", "time", "status", "diverged_at"):
        assert ds[name].attrs["long_name"] and "since" not in ds[name].attrs.get("units", "")
    assert ds.status.attrs["flag_meanings"] == "ok diverged"


def test_equal_times():
    ds = by_time()
    assert ds.loss.dims[-1] == "time" and ds.m_mean.dims[-1] == "time"
    np.testing.assert_allclose(ds.time, [0.0, 0.8, 1.6, 2.4])
    assert ds.step.dims == ("learning_rate", "time") and ds.step.dtype == np.int64
    assert ds.step.sel(learning_rate=0.1).values.tolist() == [0, 8, 16, 24]
    assert ds.step.sel(learning_rate=0.4).values.tolist() == [0, 2, 4, 6]
    steps = by_steps()
    np.testing.assert_array_equal(ds.loss.sel(learning_rate=0.2).values, steps.loss.sel(learning_rate=0.2).values)
    again = ss.simulate(problem(), FACTORIES["SGD"](0.1, 2), num_seeds=SEEDS, num_steps=24, record_every=8,
                        record={"w": RECORD["w"]}, key=jax.random.key(3))
    np.testing.assert_array_equal(ds.w.sel(process="SGD", learning_rate=0.1, batch_size=2), again.w)


def test_simulate_has_no_grid():
    ds = ss.simulate(problem(), FACTORIES["SGD"](0.1, 2), num_seeds=3, num_steps=4, key=jax.random.key(0))
    assert ds.loss.dims == ("seed", "step") and dict(ds.sizes) == {"seed": 3, "step": 2}  # the start and the end
    assert ds.time.dims == ("step",) and "process" not in ds.coords
    np.testing.assert_allclose(ds.time, [0.0, 0.4])


@pytest.mark.parametrize("make", [by_steps, by_time], ids=["steps", "time"])
def test_a_file_gives_the_dataset_back(make, tmp_path):
    import xarray

    save(make(), tmp_path / "run.nc")
    back = load(tmp_path / "run.nc")
    xarray.testing.assert_identical(back, make())
    for name in make().variables:
        assert back[name].dtype == make()[name].dtype, name
    save(back, tmp_path / "again.nc")
    assert (tmp_path / "again.nc").read_bytes() == (tmp_path / "run.nc").read_bytes()


def test_the_same_key_gives_the_same_dataset_and_another_key_another():
    import xarray

    fewer = {"processes": {"SGD": FACTORIES["SGD"]}, "record": {"w": RECORD["w"]}}
    xarray.testing.assert_identical(sweep(**fewer), sweep(**fewer))
    other = sweep(key=4, **fewer)
    assert (other.w.isel(step=-1) != sweep(**fewer).w.isel(step=-1)).mean() > 0.9
    assert other.attrs["key"] != by_steps().attrs["key"]


def test_the_attributes_say_how_to_make_the_dataset_again():
    attrs = by_steps().attrs
    assert all(isinstance(value, str) for value in attrs.values())
    config, signature = json.loads(attrs["config"]), json.loads(attrs["numerics_signature"])
    assert config["run"] == "sweep" and config["num_seeds"] == SEEDS and config["num_steps"] == 12
    assert list(config["processes"]) == list(FACTORIES) and config["processes"]["SGD"]["type"] == "SGD"
    assert config["processes"]["a heavy ball"]["momentum"] == 0.9
    assert signature["backend"] == "cpu" and signature["tile_size"] == 64 and signature["dtype"] == "float32"
    assert json.loads(attrs["key"]) == [0, 3] and attrs["key_impl"] == "threefry2x32"
    again = ss.sweep(
        problem(), FACTORIES, learning_rates=RATES, batch_sizes=BATCHES, num_seeds=config["num_seeds"],
        num_steps=config["num_steps"], record_every=config["record_every"], record=RECORD,
        key=jax.random.wrap_key_data(jnp.asarray(json.loads(attrs["key"]), jnp.uint32), impl=attrs["key_impl"]))
    assert again.identical(by_steps())


def test_the_attributes_tell_different_problems_apart():
    """What is run must be told from what was run: another start, another loss, other data."""
    def config(problem):
        ds = ss.simulate(problem, ss.GradientFlow(0.1), num_seeds=1, num_steps=1, key=jax.random.key(0))
        return json.loads(ds.attrs["config"])["problem"]

    well = functools.partial(ss.problems.potential, lambda w: w**2)
    assert config(well(start=1.0)) != config(well(start=2.0))
    quadratic = functools.partial(ss.problems.quadratic, np.eye(2, dtype=np.float32))
    assert config(quadratic(np.ones((3, 2), np.float32))) != config(quadratic(np.zeros((3, 2), np.float32)))


def test_a_process_blind_to_the_batch_size_runs_once(monkeypatch):
    """Gradient flow runs once for each learning rate, whatever the batch sizes; SGD runs in every cell."""
    ran = []
    original = ensemble.run_cells
    monkeypatch.setattr(ensemble, "run_cells", lambda problem, processes, **rest: (
        ran.extend(processes), original(problem, processes, **rest))[1])
    ds = sweep(processes={name: FACTORIES[name] for name in ("SGD", "flow")}, record={"w": RECORD["w"]})
    names = [type(process).__name__ for process in ran]
    assert names.count("GradientFlow") == len(RATES) and names.count("SGD") == len(RATES) * len(BATCHES)
    flow = ds.w.sel(process="flow")
    np.testing.assert_array_equal(flow.sel(batch_size=2), flow.sel(batch_size=8))
    assert (ds.w.sel(process="SGD", batch_size=2, step=12) != ds.w.sel(process="SGD", batch_size=8, step=12)).any()


def test_a_learning_rate_that_goes_with_the_batch_size_has_its_own_clock():
    """The linear scaling rule: the time coordinate must not be that of another batch size."""
    ds = ss.sweep(problem(), {"scaled": lambda lr, b: ss.SGD(lr * b / 8, ss.WithReplacement(b))},
                  learning_rates=(0.1,), batch_sizes=(8, 2), num_seeds=2, num_steps=4, key=jax.random.key(0))
    time = ds.time.broadcast_like(ds.loss.isel(seed=0)).sel(process="scaled", learning_rate=0.1, step=4)
    np.testing.assert_allclose(time.sel(batch_size=8), 0.4)
    np.testing.assert_allclose(time.sel(batch_size=2), 0.1)


def test_seeds_are_paired_across_cells():
    """Seed s draws from the same addresses in every cell, so that differences between cells are paired."""
    noisy = {"SGD": lambda lr, b: ss.SGD(lr, ss.Gaussian(b))}
    ds = sweep(processes=noisy, num_seeds=200, num_steps=1, record_every=1, record={"w": RECORD["w"]})
    last = ds.w.isel(process=0, step=1, w_dim_0=0)
    one, other = last.sel(learning_rate=0.1, batch_size=2).values, last.sel(learning_rate=0.4, batch_size=8).values
    assert np.corrcoef(one, other)[0, 1] > 0.99
