"""Functions of means over seeds, with the jackknife's standard error."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Measured(NamedTuple):
    """A number, or an array of them, and its standard error."""

    value: Any
    stderr: Any

    def at(self, *index: int) -> "Measured":
        """Return one entry."""
        return Measured(float(self.value[index]), float(self.stderr[index]))


def jackknife(statistic: Callable[..., Any], *samples: np.ndarray) -> Measured:
    r"""Return a function of means, and its standard error from leaving each sample out.

    .. math:: \mathrm{se}^2 = \frac{n - 1}{n} \sum_i \bigl(\theta_{(i)} - \bar\theta\bigr)^2

    with :math:`\theta_{(i)}` the function of the means over all samples but i. For functions that are smooth near the
    means; kinks are met without harm, jumps are not. An interval takes Student's t with n - 1 degrees of freedom. NaN
    where the function is, for any sample left out.

    Parameters
    ----------
    statistic
        Takes one mean for each of ``samples`` and returns a number or an array.
    *samples
        Arrays with the n samples along the first axis, samples of equal number drawn together.

    Examples
    --------
    >>> import numpy as np
    >>> value, stderr = jackknife(np.exp, np.array([0.9, 1.0, 1.1]))
    >>> round(float(value), 3), round(float(stderr), 3)
    (2.718, 0.157)
    """
    number = len(samples[0])
    means = [np.mean(sample, axis=0) for sample in samples]
    # Infinite values have no spread, and what is left of them without one sample is not known.
    with np.errstate(invalid="ignore"):
        without = [(number * mean - sample) / (number - 1) for mean, sample in zip(means, samples, strict=True)]
        left_out = np.array([statistic(*parts) for parts in zip(*without, strict=True)])
        deviations = left_out - left_out.mean(axis=0)
    return Measured(statistic(*means), np.sqrt((number - 1) * np.mean(deviations**2, axis=0)))
