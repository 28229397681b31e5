"""The main job on real data: SGD and its models on digits and diabetes, judged and drawn."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax

from sde_sgd._core import checks
from sde_sgd.analysis import comparison_table, format_table, weak_error
from sde_sgd.noise import Gaussian, WithReplacement
from sde_sgd.problems import datasets
from sde_sgd.problems.problem import Problem
from sde_sgd.problems.regression import least_squares, softmax_regression
from sde_sgd.processes import SGD, SME, GradientFlow
from sde_sgd.run import sweep

if TYPE_CHECKING:
    import xarray

PROCESSES: dict[str, Callable[[float, int], Any]] = {
    "SGD": lambda lr, b: SGD(lr, WithReplacement(b)),
    "gradient flow": lambda lr, b: GradientFlow(lr),
    "SME-1": lambda lr, b: SME(lr, Gaussian(b), order=1, substeps=10),
    "SME-2": lambda lr, b: SME(lr, Gaussian(b), order=2, substeps=10),
    "Gaussian GD": lambda lr, b: SGD(lr, Gaussian(b)),
}
REFERENCE = "SGD"


@dataclasses.dataclass(frozen=True)
class Settings:
    """The size of a comparison. ``digits_examples`` is how many of the digits are used."""

    num_seeds: int
    time: float
    record_every: float
    learning_rates: tuple[float, ...]
    batch_sizes: tuple[int, ...]
    processes: tuple[str, ...]
    digits_examples: int
    seed: int


def settings(
    *,
    quick: bool = False,
    num_seeds: int | None = None,
    time: float | None = None,
    learning_rates: Sequence[float] | None = None,
    batch_sizes: Sequence[int] | None = None,
    processes: Sequence[str] | None = None,
    seed: int = 0,
) -> Settings:
    """Return the settings of a comparison, the defaults filled in; raise on bad input before anything runs."""
    names = tuple(PROCESSES) if processes is None else tuple(processes)
    for name in names:
        checks.one_of("process", name, tuple(PROCESSES))
    if REFERENCE not in names:
        raise ValueError(f"processes must include {REFERENCE}, the reference, got {', '.join(names)}.")
    checks.integer("seed", seed, minimum=0, maximum=2**32 - 1)
    num_seeds = (16 if quick else 64) if num_seeds is None else num_seeds
    checks.integer("num_seeds", num_seeds, minimum=2)
    time = (2.0 if quick else 6.0) if time is None else time
    checks.positive("time", time)
    rates = (0.2, 0.1, 0.05) if learning_rates is None else tuple(learning_rates)
    batches = ((4, 16) if quick else (4, 16, 64)) if batch_sizes is None else tuple(batch_sizes)
    for rate in rates:
        checks.positive("learning_rate", rate)
    for batch in batches:
        checks.integer("batch_size", batch)
    return Settings(
        num_seeds=num_seeds,
        time=time,
        record_every=_spacing(time, rates),
        learning_rates=rates,
        batch_sizes=batches,
        processes=names,
        digits_examples=128 if quick else 256,
        seed=seed,
    )


def _spacing(time: float, learning_rates: Sequence[float]) -> float:
    """Return the time between records: about fifteen of them, at whole steps of every learning rate."""
    for count in range(15, 1, -1):
        ratios = [time / count / rate for rate in learning_rates]
        if all(math.isclose(ratio, round(ratio), rel_tol=1e-6) for ratio in ratios):
            return time / count
    return time


def run(chosen: Settings, out: pathlib.Path) -> dict[str, "xarray.Dataset"]:
    """Run the comparison, print its tables, write ``compare.nc`` and ``compare.png`` to ``out`` and say where."""
    import xarray

    from sde_sgd.plotting import compare_figure
    from sde_sgd.results import check_writable, save

    out.mkdir(parents=True, exist_ok=True)
    data_path, figure_path = out / "compare.nc", out / "compare.png"
    check_writable(data_path)
    check_writable(figure_path)
    key = jax.random.key(chosen.seed)
    chosen_problems = problems(chosen)
    for problem in chosen_problems.values():
        for batch_size in chosen.batch_sizes:
            WithReplacement(batch_size).check(problem)
    found = {}
    for name, problem in chosen_problems.items():
        found[name] = sweep(
            problem,
            {process: PROCESSES[process] for process in chosen.processes},
            learning_rates=chosen.learning_rates,
            batch_sizes=chosen.batch_sizes,
            num_seeds=chosen.num_seeds,
            time=chosen.time,
            record_every=chosen.record_every,
            record={"risk": Problem.loss},
            key=key,
        )
        errors = weak_error(found[name].risk.isel(time=-1), reference=REFERENCE)
        print(f"\n{name}: risk at time {chosen.time:g} (learning rate x steps), {chosen.num_seeds} seeds\n")
        print(format_table(comparison_table(errors)))
    together = xarray.concat(found.values(), dim="problem", combine_attrs="drop_conflicts", join="exact")
    configs = {name: json.loads(dataset.attrs["config"]) for name, dataset in found.items()}
    save(together.assign_coords(problem=list(found)).assign_attrs(config=json.dumps(configs)), data_path)
    compare_figure(found, quantity="risk", reference=REFERENCE).savefig(figure_path, dpi=200)
    print(f"\nwrote {data_path} and {figure_path}")
    return found


def problems(chosen: Settings) -> dict[str, Problem]:
    """Return the two problems: diabetes by least squares, handwritten digits by softmax regression."""
    features, labels = datasets.digits()
    kept = slice(0, chosen.digits_examples)
    return {
        "diabetes, linear regression": least_squares(*datasets.diabetes()),
        "digits, softmax regression": softmax_regression(features[kept], labels[kept], 10),
    }
