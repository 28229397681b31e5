"""Machine settings for many lanes, made only when asked for: importing the package changes nothing."""

import os
import pathlib
from typing import Any

import jax

from sde_sgd._core import checks


def configure(
    *,
    cpu_devices: int | None = None,
    wide_vectors: bool = False,
    compilation_cache: str | os.PathLike | None = None,
) -> None:
    """Set JAX up for large ensembles in this process; call it before the first computation.

    Parameters
    ----------
    cpu_devices
        One CPU device per core lets tiles of lanes run side by side: pass ``os.cpu_count()``. The results do not
        depend on it.
    wide_vectors
        Let the CPU compiler use 512-bit vectors where the machine has them. A flag that is part of a run's numerics
        signature: results may differ from those without it in the last bits.
    compilation_cache
        Folder in which compiled programs are kept between processes. It must not be shared between kinds of machines.

    Raises
    ------
    RuntimeError
        If JAX has already started its backend and ``cpu_devices`` is given. The flags then have no effect either.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> ss.configure(cpu_devices=2)  # doctest: +SKIP
    """
    if cpu_devices is not None:
        checks.integer("cpu_devices", cpu_devices)
        _before_backend("jax_num_cpu_devices", cpu_devices)
    if wide_vectors:
        _add_flag("xla_cpu_prefer_vector_width", "--xla_cpu_prefer_vector_width=512")
    if compilation_cache is not None:
        folder = pathlib.Path(compilation_cache).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _add_flag(name: str, flag: str) -> None:
    """Add a flag for XLA, which reads them when the backend starts; one of the user's own comes first."""
    flags = os.environ.get("XLA_FLAGS", "")
    if name not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()


def _before_backend(option: str, value: Any) -> None:
    try:
        jax.config.update(option, value)
    except RuntimeError as error:
        raise RuntimeError("configure() came after JAX's first computation. Call it after the imports.") from error
