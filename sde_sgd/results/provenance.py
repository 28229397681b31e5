"""Where a dataset comes from: package, versions, key, configuration, and what its last bits depend on."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Flags that cannot move a bit: results do not depend on the number of devices, on time limits or on dumps.
# Any flag not listed here counts as one that may.
_HARMLESS_FLAGS = ("xla_force_host_platform_device_count", "xla_dump_", "xla_cpu_collective_")
_VECTOR_PREFIXES = ("sse4", "avx", "fma", "f16c", "amx", "asimd", "sve", "fphp", "bf16", "i8mm")
_LONGEST_LISTED_ARRAY = 16


def numerics_signature(
    dtype: Any, tile_size: int | Sequence[int] | None, program: str | None = None
) -> dict[str, str | int | bool | list[int] | None]:
    """Return everything the last bits of a run depend on, beside its key and configuration.

    Two runs of one package version with equal keys, configurations and signatures agree bit for bit, whatever their
    number of lanes, chunks, devices and cores. With unequal signatures they agree statistically.

    Parameters
    ----------
    dtype
        Dtype of the parameters.
    tile_size
        Number of lanes in a tile, or all such numbers where processes differ in it; None for the results of several
        runs together.
    program
        Name or digest of the compiled program, where the run has one.

    Returns
    -------
    signature : dict
        Versions of jax and jaxlib, backend, device kind, instruction set (``""`` unless the backend is the CPU), x64
        flag, matrix-product precision, dtype, tile size, the XLA flags that may move bits, and ``program``. All values
        survive JSON.

    Notes
    -----
    On a CPU the vendor is part of the instruction set: the compiler chooses vector widths by it.
    """
    backend = jax.default_backend()
    return {
        "jax": jax.__version__,
        "jaxlib": importlib.metadata.version("jaxlib"),
        "backend": backend,
        "device_kind": jax.devices()[0].device_kind,
        "instruction_set": instruction_set() if backend == "cpu" else "",
        "x64": bool(jax.config.jax_enable_x64),
        "matmul_precision": str(jax.config.jax_default_matmul_precision or "default"),
        "dtype": str(jnp.dtype(dtype)),
        "tile_size": _one_or_all(tile_size),
        "xla_flags": _numeric_flags(os.environ.get("XLA_FLAGS", "")),
        "program": program,
    }


def _one_or_all(sizes: int | Sequence[int] | None) -> int | list[int] | None:
    if sizes is None or isinstance(sizes, int):
        return sizes
    return int(sizes[0]) if len(sizes) == 1 else [int(size) for size in sizes]


def provenance(config: Mapping[str, Any], key: jax.Array, *, dtype: Any, tile_size: int | Sequence[int] | None,
               program: str | None = None) -> dict[str, str]:
    """Return dataset attributes that say how to make the dataset again.

    Parameters
    ----------
    config
        The arguments of the run. Numbers, text, sequences, mappings, arrays, functions (by name) and dataclasses
        (processes and noises are) may be nested; long arrays enter as shape, dtype and SHA-256.
    key
        The typed JAX key of the run.
    dtype, tile_size, program
        As in :func:`numerics_signature`.

    Returns
    -------
    attrs : dict
        Text only, so that NetCDF takes it. ``config``, ``key`` (the words of the key) and ``numerics_signature``
        are JSON. There is no time stamp: running again gives the same attributes.

    Raises
    ------
    TypeError
        If ``config`` holds an object without a repeatable text form.
    """
    return {
        "sde_sgd_version": _package_version(),
        "python_version": platform.python_version(),
        "numpy_version": np.__version__,
        "jax_version": jax.__version__,
        "key": json.dumps(np.asarray(jax.random.key_data(key)).tolist()),
        "key_impl": str(jax.random.key_impl(key)),
        "config": json.dumps(_plain(config, "config")),
        "numerics_signature": json.dumps(numerics_signature(dtype, tile_size, program)),
    }


def _package_version() -> str:
    try:
        return importlib.metadata.version("sde-sgd")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def instruction_set(cpuinfo: pathlib.Path = pathlib.Path("/proc/cpuinfo")) -> str:
    """Return machine, vendor and vector features of the first core; the machine alone where ``cpuinfo`` is missing."""
    try:
        first_core = cpuinfo.read_text().split("\n\n")[0]
    except OSError:
        return platform.machine()
    fields = {name.strip(): value for name, _, value in (line.partition(":") for line in first_core.splitlines())}
    vendor = fields.get("vendor_id", fields.get("CPU implementer", "")).strip()
    features = fields.get("flags", fields.get("Features", "")).split()
    return " ".join([platform.machine(), vendor, *sorted(f for f in features if f.startswith(_VECTOR_PREFIXES))])


def _numeric_flags(flags: str) -> str:
    """Return the flags that may move bits, sorted; of a flag given twice the last counts."""
    given: dict[str, str] = {}
    for flag in flags.split():
        name, _, value = flag.lstrip("-").partition("=")
        given[name] = value
    return " ".join(f"{name}={value}" for name, value in sorted(given.items())
                    if not name.startswith(_HARMLESS_FLAGS))


def _plain(value: Any, path: str) -> Any:
    """Return ``value`` as JSON can hold it, the same text in every process."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(item, f"{path}[{name!r}]") for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _plain_array(np.asarray(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _plain(getattr(value, field.name), f"{path}.{field.name}")
                  for field in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, np.dtype):
        return str(value)
    if isinstance(value, functools.partial):
        arguments = _plain([value.args, value.keywords], path)
        return {"partial": _plain(value.func, path), "arguments": arguments}
    if callable(value):  # by name: repr would carry a memory address
        named = value if hasattr(value, "__qualname__") else type(value)
        return f"{named.__module__}.{named.__qualname__}"
    raise TypeError(f"{path} must be a number, text, array, function, dataclass or a container of these, got "
                    f"{type(value).__name__}. Describe it by such values.")


def _plain_array(array: np.ndarray) -> Any:
    if array.size > _LONGEST_LISTED_ARRAY:
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        return {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": digest}
    if jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(np.float64)  # bfloat16 has no JSON form of its own
    return array.tolist()
