"""A dataset as a NetCDF file: written whole or not at all, read back bit for bit."""

import os
import pathlib
import secrets
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray

_ENGINE = "h5netcdf"


def check_writable(path: str | os.PathLike) -> None:
    """Raise if a file cannot be written at ``path``; for use before a long run.

    Parameters
    ----------
    path
        Where the file is to lie. It need not exist; its directory must.

    Raises
    ------
    ValueError
        If ``path`` is a directory.
    OSError
        If the directory is missing (``FileNotFoundError``), is a file (``NotADirectoryError``) or refuses files.
    """
    path = pathlib.Path(path)
    directory = path.parent
    if path.is_dir():
        raise ValueError(f"path must name a file, got the directory {path}. Append a file name, such as result.nc.")
    if not directory.exists():
        raise FileNotFoundError(f"path must lie in an existing directory, but {directory} is missing. Create it first.")
    if not directory.is_dir():
        raise NotADirectoryError(f"path must lie in a directory, but {directory} is a file. Choose another path.")
    try:
        tempfile.TemporaryFile(dir=directory).close()  # asks the file system itself: permission bits do not say all
    except OSError as error:
        raise type(error)(f"no file can be written in {directory} ({error.strerror}). "
                          "Choose another directory or change its permissions.") from None


def save(dataset: "xarray.Dataset", path: str | os.PathLike) -> None:
    """Write a dataset to a NetCDF file, atomically.

    The file is written under a temporary name in the same directory, flushed to the disk and renamed. Whatever
    happens, ``path`` holds either what it held before or the whole dataset. The same dataset gives the same bytes.

    Parameters
    ----------
    dataset
        The dataset. Its attributes must be text, numbers or arrays.
    path
        File to write; an existing file is replaced.

    Raises
    ------
    ValueError
        If ``path`` is a directory.
    OSError
        If the directory is missing or cannot be written, before any work is done.
    """
    path = pathlib.Path(path)
    check_writable(path)
    # Without this xarray marks NaN as missing and adds attributes that the dataset did not have.
    encoding = {name: {"_FillValue": None} for name in dataset.variables if dataset[name].dtype.kind == "f"}
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        dataset.drop_encoding().to_netcdf(temporary, engine=_ENGINE, encoding=encoding)
        _flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush(path.parent)


def load(path: str | os.PathLike) -> "xarray.Dataset":
    """Read a dataset written by :func:`save`, whole, into memory.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    dataset : xarray.Dataset
        Dims, coordinates, dtypes, values and attributes as they were saved. The file is closed.

    Raises
    ------
    OSError
        If there is no such file (``FileNotFoundError``) or it is damaged, for example cut short by a copy.
    """
    import xarray

    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}. Check the path, or run again to make it.")
    try:
        return xarray.load_dataset(path, engine=_ENGINE, mask_and_scale=False, decode_times=False)
    except OSError as error:
        raise OSError(f"{path} is not a whole NetCDF file ({error}). It may have been cut short: copy it again, or "
                      "run again to make it.") from error


def _flush(path: pathlib.Path) -> None:
    """Force a file, or the entries of a directory, onto the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a directory
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
