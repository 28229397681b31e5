"""Overdamped Langevin dynamics in double wells, many lanes, float32: sde_sgd beside everything else one could use.

    python benchmarks/wells.py --out results [--quick]

The scalar well is V(x) = (x^2 - 1)^2 / 4 from x = -1, by Euler-Maruyama; every contender that can records the step of
the first x > 0.5 of every lane. The wells of higher dimension are coupled to their mean, a potential as a user would
write it, differentiated by JAX.
"""

import dataclasses
import math
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import machine
from machine import Contender, Estimate, Timed

import sde_sgd as ss

STEP_SIZE, TEMPERATURE, BARRIER = 0.01, 0.25, 0.5


@dataclasses.dataclass(frozen=True)
class Size:
    """How much work: all contenders make the same number of steps, slow ones with a share of the lanes."""

    lanes: int
    steps: int
    cores: int

    def share(self, fraction: float) -> "Size":
        """Return the same run with fewer lanes, at least 256."""
        return dataclasses.replace(self, lanes=max(int(self.lanes * fraction) // 256 * 256, 256))

    @property
    def work(self) -> float:
        """Lane-steps."""
        return float(self.lanes * self.steps)


def amplitude() -> float:
    """Return the standard deviation of the noise of one step."""
    return math.sqrt(2 * TEMPERATURE * STEP_SIZE)


def results(positions: Any, exits: Any, size: Size) -> dict[str, Estimate]:
    """Return the accuracy numbers: moments of the end positions and the mean of min(first exit, steps)."""
    import numpy as np

    found = machine.moments(positions, "x")
    if exits is not None:
        found |= machine.mean_of(np.minimum(np.asarray(exits), size.steps), "exit step")
    return found


def well(x: Any) -> Any:
    """Return the scalar double well."""
    return (x * x - 1) ** 2 / 4


def slope(x: Any) -> Any:
    """Return its derivative, for the contenders without autodiff."""
    return x * (x * x - 1)


# ---------------------------------------------------------------------------------------------------------- sde_sgd


def position(problem: Any, x: Any) -> Any:
    """Return what is recorded."""
    return x


def sde_sgd_simulate(size: Size) -> Callable[[], Any]:
    """Every lane makes all steps; moments over the lanes are recorded at the end."""
    import jax

    problem = ss.problems.potential(well, start=-1.0)
    process = ss.Langevin(STEP_SIZE, temperature=TEMPERATURE)

    def run() -> dict[str, Estimate]:
        ds = ss.simulate(problem, process, num_seeds=size.lanes, num_steps=size.steps, progress=False,
                         record={"x": ss.EnsembleMoments(position)}, key=jax.random.key(1))
        end = ds.isel(step=-1)
        return {f"x {name}": Estimate(float(end[f"x_{name}"]), float(end[f"x_{name}_stderr"]))
                for name in ("mean", "variance")}

    return run


def beyond_barrier(x: Any) -> Any:
    """Return whether x lies in the region of exit."""
    return x > BARRIER


def sde_sgd_first_passage(size: Size) -> Callable[[], Any]:
    """The same question asked as `first_passage`: lanes that are done leave."""
    import jax

    problem = ss.problems.potential(well, start=-1.0)
    process = ss.Langevin(STEP_SIZE, temperature=TEMPERATURE)

    def run() -> dict[str, Estimate]:
        exits = ss.first_passage(problem, process, region=beyond_barrier, num_lanes=size.lanes, max_steps=size.steps,
                                 progress=False, key=jax.random.key(1))
        return machine.mean_of(exits.steps, "exit step")

    return run


# ------------------------------------------------------------------------------------------------------- natural JAX


def jax_vector_normal(size: Size) -> Callable[[], Any]:
    """One scan over steps, one `jax.random.normal` for all lanes in each."""
    import jax
    import jax.numpy as jnp

    gradient = jax.vmap(jax.grad(well))
    barrier, never = jnp.float32(BARRIER), jnp.uint32(0xFFFFFFFF)

    @jax.jit
    def simulate(key: Any, x: Any) -> Any:
        def step(carry: Any, inputs: Any) -> Any:
            x, exits = carry
            key, number = inputs
            x = x - STEP_SIZE * gradient(x) + amplitude() * jax.random.normal(key, x.shape)
            return (x, jnp.where((exits == never) & (x > barrier), number, exits)), None

        steps = (jax.random.split(key, size.steps), jnp.arange(1, size.steps + 1, dtype=jnp.uint32))
        return jax.lax.scan(step, (x, jnp.full(x.shape, never)), steps)[0]

    x = jnp.full((size.lanes,), -1.0, jnp.float32)
    return lambda: results(*jax.block_until_ready(simulate(jax.random.key(2), x)), size)


def jax_per_lane(size: Size) -> Callable[[], Any]:
    """One lane written as a scan with its own folded key, vmapped: the same numbers whatever the other lanes do."""
    import jax
    import jax.numpy as jnp

    def lane(key: Any) -> Any:
        def step(carry: Any, number: Any) -> Any:
            x, exits = carry
            noise = jax.random.normal(jax.random.fold_in(key, number))
            x = x - STEP_SIZE * jax.grad(well)(x) + amplitude() * noise
            return (x, jnp.minimum(exits, jnp.where(x > BARRIER, number, jnp.uint32(0xFFFFFFFF)))), None

        start = (jnp.float32(-1.0), jnp.uint32(0xFFFFFFFF))
        return jax.lax.scan(step, start, jnp.arange(1, size.steps + 1, dtype=jnp.uint32))[0]

    simulate = jax.jit(jax.vmap(lane))
    keys = jax.random.split(jax.random.key(3), size.lanes)
    return lambda: results(*jax.block_until_ready(simulate(keys)), size)


# ------------------------------------------------------------------------------------------------------------- peers


def diffrax_euler(size: Size, path: str) -> Callable[[], Any]:
    """Vmapped `diffeqsolve` with Euler's scheme and constant steps, the end saved."""
    import diffrax
    import jax
    import jax.numpy as jnp

    end = size.steps * STEP_SIZE

    def lane(key: Any) -> Any:
        if path == "plain":
            noise, adjoint = diffrax.UnsafeBrownianPath((), key), diffrax.DirectAdjoint()
        else:
            noise = diffrax.VirtualBrownianTree(0.0, end, tol=STEP_SIZE / 2, shape=(), key=key)
            adjoint = diffrax.RecursiveCheckpointAdjoint()
        terms = diffrax.MultiTerm(
            diffrax.ODETerm(lambda t, x, args: -jax.grad(well)(x)),
            diffrax.ControlTerm(lambda t, x, args: jnp.float32(math.sqrt(2 * TEMPERATURE)), noise),
        )
        solution = diffrax.diffeqsolve(terms, diffrax.Euler(), 0.0, end, STEP_SIZE, jnp.float32(-1.0),
                                       saveat=diffrax.SaveAt(t1=True), adjoint=adjoint, max_steps=size.steps + 16)
        return solution.ys[0]

    simulate = jax.jit(jax.vmap(lane))
    keys = jax.random.split(jax.random.key(4), size.lanes)
    return lambda: results(jax.block_until_ready(simulate(keys)), None, size)


def torchsde_euler(size: Size) -> Callable[[], Any]:
    """`torchsde.sdeint`, Euler, diagonal noise, its default Brownian motion."""
    import torch
    import torchsde

    class Well(torch.nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t: Any, x: Any) -> Any:
            return -slope(x)

        def g(self, t: Any, x: Any) -> Any:
            return torch.full_like(x, math.sqrt(2 * TEMPERATURE))

    times = torch.tensor([0.0, size.steps * STEP_SIZE])
    start = torch.full((size.lanes, 1), -1.0)

    def run() -> dict[str, Estimate]:
        with torch.no_grad():
            ys = torchsde.sdeint(Well(), start, times, dt=STEP_SIZE, method="euler")
        return results(ys[-1], None, size)

    return run


def numpy_vectorised(size: Size) -> Callable[[], Any]:
    """NumPy arrays over lanes, updated in place, 4,096 at a time so that they stay in the cache."""
    import numpy as np

    block = min(4096, size.lanes)

    def advance(x: Any, exits: Any, rng: Any) -> None:
        noise, force = np.empty_like(x), np.empty_like(x)
        for number in range(1, size.steps + 1):
            rng.standard_normal(out=noise, dtype=np.float32)
            np.multiply(x, x, out=force)
            force -= np.float32(1)
            force *= x
            force *= np.float32(STEP_SIZE)
            noise *= np.float32(amplitude())
            x -= force
            x += noise
            exits[(x > BARRIER) & (exits > number)] = number

    def run() -> dict[str, Estimate]:
        rng = np.random.default_rng(5)
        x = np.full(size.lanes, -1.0, np.float32)
        exits = np.full(size.lanes, 0xFFFFFFFF, np.uint32)
        for begin in range(0, size.lanes, block):
            advance(x[begin : begin + block], exits[begin : begin + block], rng)
        return results(x, exits, size)

    return run


def numba_parallel(size: Size) -> Callable[[], Any]:
    """A compiled parallel loop over lanes with numba's own generator, one per thread."""
    import numba
    import numpy as np

    threads = min(size.cores, numba.config.NUMBA_NUM_THREADS)
    numba.set_num_threads(threads)

    @numba.njit(parallel=True, fastmath=False)
    def simulate(x: Any, exits: Any, steps: int, dt: Any, scale: Any, barrier: Any) -> None:
        for lane in numba.prange(x.shape[0]):
            w = x[lane]
            exit_step = np.uint32(0xFFFFFFFF)
            for number in range(1, steps + 1):
                w = w - dt * (w * (w * w - np.float32(1.0))) + scale * np.float32(np.random.normal())
                if w > barrier and exit_step == np.uint32(0xFFFFFFFF):
                    exit_step = np.uint32(number)
            x[lane] = w
            exits[lane] = exit_step

    def run() -> dict[str, Estimate]:
        x = np.full(size.lanes, -1.0, np.float32)
        exits = np.full(size.lanes, 0xFFFFFFFF, np.uint32)
        simulate(x, exits, size.steps, np.float32(STEP_SIZE), np.float32(amplitude()), np.float32(BARRIER))
        return results(x, exits, size)

    return run


def cpp_limit(size: Size, mode: str, folder: pathlib.Path) -> Callable[[], Any]:
    """See limits/well.cpp."""
    program = machine.build("well", folder)
    command = [str(program), mode, str(size.lanes), str(size.steps), str(size.cores), "1", str(STEP_SIZE),
               str(TEMPERATURE)]

    def run() -> Timed:
        wall, cpu, (lanes, mean, square, _, exit_mean, exit_square) = machine.run_limit(command)
        variance = square - mean**2
        return Timed(wall, cpu, {
            "x mean": Estimate(mean, math.sqrt(variance / lanes)),
            "exit step": Estimate(exit_mean, math.sqrt((exit_square - exit_mean**2) / lanes)),
        })

    return run


# ------------------------------------------------------------------------------------------- wells of more dimensions


def coupled(x: Any) -> Any:
    """Return double wells in every coordinate, each drawn to the mean of all."""
    import jax.numpy as jnp

    return jnp.sum((x * x - 1) ** 2) / 4 + 0.1 * jnp.sum((x - jnp.mean(x)) ** 2)


def coupled_mean(problem: Any, x: Any) -> Any:
    """Return what is recorded: the mean over the coordinates."""
    return x.mean()


def sde_sgd_coupled(size: Size, dim: int) -> Callable[[], Any]:
    """The package, on a potential it knows nothing of."""
    import jax
    import jax.numpy as jnp

    problem = ss.problems.potential(coupled, start=-jnp.ones((dim,), jnp.float32))
    process = ss.Langevin(STEP_SIZE, temperature=TEMPERATURE)

    def run() -> dict[str, Estimate]:
        ds = ss.simulate(problem, process, num_seeds=size.lanes, num_steps=size.steps, progress=False,
                         record={"x": ss.EnsembleMoments(coupled_mean)}, key=jax.random.key(1))
        end = ds.isel(step=-1)
        return {f"x {name}": Estimate(float(end[f"x_{name}"]), float(end[f"x_{name}_stderr"]))
                for name in ("mean", "variance")}

    return run


def jax_coupled(size: Size, dim: int, per_lane: bool) -> Callable[[], Any]:
    """Natural JAX: one lane vmapped with its own key, or all lanes with one draw a step."""
    import jax
    import jax.numpy as jnp

    def moved(x: Any, noise: Any) -> Any:
        return x - STEP_SIZE * jax.grad(coupled)(x) + amplitude() * noise

    def lane(key: Any) -> Any:
        def step(x: Any, number: Any) -> Any:
            return moved(x, jax.random.normal(jax.random.fold_in(key, number), (dim,))), None

        return jax.lax.scan(step, -jnp.ones((dim,)), jnp.arange(size.steps, dtype=jnp.uint32))[0]

    def together(key: Any) -> Any:
        def step(x: Any, key: Any) -> Any:
            return jax.vmap(moved)(x, jax.random.normal(key, x.shape)), None

        return jax.lax.scan(step, -jnp.ones((size.lanes, dim)), jax.random.split(key, size.steps))[0]

    simulate = jax.jit(jax.vmap(lane) if per_lane else together)
    key = jax.random.key(3)
    keys = jax.random.split(key, size.lanes) if per_lane else key
    return lambda: machine.moments(jax.block_until_ready(simulate(keys)).mean(axis=-1), "x")


def scalar_contenders(size: Size, folder: pathlib.Path) -> Sequence[Contender]:
    """Return everything that runs the scalar well; the first is what the others are held against."""
    slow, slower = size.share(1 / 8), size.share(1 / 256)
    unrecorded = "records no exits"
    return [
        Contender("sde_sgd simulate", size.work, lambda: sde_sgd_simulate(size), unrecorded),
        Contender("sde_sgd first_passage", size.work, lambda: sde_sgd_first_passage(size),
                  "lanes that are done leave; work counted as if every lane made all steps"),
        Contender("JAX scan, one normal a step", size.work, lambda: jax_vector_normal(size)),
        Contender("JAX vmap, fold_in per lane", size.share(1 / 2).work, lambda: jax_per_lane(size.share(1 / 2))),
        Contender("diffrax Euler, plain path", slow.work, lambda: diffrax_euler(slow, "plain"), unrecorded),
        Contender("diffrax Euler, virtual tree", slower.work, lambda: diffrax_euler(slower, "tree"), unrecorded),
        Contender("torchsde Euler", slow.work, lambda: torchsde_euler(slow), unrecorded),
        Contender("NumPy vectorised", slow.work, lambda: numpy_vectorised(slow)),
        Contender("numba prange", size.share(1 / 2).work, lambda: numba_parallel(size.share(1 / 2))),
        Contender("C++, one normal a block", size.work, lambda: cpp_limit(size, "single", folder),
                  "the same addresses as sde_sgd's"),
        Contender("C++, both of a pair", size.work, lambda: cpp_limit(size, "pair", folder),
                  "half the blocks: another addressing"),
    ]


def coupled_contenders(size: Size, dim: int) -> Sequence[Contender]:
    """Return everything that runs the coupled wells; work is counted in coordinates."""
    half = size.share(1 / 2)
    return [
        Contender("sde_sgd simulate", size.work * dim, lambda: sde_sgd_coupled(size, dim)),
        Contender("JAX vmap, fold_in per lane", half.work * dim, lambda: jax_coupled(half, dim, True)),
        Contender("JAX scan, one normal a step", half.work * dim, lambda: jax_coupled(half, dim, False)),
    ]


def main() -> None:
    parsed = machine.arguments(__doc__.splitlines()[0], lambda parser: [
        parser.add_argument("--lanes", type=int, default=65_536),
        parser.add_argument("--steps", type=int, default=10_000),
        parser.add_argument("--dims", type=int, nargs="*", default=[2, 3, 8, 64]),
    ])
    ss.configure(cpu_devices=parsed.cores, wide_vectors=True)
    size = Size(parsed.lanes, parsed.steps, parsed.cores)
    if parsed.quick:
        size = Size(min(parsed.lanes, 4096), min(parsed.steps, 200), parsed.cores)
    about = machine.describe(parsed.date)
    machine.print_machine(about)
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        title = f"Double well, overdamped Langevin, {size.lanes} lanes, {size.steps} steps, float32"
        rows = machine.compare(scalar_contenders(size, pathlib.Path(folder)), parsed.repeats, parsed.only)
        machine.print_table(title, "lane-steps", rows)
        tables.append(machine.as_json(title, "lane-steps", rows, dataclasses.asdict(size)))
    for dim in parsed.dims:
        # About as many coordinates in all, but never less than two tiles a core.
        steps = max(size.steps // dim, 50)
        smaller = Size(max(size.lanes // 4, 2048), steps, parsed.cores)
        title = f"Coupled double wells, dimension {dim}, {smaller.lanes} lanes, {smaller.steps} steps, float32"
        rows = machine.compare(coupled_contenders(smaller, dim), parsed.repeats, parsed.only)
        machine.print_table(title, "coordinate-steps", rows)
        tables.append(machine.as_json(title, "coordinate-steps", rows, dataclasses.asdict(smaller) | {"dim": dim}))
    machine.write(parsed.out, "wells", about, tables)


if __name__ == "__main__":
    main()
