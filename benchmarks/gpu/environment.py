"""What the numbers of the suite were measured on. Nothing here names a host or a folder."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from benchmarks.gpu.options import Options
from benchmarks.gpu.target import Target
from benchmarks.machine import describe

__all__ = ["describe_target", "missing_modules"]

_REQUIRED = {
    "numpy": "numpy",
    "scipy": "scipy",
    "numba": "numba",
    "pyarrow": "pyarrow",
    "sklearn": "scikit-learn",
    "threadpoolctl": "threadpoolctl",
}
"""Modules that every part needs, by import name, and what pip calls them."""

_OPTIONAL = (
    "cupy-cuda13x", "cupy-cuda12x", "cupy", "torch", "himalaya", "cuml-cu13", "cuml-cu12", "pytest", "hypothesis",
    "numba-cuda", "zarr", "pandas", "scikit-learn", "dask", "distributed", "dask-cuda",
)  # fmt: skip

_PROPERTIES = {
    "multiProcessorCount": "multiprocessors",
    "totalGlobalMem": "memory_bytes",
    "l2CacheSize": "l2_bytes",
    "sharedMemPerBlockOptin": "shared_bytes_per_block",
    "sharedMemPerMultiprocessor": "shared_bytes_per_multiprocessor",
    "regsPerMultiprocessor": "registers_per_multiprocessor",
    "memoryBusWidth": "memory_bus_bits",
    "ECCEnabled": "ecc",
}


def missing_modules() -> list[str]:
    """Names for pip of what is required and not installed. Nothing is imported."""
    return [name for module, name in _REQUIRED.items() if find_spec(module) is None]


def describe_target(target: Target, options: Options) -> dict[str, Any]:
    """Describe machine, versions, commit and device.

    Parameters
    ----------
    target : Target
    options : Options

    Returns
    -------
    dict
        JSON-serialisable: what :func:`benchmarks.machine.describe` tells, and ``device``.
    """
    found = describe()
    found["revision"] = found["revision"] or options.commit
    found["versions"] |= {name: number for name in _OPTIONAL if (number := _version(name))}
    return {**found, "rehearsal": not target.is_gpu, "device": _device(target)}


def _device(target: Target) -> dict[str, Any]:
    if not target.is_gpu:
        return {"name": target.backend.device}
    cuda, number = target.xp.cuda, int(target.name.partition(":")[2] or 0)
    properties = cuda.runtime.getDeviceProperties(number)
    free, _ = cuda.Device(number).mem_info
    return {
        "name": properties["name"].decode(),
        "compute_capability": cuda.Device(number).compute_capability,
        "driver": _driver(),
        "driver_cuda": _dotted(cuda.runtime.driverGetVersion()),
        "runtime_cuda": _dotted(cuda.runtime.runtimeGetVersion()),
        "free_bytes": int(free),
        "backend": target.backend.device,
        "lanes": target.backend.lanes,
        **{mine: int(properties[name]) for name, mine in _PROPERTIES.items() if name in properties},
    }


def _driver() -> str | None:
    """Version of the driver; CUDA itself only tells which CUDA that driver runs."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split("\n")[0].strip() or None


def _dotted(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
