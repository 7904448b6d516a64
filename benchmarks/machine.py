"""What a number was measured on. Nothing here names a host or a folder."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["available_cores", "can_limit_cores", "describe", "on_cores"]

_PACKAGES = ("numpy", "scipy", "numba", "pyarrow", "pandas", "scikit-learn", "himalaya", "cvmatrix", "threadpoolctl")


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def can_limit_cores() -> bool:
    """Whether this system can keep a process on some of its cores."""
    return hasattr(os, "sched_setaffinity")


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Keep this thread, and the threads and processes that it starts, on so many cores.

    fastprobe starts a thread for each core that it may use, so this is how many threads it has.

    Parameters
    ----------
    count : int
        All available cores if there are not so many. Fewer need a system that :func:`can_limit_cores`.
    """
    if count >= available_cores():
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions(packages: Iterable[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _blas() -> list[dict[str, Any]]:
    """Every BLAS and OpenMP that is loaded by now, without the paths."""
    from threadpoolctl import threadpool_info

    keep = ("user_api", "internal_api", "version", "architecture", "threading_layer", "num_threads")
    return [{key: info[key] for key in keep if key in info} for info in threadpool_info()]


def _git(*arguments: str) -> str | None:
    done = subprocess.run(
        ["git", *arguments], cwd=Path(__file__).resolve().parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def describe() -> dict[str, Any]:
    """Describe machine, versions and revision.

    Returns
    -------
    dict
        JSON-serialisable. ``revision`` is None outside a git checkout or before its first commit; ``modified`` tells
        whether tracked files differ from it.
    """
    import numpy  # noqa: F401  so that its BLAS is among those listed
    import scipy.linalg  # noqa: F401

    import fastprobe

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": _git("rev-parse", "--verify", "HEAD"),
        "modified": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "cpu": _cpu_model(),
        "cores": available_cores(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {"fastprobe": fastprobe.__version__, **_versions(_PACKAGES)},
        "blas": _blas(),
    }
