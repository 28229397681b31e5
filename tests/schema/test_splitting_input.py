"""Splitting: bad input and events that it cannot answer for are errors; the dataset, its file and its bits."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sde_sgd as ss
from sde_sgd.results import load, save
from sde_sgd.run import adaptive_multilevel, fixed_effort, pace, queue

STEP, BASIN = 0.02, (-0.9, -0.7)


def double_well(w):
    return (w**2 - 1) ** 2


WELL = ss.problems.potential(double_well, start=-1.0)
LANGEVIN = ss.Langevin(STEP, temperature=0.25)
FIXED, ADAPTIVE = ss.FixedEffort(16), ss.AdaptiveMultilevel(8, num_levels=16)


def position(w):
    return w


def right(w):
    return w > 0.8


def call(problem=WELL, process=LANGEVIN, **changes):
    settings = {"score": position, "region": right, "method": FIXED, "num_replicas": 10, "basin": BASIN,
                "key": jax.random.key(0), "progress": False}  # fmt: skip
    settings = {name: value for name, value in {**settings, **changes}.items() if value is not ...}
    return ss.splitting(problem, process, **settings)


BAD = {
    "no key": (dict(key=...), TypeError, "key"),
    "legacy key": (dict(key=jnp.zeros(2, jnp.uint32)), TypeError, "key"),
    "no score": (dict(score=...), TypeError, "score"),
    "score a number": (dict(score=0.5), TypeError, "score", "0.5"),
    "score a truth value": (dict(score=right), TypeError, "score"),
    "score a vector": (dict(score=lambda w: jnp.stack([w, w])), ValueError, "score", "(2,)"),
    "score of nothing": (dict(score=lambda w: 1.0), ValueError, "score", "depend"),
    "region a number": (dict(region=0.5), TypeError, "region", "0.5"),
    "region empty": (dict(region=lambda w: jnp.asarray(False)), ValueError, "region", "empty"),
    "method a name": (dict(method="fixed"), TypeError, "method", "'fixed'", "FixedEffort"),
    "method a class": (dict(method=ss.FixedEffort), TypeError, "method", "FixedEffort"),
    "nine replicas": (dict(num_replicas=9), ValueError, "num_replicas", "9", "10"),
    "half replicas": (dict(num_replicas=10.5), TypeError, "num_replicas"),
    "one edge": (dict(basin=0.5), ValueError, "basin", "0.5"),
    "three edges": (dict(basin=(0.0, 0.5, 1.0)), ValueError, "basin"),
    "edges in the wrong order": (dict(basin=(-0.7, -0.9)), ValueError, "basin", "increasing"),
    "edges equal": (dict(basin=(-0.7, -0.7)), ValueError, "basin", "increasing"),
    "edge NaN": (dict(basin=(-0.9, float("nan"))), ValueError, "basin"),
    "edge infinite": (dict(basin=(-0.9, float("inf"))), ValueError, "basin"),
    "no steps": (dict(max_steps=0), ValueError, "max_steps", "0"),
    "no warm-up": (dict(warm_up=0), ValueError, "warm_up", "0"),
    "confidence": (dict(confidence=1.0), ValueError, "confidence", "1"),
    "process": (dict(process=0.1), TypeError, "process", "float"),
    "problem": (dict(problem=double_well), TypeError, "problem"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_before_anything_is_compiled(name, monkeypatch):
    monkeypatch.setattr(queue, "run_queue", None)
    monkeypatch.setattr("sde_sgd.run.excursions.run_queue", None)
    changes, error, *words = BAD[name]
    with pytest.raises(error) as caught:
        call(**changes)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("arguments", [dict(num_particles=1), dict(num_particles=2.5)])
@pytest.mark.parametrize("method", [ss.FixedEffort, ss.AdaptiveMultilevel])
def test_too_few_particles_are_refused(method, arguments):
    with pytest.raises((TypeError, ValueError), match="num_particles"):
        method(**arguments)


@pytest.mark.parametrize("arguments", [dict(kill=0), dict(kill=8), dict(num_levels=1)])
def test_methods_refuse_bad_numbers(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        ss.AdaptiveMultilevel(8, **arguments)


# --- events that splitting cannot answer for -------------------------------------------------------------------------


def dip(w):
    """Rise to the saddle and fall beyond it."""
    return -(w**2)


def nan_on_the_way(w):
    return jnp.where(w > 0.2, jnp.nan, w)


UNANSWERABLE = {
    "score NaN": (dict(score=lambda w: jnp.log(-w - 9.0)), ValueError, "score is NaN"),
    "score NaN on the way": (dict(score=nan_on_the_way), ValueError, "score is NaN"),
    "score constant": (dict(score=lambda w: 0 * w + 2, basin=None), ValueError, "score is the same"),
    "score not monotone": (dict(score=dip, basin=(-0.8, -0.4)), ValueError, "not monotone"),
    "score backwards": (dict(score=lambda w: -w, basin=None), RuntimeError, "score that grows"),
    "start inside": (dict(region=lambda w: w < 0.0), ValueError, "start lies inside"),
    "not rare": (dict(region=lambda w: (w + 1) ** 2 > 0.01, warm_up=1000), ValueError, "1000 steps.*first_passage"),
    "no way back": (dict(region=lambda w: w > -0.7, warm_up=1, basin=(-2.9, -2.8)), ValueError, "no rare event"),
    "max_steps": (dict(max_steps=3), RuntimeError, "max_steps=3 "),
}


@pytest.mark.parametrize("name", UNANSWERABLE)
def test_what_cannot_be_answered_is_an_error(name, monkeypatch):
    monkeypatch.setattr(fixed_effort, "_MOST_LEVELS", 12)
    changes, error, words = UNANSWERABLE[name]
    with pytest.raises(error, match=words):
        call(**changes)


@pytest.mark.parametrize("turns", [1, 10_000])
def test_no_excursion_is_cut_short_however_long_the_calls_are(turns, monkeypatch):
    def pilot(excursions, *_):
        excursions.max_steps = 9
        return [-0.4, 0.0, 0.4]

    monkeypatch.setattr(adaptive_multilevel, "pilot_levels", pilot)
    monkeypatch.setattr(adaptive_multilevel, "_FIRST_TURNS", turns)
    with pytest.raises(RuntimeError, match="max_steps=9"):
        call(method=ADAPTIVE)


# --- extinct replicas ------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:one of")
def test_extinct_replicas_count_as_zeros():
    ds = call(method=ss.FixedEffort(2))
    probability = ds.replica_probability.values
    assert 0 < ds.num_extinct < 10
    assert int(ds.num_extinct) == np.sum(probability == 0)
    assert float(ds.probability) == pytest.approx(probability.sum() / 10)
    assert float(ds.escape_time) == pytest.approx(float(ds.replica_loop_time.mean()) / (probability.sum() / 10))
    assert float(ds.largest_share) == pytest.approx(probability.max() / probability.sum())


def test_nothing_is_known_if_all_are_extinct(monkeypatch):
    monkeypatch.setattr("sde_sgd.run.fixed_effort.reached", lambda code: code == -2)
    monkeypatch.setattr("sde_sgd.run.fixed_effort.pilot_levels", lambda *_: [0.0])
    with pytest.warns(UserWarning, match="all replicas are extinct"):
        ds = call()
    assert int(ds.num_extinct) == 10
    assert (float(ds.escape_time_lower), float(ds.escape_time), float(ds.escape_time_upper)) == (0, np.inf, np.inf)


# --- the dataset and its bits ----------------------------------------------------------------------------------------

SCALARS = ("escape_time", "escape_time_stderr", "escape_time_lower", "escape_time_upper", "probability",
           "probability_stderr", "loop_time", "loop_time_stderr", "num_extinct", "largest_share", "lane_steps",
           "time_per_step")  # fmt: skip


@pytest.mark.filterwarnings("ignore:one of")
@pytest.mark.parametrize("method", [FIXED, ADAPTIVE], ids=["fixed effort", "adaptive"])
def test_the_dataset_its_file_and_the_length_of_calls(method, monkeypatch, tmp_path):
    ds = call(method=method)
    for name in SCALARS:
        assert ds[name].dims == ()
    assert ds.replica_probability.dims == ds.replica_loop_time.dims == ("replica",)
    assert ds.sizes["replica"] == 10
    assert ("level_probability" in ds) == (method is FIXED)
    assert np.all(np.diff(ds.level.values) > 0)
    assert ds.escape_time_lower < ds.escape_time < ds.escape_time_upper
    assert float(ds.time_per_step) == pytest.approx(STEP)
    save(ds, tmp_path / "rare.nc")
    assert load(tmp_path / "rare.nc").identical(ds)

    monkeypatch.setattr(queue, "_FIRST_LOOKS", 7)
    monkeypatch.setattr(queue, "_CALLS_PER_LIFE", 3)
    monkeypatch.setattr(adaptive_multilevel, "_FIRST_TURNS", 5)
    monkeypatch.setattr(pace.Pace, "timed", lambda self, steps: contextlib.nullcontext())
    other = call(method=method)
    for name in ds.variables:
        np.testing.assert_array_equal(other[name], ds[name])
