"""First passages: bad input is refused before anything is compiled; the dataset and its file."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sde_sgd as ss
from sde_sgd.results import load, save
from sde_sgd.run import queue

NAN = float("nan")


def double_well(w):
    return (w**2 - 1) ** 2


WELL = ss.problems.potential(double_well, start=-1.0)
LANGEVIN = ss.Langevin(0.05, temperature=0.5, substeps=2)


def right(w):
    return w - 0.5


def call(process=LANGEVIN, problem=WELL, **changes):
    settings = {"region": right, "num_lanes": 4, "max_steps": 20_000, "key": jax.random.key(0)}
    settings = {name: value for name, value in {**settings, **changes}.items() if value is not ...}
    return ss.first_passage(problem, process, **settings)


def failing(problem, params):
    return params["no such leaf"]


BAD = {
    "region a number": (dict(region=0.5), TypeError, "region", "function", "0.5"),
    "region a list": (dict(region=[right]), TypeError, "region", "function"),
    "region None": (dict(region=None), TypeError, "region", "None"),
    "no regions": (dict(region={}), ValueError, "region", "empty dict"),
    "one of several a number": (dict(region={"a": right, "b": 0.5}), TypeError, "region", "'b'", "0.5"),
    "region called 1": (dict(region={1: right}), ValueError, "region", "1", "Pass a name"),
    "region without a name": (dict(region={"": right}), ValueError, "region", "''", "Pass a name"),
    "region empty": (dict(region=lambda w: jnp.asarray(False)), ValueError, "region 'target'", "depend", "empty"),
    "region everywhere": (dict(region={"a": lambda w: 1.0}), ValueError, "region 'a'", "depend"),
    "region a vector": (dict(region=lambda w: jnp.stack([w, w]) > 0), ValueError, "region", "(2,)", "jnp.all"),
    "region an int": (dict(region=lambda w: jnp.int32(w > 0)), TypeError, "region", "int32", "bool"),
    "region fails": (dict(region=lambda w: w["x"] > 0), ValueError, "region 'target'", "could not be evaluated"),
    "region in Python": (dict(region=lambda w: w > 0 and w < 1), ValueError, "region", "could not be evaluated"),
    "region nothing": (dict(region=lambda w: None), ValueError, "region", "could not be evaluated"),
    "observe": (dict(observe="path"), ValueError, "observe", "'iterates'", "'continuous'", "'path'"),
    "continuous truth value": (dict(region=lambda w: w > 0.5, observe="continuous"), TypeError, "level", "w - 0.5"),
    "one continuous truth value": (dict(region={"a": right, "b": lambda w: w < -2}, observe="continuous"),
                                   TypeError, "region 'b'", "level"),
    "continuous SGD": (dict(process=ss.SGD(0.1, ss.WithReplacement(1)), observe="continuous"),
                       TypeError, "SGD", "no path between its iterates", "observe='iterates'"),
    "continuous transitions": (
        dict(process=ss.OrnsteinUhlenbeck(0.1, hessian=[[1.0]], noise_covariance=[[1.0]], minimum=jnp.zeros(())),
             observe="continuous"), TypeError, "OrnsteinUhlenbeck", "exact transitions", "observe='iterates'"),
    "num_lanes 0": (dict(num_lanes=0), ValueError, "num_lanes", "0"),
    "num_lanes -1": (dict(num_lanes=-1), ValueError, "num_lanes", "-1"),
    "num_lanes 2.5": (dict(num_lanes=2.5), TypeError, "num_lanes", "2.5"),
    "num_lanes 2**31": (dict(num_lanes=2**31), ValueError, "num_lanes", str(2**31)),
    "max_steps 0": (dict(max_steps=0), ValueError, "max_steps", "0"),
    "max_steps -5": (dict(max_steps=-5), ValueError, "max_steps", "-5"),
    "max_steps True": (dict(max_steps=True), TypeError, "max_steps", "True"),
    "max_steps 2**62": (dict(max_steps=2**62, observe="continuous"), ValueError, "max_steps", str(2**62), str(2**61)),
    "params shape": (dict(params=jnp.zeros(3)), ValueError, "params", "()", "(4,)", "(3,)"),
    "params tree": (dict(params={"w": -1.0}), ValueError, "params", "{'w': ()}"),
    "params NaN": (dict(params=NAN), ValueError, "params", "NaN"),
    "one of the params NaN": (dict(params=np.asarray([-1.0, -1.0, NAN, -1.0])), ValueError, "params", "NaN"),
    "params int": (dict(params=-1), TypeError, "params", "int32"),
    "key": (dict(key=0), TypeError, "key", "jax.random.key"),
    "no key": (dict(key=None), TypeError, "key", "jax.random.key"),
    "keys": (dict(key=jax.random.split(jax.random.key(0), 2)), ValueError, "key", "(2,)"),
    "forgotten key": (dict(key=...), TypeError, "key"),
    "forgotten region": (dict(region=...), TypeError, "region"),
    "record list": (dict(record=[failing]), TypeError, "record", "dict"),
    "record nothing": (dict(record={}), TypeError, "record"),
    "record fails": (dict(record={"a": failing}), ValueError, "record['a']"),
    "record None": (dict(record={"a": lambda problem, w: None}), ValueError, "record['a']", "no array"),
    "record called 3": (dict(record={3: lambda problem, w: w}), ValueError, "3", "another name"),
    "record moments": (dict(record={"a": ss.EnsembleMoments(lambda problem, w: w)}),
                       TypeError, "record['a']", "EnsembleMoments", "different times"),
    "record over time": (dict(record={"a": ss.Moments(lambda problem, w: w)}), TypeError, "record['a']", "Moments"),
    "record clash": (dict(record={"a": lambda problem, w: {"b": w}, "a.b": lambda problem, w: w}), ValueError, "a.b"),
    "problem": (dict(problem=double_well), TypeError, "problem", "sde_sgd.problems"),
    "process": (dict(process=ss.Langevin), TypeError, "process"),
    "batch size": (dict(process=ss.SGD(0.1, ss.WithReplacement(2))), ValueError, "batch_size", "2", "1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_before_the_run(name, monkeypatch):
    monkeypatch.setattr(queue, "advance", lambda *arguments, **keywords: pytest.fail("the run started"))
    changes, kind, *words = BAD[name]
    with pytest.raises(kind) as caught:
        call(**changes)
    assert type(caught.value) is kind
    assert [word for word in words if word not in str(caught.value)] == []


def test_good_input_would_have_run(monkeypatch):
    """Teeth: what is not refused does get to the compiled program, also in the forms users write it."""
    monkeypatch.setattr(queue, "advance", lambda *arguments, **keywords: pytest.fail("the run started"))
    for changes in ({}, dict(region={"a": right, "b": lambda w: w < -2}), dict(observe="continuous"),
                    dict(num_lanes=np.int64(4), max_steps=np.int32(2**30), observe="continuous"), dict(params=-0.5),
                    dict(params=np.full(4, -0.5)), dict(record={"loss": ss.Problem.loss})):
        with pytest.raises(pytest.fail.Exception, match="the run started"):
            call(**changes)


@pytest.mark.parametrize(("params", "count"), [(0.6, "4"), (np.asarray([-1.0, 0.7, -1.0, 0.9]), "2")])
def test_a_start_inside_the_region_is_refused(params, count):
    with pytest.raises(ValueError, match=f"{count} of 4 runs start inside the region"):
        call(params=params, max_steps=10)


def test_a_start_on_the_boundary_crosses_at_once():
    """A Brownian path does so infinitely often; a start there lies outside, for a region is where the level is above 0."""
    ds = call(params=0.5, observe="continuous")
    np.testing.assert_array_equal(ds.durations, 0.025)
    np.testing.assert_array_equal(ds.steps, 1)


def test_no_escape_at_all_warns():
    with pytest.warns(UserWarning, match=r"none of 4 runs entered .*3 steps \(0 diverged\).*larger max_steps"):
        ds = call(max_steps=3)
    assert not ds.event_observed.any() and (ds.steps == 3).all()


def test_many_regions():
    regions = {f"r{index}": (lambda w, index=index: w > (0.5 if index == 140 else 1e6)) for index in range(141)}
    ds = call(region=regions)
    np.testing.assert_array_equal(ds.region, 140)


# --- the dataset -----------------------------------------------------------------------------------------------------


def pair(problem, params):
    return {"w": params, "twice": jnp.stack([params, 2 * params])}


@pytest.fixture(scope="module")
def dataset():
    return call(region={"left side": lambda w: -1.5 - w, "right": right}, num_lanes=7, max_steps=60,
                observe="continuous", record={"p": pair}, params=np.linspace(-1.2, -0.5, 7))


def test_dims_dtypes_and_attributes(dataset):
    assert dict(dataset.sizes) == {"lane": 7, "exit_p.twice_dim_0": 2}
    kinds = {"durations": "float64", "steps": "int64", "event_observed": "bool", "status": "int8", "region": "int32",
             "exit_p.w": "float32", "exit_p.twice": "float32", "time_per_step": "float64", "lane": "int64"}
    assert {name: str(dataset[name].dtype) for name in dataset.variables} == kinds
    own = {"exit_p.twice": ("lane", "exit_p.twice_dim_0"), "time_per_step": ()}
    assert {name: dataset[name].dims for name in dataset.variables} == {name: own.get(name, ("lane",)) for name in kinds}
    assert dataset.status.attrs["flag_meanings"] == "escaped censored diverged"
    assert dataset.region.attrs["flag_meanings"] == "left_side right"
    assert dataset.region.attrs["flag_values"].tolist() == [0, 1]
    assert all(dataset[name].attrs["long_name"] for name in ("durations", "steps", "event_observed", "lane", "region"))
    np.testing.assert_array_equal(dataset.steps, np.ceil(dataset.durations / 0.05 - 1e-9))
    np.testing.assert_array_equal(dataset["exit_p.twice"][:, 1], 2 * dataset["exit_p.w"])
    config, signature = json.loads(dataset.attrs["config"]), json.loads(dataset.attrs["numerics_signature"])
    assert config["run"] == "first_passage" and config["process"]["type"] == "Langevin"
    assert (config["num_lanes"], config["max_steps"], config["observe"]) == (7, 60, "continuous")
    assert list(config["region"]) == ["left side", "right"] and signature["dtype"] == "float32"
    assert json.loads(dataset.attrs["key"]) == [0, 0]


def test_a_file_gives_the_dataset_back(dataset, tmp_path):
    import xarray

    save(dataset, tmp_path / "exits.nc")
    back = load(tmp_path / "exits.nc")
    xarray.testing.assert_identical(back, dataset)
    assert {name: back[name].dtype for name in back.variables} == {
        name: dataset[name].dtype for name in dataset.variables}
