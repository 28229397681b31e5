"""Every paper is found by its name; one is run whole at a tiny size, and a wrong one is refuted."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from sde_sgd import papers, theory
from sde_sgd.noise import WithReplacement
from sde_sgd.papers import stability
from sde_sgd.papers.reproduce import reproduce
from sde_sgd.results import load
from sde_sgd.run import simulate

TINY = stability.Size(num_populations=8, num_members=128, num_steps=60, burn_in=15, num_rates=8, num_rounds=3,
                      num_lanes=64)
ONE = stability.Scheme("B = 3", WithReplacement(3), True)


@pytest.mark.parametrize("name", papers.names())
def test_every_paper_says_what_it_is(name):
    paper = papers.load(name)
    assert paper.name == name and paper.title
    assert paper.experiments and all(callable(experiment) for experiment in paper.experiments.values())
    assert dataclasses.is_dataclass(paper.full) and type(paper.full) is type(paper.quick)


def test_a_paper_runs_prints_and_writes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(stability, "SCHEMES", (ONE,))
    out = tmp_path / "new"
    dataset = reproduce(stability.PAPER, TINY, out, seed=1)
    assert sorted(path.name for path in out.iterdir()) == ["stability.nc", "stability.png"]
    assert (out / "stability.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "theory" in printed and "verdict" in printed and "Mulayoff" in printed
    held = load(out / "stability.nc")
    assert held.sizes["claim"] == 4
    assert list(held.verdict.values) == list(dataset.verdict.values)
    assert held["thresholds.learning_rate"].dims == ("thresholds.scheme", "thresholds.rate")
    assert json.loads(held.attrs["config"])["size"]["num_members"] == 128 and json.loads(held.attrs["key"]) == [0, 1]
    assert abs(held.measured[0] / held.theory[0] - 1) < 0.05  # of the threshold, at this size


def test_teeth_a_wrong_batch_size_is_refuted(monkeypatch):
    wrong = stability.Scheme("B = 3", WithReplacement(6), True)
    monkeypatch.setattr(stability.Scheme, "batch_size", property(lambda self: 3))
    monkeypatch.setattr(stability, "SCHEMES", (wrong,))
    assert stability.thresholds(TINY, jax.random.key(2)).claims[0].verdict.value == "refuted"


def test_a_population_follows_the_second_moment_exactly():
    """The mean of its growth over populations is E|w_k|^2 / |w_0|^2, by the exact recursion."""
    problem = stability.data(jax.random.key(0))
    features = np.asarray(problem.data, np.float64)
    start = np.array([0.6, 0.0, 0.8, 0.0])
    rate, steps = 0.5, 6
    found = simulate(problem, stability.Population(rate, WithReplacement(1), 64), num_seeds=2048, num_steps=steps,
                     record={"log_growth": stability._log_growth}, params=np.float32(start), key=jax.random.key(3))
    growth = np.exp(found.log_growth.isel(step=-1).values.astype(np.float64))
    known = theory.least_squares(features, np.zeros(len(features)))
    exact = np.trace(theory.sgd_moments(known, rate, 1, steps, start=start).second.reshape(-1, 4, 4)[-1])
    assert abs(growth.mean() - exact) < 5 * growth.std() / len(growth) ** 0.5
    assert abs(growth.mean() - 1.1 * exact) > 5 * growth.std() / len(growth) ** 0.5  # teeth: it resolves 10 %
