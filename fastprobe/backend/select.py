"""Choosing a device."""

from __future__ import annotations

import logging
import os
import re

from fastprobe.backend.base import Backend
from fastprobe.errors import DeviceError, InputError

__all__ = ["check_device", "cores", "get_backend"]

_log = logging.getLogger(__name__)


def check_device(device: str) -> None:
    """Raise an error if a device is not to be had. CuPy is loaded only if a GPU is asked for.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda``, or ``cuda:N`` for one of several GPUs.

    Raises
    ------
    InputError
        If there is no such name.
    DeviceError
        If this machine, or this installation, has no such GPU.
    """
    if device not in ("auto", "cpu"):
        _gpu_number(device)


def get_backend(device: str = "auto", *, threads: int | None = None) -> Backend:
    """Return the backend of a device.

    Parameters
    ----------
    device : str
        ``cpu``, ``cuda``, ``cuda:N``, or ``auto``: a GPU if there is one. ``auto`` says in one line of log what it
        took, and why not a GPU.
    threads : int, optional
        Threads of the CPU kernels; by default the number of cores that this process may use.

    Raises
    ------
    InputError
        If there is no such name.
    DeviceError
        If this machine, or this installation, has no such GPU.
    """
    if device == "auto":
        return _best(threads)
    if device == "cpu":
        return _cpu(threads)
    return _gpu(_gpu_number(device))


def cores() -> int:
    """Cores that this process may use; os.process_cpu_count says it from Python 3.13."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _best(threads: int | None) -> Backend:
    from fastprobe.backend.cuda.presence import find_gpus

    found = find_gpus()
    reason, fix = found.reason, found.fix
    if found.count:
        try:
            backend = _gpu(0)
        except DeviceError as error:
            reason, fix = error.found, error.fix
        else:
            _log.info("device auto: %s", backend.device)
            return backend
    backend = _cpu(threads)
    _log.info("device auto: %s. No GPU: %s; to use one, %s", backend.device, reason, fix)
    return backend


def _cpu(threads: int | None) -> Backend:
    from fastprobe.backend.cpu import CpuBackend

    return CpuBackend(threads or cores())


def _gpu(number: int) -> Backend:
    from fastprobe.backend.cuda.open import open_device

    return open_device(number)


def _gpu_number(device: str) -> int:
    """Number of the GPU that a name means, if it can be used."""
    parts = re.fullmatch(r"cuda(?::(\d{1,3}))?", device)
    if parts is None:
        raise InputError(
            "--device", found=repr(device), expected="auto, cpu, cuda or cuda:N", fix="correct the name of the device"
        )
    from fastprobe.backend.cuda.presence import find_gpus

    number, found = int(parts[1] or 0), find_gpus()
    if not found.count:
        raise DeviceError(
            "--device",
            found=f"{device!r}, but {found.reason}",
            expected="a GPU that CuPy can use; otherwise auto or cpu",
            fix=f"{found.fix}; or use --device cpu",
        )
    if number >= found.count:
        raise DeviceError(
            "--device",
            found=f"{device!r}, but there are {found.count} GPUs, counted from 0",
            expected=f"cuda:0 to cuda:{found.count - 1}; otherwise auto or cpu",
            fix="correct the number of the GPU",
        )
    return number
