"""A comparison of processes as rows, and as plain text for a terminal."""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sde_sgd.analysis.columns import WIDTH, cut, line, rounded
from sde_sgd.analysis.weak_error import INCONCLUSIVE, REFERENCE_DIVERGED

if TYPE_CHECKING:
    import xarray

_NOTES = {INCONCLUSIVE: ("inconclusive", "inconclusive: below the Monte-Carlo floor, three standard errors; more seeds "
                                         "may resolve it")}


def comparison_table(errors: "xarray.Dataset") -> list[dict[str, Any]]:
    """Turn the result of ``weak_error`` into rows, one for each process in each cell.

    Parameters
    ----------
    errors
        What ``weak_error`` returns, of a scalar quantity. Of several records the last is taken.

    Returns
    -------
    rows : list of dict
        ``process``, ``batch_size``, ``learning_rate`` (None where the dataset does not say), ``mean``, ``spread`` and
        ``error``, each with its ``_stderr``, ``verdict``, ``quantity`` and ``reference``; sorted by batch size,
        learning rate and the order of the processes. Numbers are not rounded.

    Raises
    ------
    ValueError
        If the quantity has dims of its own.
    """
    final = errors.isel({dim: -1 for dim in ("step", "time") if dim in errors.dims})
    cells = [dim for dim in ("batch_size", "learning_rate") if dim in final.dims]
    extra = [dim for dim in final.error.dims if dim not in (*cells, "process")]
    if extra:
        raise ValueError(f"errors must be of a scalar quantity, got the further dims {extra}. Select one component.")
    rows = []
    for labels in itertools.product(*(final[dim].sortby(dim).values for dim in cells), final.process.values):
        row = final.sel(dict(zip((*cells, "process"), labels, strict=True)))
        numbers = {name: row[name].item() for name in ("mean", "mean_stderr", "spread", "spread_stderr", "error",
                                                       "error_stderr", "verdict")}
        where = {name: row[name].item() if name in row.coords else None
                 for name in ("process", "batch_size", "learning_rate")}
        rows.append(where | numbers | {name: errors.attrs[name] for name in ("quantity", "reference")})
    return rows


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of ``comparison_table`` as aligned plain text, at most 100 columns wide.

    Every number is rounded to two digits of its own standard error; numbers without one have six digits. Long names of
    processes are cut where they would break the width. Cells are set apart by an empty line.

    Parameters
    ----------
    rows
        Rows of one quantity and one reference.

    Returns
    -------
    text : str
        Two lines of header, a rule, the rows, and notes on the verdicts that need one.

    Raises
    ------
    ValueError
        If there are no rows.
    """
    if not rows:
        raise ValueError("rows is empty, there is nothing to print. Pass the rows of comparison_table.")
    reference = rows[0]["reference"]
    header = [("", "process"), ("batch", "size"), ("learning", "rate"), ("mean", rows[0]["quantity"][:10]),
              ("spread", "over seeds"), ("difference", f"from {cut(reference, 10)}"), ("standard", "error"),
              ("", "verdict")]
    body = [_cells(row) for row in rows]
    widths = [max(len(text) for text in column) for column in zip(*zip(*header, strict=True), *body, strict=True)]
    gap = 2 if sum(widths) + 2 * (len(widths) - 1) <= WIDTH else 1
    widths[0] = min(widths[0], WIDTH - sum(widths[1:]) - gap * (len(widths) - 1))
    lines = [line(head, widths, gap) for head in zip(*header, strict=True)]
    lines.append("-" * (sum(widths) + gap * (len(widths) - 1)))
    lines += _spaced([line(cells, widths, gap) for cells in body], rows)
    notes = [note for verdict, (_, note) in _NOTES.items() if any(row["verdict"] == verdict for row in rows)]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    is_reference = row["process"] == row["reference"]
    difference = ("-", "-") if is_reference else (
        rounded(row["error"], row["error_stderr"]), rounded(row["error_stderr"], row["error_stderr"]))
    verdict = _NOTES.get(row["verdict"], (row["verdict"],))[0]
    verdict = REFERENCE_DIVERGED.rstrip(": ") if verdict.startswith(REFERENCE_DIVERGED) else verdict
    settings = ("-" if row[name] is None else f"{row[name]:g}" for name in ("batch_size", "learning_rate"))
    return (row["process"], *settings, rounded(row["mean"], row["mean_stderr"]),
            rounded(row["spread"], row["spread_stderr"]), *difference, verdict)


def _spaced(lines: Sequence[str], rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines with an empty one between two cells."""
    cells = [(row["batch_size"], row["learning_rate"]) for row in rows]
    for index, text in enumerate(lines):
        if index and cells[index] != cells[index - 1]:
            yield ""
        yield text
