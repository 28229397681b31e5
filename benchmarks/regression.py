"""SGD on linear regression, thousands of lanes: sde_sgd beside natural JAX and a C++ gather loop.

    python benchmarks/regression.py --out results [--quick]

The unit is one gradient of one example. Beside each speed: the mean over lanes of the squared distance from the
least-squares solution at the end, with its exact value from the moment recursion where that is affordable.
"""

import dataclasses
import itertools
import math
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import machine
from machine import Contender, Estimate, Timed

import sde_sgd as ss

LARGEST_EXACT_DIM = 16


@dataclasses.dataclass(frozen=True)
class Case:
    """One problem and how much of it."""

    num_examples: int
    dim: int
    batch_size: int
    lanes: int
    steps: int
    cores: int

    @property
    def work(self) -> float:
        """Sample gradients."""
        return float(self.lanes * self.steps * self.batch_size)

    @property
    def learning_rate(self) -> float:
        """Half of where the mean square would grow, or less."""
        return 0.5 / (self.dim + 2)

    def share(self, fraction: float) -> "Case":
        """Return the same with fewer lanes, at least 128."""
        return dataclasses.replace(self, lanes=max(int(self.lanes * fraction) // 128 * 128, 128))


def distance(problem: Any, params: Any) -> Any:
    """Return the squared distance from the minimum."""
    return ((params - problem.minimum) ** 2).sum()


def make_problem(case: Case) -> Any:
    """Return the synthetic problem that all contenders share."""
    import jax

    return ss.problems.linear_regression(num_examples=case.num_examples, dim=case.dim, label_noise=1.0,
                                         key=jax.random.key(0))


def exact(problem: Any, case: Case) -> dict[str, Estimate]:
    """Return what the mean squared distance must be, by the exact recursion of the moments; nothing if too large."""
    import numpy as np

    if case.dim > LARGEST_EXACT_DIM:
        return {}
    features, targets = (np.asarray(leaf, np.float64) for leaf in problem.data)
    moments = ss.theory.sgd_moments(ss.theory.least_squares(features, targets), case.learning_rate, case.batch_size,
                                    case.steps, start=np.zeros(case.dim), record_every=case.steps)
    off = moments.mean[-1] - np.asarray(problem.minimum, np.float64)
    return {"distance": Estimate(float(off @ off + np.trace(moments.covariance[-1])), 0.0)}


def sde_sgd(problem: Any, case: Case) -> Callable[[], Any]:
    """The package."""
    import jax

    process = ss.SGD(case.learning_rate, ss.WithReplacement(case.batch_size))

    def run() -> dict[str, Estimate]:
        ds = ss.simulate(problem, process, num_seeds=case.lanes, num_steps=case.steps, progress=False,
                         record={"d": ss.EnsembleMoments(distance)}, key=jax.random.key(1))
        end = ds.isel(step=-1)
        return {"distance": Estimate(float(end["d_mean"]), float(end["d_mean_stderr"]))}

    return run


def natural_jax(problem: Any, case: Case) -> Callable[[], Any]:
    """One lane as one would write it: fold_in, randint, a gather, grad of the batch loss; vmapped over lanes."""
    import jax
    import jax.numpy as jnp

    features, targets = problem.data

    def batch_loss(w: Any, x: Any, y: Any) -> Any:
        return 0.5 * jnp.mean((x @ w - y) ** 2)

    def lane(key: Any) -> Any:
        def step(w: Any, number: Any) -> Any:
            key_now = jax.random.fold_in(key, number)
            rows = jax.random.randint(key_now, (case.batch_size,), 0, case.num_examples)
            return w - case.learning_rate * jax.grad(batch_loss)(w, features[rows], targets[rows]), None

        return jax.lax.scan(step, jnp.zeros((case.dim,)), jnp.arange(case.steps, dtype=jnp.uint32))[0]

    simulate = jax.jit(jax.vmap(lane))
    keys = jax.random.split(jax.random.key(2), case.lanes)

    def run() -> dict[str, Estimate]:
        end = jax.block_until_ready(simulate(keys))
        return machine.mean_of(((end - problem.minimum) ** 2).sum(axis=-1), "distance")

    return run


def cpp_limit(problem: Any, case: Case, folder: pathlib.Path) -> Callable[[], Any]:
    """See limits/regression.cpp."""
    import numpy as np

    program = machine.build("regression", folder)
    data = folder / f"data-{case.num_examples}-{case.dim}"
    data.write_bytes(b"".join(np.asarray(leaf, np.float32).tobytes() for leaf in (*problem.data, problem.minimum)))
    command = [str(program), str(data), str(case.num_examples), str(case.dim), str(case.batch_size), str(case.lanes),
               str(case.steps), str(case.cores), "1", str(case.learning_rate)]

    def run() -> Timed:
        wall, cpu, (lanes, mean, square) = machine.run_limit(command)
        return Timed(wall, cpu, {"distance": Estimate(mean, math.sqrt((square - mean**2) / lanes))})

    return run


def contenders(problem: Any, case: Case, folder: pathlib.Path) -> Sequence[Contender]:
    """Return everything that runs the case."""
    slow = case.share(1 / 4)
    return [
        Contender("sde_sgd simulate", case.work, lambda: sde_sgd(problem, case)),
        Contender("JAX vmap of grad, randint gather", slow.work, lambda: natural_jax(problem, slow)),
        Contender("C++ gather loop", case.work, lambda: cpp_limit(problem, case, folder)),
    ]


def main() -> None:
    parsed = machine.arguments(__doc__.splitlines()[0], lambda parser: [
        parser.add_argument("--lanes", type=int, default=4096),
        parser.add_argument("--examples", type=int, nargs="*", default=[1024, 4096]),
        parser.add_argument("--dims", type=int, nargs="*", default=[10, 64, 256]),
        parser.add_argument("--batches", type=int, nargs="*", default=[8, 32]),
        parser.add_argument("--floats", type=float, default=1.2e10, help="about lanes x steps x batch x dim per run"),
    ])
    ss.configure(cpu_devices=parsed.cores, wide_vectors=True)
    lanes, floats = (512, 2e7) if parsed.quick else (parsed.lanes, parsed.floats)
    about = machine.describe(parsed.date)
    machine.print_machine(about)
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for num_examples, dim, batch in itertools.product(parsed.examples, parsed.dims, parsed.batches):
            case = Case(num_examples, dim, batch, lanes, max(int(floats / (lanes * batch * dim)), 10), parsed.cores)
            problem = make_problem(case)
            rows = machine.compare(contenders(problem, case, pathlib.Path(folder)), parsed.repeats, parsed.only)
            title = (f"SGD on linear regression, N={num_examples}, d={dim}, B={batch}, {lanes} lanes, {case.steps} "
                     "steps, float32")
            machine.print_table(title, "sample gradients", rows, exact(problem, case) or None)
            tables.append(machine.as_json(title, "sample gradients", rows, dataclasses.asdict(case)))
    machine.write(parsed.out, "regression", about, tables)


if __name__ == "__main__":
    main()
