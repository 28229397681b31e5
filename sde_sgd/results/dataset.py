"""One labelled dataset from arrays whose dims the producer declares; nothing is guessed from shapes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray

# What the schema fixes for the names it knows: dtype and attributes. Units never contain the word
# "since": xarray would read such a variable as calendar dates.
_SCHEMA: dict[str, tuple[str | None, dict[str, Any]]] = {
    "process": (None, {"long_name": "process"}),
    "learning_rate": ("float64", {"long_name": "learning rate", "units": "1"}),
    "batch_size": ("int64", {"long_name": "batch size", "units": "1"}),
    "seed": ("int64", {"long_name": "seed"}),
    "step": ("int64", {"long_name": "steps from the start", "units": "1"}),
    "time": ("float64", {"long_name": "time", "units": "learning_rate x step"}),
    "status": ("int8", {"long_name": "outcome of the lane", "flag_values": np.array([0, 1], np.int8),
                        "flag_meanings": "ok diverged"}),
    "diverged_at": ("int64", {"long_name": "step at which the lane first became non-finite, -1 if never",
                              "units": "1"}),
}


def build(variables: Mapping[str, tuple], coords: Mapping[str, tuple], attrs: Mapping[str, Any]) -> "xarray.Dataset":
    """Build a labelled dataset from arrays with declared dims.

    Known names (``learning_rate``, ``time``, ``status``, ...) get their ``long_name``, ``units`` and flags; attributes
    given by the caller win. Arrays from any library are converted to NumPy and keep their dtype.

    Parameters
    ----------
    variables
        name -> ``(dims, array)`` or ``(dims, array, attrs)``, with ``dims`` a sequence of names, one for each axis.
    coords
        The same for coordinates. A coordinate named like its only dim labels that dim and holds no value twice.
        ``()`` as dims makes a scalar coordinate.
    attrs
        Attributes of the dataset, as :func:`sde_sgd.results.provenance` makes them.

    Returns
    -------
    dataset : xarray.Dataset
        The arrays with their labels.

    Raises
    ------
    ValueError
        If dims and shapes disagree, two arrays disagree about the length of a dim, a name is used twice, or an
        attribute cannot be written to NetCDF.
    TypeError
        If an entry is not such a tuple, or a known name has another dtype than the schema's.
    """
    import xarray

    repeated = sorted(set(variables) & set(coords))
    if repeated:
        raise ValueError(f"names are used both for a variable and a coordinate: {', '.join(repeated)}. Rename one.")
    lengths: dict[str, int] = {}
    # Coordinates come first: they say how long a dim is, and the variables are held against them.
    labels = {name: _entry(name, entry, lengths) for name, entry in coords.items()}
    arrays = {name: _entry(name, entry, lengths) for name, entry in variables.items()}
    for name, (dims, values, _) in labels.items():
        if dims == (name,) and len(np.unique(values)) < len(values):
            raise ValueError(f"coordinate {name} holds a value twice: {list(values)}. Give every label once.")
    _check_attrs("the dataset", attrs)
    return xarray.Dataset(arrays, labels, dict(attrs))


def _entry(name: str, entry: Any, lengths: dict[str, int]) -> tuple[tuple[str, ...], np.ndarray, dict[str, Any]]:
    """Return ``(dims, array, attrs)`` of one entry, checked; add the dims it is the first to use to ``lengths``."""
    how = f"Write {name} as (dims, array) or (dims, array, attrs), dims a tuple of names, one for each axis."
    if not isinstance(entry, tuple) or len(entry) not in (2, 3):
        raise TypeError(f"{name} must be a tuple of two or three, got {type(entry).__name__}. {how}")
    dims = (entry[0],) if isinstance(entry[0], str) else tuple(entry[0])
    values = np.asarray(entry[1])
    if len(set(dims)) < len(dims):
        raise ValueError(f"{name} names a dim twice: {dims}. {how}")
    if len(dims) != values.ndim:
        raise ValueError(f"{name} has {values.ndim} axes (shape {values.shape}) but {len(dims)} dims {dims}. {how}")
    _check_lengths(name, dims, values.shape, lengths)
    dtype, known = _SCHEMA.get(name, (None, {}))
    if dtype is not None and values.dtype != dtype:
        raise TypeError(f"{name} must be {dtype}, got {values.dtype}. Compute it in NumPy on the host, not on the "
                        "device, where 64-bit types may be off.")
    attrs = known | dict(entry[2] if len(entry) == 3 else {})
    _check_attrs(name, attrs)
    return dims, values, attrs


def _check_lengths(name: str, dims: tuple[str, ...], shape: tuple[int, ...], lengths: dict[str, int]) -> None:
    """Raise if ``shape`` disagrees with the known lengths of ``dims``; add the new ones to ``lengths``."""
    wanted = tuple(lengths.get(dim, size) for dim, size in zip(dims, shape, strict=True))
    if wanted != shape:
        expected = ", ".join(f"{dim}: {size}" for dim, size in zip(dims, wanted, strict=True))
        swapped = "The dims look swapped; p" if sorted(wanted) == sorted(shape) else "P"
        raise ValueError(f"{name} has shape {shape}, but its dims have the lengths ({expected}). "
                         f"{swapped}ut the dims in the order of the axes.")
    lengths.update(zip(dims, shape, strict=True))


def _check_attrs(owner: str, attrs: Mapping[str, Any]) -> None:
    """Raise on an attribute that NetCDF cannot hold."""
    for name, value in attrs.items():
        if not isinstance(value, str | int | float | np.number | np.ndarray):
            raise ValueError(f"attribute {name!r} of {owner} must be text, a number or an array, got "
                             f"{type(value).__name__}, which NetCDF refuses. Store it as JSON text.")
