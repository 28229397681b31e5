import functools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sde_sgd import results
from sde_sgd.results import store as _store

_provenance = sys.modules["sde_sgd.results.provenance"]  # the function hides the module of its name
LANES = ("process", "learning_rate", "batch_size", "seed")


def _coords():
    return {"process": ("process", ["sgd", "naïve"]), "learning_rate": ("learning_rate", [0.2, 0.1, 0.05]),
            "batch_size": ("batch_size", [4, 16]), "seed": ("seed", np.arange(5)), "step": ("step", [0, 10]),
            "time": (("process", "learning_rate", "step"), np.arange(12.0).reshape(2, 3, 2)), "problem": ((), "wells")}


def _variables():
    loss = np.linspace(-1, 1, 120, dtype=np.float32).reshape(2, 3, 2, 5, 2)
    loss[1, 0, 0, 3, 1], loss[0, 0, 0, 0, 0] = np.nan, -0.0
    diverged_at = np.full((2, 3, 2, 5), -1, np.int64)
    diverged_at[1, 0, 0, 3] = 7
    return {"loss": ((*LANES, "step"), loss, {"long_name": "empirical risk"}),
            "params": ((*LANES, "step", "params_dim_0"), np.zeros((*loss.shape, 3))),
            "status": (LANES, (diverged_at >= 0).astype(np.int8)), "diverged_at": (LANES, diverged_at)}


def _attrs():
    return results.provenance({"num_steps": 10}, jax.random.key(3), dtype=jnp.float32, tile_size=256)


def _dataset():
    return results.build(_variables(), _coords(), _attrs())


def test_build_labels_what_the_schema_knows():
    dataset = _dataset()
    assert dataset.loss.dims == (*LANES, "step")
    assert dataset.loss.dtype == np.float32
    assert dataset.loss.attrs == {"long_name": "empirical risk"}
    assert dataset.time.attrs["units"] == "learning_rate x step"
    assert dataset.status.attrs["flag_meanings"] == "ok diverged"
    assert dataset.status.attrs["flag_values"].dtype == np.int8
    assert dataset.problem.item() == "wells"
    assert set(dataset.coords) == set(_coords())


def test_build_takes_device_arrays_and_keeps_their_dtype(precision):
    values = jnp.zeros((2, 4), jnp.float32)
    dataset = results.build({"x": (("seed", "x_dim_0"), values)}, {"seed": ("seed", np.arange(2))}, {})
    assert dataset.x.dtype == np.float32
    assert isinstance(dataset.x.data, np.ndarray)


@pytest.mark.parametrize(("variables", "coords", "message"), [
    ({"x": (("seed", "step"), np.zeros((2, 5)))}, {}, r"dims look swapped"),
    ({"x": (("seed", "step"), np.zeros((5, 3)))}, {}, r"shape \(5, 3\).*seed: 5, step: 2"),
    ({"x": (("seed",), np.zeros((5, 2)))}, {}, "2 axes.*1 dims"),
    ({"x": (("seed", "seed"), np.zeros((5, 5)))}, {}, "names a dim twice"),
    ({"x": ("a", np.zeros(2)), "y": ("a", np.zeros(3))}, {}, "y has shape"),
    ({"seed": ("seed", np.arange(5))}, {}, "variable and a coordinate: seed"),
    ({}, {"batch_size": ("batch_size", [4, 4])}, "batch_size holds a value twice"),
    ({"x": ((), 1.0, {"units": None})}, {}, "NoneType.*JSON"),
])
def test_build_refuses_labels_that_do_not_fit(variables, coords, message):
    base = {"seed": ("seed", np.arange(5)), "step": ("step", np.arange(2))}
    with pytest.raises(ValueError, match=message):
        results.build(variables, base | coords, {})


@pytest.mark.parametrize(("coords", "message"), [
    ({"learning_rate": ("learning_rate", np.array([0.1], np.float32))}, "learning_rate must be float64, got float32"),
    ({"step": ("step", np.array([1], np.int32))}, "step must be int64"),
    ({"seed": np.arange(3)}, "seed must be a tuple"),
])
def test_build_refuses_other_types(coords, message):
    with pytest.raises(TypeError, match=message):
        results.build({}, coords, {})


def test_build_refuses_attributes_that_netcdf_refuses():
    with pytest.raises(ValueError, match=r"'config' of the dataset.*dict.*JSON"):
        results.build({}, {}, {"config": {"a": 1}})


def test_provenance_is_text_and_repeats():
    config = {"processes": {"sgd": lambda lr, b: lr}, "rates": np.array([0.1, 0.2]), "num_steps": np.int64(3),
              "start": jnp.ones(2, jnp.bfloat16), "data": np.zeros((100, 3)), "time": None}
    attrs = results.provenance(config, jax.random.key(5), dtype=jnp.float32, tile_size=64, program="abc")
    assert all(isinstance(value, str) for value in attrs.values())
    assert attrs == results.provenance(config, jax.random.key(5), dtype=jnp.float32, tile_size=64, program="abc")
    assert "0x" not in attrs["config"]
    read = json.loads(attrs["config"])
    assert (read["rates"], read["num_steps"], read["start"], read["time"]) == ([0.1, 0.2], 3, [1.0, 1.0], None)
    assert read["data"]["shape"] == [100, 3]
    assert json.loads(attrs["key"]) == np.asarray(jax.random.key_data(jax.random.key(5))).tolist()
    signature = results.numerics_signature(jnp.float32, 64, "abc")
    assert json.loads(attrs["numerics_signature"]) == signature


