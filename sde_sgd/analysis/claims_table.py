"""Many claims together: as a dataset, and as plain text for a terminal."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sde_sgd.analysis.claims import Claim, Relation, Verdict
from sde_sgd.analysis.columns import WIDTH, line, rounded
from sde_sgd.analysis.hypotheses import holm

if TYPE_CHECKING:
    import xarray

# The probability that any of the inequalities and equivalences said to hold together does not.
_FAMILY_LEVEL = 0.05


def claims_dataset(claims: Sequence[Claim]) -> "xarray.Dataset":
    """Turn claims into a dataset that NetCDF can hold.

    Parameters
    ----------
    claims
        The records.

    Returns
    -------
    dataset : xarray.Dataset
        One dim, ``claim``, and a variable for every field of `Claim`, for the verdict, the ``p_value`` of inequalities
        and equivalences, and the ``p_value_adjusted`` for testing all of them. ``measured`` is NaN where nothing was
        measured, ``resolution`` is the one used.

    Raises
    ------
    ValueError
        If there are no claims.

    Examples
    --------
    >>> from sde_sgd.analysis import Claim, claims_dataset
    >>> str(claims_dataset([Claim("two and two", "page 1", 4.0, 4.0)]).verdict[0].item())
    'confirmed'
    """
    from sde_sgd.results.dataset import build

    _check_not_empty(claims)
    texts = {name: [getattr(claim, name) for claim in claims] for name in ("statement", "source", "note")}
    texts["relation"] = [claim.relation.value for claim in claims]
    texts["verdict"] = [claim.verdict.value for claim in claims]
    numbers = {name: [getattr(claim, name) for claim in claims]
               for name in ("theory", "standard_error", "tolerance", "degrees_of_freedom", "p_value")}
    numbers["measured"] = [math.nan if claim.measured is None else claim.measured for claim in claims]
    numbers["p_value_adjusted"] = holm(numbers["p_value"]).tolist()
    numbers["resolution"] = [claim.finest for claim in claims]
    columns = {name: np.asarray(values) for name, values in texts.items()}
    columns |= {name: np.asarray(values, np.float64) for name, values in numbers.items()}
    return build({name: (("claim",), values) for name, values in columns.items()}, {}, {})


def format_claims(claims: Sequence[Claim]) -> str:
    """Format claims as plain text: theory, measured, standard error, verdict; at most 100 columns wide.

    Every number is rounded to two digits of the standard error of its row. Below the table stand the notes, how many
    claims had which verdict, and how many inequalities and equivalences hold together (`holm`).

    Parameters
    ----------
    claims
        The records, printed in their order.

    Returns
    -------
    text : str
        The table.

    Raises
    ------
    ValueError
        If there are no claims.

    Examples
    --------
    >>> from sde_sgd.analysis import Claim, format_claims
    >>> print(format_claims([Claim("two and two", "page 1", 4.0, 4.0)]))
    claim                theory  measured  standard error  verdict
    ----------------------------------------------------------------
    page 1: two and two       4         4               0  confirmed
    <BLANKLINE>
    1 confirmed.
    """
    _check_not_empty(claims)
    header = ("claim", "theory", "measured", "standard error", "verdict")
    body = [(f"{claim.source}: {claim.statement}", *_numbers(claim), claim.verdict.value) for claim in claims]
    widths = [max(len(text) for text in column) for column in zip(header, *body, strict=True)]
    gap = 2
    widths[0] = min(widths[0], WIDTH - sum(widths[1:]) - gap * (len(widths) - 1))
    lines = [line(header, widths, gap), "-" * (sum(widths) + gap * (len(widths) - 1))]
    for name, *cells in body:
        first, *rest = textwrap.wrap(name, widths[0], subsequent_indent="  ")
        lines += [line((first, *cells), widths, gap), *rest]
    return "\n".join([*lines, "", *_notes(claims), _summary(claims)])


def _numbers(claim: Claim) -> tuple[str, str, str]:
    # Six digits at most, however small the error.
    place = max(claim.standard_error, 1e-5 * abs(claim.theory)) if claim.standard_error else 0.0
    relation = "" if claim.relation is Relation.EQUAL else f"{claim.relation.value} "
    theory = f"{relation}{_shown(claim.theory, place)}"
    if claim.measured is None:
        return theory, "-", "-"
    return theory, _shown(claim.measured, place), rounded(claim.standard_error, claim.standard_error)


def _shown(value: float, place: float) -> str:
    return f"{value:g}" if math.isinf(value) else rounded(value, place)


def _notes(claims: Sequence[Claim]) -> Iterator[str]:
    """Yield the notes, each once for a source and a verdict."""
    noted = dict.fromkeys((claim.source, claim.verdict.value, claim.note) for claim in claims if claim.note)
    for source, verdict, note in noted:
        yield from textwrap.wrap(f"{source}, {verdict}: {note}", WIDTH, subsequent_indent="  ")
    if noted:
        yield ""


def _summary(claims: Sequence[Claim]) -> str:
    counts = {verdict: sum(claim.verdict is verdict for claim in claims) for verdict in Verdict}
    summary = ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items() if count) + "."
    adjusted = holm([claim.p_value for claim in claims])
    tested, held = int(np.sum(~np.isnan(adjusted))), int(np.sum(adjusted < _FAMILY_LEVEL))
    if tested:
        summary += f" Of {tested} inequalities and equivalences {held} hold together at 5 % (Holm)."
    return summary


def _check_not_empty(claims: Sequence[Claim]) -> None:
    if not claims:
        raise ValueError("claims is empty, there is nothing to say. Pass at least one Claim.")
