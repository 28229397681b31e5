"""What the estimators read from the dataset of `first_passage`: how long each lane was at risk, and how that ended."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import xarray

ESCAPED, CENSORED, DIVERGED = 0, 1, 2  # the flags of `status`
_HOW = "Pass what first_passage returns."
NO_CAUSE = -1  # cause of a lane that was still at risk when it was last seen


class Lanes(NamedTuple):
    """The lanes of one cell: how long they were at risk, how that ended, and the spacing of possible times."""

    durations: np.ndarray
    causes: np.ndarray  # index of the target region, then the number of regions for divergence, or NO_CAUSE
    resolution: float


class Exits(NamedTuple):
    """First passages in cells, one for each combination of the dims beside ``lane``."""

    cell: "xarray.DataArray"  # zeros with the dims and coordinates of the cells
    durations: np.ndarray
    causes: np.ndarray
    resolution: np.ndarray
    present: np.ndarray
    names: list[str]  # of the causes: the target regions, then "diverged"
    units: str

    def cells(self) -> Iterator[Lanes]:
        """Yield the lanes of every cell."""
        for cell in np.ndindex(self.cell.shape):
            present = self.present[cell]
            yield Lanes(self.durations[cell][present], self.causes[cell][present], float(self.resolution[cell]))


def read_exits(exits: "xarray.Dataset", duration: str) -> Exits:
    """Return the lanes of a dataset of first passages, checked.

    A lane id that `xarray.concat` has filled in, with no status, is no lane. Any other number that is missing is an
    error.
    """
    import xarray

    if not isinstance(exits, xarray.Dataset):
        raise TypeError(f"exits must be an xarray.Dataset, got {type(exits).__name__}. {_HOW}")
    for name in (duration, "status", "event_observed", "region", "time_per_step"):
        if name not in exits.variables:
            raise ValueError(f"exits has no {name!r}, its variables are {', '.join(map(str, exits.data_vars))}. {_HOW}")
    step = exits.time_per_step if duration == "durations" else xarray.ones_like(exits.time_per_step)
    columns = xarray.broadcast(exits[duration], exits.status, exits.event_observed, exits.region, step)
    if "lane" not in columns[0].dims:
        raise ValueError(f"exits has no dim 'lane', its dims are {tuple(exits.sizes)}. {_HOW}")
    durations, status, observed, region, step = (column.transpose(..., "lane") for column in columns)
    names, values = _regions(exits.region)
    present = status.notnull().values
    causes = np.full(status.shape, NO_CAUSE)
    for index, value in enumerate(values):
        causes[(status == ESCAPED).values & (region == value).values] = index
    causes[(status == DIVERGED).values] = len(names)
    times = durations.values.astype(np.float64)
    _check_lanes(times[present], status.values[present], observed.values[present], causes[present])
    cell = xarray.zeros_like(durations.isel(lane=0, drop=True), np.float64)
    units = "iterations" if duration == "steps" else str(exits[duration].attrs.get("units", "1"))
    return Exits(cell, times, causes, step.isel(lane=0).values, present, [*names, "diverged"], units)


def _regions(region: "xarray.DataArray") -> tuple[list[str], list[int]]:
    """Return names and values of the target regions; -1 stands for none."""
    if "flag_values" not in region.attrs or "flag_meanings" not in region.attrs:
        raise ValueError("exits.region lacks the attributes flag_values and flag_meanings, which name the regions. "
                         "Keep attributes, for example with xarray.set_options(keep_attrs=True).")
    values = np.atleast_1d(region.attrs["flag_values"]).tolist()
    pairs = zip(str(region.attrs["flag_meanings"]).split(), values, strict=True)
    named = [(name, value) for name, value in pairs if value >= 0]
    return [name for name, _ in named], [value for _, value in named]


def _check_lanes(durations: np.ndarray, status: np.ndarray, observed: np.ndarray, causes: np.ndarray) -> None:
    if not np.all(np.isfinite(durations) & (durations >= 0)):
        raise ValueError("exits holds durations that are negative or not finite. A lane that diverges or never escapes "
                         "has the time until which it was seen, and its status says so.")
    unknown = set(np.unique(status).tolist()) - {ESCAPED, CENSORED, DIVERGED}
    if unknown:
        raise ValueError(f"exits.status must be 0 (escaped), 1 (censored) or 2 (diverged), got {sorted(unknown)}.")
    if np.any((status == ESCAPED) != observed.astype(bool)):
        raise ValueError("exits.status and exits.event_observed disagree: a lane is escaped exactly if its event was "
                         "observed.")
    if np.any((status == ESCAPED) & (causes == NO_CAUSE)):
        raise ValueError("exits.region names no region for a lane that escaped.")
