"""What rare events cost: splitting beside brute force, and how much of the work is of use.

    python benchmarks/rare_events.py --out results [--quick]

SGD with Gaussian noise in the double well (x^2 - 1)^2 from -1 to 0.8, learning rate 0.01. Two tables.

*Work for equal relative error*: W = (relative variance of the estimate) x (lane-steps it took), the steps that one
estimate of relative error 1 takes. For brute force W is the mean time in steps, known exactly from the chain. Warm-up
and pilot count as work.

*Useful lane-steps*: steps that moved a lane still under way, over steps that lanes were given, beside a vmapped
``lax.while_loop``, where all lanes wait for the last one.
"""

import dataclasses
import json
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import machine
import numpy as np

import sde_sgd as ss
from sde_sgd.run import excursions, queue

STEP, START, TARGET = 0.01, -1.0, 0.8
METHODS = (ss.FixedEffort(256), ss.AdaptiveMultilevel(100))


def potential(w):
    return (w**2 - 1) ** 2


def position(w):
    return w


def beyond(w):
    return w >= TARGET


WELL = ss.problems.potential(potential, start=START)


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of one method at one barrier."""

    barrier: float
    method: str
    time_over_exact: float
    relative_error: float
    lane_steps: float
    work_over_brute_force: float
    useful: float


@dataclasses.dataclass(frozen=True)
class Use:
    """How much of the work of one way to run first passages is of use."""

    contender: str
    lanes: int
    useful: float


class Meter:
    """Adds up the useful and the total looks of all queues and replicas run while it is open."""

    def __init__(self) -> None:
        self.runs: list[Any] = []
        made = excursions.Excursions.__init__

        def noted(run: Any, *args: Any, **settings: Any) -> None:
            made(run, *args, **settings)
            self.runs.append(run)

        self.patch = mock.patch.object(excursions.Excursions, "__init__", noted)

    def useful(self) -> float:
        return sum(run.useful for run in self.runs) / sum(run.total for run in self.runs)


def cost(barrier: float, method: Any, num_replicas: int) -> Cost:
    """Return the cost of a method."""
    temperature = 1 / barrier
    noise = ss.theory.gaussian_noise((2 * temperature / STEP) ** 0.5)
    exact = ss.theory.SGDChain(potential, STEP, noise).mean_first_passage_steps(START, TARGET)
    meter = Meter()
    with meter.patch:
        rare = ss.splitting(WELL, ss.Langevin(STEP, temperature=temperature), score=position, region=beyond,
                            method=method, num_replicas=num_replicas, key=jax.random.key(int(barrier)))
    relative = float(rare.escape_time_stderr / rare.escape_time)
    work = relative**2 * float(rare.lane_steps)
    return Cost(barrier, type(method).__name__, float(rare.escape_time) / (STEP * exact), relative,
                float(rare.lane_steps), work / exact, meter.useful())


def lanes_that_leave(barrier: float, num_lanes: int) -> Use:
    """Return the share of useful lane-steps of `first_passage`."""
    made, works = queue.run_queue, []

    def noted(*args: Any, **settings: Any) -> Any:
        ended, work = made(*args, **settings)
        works.append(work)
        return ended, work

    with mock.patch("sde_sgd.run.first_passage.run_queue", noted):
        ss.first_passage(WELL, ss.Langevin(STEP, temperature=1 / barrier), region=beyond, num_lanes=num_lanes,
                         max_steps=10**9, key=jax.random.key(0))
    return Use("sde_sgd.first_passage", num_lanes, works[0].useful / works[0].total)


def lanes_that_wait(barrier: float, num_lanes: int) -> Use:
    """Return the share of useful lane-steps of a vmapped ``lax.while_loop``."""
    scale = (2 * STEP / barrier) ** 0.5

    def lane(key: Any) -> Any:
        def on(now: Any) -> Any:
            w, step = now
            new = w - STEP * 4 * w * (w**2 - 1) + scale * jax.random.normal(jax.random.fold_in(key, step))
            return new, step + 1

        return jax.lax.while_loop(lambda now: now[0] < TARGET, on, (jnp.float32(START), jnp.int32(0)))[1]

    steps = np.asarray(jax.jit(jax.vmap(lane))(jax.random.split(jax.random.key(0), num_lanes)), np.float64)
    return Use("vmap of lax.while_loop", num_lanes, steps.mean() / steps.max())


def main() -> None:
    """Measure, print and write."""
    options = machine.arguments(__doc__.splitlines()[0])
    barriers, num_replicas, num_lanes = ((6.0,), 10, 4096) if options.quick else ((6.0, 12.0, 20.0), 32, 65_536)
    costs = [cost(barrier, method, num_replicas) for barrier in barriers for method in METHODS]
    print(f"{'barrier':>7}  {'method':<20} {'time/exact':>10} {'error':>7} {'lane-steps':>11} {'W/brute':>9} {'useful':>7}")
    for row in costs:
        print(f"{row.barrier:7g}  {row.method:<20} {row.time_over_exact:10.3f} {row.relative_error:7.3f} "
              f"{row.lane_steps:11.3g} {row.work_over_brute_force:9.2g} {row.useful:7.1%}")
    uses = [lanes_that_leave(2.0, num_lanes), lanes_that_wait(2.0, num_lanes)]
    for use in uses:
        print(f"{use.contender:<24} {use.lanes:7d} lanes {use.useful:7.1%}")
    found = {"machine": machine.describe(options.date), "cost": [dataclasses.asdict(row) for row in costs],
             "use": [dataclasses.asdict(row) for row in uses]}
    (options.out / "rare_events.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
