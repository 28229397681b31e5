"""Records: values for every seed, or their moments over the seeds, at the record times."""

from typing import Any

import equinox as eqx
import numpy as np

from sde_sgd._core.functions import as_pytree
from sde_sgd.run.statistics import AbstractRecord, Gatherer, Quantity, check_function, moment_names, trailing


class Snapshots(AbstractRecord):
    """The value of a quantity for every seed at every record time.

    Parameters
    ----------
    function
        ``function(problem, params)`` returns an array or a pytree of arrays; see `simulate` for what else it may take.
        A plain function given as a recorded quantity means this.
    """

    function: Quantity = eqx.field(converter=as_pytree)

    def __check_init__(self):
        check_function(self.function)

    def variables(self, name: str) -> tuple[str, ...]:
        """Return the name itself."""
        return (name,)

    def gather(self, num_cells: int, num_seeds: int, num_records: int, example: np.ndarray) -> Gatherer:
        """Return an array over (cell, seed, record)."""
        return _SnapshotGatherer(np.full((num_cells, num_seeds, num_records, *example.shape), np.nan, example.dtype))


class _SnapshotGatherer(Gatherer):
    def __init__(self, values: np.ndarray):
        self.values = values

    def add(self, cells: np.ndarray, seeds: np.ndarray, records: slice, values: np.ndarray) -> None:
        self.values[cells, seeds, records] = values

    def result(self, name: str) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        return {name: (("seed", "record", *trailing(name, self.values.ndim - 3)), self.values)}


class EnsembleMoments(AbstractRecord):
    """Mean and variance over the seeds at every record time, with standard errors; no seed is kept.

    Gives ``<name>_mean``, ``<name>_mean_stderr``, ``<name>_variance`` and ``<name>_variance_stderr``. A seed that
    diverged makes the moments of its cell NaN from then on: the moments of the survivors are not those of the process.

    Parameters
    ----------
    function
        As for `Snapshots`.
    """

    function: Quantity = eqx.field(converter=as_pytree)

    def __check_init__(self):
        check_function(self.function)

    def variables(self, name: str) -> tuple[str, ...]:
        """Return the names of the moments and their standard errors."""
        return moment_names(name)

    def gather(self, num_cells: int, num_seeds: int, num_records: int, example: np.ndarray) -> Gatherer:
        """Return running moments over (cell, record)."""
        return _MomentGatherer((num_cells, num_records, *example.shape))


class _MomentGatherer(Gatherer):
    """Power sums about the value of the first seed, in twice the precision of float64.

    Which lanes come together depends on the tiles and the devices; sums of that precision do not show it.
    """

    def __init__(self, shape: tuple[int, ...]):
        self.count = np.zeros(shape[:2], np.int64)
        self.shift = np.zeros(shape)
        self.sums = np.zeros((2, 4, *shape))  # (leading, trailing) part, power

    def add(self, cells: np.ndarray, seeds: np.ndarray, records: slice, values: np.ndarray) -> None:
        for cell in dict.fromkeys(cells.tolist()):  # np.unique takes as long as all the sums
            lanes = values[cells == cell].astype(np.float64)
            if self.count[cell, records.start] == 0:
                self.shift[cell, records] = lanes[0]
            with np.errstate(over="ignore", invalid="ignore"):
                deviation = lanes - self.shift[cell, records]
                square = deviation**2
                powers = np.stack([deviation, square, square * deviation, square**2], axis=1)
                self.sums[:, :, cell, records] = _add(self.sums[:, :, cell, records], _total(powers))
            self.count[cell, records] += len(lanes)

    def result(self, name: str) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        count = self.count.reshape(self.count.shape + (1,) * (self.shift.ndim - 2))
        mean, variance, variance_stderr = _sample_moments(count, *self.sums.sum(axis=0))
        dims = ("record", *trailing(name, self.shift.ndim - 2))
        estimates = (self.shift + mean, np.sqrt(variance / count), variance, variance_stderr)
        return {key: (dims, values) for key, values in zip(moment_names(name), estimates, strict=True)}


def _total(values: np.ndarray) -> np.ndarray:
    """Return the sum over the first axis as a leading and a trailing part."""
    parts = np.stack([values, np.zeros_like(values)])
    while parts.shape[1] > 1:
        half = parts.shape[1] // 2
        odd = parts[:, 2 * half :]
        parts = np.concatenate([_add(parts[:, :half], parts[:, half : 2 * half]), odd], axis=1)
    return parts[:, 0]


def _add(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Add two numbers given as leading and trailing parts (Knuth's two-sum)."""
    total = one[0] + other[0]
    share = total - one[0]
    lost = (one[0] - (total - share)) + (other[0] - share) + one[1] + other[1]
    leading = total + lost
    return np.stack([leading, lost - (leading - total)])


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def _sample_moments(count: Any, sum1: Any, sum2: Any, sum3: Any, sum4: Any) -> tuple[Any, Any, Any]:
    """Return the mean, the unbiased variance and its standard error from four power sums."""
    mean = sum1 / count
    second = np.maximum(sum2 / count - mean**2, 0.0)
    fourth = sum4 / count - 4 * mean * sum3 / count + 6 * mean**2 * sum2 / count - 3 * mean**4
    variance = np.where(count > 1, second * count / (count - 1), np.nan)
    # Var(s^2) = (mu4 - sigma^4 (n-3)/(n-1)) / n
    spread = np.maximum(fourth - second**2 * (count - 3) / (count - 1), 0.0)
    return mean, variance, np.where(count > 1, np.sqrt(spread / count), np.nan)
