"""How long `sde-sgd compare` takes to start: with an empty compilation cache, and again with what the first run left.

    python benchmarks/start_up.py --out results [--quick]

Both runs are processes of their own and do the same short work, so that nearly all of their time is start-up: imports,
tracing and compiling.
"""

import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import machine


def timed(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Run a command; return its wall and CPU seconds."""
    wall, cpu = time.perf_counter(), children()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return {"wall": time.perf_counter() - wall, "cpu": children() - cpu}


def children() -> float:
    """Return the CPU seconds of all processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parsed = machine.arguments(__doc__.splitlines()[0])
    about = machine.describe(parsed.date)
    machine.print_machine(about)
    title = "Start of `sde-sgd compare`, 2 lanes of every cell"
    print(f"\n{title}\n{'-' * len(title)}\n{'':<40}{'wall s':>10}{'CPU s':>10}")
    rows: list[dict[str, Any]] = []

    def add(name: str, measured: dict[str, float]) -> None:
        rows.append({"name": name, **measured})
        print(f"{name:<40}{measured['wall']:>10.1f}{measured['cpu']:>10.1f}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        # The command line keeps its cache in the user's cache folder: here an empty one.
        environment = os.environ | {"XDG_CACHE_HOME": str(pathlib.Path(folder) / "cache")}
        command = [sys.executable, "-m", "sde_sgd", "compare", "--quick", "--num-seeds", "2", "--time", "0.4", "--out", folder]
        if parsed.quick:
            command += ["--processes", "SGD", "--batch-sizes", "4"]
        add("import sde_sgd", timed([sys.executable, "-c", "import sde_sgd"], environment))
        add("compare, empty cache", timed(command, environment))
        for number in range(parsed.repeats):
            add(f"compare, cache filled ({number + 1})", timed(command, environment))
    machine.write(parsed.out, "start_up", about, [{"title": title, "rows": rows}])


if __name__ == "__main__":
    main()
