"""The device that the suite measures: its backend, its arrays and its clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.gpu.ledger import Skipped
from fastprobe.backend import Backend, get_backend

__all__ = ["Target", "open_target"]

_REHEARSAL_BYTES = 1 << 30


@dataclass(frozen=True)
class Target:
    """A device.

    Attributes
    ----------
    name : str
        As it was asked for: ``cuda``, ``cuda:N`` or ``cpu``.
    backend : Backend
    xp : namespace
        CuPy, or NumPy in a rehearsal.
    """

    name: str
    backend: Backend
    xp: Any

    @property
    def is_gpu(self) -> bool:
        """False in a rehearsal."""
        return self.name != "cpu"

    def require_gpu(self) -> None:
        """Raise :class:`Skipped` in a rehearsal."""
        if not self.is_gpu:
            raise Skipped("needs a GPU")

    @contextmanager
    def session(self) -> Iterator[None]:
        """Make the device, and the backend's memory, those of the calling thread."""
        with self.backend.session():
            yield

    def synchronize(self) -> None:
        """Wait for all that the device was given."""
        if self.is_gpu:
            self.xp.cuda.runtime.deviceSynchronize()

    def seconds(self, work: Callable[[], object]) -> float:
        """Time a piece of work of the calling thread's stream: by events on a GPU, by the clock in a rehearsal."""
        if not self.is_gpu:
            begun = time.perf_counter()
            work()
            return time.perf_counter() - begun
        cuda = self.xp.cuda
        start, stop, stream = cuda.Event(), cuda.Event(), cuda.get_current_stream()
        start.record(stream)
        work()
        stop.record(stream)
        stop.synchronize()
        return cuda.get_elapsed_time(start, stop) / 1e3


def open_target(name: str) -> Target:
    """Open a device.

    Parameters
    ----------
    name : str
        ``cuda``, ``cuda:N``; or ``cpu`` for the array backend on NumPy, which is what the CUDA backend is made of: a
        rehearsal runs the same code, and its times say nothing.

    Raises
    ------
    DeviceError
        If there is no such GPU.
    """
    if name == "cpu":
        from fastprobe.backend.array import ArrayBackend

        return Target(name, ArrayBackend(np, device="cpu (array backend)", budget=_REHEARSAL_BYTES), np)
    backend = get_backend(name)
    return Target(name, backend, backend.xp)
