"""One progress bar for a long run: lane-steps done, their rate and the time left. Silent unless on a terminal."""

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(
    total: float | None, description: str, show: bool | None, unit: str = "lane-steps"
) -> Iterator[Callable[[float], None]]:
    """Yield a function that is told how many units of work were done.

    Parameters
    ----------
    total
        Units of the whole run; None: not known.
    description
        What runs.
    show
        None: only when standard error is a terminal.
    unit
        What is counted.
    """
    if show is None:
        show = sys.stderr.isatty()
    if not show:
        yield lambda amount: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task):
            of_all = "" if task.total is None else f"/{_short(task.total)}"
            return Text(f"{_short(task.completed)}{of_all} {unit}, {_short(task.speed or 0)}/s")

    columns = (TextColumn("{task.description}"), BarColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda amount: bar.advance(task, amount)


def _short(number: float) -> str:
    for unit in ("", "k", "M", "G", "T"):
        if abs(number) < 1000:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g}P"
