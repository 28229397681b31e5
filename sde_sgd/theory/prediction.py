"""What an asymptotic formula returns: its value, and whether its assumptions hold where it was asked."""

from typing import NamedTuple

# The thresholds of the verdicts. Below this barrier in units of T Kramers' law is off by more than about a tenth.
MIN_BARRIER = 5.0
# Above this learning rate times curvature, expansions in the learning rate have lost their second digit.
MAX_RATE_CURVATURE = 0.3


class Prediction(NamedTuple):
    """The value of a formula and a verdict on its assumptions.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> time = ss.theory.kramers_time(lambda x: (x**2 - 1) ** 2, temperature=0.5, minimum=-1.0, saddle=0.0)
    >>> round(float(time), 2), time.valid
    (8.21, False)
    >>> time.reason
    'barrier / T = 2 is below 5'
    """

    value: float
    """What the formula says, valid or not."""
    valid: bool
    """Whether its assumptions hold."""
    reason: str = ""
    """Which assumption fails; empty if none does."""

    def __float__(self) -> float:
        """Return the value."""
        return self.value


def judged(value: float, *failures: str) -> Prediction:
    """Return a prediction that is valid unless one of ``failures`` is not empty."""
    reasons = "; ".join(filter(None, failures))
    return Prediction(float(value), not reasons, reasons)


def low_barrier(barrier: float) -> str:
    """Return what is wrong with a barrier, in units of the temperature, for an asymptotic law."""
    return "" if barrier >= MIN_BARRIER else f"barrier / T = {barrier:.4g} is below {MIN_BARRIER:g}"


def large_learning_rate(rate_curvature: float) -> str:
    """Return what is wrong with the largest learning rate times curvature for an expansion in the learning rate."""
    if rate_curvature <= MAX_RATE_CURVATURE:
        return ""
    return f"learning_rate * curvature = {rate_curvature:.4g} is above {MAX_RATE_CURVATURE:g}"
