"""What every benchmark shares: the description of the machine, timing side by side, the printed table and the JSON.

Contenders are prepared first (their compilation timed apart), then take turns, one repeat each per round, so that a
change in the machine's load falls on all of them. Both clocks are read: wall time, which other work on the cores
spoils, and the CPU time of this process with all its threads, which it spoils less.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

LIMITS = pathlib.Path(__file__).parent / "limits"
PACKAGES = ("jax", "jaxlib", "numpy", "diffrax", "torch", "torchsde", "numba", "flax", "optax", "sde-sgd")
INSTRUCTION_SETS = ("avx512f", "avx2", "avx", "sse4_2", "neon", "asimd")
COMPILER_FLAGS = ("-O3", "-march=native", "-mprefer-vector-width=512", "-fno-math-errno", "-fno-trapping-math",
                  "-std=c++17", "-pthread")


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An accuracy number with its standard error (0 if exact)."""

    value: float
    stderr: float


@dataclasses.dataclass(frozen=True)
class Timed:
    """What a run returns that measured itself, such as another process."""

    wall: float
    cpu: float
    accuracy: dict[str, Estimate]


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to do the work.

    ``prepare()`` returns ``run``, and ``run()`` does all of the work and returns the accuracy numbers (or a `Timed`).
    What the contender needs is imported in ``prepare``: an ImportError there makes a 'not installed' row. ``work`` is
    the number of units one run makes; slow contenders make fewer of them, by fewer lanes, never by fewer steps.
    """

    name: str
    work: float
    prepare: Callable[[], Callable[[], Any]]
    note: str = ""


@dataclasses.dataclass
class Row:
    """The measurements of one contender."""

    name: str
    work: float
    note: str = ""
    status: str = "ok"
    compile_seconds: float = math.nan
    wall: list[float] = dataclasses.field(default_factory=list)
    cpu: list[float] = dataclasses.field(default_factory=list)
    accuracy: dict[str, Estimate] = dataclasses.field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Units of work per wall second, the best of all repeats."""
        return self.work / min(self.wall) if self.wall else math.nan

    @property
    def median_rate(self) -> float:
        """Units of work per wall second, the median."""
        return self.work / statistics.median(self.wall) if self.wall else math.nan

    @property
    def cpu_rate(self) -> float:
        """Units of work per second of CPU time, the best of all repeats."""
        return self.work / min(self.cpu) if self.cpu else math.nan


class NotInstalled(ImportError):
    """A peer, or what it takes to build it, is missing."""


def arguments(description: str, add: Callable[[argparse.ArgumentParser], None] | None = None) -> argparse.Namespace:
    """Parse what every benchmark takes: --out, --quick, --repeats, --cores, --date, --only."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the JSON file")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes: does it run at all?")
    parser.add_argument("--repeats", type=int, default=None, help="rounds; default 5, with --quick 2")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="cores to use; default all")
    parser.add_argument("--date", default=None, help="written into the JSON file as it is given")
    parser.add_argument("--only", default="", help="run only the contenders whose name contains this")
    if add is not None:
        add(parser)
    parsed = parser.parse_args()
    if parsed.repeats is None:
        parsed.repeats = 2 if parsed.quick else 5
    parsed.out.mkdir(parents=True, exist_ok=True)
    return parsed


def describe(date: str | None = None) -> dict[str, Any]:
    """Return the machine, the versions and the load, as they are now."""
    model, flags = platform.processor(), ""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                model = value.strip()
            elif name.strip() in ("flags", "Features"):
                flags = value
    return {
        "date": date,
        "cpu": model,
        "isa": next((name for name in INSTRUCTION_SETS if name in flags.split()), platform.machine()),
        "cores": os.cpu_count(),
        "load_average": list(os.getloadavg()),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "compiler": compiler_version(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "devices": _devices(),
        "command": [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def compare(contenders: Sequence[Contender], repeats: int, only: str = "") -> list[Row]:
    """Prepare every contender, then let them take turns for ``repeats`` rounds; return their rows in order."""
    rows, runs = [], {}
    for contender in contenders:
        row = Row(contender.name, contender.work, contender.note)
        rows.append(row)
        if only not in contender.name:
            row.status = "not run"
            continue
        print(f"  preparing {contender.name} ...", file=sys.stderr, flush=True)
        begin = time.perf_counter()
        try:
            run = contender.prepare()
            _record(row, _timed(run), warm_up=True)
        except NotInstalled as error:
            row.status = f"not installed: {error}"
        except ImportError as error:
            row.status = f"not installed: {error.name or error}"
        else:
            # The first run compiles; what it does beyond compiling is known after the others.
            row.compile_seconds = time.perf_counter() - begin
            runs[contender.name] = (row, run)
    for round_number in range(repeats):
        for name, (row, run) in runs.items():
            print(f"  round {round_number + 1}/{repeats}: {name}          ", end="\r", file=sys.stderr, flush=True)
            _record(row, _timed(run))
    print(" " * 79, end="\r", file=sys.stderr)
    for row, _ in runs.values():
        row.compile_seconds = max(row.compile_seconds - min(row.wall), 0.0)
    return rows


def _timed(run: Callable[[], Any]) -> Timed:
    wall, cpu = time.perf_counter(), time.process_time()
    result = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return result if isinstance(result, Timed) else Timed(wall, cpu, result)


def _record(row: Row, timed: Timed, warm_up: bool = False) -> None:
    row.accuracy = timed.accuracy
    if not warm_up:
        row.wall.append(timed.wall)
        row.cpu.append(timed.cpu)


def moments(values: Any, name: str) -> dict[str, Estimate]:
    """Return the mean and the variance of independent values, each with its standard error."""
    import numpy as np

    values = np.asarray(values, np.float64).ravel()
    count, mean = len(values), values.mean()
    second, fourth = (np.mean((values - mean) ** power) for power in (2, 4))
    return {
        f"{name} mean": Estimate(float(mean), float(np.sqrt(second / count))),
        f"{name} variance": Estimate(float(second), float(np.sqrt(max(fourth - second**2, 0.0) / count))),
    }


def mean_of(values: Any, name: str) -> dict[str, Estimate]:
    """Return the mean of independent values with its standard error."""
    import numpy as np

    values = np.asarray(values, np.float64).ravel()
    return {name: Estimate(float(values.mean()), float(values.std() / math.sqrt(len(values))))}


def print_table(title: str, unit: str, rows: Sequence[Row], reference: Mapping[str, Estimate] | None = None) -> None:
    """Print the rows; each against the first, whose rate is the numerator of every ratio, per CPU and per wall second.

    ``z`` compares an accuracy number with ``reference`` if given, else with the first row's, in standard errors.
    """
    print(f"\n{title}\n{'-' * len(title)}")
    print(f"{'':<34}{'M ' + unit + '/CPU s':>26}{'/wall s':>10}{'first is (CPU)':>16}{'(wall)':>9}{'compile s':>11}  "
          "accuracy (standard error; z)")
    first = rows[0]
    reference = first.accuracy if reference is None else reference
    for row in rows:
        if row.status != "ok":
            print(f"{row.name:<34}{row.status:>26}")
            continue
        by_cpu, by_wall = first.cpu_rate / row.cpu_rate, first.rate / row.rate
        print(f"{row.name:<34}{row.cpu_rate / 1e6:>26.4g}{row.rate / 1e6:>10.4g}{f'{by_cpu:.3g}x':>16}"
              f"{f'{by_wall:.3g}x':>9}{row.compile_seconds:>11.2f}  {_accuracy(row, reference)}")
        if row.note:
            print(f"{'':<34}  ({row.note})")
    for name, estimate in (reference if reference is not first.accuracy else {}).items():
        print(f"{'reference':<34}{'':>64}  {name} {estimate.value:.6g}")
    sys.stdout.flush()


def _accuracy(row: Row, reference: Mapping[str, Estimate]) -> str:
    parts = []
    for name, estimate in row.accuracy.items():
        z = ""
        if name in reference and estimate is not reference[name]:
            spread = math.hypot(estimate.stderr, reference[name].stderr)
            z = f"; {(estimate.value - reference[name].value) / spread:+.1f}" if spread > 0 else ""
        parts.append(f"{name} {estimate.value:.5g} ({estimate.stderr:.1g}{z})")
    return ", ".join(parts)


def as_json(title: str, unit: str, rows: Sequence[Row], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return one table as plain data."""
    return {
        "title": title,
        "unit": unit,
        "settings": dict(settings),
        "rows": [
            dataclasses.asdict(row)
            | {"rate": row.rate, "median_rate": row.median_rate, "cpu_rate": row.cpu_rate,
               "first_over_this": rows[0].rate / row.rate if row.wall else math.nan,
               "first_over_this_by_cpu": rows[0].cpu_rate / row.cpu_rate if row.cpu else math.nan}
            for row in rows
        ],
    }


