"""Choosing a device."""

from __future__ import annotations

import logging
import os

from fastprobe.backend.base import Backend
from fastprobe.errors import DeviceError, InputError

__all__ = ["check_device", "cores", "get_backend"]

_log = logging.getLogger(__name__)


def check_device(device: str) -> None:
    """Raise DeviceError if a device is not to be had, without loading anything for it."""
    if device == "cuda":
        raise DeviceError(
            "--device",
            found="'cuda', which this version cannot use yet",
            expected="auto or cpu",
            fix="use --device cpu, or a newer fastprobe",
        )
    if device not in ("auto", "cpu"):
        raise InputError(
            "--device", found=repr(device), expected="auto, cpu or cuda", fix="correct the name of the device"
        )


def get_backend(device: str = "auto", *, threads: int | None = None) -> Backend:
    """Return the backend of a device.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        ``auto`` takes the best device that this version and this machine have, and says in one line of log which.
    threads : int, optional
        Threads of the CPU kernels; by default the number of cores that this process may use.

    Raises
    ------
    DeviceError
        If the device is not to be had.
    """
    check_device(device)
    from fastprobe.backend.cpu import CpuBackend

    backend = CpuBackend(threads or cores())
    if device == "auto":
        _log.info("device auto: %s (GPU scoring is not part of this version)", backend.device)
    return backend


def cores() -> int:
    """Cores that this process may use; os.process_cpu_count says it from Python 3.13."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
