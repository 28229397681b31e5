"""Claims: every quantitative statement of a paper as one record, beside what was measured, with a verdict."""

import dataclasses
import enum
import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sde_sgd._core import checks
from sde_sgd.analysis.columns import WIDTH, line, rounded

if TYPE_CHECKING:
    import xarray

# In standard errors. A true statement is refuted once in 16 000 and fails to be confirmed once in 370 trials; between
# the two nothing is said.
CONFIRMED_WITHIN = 3.0
REFUTED_BEYOND = 4.0
# The coarsest standard error, as a share of the value claimed, at which agreement still means something.
_RESOLUTION = 0.01


class Verdict(enum.Enum):
    """What a measurement says of a claim."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"
    NOT_SHOWN = "not shown"


class Relation(enum.Enum):
    """How the measured value should lie to the value claimed."""

    EQUAL = "="
    BELOW = "<"
    ABOVE = ">"


@dataclasses.dataclass(frozen=True)
class Claim:
    r"""One quantitative statement beside its measurement.

    With the deviation d = measured - theory, s the standard error and t the tolerance, an equality is

    - *refuted* if :math:`|d| > t + 4 s`,
    - *confirmed* if :math:`|d| \le t + 3 s` and s is at most ``resolution``: agreement within a coarse error bar
      confirms nothing,
    - *inconclusive* otherwise.

    An inequality, d < 0 or d > 0, is confirmed where d has the sign claimed by more than 3 s, refuted where it has the
    other sign by more than t + 4 s. Equal infinities agree; a finite value and an infinite one do not.

    Parameters
    ----------
    statement
        What is claimed, one line of text, with the parameters it is tested at.
    source
        Where: section, equation, figure.
    theory
        The value claimed; infinite where a moment is claimed not to exist.
    measured
        The value found; None where this reproduction does not show it.
    standard_error
        Of ``measured``, from independent lanes; 0 where nothing was sampled.
    relation
        Whether ``measured`` should be equal to, below or above ``theory``.
    tolerance
        A deviation that the claim itself allows for: the accuracy of an approximation, or rounding. In units of the
        value.
    resolution
        Largest standard error with which an equality can be confirmed; by default 1 % of ``theory``, or the tolerance
        where that is larger.
    note
        Why it fails, or how it was judged; printed below the table.

    Raises
    ------
    TypeError, ValueError
        If ``theory`` is not a number, or the standard error, tolerance or resolution is negative.

    Examples
    --------
    >>> from sde_sgd.analysis import Claim, Relation
    >>> Claim("tail exponent is 10", "eq. 1", theory=10.0, measured=7.51, standard_error=0.05).verdict
    <Verdict.REFUTED: 'refuted'>
    >>> Claim("noise widens the law", "Sec. 2", 1.0, 1.21, 0.02, relation=Relation.ABOVE).verdict
    <Verdict.CONFIRMED: 'confirmed'>
    >>> Claim("variance is 1", "eq. 2", theory=1.0, measured=1.02, standard_error=0.2).verdict
    <Verdict.INCONCLUSIVE: 'inconclusive'>
    """

    statement: str
    source: str
    theory: float
    measured: float | None
    standard_error: float = 0.0
    relation: Relation = Relation.EQUAL
    tolerance: float = 0.0
    resolution: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        """Turn array scalars into floats and check them: claims are made from measured arrays."""
        for name in ("theory", "measured", "standard_error", "tolerance", "resolution"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, float(getattr(self, name)))
        if math.isnan(self.theory):
            raise ValueError(f"theory of the claim {self.statement!r} must be a number, got nan. Compute it first.")
        checks.non_negative("tolerance", self.tolerance)
        if self.resolution is not None:
            checks.non_negative("resolution", self.resolution)
        if self.standard_error < 0:
            raise ValueError(f"standard_error must not be negative, got {self.standard_error}. Pass nan if unknown.")

    @property
    def verdict(self) -> Verdict:
        """What the measurement says."""
        if self.measured is None:
            return Verdict.NOT_SHOWN
        if math.isnan(self.measured) or math.isnan(self.standard_error):
            return Verdict.INCONCLUSIVE
        deviation = 0.0 if self.measured == self.theory else self.measured - self.theory
        if self.relation is Relation.EQUAL:
            return self._equality(abs(deviation))
        return self._inequality(deviation if self.relation is Relation.BELOW else -deviation)

    @property
    def finest(self) -> float:
        """The largest standard error with which an equality can be confirmed."""
        if self.resolution is not None:
            return self.resolution
        return max(_RESOLUTION * abs(self.theory), self.tolerance)

    def _equality(self, distance: float) -> Verdict:
        if distance > self.tolerance + REFUTED_BEYOND * self.standard_error:
            return Verdict.REFUTED
        agrees = distance <= self.tolerance + CONFIRMED_WITHIN * self.standard_error
        return Verdict.CONFIRMED if agrees and self.standard_error <= self.finest else Verdict.INCONCLUSIVE

    def _inequality(self, excess: float) -> Verdict:
        if excess > self.tolerance + REFUTED_BEYOND * self.standard_error:
            return Verdict.REFUTED
        return Verdict.CONFIRMED if excess < -CONFIRMED_WITHIN * self.standard_error else Verdict.INCONCLUSIVE


def claims_dataset(claims: Sequence[Claim]) -> "xarray.Dataset":
    """Turn claims into a dataset that NetCDF can hold.

    Parameters
    ----------
    claims
        The records.

    Returns
    -------
    dataset : xarray.Dataset
        One dim, ``claim``, and a variable for every field of `Claim` and for the verdict. ``measured`` is NaN where
        nothing was measured, ``resolution`` is the one used.

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
    numbers = {name: [getattr(claim, name) for claim in claims] for name in ("theory", "standard_error", "tolerance")}
    numbers["measured"] = [math.nan if claim.measured is None else claim.measured for claim in claims]
    numbers["resolution"] = [claim.finest for claim in claims]
    columns = {name: np.asarray(values) for name, values in texts.items()}
    columns |= {name: np.asarray(values, np.float64) for name, values in numbers.items()}
    return build({name: (("claim",), values) for name, values in columns.items()}, {}, {})


def format_claims(claims: Sequence[Claim]) -> str:
    """Format claims as plain text: theory, measured, standard error, verdict; at most 100 columns wide.

    Every number is rounded to two digits of the standard error of its row. Below the table stand the notes and how
    many claims had which verdict.

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
    return ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items() if count) + "."


def _check_not_empty(claims: Sequence[Claim]) -> None:
    if not claims:
        raise ValueError("claims is empty, there is nothing to say. Pass at least one Claim.")
