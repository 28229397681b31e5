"""The best learning rate of a grid: the parabola exactly, the interval by its coverage, and the choice without a look."""

import math

import numpy as np
import pytest
import xarray

from sde_sgd.analysis import fit_regimes, fit_saturation, grid_minimum, jackknife, optimal_learning_rate, tuned

LOGS = np.arange(-4, 4.01, 0.5)


def curves(values):
    values = np.asarray(values)
    dims = (*(f"dim_{axis}" for axis in range(values.ndim - 2)), "learning_rate", "seed")
    return xarray.DataArray(values, {"learning_rate": 2.0**LOGS[: values.shape[-2]]}, dims)


@pytest.mark.parametrize("num_points", [3, 5, 7])
def test_a_parabola_is_found_exactly_wherever_it_lies(num_points):
    centres = np.linspace(-2, 2, 101)
    found = grid_minimum(LOGS, 3 * (LOGS - centres[:, None]) ** 2 - 1, num_points)
    np.testing.assert_allclose(found.position, centres, atol=1e-12)
    np.testing.assert_allclose(found.value, -1, atol=1e-12)
    assert not found.at_edge.any()


def test_three_points_are_continuous_where_the_best_point_changes():
    values = np.array([3.0, 1.0, 1.0, 2.5, 4.0])
    one, other = (grid_minimum(np.arange(5), values + change * np.array([0, 1, -1, 0, 0])) for change in (1e-9, -1e-9))
    assert abs(one.position - other.position) < 1e-8


def test_edges_and_diverged_runs():
    rising = grid_minimum(LOGS, LOGS)
    assert rising.at_edge and rising.position == LOGS[0] and rising.value == LOGS[0]
    beside = grid_minimum(np.arange(4), [2.0, 1.0, math.nan, math.nan])
    assert beside.position == 1 and beside.value == 1 and not beside.at_edge
    assert grid_minimum(np.arange(3), [math.nan] * 3).at_edge
    # One seed that diverged forbids a learning rate to all; an optimum at the edge for some of the seeds is flagged.
    values = np.repeat(((LOGS - 1) ** 2)[:, None], 3, axis=1)
    values[LOGS > 0.6, 1] = np.nan
    assert optimal_learning_rate(curves(values)).learning_rate_best.item() == pytest.approx(2**0.5)
    steep = np.stack([LOGS, 1 - LOGS, 1 - LOGS], axis=1)
    assert bool(optimal_learning_rate(curves(steep)).at_edge)


@pytest.mark.parametrize(("num_points", "noise", "coverage"), [(3, 0.3, 0.94), (3, 1.0, 0.90), (5, 1.0, 0.955), (5, 4.0, 0.933)])
def test_coverage_of_the_interval_is_as_stated(num_points, noise, coverage):
    """Six seeds that differ by a constant and by independent noise, in units of the rise over one step of the grid."""
    rng, trials = np.random.default_rng(0), 4000
    centres = rng.uniform(-0.25, 0.25, (trials, 1, 1))
    values = (LOGS[:, None] - centres) ** 2 + 0.25 * noise * rng.normal(size=(trials, len(LOGS), 6)) + rng.normal(
        size=(trials, 1, 6))
    found = optimal_learning_rate(curves(values), num_points=num_points)
    inside = (found.learning_rate_best_lower <= 2.0 ** centres[:, 0, 0]) & (2.0 ** centres[:, 0, 0] <= found.learning_rate_best_upper)
    assert abs(inside.values.mean() - coverage) < 0.005 + 5 * (coverage * (1 - coverage) / trials) ** 0.5
    errors = found.log2_learning_rate.values - centres[:, 0, 0]
    assert abs(errors.mean()) < 5 * errors.std() / trials**0.5


def test_a_choice_by_the_other_seeds_is_not_flattered():
    """Pure noise: the best of the grid on the same seeds looks better than it is, chosen by the others it does not."""
    values = np.random.default_rng(1).normal(size=(3000, len(LOGS), 6))
    honest = tuned(curves(values))[0].mean("seed").values
    flattered = values.mean(axis=-1).min(axis=-1)
    assert abs(honest.mean()) < 5 * honest.std() / 3000**0.5
    assert flattered.mean() < -0.5


def test_a_choice_reports_other_quantities_and_shuns_divergence():
    loss = curves(np.array([[1.0, 1.0, 1.0], [0.0, np.nan, 0.0], [2.0, 2.0, 2.0]]))
    chosen, rate = tuned(loss, loss * 10, xarray.ones_like(loss) * loss.learning_rate)
    # Seed 1 is chosen for by two seeds that did well at the second rate, where it diverged itself.
    np.testing.assert_array_equal(chosen, [10.0, np.nan, 10.0])
    np.testing.assert_allclose(rate, 2.0 ** LOGS[[0, 1, 0]])


def test_two_regimes_and_a_saturation_are_fitted_as_made():
    sizes = np.array([8, 16, 32, 64, 125, 250, 500])
    broken = np.where(sizes < 64, sizes / 64, (sizes / 64) ** -0.25)
    found = fit_regimes(sizes, broken)
    assert found.slope_below == pytest.approx(1) and found.slope_above == pytest.approx(-0.25)
    assert found.corner == pytest.approx(64) and found.residual < 1e-12
    for rising, values in ((True, 3 / (1 + 40 / sizes)), (False, 3 * (1 + 40 / sizes))):
        fitted = fit_saturation(sizes, values, rising=rising)
        assert fitted.limit == pytest.approx(3, rel=1e-5) and fitted.batch_size == pytest.approx(40, rel=1e-5)
        assert fit_saturation(sizes, values, rising=not rising).residual > 0.5  # teeth: the wrong way round


def test_standard_errors_of_fits_by_the_jackknife():
    rng, sizes = np.random.default_rng(2), 2.0 ** np.arange(1, 9)
    trials = np.log(3 / (1 + 20 / sizes)) + 0.2 * rng.normal(size=(200, 8, len(sizes)))
    found = [jackknife(lambda mean: np.log(fit_saturation(sizes, np.exp(mean), rising=True)[:2]), row) for row in trials]
    scores = np.array([(row.value - np.log([3, 20])) / row.stderr for row in found])
    assert np.all(np.abs(scores.mean(axis=0)) < 0.4) and np.all(np.abs(scores.std(axis=0) - 1.1) < 0.3)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: grid_minimum([0.0, 1.0, 3.0], [1.0, 2.0, 3.0]), "even steps"),
    (lambda: grid_minimum([0.0, 1.0, 2.0], [1.0, 2.0]), "3 points"),
    (lambda: grid_minimum(np.arange(5), np.zeros(5), 4), "odd"),
    (lambda: grid_minimum(np.arange(3), np.zeros(3), 5), "num_points"),
    (lambda: optimal_learning_rate(curves(np.zeros((5, 1)))), "at least 2 seeds"),
    (lambda: fit_regimes([1, 2, 3, 4], [1, 2, 3, 4]), "at least 5"),
    (lambda: fit_saturation([1, 2, 3], [1, 2, math.inf], rising=True), "finite"),
])
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
