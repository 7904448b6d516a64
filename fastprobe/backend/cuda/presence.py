"""Whether this process can use a GPU, and what to install where it cannot.

CuPy is loaded only where it is installed; it alone decides (``cupy.is_available``), because it is what will be used.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

__all__ = ["DISTRIBUTIONS", "Presence", "driver_version", "find_gpus", "installed", "pip", "remedy"]

DISTRIBUTIONS = ("cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x", "cupy")
"""Distributions of CuPy. They share their files: of two that are installed, one has overwritten the other."""


@dataclass(frozen=True)
class Presence:
    """What was found.

    Attributes
    ----------
    count : int
        GPUs that CuPy can use.
    reason : str
        Why there is none; empty if there is one.
    fix : str
        What to do about it.
    """

    count: int
    reason: str = ""
    fix: str = ""


def find_gpus() -> Presence:
    """Count the GPUs that CuPy can use, or say why there is none."""
    if find_spec("cupy") is None:
        reason = "CuPy is not installed" if driver_version() else "neither an NVIDIA driver nor CuPy is installed"
        return Presence(0, reason, remedy())
    found = installed()
    if len(found) > 1:
        return Presence(
            0,
            f"{' and '.join(found)} are installed, which overwrite each other",
            f"remove them with pip uninstall {' '.join(found)}, then {remedy()}",
        )
    try:
        import cupy
    except Exception as error:  # a damaged installation fails in any way it likes
        return Presence(0, f"CuPy cannot be loaded ({_short(error)})", f"install it again: {remedy()}")
    if cupy.is_available():
        return Presence(int(cupy.cuda.runtime.getDeviceCount()))
    if driver_version() is None:
        return Presence(0, "CuPy is installed, but no NVIDIA driver", remedy())
    try:
        cupy.cuda.runtime.getDeviceCount()
        reason = "CuPy and a driver are installed, but there is no GPU"
    except Exception as error:
        reason = f"CuPy finds no GPU ({_short(error)})"
    return Presence(0, reason, f"see whether nvidia-smi lists a GPU and CUDA_VISIBLE_DEVICES hides none; {remedy()}")


def installed() -> list[str]:
    """Distributions of CuPy that are installed."""
    return [name for name in DISTRIBUTIONS if _version(name)]


def driver_version() -> tuple[int, int] | None:
    """Newest version of CUDA that the NVIDIA driver runs, as (major, minor); None without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    number = ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(number)) != 0:
        return None
    return number.value // 1000, number.value % 1000 // 10


def remedy() -> str:
    """How to get CuPy for the driver of this machine."""
    driver = driver_version()
    if driver is None:
        return f"install the NVIDIA driver and run {pip()}"
    if driver < (12, 0):
        return f"update the NVIDIA driver, which runs CUDA {driver[0]}.{driver[1]}, and run {pip()}"
    return f"run {pip()}"


def pip() -> str:
    """Return the command that installs CuPy for the driver of this machine, or for the newest where that is too old."""
    extra = "cuda12" if (12, 0) <= (driver_version() or (0, 0)) < (13, 0) else "cuda13"
    return f"pip install 'fastprobe[{extra}]'"


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
