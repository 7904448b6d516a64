"""A CuPy that has no device: it computes with NumPy, and notes what is begun on which stream and what is waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np


class Current(threading.local):
    """What CuPy keeps for every thread."""

    def __init__(self) -> None:
        self.devices, self.allocators, self.streams = [0], [None], ["null"]


class Array(np.ndarray):
    def get(self) -> np.ndarray:
        return np.asarray(self)


def make_cupy(*, free: int = 1000, capability: str = "90") -> ModuleType:
    """Return a module. ``log`` lists (what, stream) pairs; ``room`` False makes every copy run out of memory."""
    cupy, current, log = ModuleType("cupy"), Current(), []

    class Event:
        def __init__(self, stream: Any) -> None:
            self.stream = stream

    class Stream:
        def __init__(self, *, non_blocking: bool = False) -> None:
            self.non_blocking, self.device = non_blocking, current.devices[-1]

        def __enter__(self) -> Stream:
            assert self.device == current.devices[-1]
            current.streams.append(self)
            return self

        def __exit__(self, *_: object) -> None:
            current.streams.pop()

        def synchronize(self) -> None:
            log.append(("synchronize", self))

        def record(self) -> Event:
            return Event(self)

        def wait_event(self, event: Event) -> None:
            log.append(("wait", (self, event.stream)))

    null = Stream()
    current_stream = lambda: null if current.streams[-1] == "null" else current.streams[-1]  # noqa: E731

    class Device:
        compute_capability, mem_info = capability, (free, 2 * free)

        def __init__(self, number: int) -> None:
            self.id = number

        def __enter__(self) -> None:
            current.devices.append(self.id)

        def __exit__(self, *_: object) -> None:
            current.devices.pop()

    class MemoryPool:
        limits: dict[int, int]

        def __init__(self) -> None:
            self.limits = {}

        def set_limit(self, *, size: int) -> None:
            self.limits[current.devices[-1]] = size

        def malloc(self, size: int) -> None:
            raise NotImplementedError

    @contextmanager
    def using_allocator(allocator: Any) -> Iterator[None]:
        current.allocators.append(allocator)
        yield
        current.allocators.pop()

    def asarray(a: Any) -> Array:
        if not cupy.room:
            raise MemoryError
        log.append(("copy", current_stream()))
        return np.array(a).view(Array)

    class Kernel:
        shared_size_bytes = 1024  # static

        def __init__(self, name: str) -> None:
            self.name, self.limits = name, []

        @property
        def max_dynamic_shared_size_bytes(self) -> int:
            return self.limits[-1]

        @max_dynamic_shared_size_bytes.setter
        def max_dynamic_shared_size_bytes(self, size: int) -> None:
            self.limits.append(size)

        def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int) -> None:
            log.append((self.name, (grid, block, args, shared_mem, list(self.limits))))

    class RawModule:
        def __init__(self, *, code: str, options: tuple[str, ...], backend: str) -> None:
            log.append(("compile", (code, options, backend)))

        def get_function(self, name: str) -> Kernel:
            return Kernel(name)

    runtime = SimpleNamespace(
        getDevice=lambda: current.devices[-1],
        getDeviceCount=lambda: 4,
        getDeviceProperties=lambda number: {"name": f"Chip {number}".encode(), "sharedMemPerBlockOptin": 232_448},
    )
    members = {
        "log": log, "room": True, "current": current, "ndarray": Array, "asarray": asarray, "RawModule": RawModule,
        "cuda": SimpleNamespace(
            Device=Device, MemoryPool=MemoryPool, Stream=Stream, using_allocator=using_allocator, runtime=runtime,
            get_current_stream=current_stream,
        ),
    }  # fmt: skip
    for name, member in members.items():
        setattr(cupy, name, member)
    return cupy
