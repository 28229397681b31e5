"""The reproduction of Smith, Elsen and De (2020): its schedules and noises are right, its claims are of what they say."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import sde_sgd as ss
from sde_sgd import papers
from sde_sgd._core.random import Draws
from sde_sgd.papers.smith2020 import (
    annealing,
    budgets,
    data,
    epochs,
    figures,
    penalty,
    quadratic,
    shuffling,
    target,
    training,
)

PAPER = papers.load("smith2020")


def test_the_title_says_that_the_text_was_not_read():
    assert "not available" in PAPER.title


def test_five_seeds_at_least_and_batches_that_the_claims_name():
    for size in (PAPER.full, PAPER.quick):
        assert all(number >= 5 for name, number in dataclasses.asdict(size).items() if name.endswith("_seeds") and name != "clean_seeds")
        assert {8, 32, 500} <= set(size.epochs_batches) and {4, 500} <= set(size.steps_batches)
        assert {2, 8, 32, 128, 512} <= set(size.target_batches)


def test_the_data_are_digits_with_redrawn_training_labels_and_a_clean_test():
    clean, noisy = data.task(500), data.task(500, data.NOISE)
    changed = np.mean(np.asarray(clean.problem.data[1]) != np.asarray(noisy.problem.data[1]))
    assert 0.14 < changed <= 0.2
    np.testing.assert_array_equal(clean.problem.data[0], noisy.problem.data[0])
    for one in (clean, noisy):
        assert abs(float(one.problem.data[0].mean())) < 1e-5
    held_out = [one.record["accuracy"].problem.data for one in (clean, noisy)]
    np.testing.assert_array_equal(held_out[0][1], held_out[1][1])
    assert held_out[0][1].shape == (797,)


def test_the_annealed_schedule_is_the_papers_and_may_fall_less():
    def rates(octaves):
        transformation = training.annealed_sgd(0.3, 40.0, 0.0, 0.0, octaves)
        state, found = transformation.init(jnp.ones(())), []
        for _ in range(40):
            update, state = transformation.update(jnp.ones(()), state, jnp.ones(()))
            found.append(-float(update))
        return np.array(found)

    halving = [float(ss.processes.halving_schedule(0.3, 40.0)(step)) for step in range(40)]
    np.testing.assert_allclose(rates(10.0), halving, rtol=1e-6)
    np.testing.assert_allclose(rates(0.0), 0.3, rtol=1e-6)
    np.testing.assert_allclose(rates(4.0)[[0, 19, 39]], [0.3, 0.3, 0.3 / 16], rtol=1e-6)


def test_a_phased_rate_changes_at_the_ends_of_phases_and_stops():
    transformation = annealing.phased_sgd(0.2, jnp.array([1.0, 0.25, 0.5]), jnp.array([2.0, 3.0, 5.0]))
    state, found = transformation.init(jnp.ones(())), []
    for _ in range(6):
        update, state = transformation.update(jnp.ones(()), state)
        found.append(-float(update))
    np.testing.assert_allclose(found, [0.2, 0.2, 0.05, 0.1, 0.1, 0.0], rtol=1e-6)


def test_a_phased_shuffle_uses_every_example_once_an_epoch_with_the_batches_of_its_phase():
    problem = ss.problems.linear_regression(num_examples=20, dim=2, key=jax.random.key(0))
    noise = annealing.PhasedShuffle((4, 7, 20), 2, 20)
    sampler, sizes, used = noise.init(), [], []
    sample = jax.jit(lambda sampler, step: noise.sample(problem, jnp.zeros(2), sampler, Draws((jnp.uint32(1), jnp.uint32(2)), step)))
    for step in range(20):
        batch, sampler = sample(sampler, jnp.uint32(step))
        rows = np.asarray(batch.indices)[np.asarray(batch.weights) > 0]
        np.testing.assert_allclose(np.sum(batch.weights), 1, rtol=1e-6)
        sizes.append(len(rows))
        used += rows.tolist()
    assert sizes == [4] * 10 + [7, 7, 6] * 2 + [20] * 4  # the last phase goes on
    for epoch in range(8):
        assert sorted(used[20 * epoch : 20 * epoch + 20]) == list(range(20))


def test_a_gradient_penalty_is_the_gradient_of_the_penalised_loss():
    problem = ss.problems.logistic_regression(np.array([[1.0, 2.0], [0.5, -1.0], [2.0, 0.3]]), np.array([1.0, 0.0, 1.0]))
    params, draws = jnp.array([0.3, -0.2]), Draws((jnp.uint32(5), jnp.uint32(6)), jnp.uint32(0))
    noise = ss.WithReplacement(2)
    batch, _ = noise.sample(problem, params, noise.init(), draws)

    def loss(at, strength):
        return problem.loss(at, batch) + strength / 4 * jnp.sum(problem.gradient(at, batch) ** 2)

    for strength in (0.0, 0.7):
        found, _ = penalty.GradientPenalty(noise, strength).gradient(problem, params, noise.init(), draws)
        np.testing.assert_allclose(found, jax.grad(loss)(params, strength), rtol=1e-5)


def curves(log_optimum, rates, seeds, rng, bend=0.3, noise=0.01):
    """Log losses over (seed, ..., rate) with their minima where they are wanted."""
    logs = np.log2(rates)
    mean = bend * (logs - np.asarray(log_optimum)[..., None]) ** 2
    return mean + noise * rng.normal(size=(seeds, *mean.shape))


def found_epochs(sgd, ball, accuracy_gap=0.02, seeds=8):
    """A made-up grid of runs whose best learning rates saturate as they are told."""
    rng, batches, rates = np.random.default_rng(0), (8, 16, 32, 64, 125, 250, 500), training.grid(-5, 3, 0.5)
    optima = np.log2([[limit / (1 + scale / batch) for batch in batches] for limit, scale in (sgd, ball)])
    loss = xarray.DataArray(curves(optima, rates, seeds, rng), {
        "process": ["SGD", "heavy ball"], "batch_size": list(batches), "learning_rate": list(rates)},
        ("seed", "process", "batch_size", "learning_rate"))
    accuracy = loss.copy(data=0.97 + 0.001 * rng.normal(size=loss.shape))
    accuracy = accuracy - accuracy_gap * (loss.batch_size > 200) * (loss.process == "SGD")
    return epochs._Found(xarray.Dataset({"log_loss": loss, "accuracy": accuracy}), rates, batches)


def verdicts(claims):
    return {claim.statement: claim.verdict.value for claim in claims}


def test_two_regimes_are_confirmed_where_they_are_and_refuted_where_they_are_not():
    found = found_epochs((0.6, 10), (3.5, 130))
    rates = verdicts(epochs._rate_claims(found, ""))
    assert all(verdict in ("confirmed", "inconclusive") for verdict in rates.values())
    assert [verdict for statement, verdict in rates.items() if "constant, to 0.15" in statement] == ["confirmed"]
    momentum = verdicts(epochs._momentum_claims(found))
    assert [verdict for statement, verdict in momentum.items() if statement.endswith("B = 500")] == ["confirmed"]
    rising = verdicts(epochs._rate_claims(found_epochs((20.0, 3000), (20.0, 3000)), "a note"))
    assert [verdict for statement, verdict in rising.items() if "constant, to 0.15" in statement] == ["refuted"]
    same = verdicts(epochs._momentum_claims(found_epochs((0.6, 10), (0.6, 10), accuracy_gap=-0.02)))
    assert [verdict for statement, verdict in same.items() if statement.endswith("B = 500")] == ["refuted"]


def test_a_best_learning_rate_at_the_edge_of_the_grid_decides_nothing():
    found = found_epochs((40.0, 10), (40.0, 130))
    about_rates = [claim for claim in epochs._rate_claims(found, "edge") + epochs._momentum_claims(found)
                   if "accuracy" not in claim.statement and "B = 8" not in claim.statement]
    assert {claim.verdict.value for claim in about_rates} == {"inconclusive"}


def test_first_and_last_learning_rates_that_are_best_together():
    rates, ratios = training.grid(-7, 1, 2.0), (0, 4, 10)
    means = np.stack([(np.log2(rates) + 3 + 0.2 * place) ** 2 + (ratio - 4) ** 2 for place, ratio in enumerate(ratios)])
    assert budgets._ends(rates, ratios, means) == pytest.approx((-3.2, -7.2))


def test_a_hyperbola_of_steps_gives_its_critical_batch_size():
    rng, batches, rates = np.random.default_rng(1), (2, 4, 8, 16, 32, 64, 128, 256, 512), training.grid(-6, 1, 0.5)
    optima = np.log2([1 / (1 + 30 / batch) for batch in batches])
    logs = curves(optima, rates, 8, rng) + np.log2([24 * (1 + 43 / batch) for batch in batches])[:, None]
    logs[:, :, -1] = np.inf  # diverged
    found = target._Found(logs, rates, batches)
    assert found.fit(logs.mean(axis=0)) == pytest.approx((24, 43), rel=0.1)
    assert set(verdicts(target._hyperbola_claims(found)).values()) == {"confirmed"}


def test_closed_form_claims_hold():
    findings = quadratic.regimes(PAPER.quick, jax.random.key(0))
    assert {claim.verdict.value for claim in findings.claims} == {"confirmed"}


@pytest.fixture(scope="module")
def small_run():
    """The whole of one experiment, tiny: one epoch of a small network."""
    patch = pytest.MonkeyPatch()
    patch.setattr(epochs, "_EPOCHS", 1)
    patch.setattr(epochs, "task", lambda number: data.task(number, widths=(4,)))
    size = dataclasses.replace(PAPER.quick, epochs_seeds=2, epochs_batches=(8, 32, 125, 500), octaves=2.0)
    yield epochs.learning_rates(size, jax.random.key(0))
    patch.undo()


def test_an_experiment_runs_whole_and_says_where_the_grid_ends(small_run):
    assert all(claim.degrees_of_freedom == 1 for claim in small_run.claims if claim.standard_error)
    assert {"learning_rate_best", "learning_rate_best_lower", "at_edge", "accuracy"} <= set(small_run.data)
    assert np.all(small_run.data.learning_rate_best > 0)
    noted = any("edge of the grid" in claim.note for claim in small_run.claims)
    assert noted == bool(small_run.data.at_edge.any())


def test_the_figure_is_drawn_without_a_display(small_run, tmp_path):
    batches = [4, 16, 500]
    both = {f"{part}_best_for_{which}{error}": ("batch_size", [0.9, 0.8, 0.7])
            for part in ("accuracy", "log_loss") for which in ("test", "training") for error in ("", "_stderr")}
    rows = ("best_for", "budget")
    rates = {name: (rows, np.full((2, 3), value)) for name, value in
             (("learning_rate_best", 0.2), ("learning_rate_best_lower", 0.1), ("learning_rate_best_upper", 0.4))}
    drawn = figures.figure({
        "equal epochs": small_run.data,
        "equal steps": xarray.Dataset(both, {"batch_size": batches}),
        "growing budgets": xarray.Dataset(rates, {"best_for": ["test", "training"], "budget": [4, 16, 64]}),
        "steps to a loss": xarray.Dataset(
            {"steps": ("batch_size", [500.0, 90.0, 30.0]), "simple": ("step", [20.0, 60.0]), "least_steps": 25.0,
             "critical_batch_size": 40.0}, {"batch_size": batches}),
        "modified loss": xarray.Dataset(
            {"distance": (("learning_rate", "loss"), np.full((4, 3), 1e-3))},
            {"learning_rate": list(shuffling.RATES), "loss": list(shuffling.LOSSES)}),
    })
    drawn.savefig(tmp_path / "smith2020.png")
    assert len(drawn.axes) == 6 and (tmp_path / "smith2020.png").stat().st_size > 10_000
