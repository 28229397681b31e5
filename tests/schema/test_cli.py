"""The command line: what it writes and prints, and one line with status 2 on bad input."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import sde_sgd
from sde_sgd import cli, compare, papers
from sde_sgd.results import load

ROOT = pathlib.Path(sde_sgd.__file__).parents[1]


def run(*arguments, cache):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "XDG_CACHE_HOME": str(cache)}
    return subprocess.run([sys.executable, "-m", "sde_sgd", *map(str, arguments)], env=environment, text=True,
                          capture_output=True, timeout=300)


def test_compare_writes_and_prints(tmp_path):
    out = tmp_path / "new" / "folder"
    done = run("compare", "--quick", "--num-seeds", 4, "--time", 0.4, "--learning-rates", 0.2, "--batch-sizes", 4,
               "--seed", 3, "--out", out, cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert sorted(path.name for path in out.iterdir()) == ["compare.nc", "compare.png"]
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG")
    lines = done.stdout.splitlines()
    for name in compare.PROCESSES:
        assert sum(line.startswith(f"{name} ") for line in lines) == 2, name  # once for each problem
    assert all(len(line) <= 100 for line in lines if str(tmp_path) not in line)

    ds = load(out / "compare.nc")
    assert list(ds.process.values) == list(compare.PROCESSES)
    assert dict(ds.sizes) == {"problem": 2, "process": 5, "learning_rate": 1, "batch_size": 1, "seed": 4, "time": 3}
    assert np.isfinite(ds.risk).all() and (ds.status == 0).all() and float(ds.time[-1]) == 0.4
    printed = next(line.split()[1:] for line in lines if line.startswith("SGD "))  # of the first problem
    assert float(printed[2]) == pytest.approx(float(ds.risk.isel(problem=0, process=0, time=-1).mean()), rel=0.05)
    assert json.loads(ds.attrs["key"]) == [0, 3]
    assert "num_seeds" in ds.attrs.get("config", ""), "the file does not say how it was made"


BAD = {
    "unknown process": (["--processes", "SGD,adam"], "process", "adam", "SME-1"),
    "no reference": (["--processes", "SME-1"], "SGD", "SME-1"),
    "one seed": (["--num-seeds", "1"], "num_seeds", "1", "at least 2"),
    "seeds by name": (["--num-seeds", "many"], "num-seeds", "many"),
    "time 0": (["--time", "0"], "time", "0.0"),
    "time nan": (["--time", "nan"], "time", "nan"),
    "time of a rate": (["--time", "0.5", "--learning-rates", "0.2"], "0.5", "0.2", "whole number"),
    "rate 0": (["--learning-rates", "0.1,0"], "learning_rate", "0.0"),
    "rate text": (["--learning-rates", "0.1,x"], "learning-rates", "0.1,x"),
    "rates twice": (["--learning-rates", "0.1,0.1"], "learning_rates", "0.1", "once"),
    "batch 0": (["--batch-sizes", "0"], "batch_size", "0"),
    "batch 2.5": (["--batch-sizes", "2.5"], "batch-sizes", "2.5"),
    "batch above N": (["--batch-sizes", "4,443"], "batch_size", "443", "442"),
    "batch above the smaller N": (["--quick", "--batch-sizes", "4,129"], "batch_size", "129", "128"),
    "seed": (["--seed", "-1"], "seed", "-1"),
    "misspelt": (["--batchsizes", "4"], "--batchsizes"),
}


@pytest.fixture
def no_run(monkeypatch):
    """Leave the machine's settings alone and fail where the first problem would be computed."""
    monkeypatch.setattr(sys.modules["sde_sgd.configure"], "configure", lambda **settings: None)
    for name in ("start", "advance"):
        monkeypatch.setattr(sys.modules["sde_sgd.run.lanes"], name, lambda *_, **__: pytest.fail("the run started"))


def status(arguments):
    try:
        return cli.main(arguments)
    except SystemExit as left:  # argparse
        return left.code


def check_refusal(arguments, capsys, *words, command="compare"):
    assert status([command, *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == "", "something was computed before"
    for word in words:
        assert word in printed.err
    assert "Traceback" not in printed.err and printed.err.startswith("sde-sgd")
    assert printed.err.count("\n") == 1 and printed.err.endswith("\n"), printed.err


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_line(name, capsys, tmp_path, no_run):
    arguments, *words = BAD[name]
    check_refusal([*arguments, "--out", str(tmp_path / "out")], capsys, *words)
    assert not (tmp_path / "out" / "compare.nc").exists()


@pytest.mark.parametrize(("arguments", "words"), [
    (["nobody1999"], ["nobody1999", *papers.names()]),
    (["stability", "--seed", "-1"], ["seed", "-1"]),
    ([], ["PAPER"]),
    (["stability", "--out", "FILE"], ["FILE"]),
])
def test_bad_papers_are_refused_in_one_line(arguments, words, capsys, tmp_path, no_run):
    (tmp_path / "FILE").write_text("")
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "out")]
    arguments = [str(tmp_path / "FILE") if word == "FILE" else word for word in arguments]
    check_refusal([*arguments, *out], capsys, *words, command="reproduce")


def test_an_unwritable_folder_is_refused_before_the_run(capsys, tmp_path, no_run):
    (tmp_path / "file").write_text("")
    check_refusal(["--out", str(tmp_path / "file")], capsys, str(tmp_path / "file"))
    check_refusal(["--out", str(tmp_path / "file" / "below")], capsys, "file")
    (tmp_path / "taken" / "compare.nc").mkdir(parents=True)
    check_refusal(["--out", str(tmp_path / "taken")], capsys, "compare.nc")


def test_a_process_that_has_computed_already_is_told_so(capsys, tmp_path):
    """`configure` comes too late in a process whose backend has started: one line, not a traceback."""
    import jax

    jax.devices()
    code = status(["compare", "--quick", "--batch-sizes", "443", "--out", str(tmp_path)])
    assert code == 2 and "Traceback" not in capsys.readouterr().err


def test_help_and_no_command(capsys):
    assert status(["--help"]) == 0
    printed = capsys.readouterr().out
    assert "compare" in printed and "reproduce" in printed
    assert status(["reproduce", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("--out", "--quick", "--seed", *papers.names()))
    assert status(["compare", "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--out", "--quick", "--num-seeds", "--time", "--learning-rates", "--batch-sizes", "--processes"):
        assert option in text
    assert status([]) == 2