def write(out: pathlib.Path, name: str, machine: Mapping[str, Any], tables: Sequence[Mapping[str, Any]]) -> None:
    """Write the tables with the description of the machine, taken at the start, and the load at the end."""
    document = {"machine": dict(machine), "load_average_at_end": list(os.getloadavg()), "tables": list(tables)}
    path = out / f"{name}.json"
    # JSON knows no NaN: what was not measured is null.
    path.write_text(json.dumps(_plain(document), indent=1) + "\n")
    print(f"\nwritten to {path}")


def print_machine(machine: Mapping[str, Any]) -> None:
    """Print one line on the machine, and a warning if it is busy."""
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['isa']}, Python {machine['python']}, "
          f"jax {machine['versions']['jax']}, load {machine['load_average'][0]:.2f}")
    if machine["load_average"][0] > 0.5:
        print("The machine is busy: wall times below are not to be trusted, look at the time per CPU second.")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> list[str]:
    import jax

    return [f"{device.platform}:{device.device_kind}" for device in jax.devices()]


def compiler() -> str | None:
    """Return the system's C++ compiler, or None."""
    return next((found for name in ("g++", "clang++") if (found := shutil.which(name))), None)


def compiler_version() -> str:
    """Return the first line of what the compiler says of itself."""
    found = compiler()
    if found is None:
        return "not installed"
    return subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def build(name: str, folder: pathlib.Path) -> pathlib.Path:
    """Compile ``limits/<name>.cpp`` into ``folder`` for this very machine; raise `NotInstalled` without a compiler."""
    found = compiler()
    if found is None:
        raise NotInstalled("a C++ compiler")
    program = folder / name
    # Clang has no use for GCC's width option on every machine; it is a preference, not needed for correctness.
    flags = [flag for flag in COMPILER_FLAGS if "g++" in pathlib.Path(found).name or "vector-width" not in flag]
    built = subprocess.run([found, *flags, str(LIMITS / f"{name}.cpp"), "-o", str(program)],
                           capture_output=True, text=True, check=False)
    if built.returncode:
        raise NotInstalled(f"a C++ compiler that builds {name}.cpp: {built.stderr.strip().splitlines()[0]}")
    return program


def run_limit(command: Sequence[str]) -> tuple[float, float, list[float]]:
    """Run a built program once; return the wall and CPU seconds it reports and its result line."""
    printed = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout.splitlines()
    times = [tuple(map(float, line.split()[1:])) for line in printed if line.startswith("time")]
    result = [float(word) for word in printed[-1].split()[1:]]
    wall, cpu = min(times)
    return wall, cpu, result
