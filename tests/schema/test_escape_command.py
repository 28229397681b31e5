"""`sde-sgd escape`: refusals before anything runs, and one small run with its table, figure and file."""

import pytest
import xarray

from sde_sgd import cli, escape


@pytest.mark.parametrize("arguments, word", [
    (["--batch-sizes", "100"], "barriers of 200"),
    (["--batch-sizes", "2,2"], "different numbers"),
    (["--learning-rate", "-1"], "learning_rate"),
    (["--num-lanes", "3"], "num_lanes"),
    (["--seed", "-1"], "seed"),
])
def test_bad_arguments_are_refused_in_one_line(arguments, word, capsys):
    assert cli.main(["escape", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert word in error


def test_a_small_run_writes_its_table_figure_and_file(tmp_path, capsys):
    chosen = escape.settings(batch_sizes=(2,), num_lanes=100)
    found = escape.run(chosen, tmp_path)
    printed = capsys.readouterr().out
    assert "exact chain: SGD, B = 2, barrier 4 T" in printed
    assert (tmp_path / "escape.png").stat().st_size > 10_000
    stored = xarray.load_dataset(tmp_path / "escape.nc")
    assert stored.escape_time.dims == ("process", "batch_size")
    z = (found.escape_time - found.exact) / found.escape_time_stderr
    assert float(abs(z).max()) < 5
    # A law of the same variance that is not skewed would be told apart: the exact times differ by more than the errors.
    sgd, twin = found.sel(process="SGD"), found.sel(process="Gaussian GD")
    assert (twin.exact / sgd.exact).item() > 1.5
