"""Batch size as an axis: what a sweep over batch sizes costs against its cells run alone, and how often it compiles.

    python benchmarks/batch_axis.py --out results [--quick]

Two promises: the sweep costs at most 1.3 times the sum of its cells' own costs, and the number of compiled programs
grows with the logarithm of the range of batch sizes. SGD on linear regression and on a network of 64-64-10; the steady
cost is measured on second calls, when everything is compiled, and the compilations are counted on the first.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import machine
from machine import Contender, Estimate

import sde_sgd as ss

NUM_EXAMPLES, DIM, LEARNING_RATE = 1024, 16, 0.02


@dataclasses.dataclass(frozen=True)
class Case:
    """A problem, the number that tells how far it was trained, and how long it is."""

    name: str
    problem: Any
    record: Callable[[Any, Any], Any]
    lanes: int
    steps: int


def distance(problem: Any, params: Any) -> Any:
    """Return the squared distance from the minimum."""
    return ((params - problem.minimum) ** 2).sum()


def network() -> Any:
    """Return digits with a network of one hidden layer."""
    import optax

    features, labels = ss.problems.digits()
    inputs, = ss.problems.standardised(features[:NUM_EXAMPLES])
    return ss.problems.from_flax(ss.problems.mlp((64,)), inputs, labels[:NUM_EXAMPLES],
                                 optax.softmax_cross_entropy_with_integer_labels)


def sgd(learning_rate: float, batch_size: int) -> Any:
    """Return the process of one cell."""
    return ss.SGD(learning_rate, ss.WithReplacement(batch_size))


def sweep(case: Case, batch_sizes: list[int], lanes: int | None = None, steps: int | None = None) -> Any:
    """Run the cells of these batch sizes in one call."""
    import jax

    return ss.sweep(case.problem, {"sgd": sgd}, learning_rates=(LEARNING_RATE,), batch_sizes=batch_sizes,
                    num_seeds=lanes or case.lanes, num_steps=steps or case.steps,
                    record={"d": ss.EnsembleMoments(case.record)}, key=jax.random.key(1), progress=False)


def accuracy(ds: Any, batch_size: int) -> dict[str, Estimate]:
    """Return the mean of the recorded number at the end for one batch size."""
    end = ds.isel(step=-1).sel(batch_size=batch_size).squeeze()
    return {f"end at B={batch_size}": Estimate(float(end["d_mean"]), float(end["d_mean_stderr"]))}


class Compilations:
    """Counts the programs that XLA compiles, and the seconds it takes."""

    def __init__(self) -> None:
        import jax

        self.count, self.seconds = 0, 0.0
        jax.monitoring.register_event_duration_secs_listener(self.listen)

    def listen(self, event: str, seconds: float, **_: Any) -> None:
        """Receive JAX's own event."""
        if event.endswith("backend_compile_duration"):
            self.count += 1
            self.seconds += seconds

    def during(self, function: Callable[[], Any]) -> tuple[int, float]:
        """Return how many programs a call compiles, and the seconds."""
        count, seconds = self.count, self.seconds
        function()
        return self.count - count, self.seconds - seconds


def ranges(largest: int) -> list[list[int]]:
    """Return all batch sizes of 1..1, 1..2, 1..4 and so on."""
    return [list(range(1, 2**power + 1)) for power in range(largest.bit_length())]


def count_programs(case: Case, largest: int, compilations: Compilations) -> list[dict[str, float]]:
    """Return, for growing ranges, how many programs were compiled in all; each range compiles what it adds."""
    total, table = 0, []
    for sizes in ranges(largest):
        count, seconds = compilations.during(lambda sizes=sizes: sweep(case, sizes, 1, 1))
        total += count
        table.append({"largest": sizes[-1], "sizes": len(sizes), "programs": total, "new": count, "seconds": seconds})
    return table


def print_programs(table: list[dict[str, float]]) -> None:
    """Print the count of programs beside the logarithm of the range."""
    title = "Compiled programs of a sweep over all batch sizes 1..b"
    print(f"\n{title}\n{'-' * len(title)}\n{'b':>6}{'log2 b':>8}{'programs':>10}{'new':>6}{'compile s':>11}{'new per octave':>16}")
    for row in table:
        print(f"{row['largest']:>6}{math.log2(row['largest']):>8.0f}{row['programs']:>10}{row['new']:>6}"
              f"{row['seconds']:>11.2f}{row['new']:>16}")


def costs(case: Case, largest: int, parsed: Any) -> dict[str, Any]:
    """Measure one sweep against its cells one at a time, print the table and return it."""
    # Powers of two, one below and one above each: the worst of rounding a batch up is just above.
    sizes = sorted({size for power in range(largest.bit_length()) for size in (2**power - 1, 2**power, 2**power + 1)
                    if 1 <= size <= largest})

    def together() -> dict[str, Estimate]:
        return accuracy(sweep(case, sizes), largest)

    def alone() -> dict[str, Estimate]:
        for size in sizes[:-1]:
            sweep(case, [size])
        return accuracy(sweep(case, sizes[-1:]), largest)

    def each() -> list[float]:
        seconds = []
        for size in sizes:
            begin = time.process_time()
            sweep(case, [size])
            seconds.append(time.process_time() - begin)
        return seconds

    lane_steps = case.lanes * case.steps
    work = float(lane_steps * sum(sizes))
    rows = machine.compare(
        [
            Contender("one sweep over all batch sizes", work, lambda: together),
            Contender("its cells one at a time", work, lambda: alone, "'first is' must be at least 1/1.3 = 0.77"),
        ],
        parsed.repeats,
        parsed.only,
    )
    title = (f"Sweep over {len(sizes)} batch sizes 1..{largest}, {case.name}, N={NUM_EXAMPLES}, {case.lanes} lanes, "
             f"{case.steps} steps")
    machine.print_table(title, "sample gradients", rows)
    per_size = dict(zip(sizes, each(), strict=True))
    print("CPU microseconds of one lane-step, by batch size: "
          + ", ".join(f"{size}: {seconds / lane_steps * 1e6:.3g}" for size, seconds in per_size.items()))
    return machine.as_json(title, "sample gradients", rows,
                           {"lanes": case.lanes, "steps": case.steps, "batch_sizes": sizes,
                            "num_examples": NUM_EXAMPLES, "cpu_seconds_by_batch_size": per_size})


def main() -> None:
    parsed = machine.arguments(__doc__.splitlines()[0], lambda parser: [
        parser.add_argument("--lanes", type=int, default=512),
        parser.add_argument("--steps", type=int, default=500),
        parser.add_argument("--largest", type=int, default=256),
    ])
    ss.configure(cpu_devices=parsed.cores, wide_vectors=True)
    import jax

    lanes, steps, largest = (64, 20, 16) if parsed.quick else (parsed.lanes, parsed.steps, parsed.largest)
    about = machine.describe(parsed.date)
    machine.print_machine(about)
    regression = ss.problems.linear_regression(num_examples=NUM_EXAMPLES, dim=DIM, key=jax.random.key(0))
    cases = [Case(f"linear regression d={DIM}", regression, distance, lanes, steps),
             Case("network 64-64-10", network(), ss.Problem.loss, max(lanes // 16, 32), max(steps // 5, 10))]
    programs = count_programs(cases[0], largest, Compilations())
    print_programs(programs)
    tables = [costs(case, largest, parsed) for case in cases]
    machine.write(parsed.out, "batch_axis", about, [*tables, {"title": "compiled programs", "rows": programs}])


if __name__ == "__main__":
    main()
