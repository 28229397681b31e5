"""Streaming statistics need no more memory for more steps: the peak of a run of a million lanes, by its length.

    python benchmarks/memory.py --out results [--quick]

Every run has a process of its own, whose peak resident memory the system reports. Moments and a histogram along every
lane, the moments over the lanes and the end of every lane are kept.
"""

import json
import resource
import subprocess
import sys
from typing import Any

import machine

LENGTHS = (10, 100, 1000)


def well(x: Any) -> Any:
    """Return the scalar double well."""
    return (x * x - 1) ** 2 / 4


def position(problem: Any, x: Any) -> Any:
    """Return what is recorded."""
    return x


def run(lanes: int, steps: int, cores: int) -> dict[str, float]:
    """Make one run in this process; return its peak memory before and after, in bytes."""
    import jax

    import sde_sgd as ss

    ss.configure(cpu_devices=cores, wide_vectors=True)
    problem, process = ss.problems.potential(well, start=-1.0), ss.Langevin(0.01, temperature=0.25)
    record = {
        "over_time": ss.Moments(position, every=5),
        "law": ss.Histogram(position, edges=(-2.0, -1.0, 0.0, 1.0, 2.0), every=5),
        "over_lanes": ss.EnsembleMoments(position),
        "end": ss.Snapshots(position),
    }
    jax.block_until_ready(jax.numpy.zeros(1) + 1)
    before = peak()
    ds = ss.simulate(problem, process, num_seeds=lanes, num_steps=steps, record=record, progress=False,
                     key=jax.random.key(1))
    return {"before": before, "peak": peak(), "variance": float(ds.over_time_variance)}


def peak() -> int:
    """Return the peak resident memory of this process in bytes."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


def main() -> None:
    parsed = machine.arguments(__doc__.splitlines()[0], lambda parser: [
        parser.add_argument("--lanes", type=int, default=1_000_000),
        parser.add_argument("--steps", type=int, default=None, help="one run in this process (used by the script)"),
    ])
    lanes = 20_000 if parsed.quick else parsed.lanes
    if parsed.steps is not None:
        print(json.dumps(run(parsed.lanes, parsed.steps, parsed.cores)))
        return
    about = machine.describe(parsed.date)
    machine.print_machine(about)
    title = f"Peak memory of a run of {lanes} lanes with streaming statistics"
    print(f"\n{title}\n{'-' * len(title)}\n{'steps':>8}{'before the run':>18}{'peak':>12}{'variance':>12}")
    rows = []
    for steps in LENGTHS:
        command = [sys.executable, __file__, "--out", str(parsed.out), "--lanes", str(lanes), "--steps", str(steps),
                   "--cores", str(parsed.cores)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        row = {"steps": steps, **json.loads(printed.splitlines()[-1])}
        rows.append(row)
        print(f"{steps:>8}{row['before'] / 1e6:>15.0f} MB{row['peak'] / 1e6:>9.0f} MB{row['variance']:>12.4f}", flush=True)
    machine.write(parsed.out, "memory", about, [{"title": title, "lanes": lanes, "rows": rows}])


if __name__ == "__main__":
    main()
