"""Claims about pairs of runs that began alike: differences, logarithms of ratios and trends over the seeds."""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd.analysis import Claim, Relation, trend_test

_FEWEST = 3  # pairs from which a standard error is taken


def difference(
    statement: str, source: str, upper: ArrayLike, lower: ArrayLike, *, theory: float = 0.0,
    relation: Relation = Relation.ABOVE, tolerance: float = 0.0, note: str = "",
) -> Claim:
    """Return the claim about the mean of ``upper - lower``."""
    return _claim(statement, source, np.asarray(upper) - np.asarray(lower), theory, relation, tolerance, note)


def ratio(
    statement: str, source: str, upper: ArrayLike, lower: ArrayLike, *, theory: float = 1.0,
    relation: Relation = Relation.ABOVE, tolerance: float = 0.0, note: str = "",
) -> Claim:
    """Return the claim about the mean of ``log(upper / lower)``, where an error is the same up and down.

    ``theory`` is the ratio claimed; ``tolerance`` one of the logarithm, a relative one of the ratio while it is small.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.asarray(upper, np.float64)) - np.log(np.asarray(lower, np.float64))
    return _claim(f"{statement}; logarithm", source, logs, math.log(theory), relation, tolerance, note)


def trend(
    statement: str, source: str, values: Float[np.ndarray, "seeds levels"], *, relation: Relation = Relation.ABOVE,
) -> Claim:
    """Return the claim about the rank correlation of values with the order of their levels, within seeds."""
    whole = values[np.isfinite(values).all(axis=1)]
    statement = _counted(statement, len(whole), len(values))
    if len(whole) < _FEWEST:
        return Claim(statement, source, 0.0, None, relation=relation)
    found = trend_test(whole)
    return Claim(statement, source, 0.0, found.correlation, found.stderr, relation=relation,
                 degrees_of_freedom=len(whole) - 1)


def _claim(
    statement: str, source: str, samples: np.ndarray, theory: float, relation: Relation, tolerance: float, note: str
) -> Claim:
    whole = samples[np.isfinite(samples)]
    statement = _counted(statement, len(whole), len(samples))
    if len(whole) < _FEWEST:
        return Claim(statement, source, theory, None, relation=relation, tolerance=tolerance, note=note)
    mean, stderr = float(whole.mean()), float(whole.std(ddof=1) / len(whole) ** 0.5)
    return Claim(statement, source, theory, mean, stderr, relation=relation, tolerance=tolerance,
                 degrees_of_freedom=len(whole) - 1, note=note)


def _counted(statement: str, number: int, of: int) -> str:
    """Return the statement, with the number of pairs where some are missing."""
    return statement if number == of else f"{statement}; {number} of {of} seeds"
