"""The command line: `sde-sgd compare`, `sde-sgd escape` and `sde-sgd reproduce`."""

import argparse
import os
import pathlib
import platform
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from sde_sgd import papers


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Bad input ends in one line on standard error and status 2, without a traceback.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        print(f"sde-sgd {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"sde-sgd {options.command}: interrupted, nothing was written.", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """Refuses bad arguments in one line, without the usage in front."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. See {self.prog} --help.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="sde-sgd", description="SGD beside its continuous-time models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_compare, _add_escape, _add_reproduce):
        command = add(commands)
        command.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"), help="folder for results (out)")
        command.add_argument("--quick", action="store_true", help="a smaller run, in a minute or, for networks, three")
        command.add_argument("--seed", type=int, default=0, help="seed of the run's key (0)")
    return parser


def _add_compare(commands: Any) -> argparse.ArgumentParser:
    compare = commands.add_parser(
        "compare",
        help="SGD, gradient flow, SME-1, SME-2 and Gaussian-noise gradient descent on real data",
        description="Run SGD and its models on two real data sets over batch sizes, learning rates and seeds; print "
        "the table, write compare.nc and compare.png.",
    )
    compare.add_argument("--num-seeds", type=int, help="lanes of every cell (64)")
    compare.add_argument("--time", type=float, help="length of the run, learning rate x steps (6)")
    compare.add_argument("--learning-rates", type=_numbers(float), help="comma-separated")
    compare.add_argument("--batch-sizes", type=_numbers(int), help="comma-separated")
    compare.add_argument("--processes", type=lambda text: text.split(","), help="comma-separated; all by default")
    compare.set_defaults(run=_compare)
    return compare


def _add_escape(commands: Any) -> argparse.ArgumentParser:
    escape = commands.add_parser(
        "escape",
        help="escape times of SGD, its Gaussian twin and its SDE, beside exact theory",
        description="Measure mean escape times from a double well over batch sizes, by brute force and by splitting; "
        "print the table, write escape.nc and escape.png.",
    )
    escape.add_argument("--learning-rate", type=float, help="step of the discrete processes (0.01)")
    escape.add_argument("--batch-sizes", type=_numbers(int), help="comma-separated (2,3,4,6,10)")
    escape.add_argument("--num-lanes", type=int, help="runs of every brute-force cell (2000)")
    escape.set_defaults(run=_escape)
    return escape


def _add_reproduce(commands: Any) -> argparse.ArgumentParser:
    reproduce = commands.add_parser(
        "reproduce",
        help="the claims of a paper, measured",
        description="Run the experiments of a paper; print its claims with theory, measured value, standard error and "
        "verdict, write PAPER.nc and PAPER.png.",
    )
    reproduce.add_argument("paper", metavar="PAPER", help=f"one of {', '.join(papers.names())}")
    reproduce.add_argument("--data", type=pathlib.Path, help="images for the papers that can use some: an .npz file "
                           "with x_train, y_train, x_test and y_test (none: the digits of scikit-learn alone)")
    reproduce.set_defaults(run=_reproduce)
    return reproduce


def _numbers(kind: type):
    def parse(text: str) -> list:
        return [kind(part) for part in text.split(",")]

    parse.__name__ = f"list of {kind.__name__}"  # argparse shows it in its error
    return parse


def _compare(options: argparse.Namespace) -> int:
    from sde_sgd import compare

    settings = compare.settings(
        quick=options.quick,
        num_seeds=options.num_seeds,
        time=options.time,
        learning_rates=options.learning_rates,
        batch_sizes=options.batch_sizes,
        processes=options.processes,
        seed=options.seed,
    )
    _set_machine_up()
    compare.run(settings, options.out)
    return 0


def _escape(options: argparse.Namespace) -> int:
    from sde_sgd import escape

    settings = escape.settings(
        quick=options.quick,
        learning_rate=options.learning_rate,
        batch_sizes=options.batch_sizes,
        num_lanes=options.num_lanes,
        seed=options.seed,
    )
    _set_machine_up()
    escape.run(settings, options.out)
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    from sde_sgd.papers.reproduce import reproduce

    paper = papers.load(options.paper)
    size = paper.quick if options.quick else paper.full
    if options.data is not None:
        size = papers.with_data(paper, size, options.data)
    _set_machine_up()
    reproduce(paper, size, options.out, seed=options.seed)
    return 0


def _set_machine_up() -> None:
    """Set this process up for large ensembles, as a user's own process never is unasked."""
    from sde_sgd.configure import configure

    configure(cpu_devices=os.cpu_count(), wide_vectors=True, compilation_cache=_cache_folder())


def _cache_folder() -> pathlib.Path:
    """Return the folder of compiled programs: one for every jaxlib and kind of processor."""
    import hashlib
    import importlib.metadata

    from sde_sgd.results.provenance import instruction_set

    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    machine = hashlib.sha256(f"{instruction_set()} {platform.python_version()}".encode()).hexdigest()[:12]
    return base / "sde-sgd" / f"jaxlib-{importlib.metadata.version('jaxlib')}-{machine}"
