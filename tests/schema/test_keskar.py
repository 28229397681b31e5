"""The reproduction of Keskar et al.: runs stop at the loss they should, the figure is drawn, images are optional."""

import dataclasses

import jax
import numpy as np
import pytest
import xarray

import sde_sgd as ss
from sde_sgd import cli, papers
from sde_sgd.analysis import Verdict
from sde_sgd.papers.keskar2016 import batch_sizes, course, networks, remedies
from sde_sgd.papers.keskar2016.image_file import image_file

PAPER = papers.load("keskar2016")
SEEDS = 3


def test_runs_are_compared_at_the_levels_of_the_loss(monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, "F1", ss.problems.mlp((8,), layer_norm=True))
    monkeypatch.setattr(course, "_LEVELS", (1.9, 1.5))
    size = dataclasses.replace(PAPER.quick, num_seeds=SEEDS)
    claims, data = course.course(size, jax.random.key(0))
    assert data.train_loss.dims == ("case", "level", "seed") and data.train_loss.shape == (3, 2, SEEDS)
    assert (data.train_loss <= data.level).all() and (data.train_loss > data.level - 0.3).all()
    assert (data.distance.sel(level=1.5) > data.distance.sel(level=1.9)).all()
    assert {claim.source for claim in claims} == {"Fig. 2", "Fig. 6"}
    assert all(claim.degrees_of_freedom == SEEDS - 1 for claim in claims)


def test_without_an_image_file_nothing_is_shown_of_it():
    claims, data = image_file(PAPER.quick, jax.random.key(0))
    assert claims and all(claim.verdict is Verdict.NOT_SHOWN and "--data" in claim.note for claim in claims)
    assert not data.sizes


def test_a_file_of_images_is_looked_at_before_anything_runs(tmp_path, capsys):
    path = tmp_path / "images.npz"
    with pytest.raises(FileNotFoundError):
        papers.with_data(PAPER, PAPER.quick, path)
    pixels, labels = np.zeros((4, 28, 28), np.uint8), np.zeros(4, np.uint8)
    np.savez(path, x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    assert papers.with_data(PAPER, PAPER.quick, path).data == str(path)
    assert cli.main(["reproduce", "stability", "--data", str(path), "--out", str(tmp_path)]) == 2
    assert "stability uses no images" in capsys.readouterr().err


def sweep_rows(settings, slope):
    """Return cells whose sharpness is a power of the learning rate over the batch size, and accuracy its logarithm."""
    rng = np.random.default_rng(0)
    batches, rates = np.array(settings).T
    spread = rng.normal(0, 0.01, (len(batches), SEEDS))
    sharp = (batches / rates)[:, None] ** slope * np.exp(spread)
    cells = {"sharpness": sharp, "test_accuracy": 0.9 - 0.01 * np.log(sharp), "train_loss": 0.02 + 0.001 * spread}
    return xarray.Dataset({name: (("cell", "seed"), values) for name, values in cells.items()}
                          | {"cell_batch_size": ("cell", batches), "cell_learning_rate": ("cell", rates)},
                          {"cell": [f"batch size {number}" for number in range(len(batches))]})


def test_claims_of_the_sweep_see_temperature_and_tuning():
    """Sharpness a power of B / eta: it rises with B, equal temperature is equal sharpness, tuning closes the gap."""
    by_batch = sweep_rows([(batch, 0.0125) for batch in (4, 16, 50, 125)], 0.5)
    against = batch_sizes._against_batch_size(by_batch)
    assert [claim.verdict for claim in against[:-1]] == [Verdict.CONFIRMED] * 5
    assert against[-1].measured == pytest.approx(0, abs=0.1)  # one power law: no threshold
    same = batch_sizes._temperature(by_batch, sweep_rows([(16, 0.05)], 0.5), 4)
    assert [claim.verdict for claim in same] == [Verdict.CONFIRMED] * 3
    assert same[1].measured == pytest.approx(np.log(2), abs=0.05)
    wrong = batch_sizes._temperature(by_batch, sweep_rows([(16, 0.0125)], 0.5), 4)  # teeth
    assert wrong[0].verdict is Verdict.REFUTED and wrong[2].verdict is not Verdict.CONFIRMED
    small, large = (sweep_rows([(batch, 0.0125 * factor) for factor in (1, 2, 4, 8)], 0.5) for batch in (4, 32))
    worse, sharper = batch_sizes._tuned(small.isel(cell=slice(1)), large)
    assert worse.measured == pytest.approx(0, abs=0.02) and sharper.measured == pytest.approx(0, abs=0.02)
    assert "LB 0.1 of 0.0125 to 0.1, at the edge" in worse.note


def test_figure_has_nine_panels():
    rng = np.random.default_rng(0)

    def rows(*dims):
        shape = tuple(size for _, size in dims)
        names = [name for name, _ in dims]
        return xarray.Dataset({name: (names, rng.uniform(0.1, 1, shape)) for name in ("sharpness", "test_accuracy")})

    seed = ("seed", SEEDS)
    kinds = ["batch size 0", "batch size 1", "temperature 0", "small 0", "large 0", "large 1"]
    sweep = rows(("cell", len(kinds)), seed).assign_coords(cell=kinds).assign(
        cell_batch_size=("cell", [4, 16, 16, 4, 50, 50]), cell_learning_rate=("cell", 0.01 * np.arange(1, 7)))
    levels = rows(("case", 3), ("level", 2), seed).assign_coords(case=["SB", "LB", "LB, clean labels"],
                                                                level=[1.0, 0.02])
    warm = rows(("warm_epochs", 2), seed).assign_coords(warm_epochs=[0, 4])
    names = ["SB", "LB", remedies.NAMES[0]]
    paths = xarray.Dataset({name: (("case", "path", "seed", "data", "position"), rng.uniform(0.1, 1, (2, 2, SEEDS, 2, 5)))
                            for name in ("path_loss", "path_accuracy")},
                           {"case": ["F1, SGD", "F1, ADAM"], "path": ["linear", "curved"], "data": ["train", "test"],
                            "position": np.linspace(-1, 2, 5)})
    drawn = PAPER.figure({"small and large": paths, "batch sizes": sweep, "course": levels, "warm start": warm,
                          "remedies": rows(("remedy", 3), seed).assign_coords(remedy=names)})
    titled = [ax for ax in drawn.axes if ax.get_title(loc="left")]
    assert len(titled) == 9 and all(ax.get_xlabel() for ax in titled)
