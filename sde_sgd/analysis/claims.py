"""A claim: one quantitative statement of a paper, beside what was measured, with a verdict."""

import dataclasses
import enum
import math

from sde_sgd._core import checks
from sde_sgd.analysis.intervals import as_rare_in_stderrs

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
    WITHIN = "~"


@dataclasses.dataclass(frozen=True)
class Claim:
    r"""One quantitative statement beside its measurement.

    With the deviation d = measured - theory, s the standard error and t the tolerance, an equality is

    - *refuted* if :math:`|d| > t + 4 s`,
    - *confirmed* if :math:`|d| \le t + 3 s` and s is at most ``resolution``: agreement within a coarse error bar
      confirms nothing,
    - *inconclusive* otherwise.

    An inequality, d < 0 or d > 0, is confirmed where d has the sign claimed by more than 3 s, refuted where it has the
    other sign by more than t + 4 s. An equivalence, ``Relation.WITHIN``, is confirmed where :math:`|d| + 3 s < t`, the
    two one-sided tests of `equivalence_test`, and refuted where :math:`|d| - 4 s > t`. Equal infinities agree; a finite
    value and an infinite one do not.

    Where s comes from few seeds, 3 and 4 are replaced by the quantiles of Student's t that are as rare.

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
        Whether ``measured`` should be equal to, below, above, or within the tolerance of ``theory``.
    tolerance
        A deviation that the claim itself allows for: the accuracy of an approximation, or rounding. In units of the
        value.
    resolution
        Largest standard error with which an equality can be confirmed; by default 1 % of ``theory``, or the tolerance
        where that is larger.
    degrees_of_freedom
        Of the standard error; one less than the number of seeds it was found from. Infinite where it is known well.
    note
        Why it fails, or how it was judged; printed below the table.

    Raises
    ------
    TypeError, ValueError
        If ``theory`` is not a number, the standard error, tolerance or resolution is negative, the degrees of freedom
        are not positive, or an equivalence comes without a tolerance.

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
    degrees_of_freedom: float = math.inf
    note: str = ""

    def __post_init__(self) -> None:
        """Turn array scalars into floats and check them: claims are made from measured arrays."""
        for name in ("theory", "measured", "standard_error", "tolerance", "resolution", "degrees_of_freedom"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, float(getattr(self, name)))
        if math.isnan(self.theory):
            raise ValueError(f"theory of the claim {self.statement!r} must be a number, got nan. Compute it first.")
        checks.non_negative("tolerance", self.tolerance)
        if self.resolution is not None:
            checks.non_negative("resolution", self.resolution)
        if self.standard_error < 0:
            raise ValueError(f"standard_error must not be negative, got {self.standard_error}. Pass nan if unknown.")
        if not self.degrees_of_freedom > 0:
            raise ValueError(f"degrees_of_freedom must be positive, got {self.degrees_of_freedom}. Pass n - 1 for n "
                             "seeds.")
        if self.relation is Relation.WITHIN and not self.tolerance:
            raise ValueError(f"tolerance of the equivalence {self.statement!r} must be positive: it is the margin.")

    @property
    def verdict(self) -> Verdict:
        """What the measurement says."""
        if self.measured is None:
            return Verdict.NOT_SHOWN
        if math.isnan(self.measured) or math.isnan(self.standard_error):
            return Verdict.INCONCLUSIVE
        if self.relation is Relation.EQUAL:
            return self._equality(abs(self._deviation))
        room = self._room
        if room > self._stderrs(CONFIRMED_WITHIN):
            return Verdict.CONFIRMED
        slack = 0.0 if self.relation is Relation.WITHIN else self.tolerance
        return Verdict.REFUTED if room < -slack - self._stderrs(REFUTED_BEYOND) else Verdict.INCONCLUSIVE

    @property
    def p_value(self) -> float:
        """Of the hypothesis that the inequality or equivalence does not hold.

        NaN for an equality, which is no test, and where nothing was sampled.
        """
        from scipy import stats

        if self.relation is Relation.EQUAL or self.measured is None or math.isnan(self.measured + self.standard_error):
            return math.nan
        room = self._room
        if not self.standard_error:
            return math.nan
        if math.isinf(room):
            return float(room <= 0)
        return float(stats.t.sf(room / self.standard_error, self.degrees_of_freedom))

    @property
    def finest(self) -> float:
        """The largest standard error with which an equality can be confirmed."""
        if self.resolution is not None:
            return self.resolution
        return max(_RESOLUTION * abs(self.theory), self.tolerance)

    @property
    def _deviation(self) -> float:
        assert self.measured is not None
        return 0.0 if self.measured == self.theory else self.measured - self.theory

    @property
    def _room(self) -> float:
        """How far inside what an inequality or an equivalence claims the measured value lies."""
        if self.relation is Relation.WITHIN:
            return self.tolerance - abs(self._deviation)
        return -self._deviation if self.relation is Relation.BELOW else self._deviation

    def _stderrs(self, number: float) -> float:
        """Return so many standard errors, more of them where they are known from few seeds."""
        return as_rare_in_stderrs(number, self.degrees_of_freedom) * self.standard_error

    def _equality(self, distance: float) -> Verdict:
        if distance > self.tolerance + self._stderrs(REFUTED_BEYOND):
            return Verdict.REFUTED
        agrees = distance <= self.tolerance + self._stderrs(CONFIRMED_WITHIN)
        return Verdict.CONFIRMED if agrees and self.standard_error <= self.finest else Verdict.INCONCLUSIVE
