"""Plain text in columns for a terminal: numbers rounded to their own standard error, lines at most 100 wide."""

import math
from collections.abc import Sequence

WIDTH = 100


def rounded(value: float, stderr: float) -> str:
    """Return ``value`` to two digits of its standard error; ``"-"`` if it is not finite."""
    if not math.isfinite(value):
        return "-"
    if not (math.isfinite(stderr) and stderr > 0):
        return f"{value:.6g}"
    decimals = 1 - math.floor(math.log10(stderr))
    if -3 <= decimals <= 6 and abs(value) < 1e6:
        return f"{round(value, decimals):.{max(decimals, 0)}f}"
    digits = math.floor(math.log10(max(abs(value), stderr))) + decimals
    return f"{value:.{max(digits, 0)}e}"


def cut(text: str, width: int) -> str:
    """Return ``text``, its end replaced by two points where it is longer than ``width``."""
    return text if len(text) <= width else text[:max(width - 2, 0)] + ".."


def line(cells: Sequence[str], widths: Sequence[int], gap: int) -> str:
    """Set one line: the first and the last cell to the left, numbers between them to the right."""
    last = len(cells) - 1
    padded = [cut(cell, width).ljust(width) if index in (0, last) else cell.rjust(width)
              for index, (cell, width) in enumerate(zip(cells, widths, strict=True))]
    return (" " * gap).join(padded).rstrip()