def test_provenance_tells_configurations_and_data_apart():
    def text(config):
        return results.provenance(config, jax.random.key(0), dtype=jnp.float32, tile_size=64)["config"]

    data = np.zeros(50)
    assert text({"data": data}) != text({"data": data + 1e-12})
    assert text({"a": 1}) != text({"a": 1.0})
    assert text({"f": functools.partial(max, 1)}) != text({"f": functools.partial(max, 2)})


def test_provenance_refuses_what_has_no_repeatable_text():
    with pytest.raises(TypeError, match=r"config\['f'\]\[1\] must be .*got object"):
        results.provenance({"f": [1, object()]}, jax.random.key(0), dtype=jnp.float32, tile_size=64)


def test_provenance_without_an_installed_package(monkeypatch):
    def missing(name):
        raise _provenance.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(_provenance.importlib.metadata, "version", missing)
    assert _provenance._package_version() == "not installed"


def test_signature_follows_x64_tile_and_dtype(precision):
    signature = results.numerics_signature(jnp.float32, 128)
    assert signature["x64"] == (precision == "x64 on")
    assert (signature["tile_size"], signature["dtype"], signature["program"]) == (128, "float32", None)
    assert json.loads(json.dumps(signature)) == signature


def test_signature_keeps_only_flags_that_may_move_bits(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2 --xla_cpu_max_isa=SSE4_2 "
                                    "--xla_cpu_max_isa=AVX2 --xla_dump_to=/tmp --xla_a_new_flag")
    assert results.numerics_signature(jnp.float32, 64)["xla_flags"] == "xla_a_new_flag= xla_cpu_max_isa=AVX2"


def test_instruction_set_reads_both_families_and_falls_back(tmp_path):
    x86, arm = tmp_path / "x86", tmp_path / "arm"
    x86.write_text("vendor_id\t: GenuineIntel\nflags\t\t: fpu sse4_2 avx512f avx2 fma\n\nvendor_id: Other\n")
    arm.write_text("CPU implementer\t: 0x41\nFeatures\t: fp asimd sve crc32\n\n")
    machine = _provenance.platform.machine()
    assert _provenance.instruction_set(x86) == f"{machine} GenuineIntel avx2 avx512f fma sse4_2"
    assert _provenance.instruction_set(arm) == f"{machine} 0x41 asimd sve"
    assert _provenance.instruction_set(tmp_path / "none") == machine


def test_round_trip_is_exact(tmp_path):
    dataset = _dataset()
    results.save(dataset, tmp_path / "run.nc")
    loaded = results.load(tmp_path / "run.nc")
    assert loaded.identical(dataset)
    assert loaded.sizes == dataset.sizes
    for name, variable in dataset.variables.items():
        assert loaded[name].dims == variable.dims
        assert loaded[name].dtype == variable.dtype, name
        assert loaded[name].values.tobytes() == variable.values.tobytes(), name
        assert set(loaded[name].attrs) == set(variable.attrs), name
    assert loaded.attrs == dataset.attrs
    results.save(loaded, tmp_path / "again.nc")
    assert (tmp_path / "again.nc").read_bytes() == (tmp_path / "run.nc").read_bytes()


def test_round_trip_of_long_and_odd_attributes(tmp_path):
    dataset = results.build({}, {}, {"config": "x" * 200_000, "none": "", "greek": "η", "one": 1, "half": 0.5})
    results.save(dataset, tmp_path / "run.nc")
    assert results.load(tmp_path / "run.nc").attrs == dataset.attrs


def test_round_trip_of_times_and_reserved_values(tmp_path):
    default_fill = 9.969209968386869e36
    dataset = results.build({"loss": ("time", np.array([default_fill, 1.0]), {"units": "days since 2000-01-01"})},
                            {"time": ("time", [0.0, 1.0])}, {})
    results.save(dataset, tmp_path / "run.nc")
    assert results.load(tmp_path / "run.nc").identical(dataset)


def test_check_writable_says_what_is_wrong(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    results.check_writable(tmp_path / "new.nc")
    results.check_writable(str(tmp_path / "file"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(FileNotFoundError, match=r"missing.*Create it"):
        results.check_writable(tmp_path / "none" / "new.nc")
    with pytest.raises(NotADirectoryError, match="is a file"):
        results.check_writable(tmp_path / "file" / "new.nc")
    with pytest.raises(ValueError, match="file name"):
        results.check_writable(tmp_path)

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_store.tempfile, "TemporaryFile", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied.*Choose another directory"):
        results.check_writable(tmp_path / "new.nc")


@pytest.mark.parametrize("failing", ["write", "rename"])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing):
    path = tmp_path / "run.nc"
    results.save(_dataset(), path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(_store, "_flush", fail) if failing == "write" else monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        results.save(_dataset() * 2, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.nc"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_file_cut_short_is_refused(tmp_path, share):
    path = tmp_path / "run.nc"
    results.save(_dataset(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:int(share * len(whole))])
    with pytest.raises(OSError, match=r"run.nc is not a whole NetCDF file.*cut short"):
        results.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*none.nc"):
        results.load(tmp_path / "none.nc")


def test_importing_labels_analysis_and_figures_is_light():
    code = ("import sys; before = set(sys.modules); import sde_sgd.results, sde_sgd.analysis, sde_sgd.plotting; "
            "print({'xarray', 'pandas', 'matplotlib', 'h5netcdf', 'scipy.stats'} & (set(sys.modules) - before))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
