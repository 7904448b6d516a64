"""What this machine and this installation have, and what to install where something is missing.

Nothing here fails because something is missing: that is what it is there to say.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fastprobe
from fastprobe.backend.cuda.presence import DISTRIBUTIONS, driver_version, find_gpus, pip

__all__ = ["Diagnosis", "Missing", "diagnose"]

_REQUIRED = ("numpy", "scipy", "numba", "pyarrow", "zarr", "typer", "rich", "threadpoolctl")
_DRIVER = Path("/proc/driver/nvidia/version")
_GIB = 2**30


@dataclass(frozen=True)
class Missing:
    """Something that is not there, what it is for, and how to get it."""

    what: str
    why: str
    fix: str


@dataclass(frozen=True)
class Diagnosis:
    """The state of a machine and an installation.

    Attributes
    ----------
    sections : mapping of str to mapping of str to str
        Facts by section: machine, devices, numerics, versions.
    missing : tuple of Missing
    """

    sections: Mapping[str, Mapping[str, str]]
    missing: tuple[Missing, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the sections by name, and the list ``missing``."""
        return {**self.sections, "missing": [asdict(m) for m in self.missing]}

    def to_json(self) -> str:
        """Return :meth:`to_dict` as one JSON document."""
        return json.dumps(self.to_dict(), indent=1)


def diagnose() -> Diagnosis:
    """Look at this machine and this installation.

    Returns
    -------
    Diagnosis
    """
    missing: list[Missing] = []
    sections = {
        "machine": _machine(),
        "devices": _devices(missing),
        "numerics": _numerics(missing),
        "versions": _versions(missing),
    }
    return Diagnosis(sections, tuple(missing))


def _machine() -> dict[str, str]:
    facts = {"system": f"{platform.system()} {platform.machine()}", "processor": _processor(), "cores": str(_cores())}
    memory = _memory_bytes()
    if memory is not None:
        facts["memory"] = f"{memory / _GIB:.1f} GiB"
    return facts


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_bytes() -> int | None:
    """Return the memory of the machine, or of the container if that is less; None where neither can be read."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text(encoding="ascii").strip() if limit.exists() else "max"
    return total if text == "max" else min(total, int(text))


def _devices(missing: list[Missing]) -> dict[str, str]:
    facts = {"cpu": f"{_cores()} cores", "nvidia driver": _driver()}
    packages = [name for name in DISTRIBUTIONS if _version(name)]
    if not packages:
        facts["cupy"] = "not installed"
        missing.append(Missing("cupy", "scoring on an NVIDIA GPU needs it", pip()))
        return facts
    facts["cupy"] = ", ".join(f"{name} {_version(name)}" for name in packages)
    try:
        facts |= _gpus()
    except Exception as error:  # a broken CUDA installation shows itself in any way it likes
        facts["gpu"] = f"not usable: {type(error).__name__}: {error}".splitlines()[0]
        return facts
    if "gpu" in facts and len(packages) > 1:
        missing.append(Missing("one cupy", facts["gpu"], f"pip uninstall {' '.join(packages)}; {pip()}"))
    return facts


def _driver() -> str:
    version = driver_version()
    if version is None:
        return "none"
    module = _DRIVER.read_text(encoding="utf-8").splitlines()[0] if _DRIVER.exists() else "kernel module not in sight"
    return f"CUDA {version[0]}.{version[1]} ({module})"


def _gpus() -> dict[str, str]:
    found = find_gpus()
    if not found.count:
        return {"gpu": f"none: {found.reason}"}

    import cupy

    runtime = cupy.cuda.runtime
    facts = {"cuda runtime": str(runtime.runtimeGetVersion()), "cuda driver": str(runtime.driverGetVersion())}
    for i in range(found.count):
        properties = runtime.getDeviceProperties(i)
        capability = f"sm_{properties['major']}{properties['minor']}"
        memory = f"{properties['totalGlobalMem'] / _GIB:.0f} GiB"
        facts[f"cuda:{i}"] = f"{properties['name'].decode()}, {capability}, {memory}"
    return facts


def _numerics(missing: list[Missing]) -> dict[str, str]:
    facts = {}
    if all(_version(name) for name in ("numpy", "scipy", "threadpoolctl")):
        import numpy  # noqa: F401  # its BLAS must be loaded to be seen
        import scipy.linalg  # noqa: F401
        import threadpoolctl

        for i, pool in enumerate(threadpoolctl.threadpool_info()):
            kind = " ".join(str(pool[key]) for key in ("internal_api", "version", "architecture") if pool.get(key))
            facts[f"blas {i}" if pool["user_api"] == "blas" else f"{pool['user_api']} {i}"] = (
                f"{kind}, {pool['num_threads']} threads, {Path(pool['filepath']).name}"
            )
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        if variable in os.environ:
            facts[variable] = os.environ[variable]
    cache = next((folder for folder in _kernel_caches() if _writable(folder)), None)
    facts["kernel cache"] = str(cache or "none")
    if cache is None:
        missing.append(
            Missing(
                "a folder for compiled kernels",
                "without one they are compiled again in every process, or not at all",
                "set the environment variable NUMBA_CACHE_DIR to a folder that you may write",
            )
        )
    return facts


def _kernel_caches() -> list[Path]:
    """Return where Numba may keep compiled kernels, in its order of preference."""
    if "NUMBA_CACHE_DIR" in os.environ:
        return [Path(os.environ["NUMBA_CACHE_DIR"])]
    spec = find_spec("fastprobe.kernels")
    source = Path(spec.origin) if spec is not None and spec.origin else Path(fastprobe.__file__)
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [source.parent / "__pycache__", user / "numba"]


def _writable(folder: Path) -> bool:
    """Whether a file can be made in a folder, or in the nearest one above it that is there."""
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _versions(missing: list[Missing]) -> dict[str, str]:
    facts = {"fastprobe": fastprobe.__version__, "python": sys.version.split()[0]}
    for name in _REQUIRED:
        found = _version(name)
        facts[name] = found or "not installed"
        if found is None:
            missing.append(Missing(name, "fastprobe needs it", f"pip install {name}"))
    return facts


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
