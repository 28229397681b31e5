"""What the figures read from a dataset: a scalar of every lane, its clock, its label, its last record."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray


def recorded_scalar(dataset: "xarray.Dataset", quantity: str | None) -> "xarray.DataArray":
    """Return the recorded scalar in float64, with a process dim, NaN where it is not finite."""
    lanes = {"process", "learning_rate", "batch_size", "seed"}
    scalars = [str(name) for name, values in dataset.data_vars.items()
               if "seed" in values.dims and len(set(values.dims) - lanes) == 1 and {"step", "time"} & set(values.dims)]
    if quantity is None and len(scalars) == 1:
        quantity = scalars[0]
    if quantity not in scalars:
        raise ValueError(f"quantity must be a scalar recorded for every seed, one of {', '.join(scalars) or 'none'}; "
                         f"got {quantity!r}. Pass its name, or a dataset with one component selected.")
    samples = dataset[quantity]
    samples = samples.astype(np.float64).where(abs(samples) < np.inf)
    if "process" in samples.dims:
        return samples
    return samples.expand_dims("process" if "process" in samples.coords else {"process": [quantity]})


def only_cell(data: Any, dim: str) -> Any:
    """Drop a dim of one label; raise if there are more."""
    if data.sizes.get(dim, 1) > 1:
        raise ValueError(f"one axes shows one {dim}, got {data[dim].values.tolist()}. Select one, for example with "
                         f".sel({dim}={data[dim].values[0]}).")
    return data.isel({dim: 0}) if dim in data.dims else data


def check_sweep(samples: "xarray.DataArray") -> None:
    """Raise unless there are dims for batch sizes and learning rates."""
    for dim in ("batch_size", "learning_rate"):
        if dim not in samples.dims:
            raise ValueError(f"dataset has no dim {dim!r}, its dims are {samples.dims}. Pass the result of sweep; one "
                             "cell is drawn by risk_curves.")


def last_record(errors: "xarray.Dataset") -> "tuple[xarray.Dataset, str]":
    """Return the last record, and its place in words."""
    for dim in ("step", "time"):
        if dim in errors.dims:
            return errors.isel({dim: -1}), f" at {dim} {errors[dim].values[-1]:g}"
    return errors, ""


def record_clock(samples: "xarray.DataArray") -> "xarray.DataArray":
    """Return the times of the records, of the first learning rate if there are several; steps where clocks differ.

    Step k is the same iteration for every process, whatever the clock of its model.
    """
    clock = samples.time if "time" in samples.coords else samples.step
    if "process" in clock.dims and not bool((clock == clock.isel(process=0)).all()):
        clock = samples.step
    return clock.isel({dim: 0 for dim in clock.dims if dim in ("process", "learning_rate")})


def axis_label(variable: "xarray.DataArray") -> str:
    """Return name and units of a variable for an axis."""
    name = str(variable.attrs.get("long_name", variable.name)).replace("_", " ")
    units = str(variable.attrs.get("units", "1")).replace("_", " ").replace(" x ", " \N{MULTIPLICATION SIGN} ")
    return name if units == "1" else f"{name} ({units})"
