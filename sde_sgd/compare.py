"""The main job on real data: SGD and its models on digits and diabetes, judged and drawn."""

import dataclasses
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
    num_steps: int
    record_every: int
    learning_rates: tuple[float, ...]
    batch_sizes: tuple[int, ...]
    processes: tuple[str, ...]
    digits_examples: int
    seed: int


def settings(
    *,
    quick: bool = False,
    num_seeds: int | None = None,
    num_steps: int | None = None,
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
    num_steps = (20 if quick else 60) if num_steps is None else num_steps
    checks.integer("num_steps", num_steps)
    rates = (0.4, 0.2, 0.1) if learning_rates is None else tuple(learning_rates)
    batches = (2, 8, 32) if batch_sizes is None else tuple(batch_sizes)
    for rate in rates:
        checks.positive("learning_rate", rate)
    for batch in batches:
        checks.integer("batch_size", batch)
    return Settings(
        num_seeds=num_seeds,
        num_steps=num_steps,
        record_every=max(divisor for divisor in (1, 2, 3, 4, 5) if num_steps % divisor == 0),
        learning_rates=rates,
        batch_sizes=batches,
        processes=names,
        digits_examples=128 if quick else 384,
        seed=seed,
    )


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
    found = {}
    for name, problem in problems(chosen).items():
        found[name] = sweep(
            problem,
            {process: PROCESSES[process] for process in chosen.processes},
            learning_rates=chosen.learning_rates,
            batch_sizes=chosen.batch_sizes,
            num_seeds=chosen.num_seeds,
            num_steps=chosen.num_steps,
            record_every=chosen.record_every,
            record={"risk": Problem.loss},
            key=key,
        )
        errors = weak_error(found[name].risk.isel(step=-1), reference=REFERENCE)
        print(f"\n{name}: risk after {chosen.num_steps} steps, {chosen.num_seeds} seeds\n")
        print(format_table(comparison_table(errors)))
    together = xarray.concat(found.values(), dim="problem", combine_attrs="drop_conflicts", join="exact")
    save(together.assign_coords(problem=list(found)), data_path)
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
