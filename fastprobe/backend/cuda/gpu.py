"""One GPU: its memory, its streams, and copies to and from it.

Order between threads. Every lane is a thread of its own with a stream of its own, on which all that it does is in
order. What passes from thread to thread is complete when it is passed: :meth:`Gpu.upload` waits for the copy, and a
lane has waited for its stream when its work counts as finished. So neither a lane, nor whoever reads results, needs to
know of another's stream, and memory that CuPy's pool hands out again on one stream is not in use on another.

Streams of the caller. The calling thread keeps its current stream. An array that comes from outside is taken over on
that stream (which waits for its producer) and then waited for, once; all work on it is finished when scoring returns.

Several submissions at the same time have a thread each, and such a thread a stream that no other uses meanwhile
(:meth:`Gpu.apart`), so that none waits for the copy of another. They share the lanes. What a submission has on its
stream, its features above all, is used in many lanes; it is let go by the thread of the submission, when the lanes have
given back all of its work. So memory returns to the pool of a stream only when no other stream works on it.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import cupy as cp
from numpy.typing import NDArray

from fastprobe.backend.base import Array
from fastprobe.backend.lanes import Lanes

__all__ = ["Gpu"]

_log = logging.getLogger(__name__)

SHARE = 0.45
"""Share of the memory that is free at the start which a process takes: two of them fit side by side."""

_FULL_RATE = ("80", "90", "100")
"""Compute capabilities with one float64 unit for two of float32, and tensor cores for float64."""


class Gpu:
    """A device through CuPy.

    Parameters
    ----------
    number : int
    lanes : int
        Threads that work at the same time, each on a stream of its own.
    limit : int, optional
        Bytes that arrays may take up; by default a share of what is free.
    """

    def __init__(self, number: int, *, lanes: int, limit: int | None = None) -> None:
        self._device = cp.cuda.Device(number)
        properties = cp.cuda.runtime.getDeviceProperties(number)
        self.name = f"cuda:{number} ({properties['name'].decode()})"
        self.shared_bytes = int(properties["sharedMemPerBlockOptin"])
        self.fast_float64 = self._device.compute_capability in _FULL_RATE
        free, _ = self._device.mem_info
        self.limit = int(SHARE * free) if limit is None else limit
        self._pool = cp.cuda.MemoryPool()
        self._local = threading.local()
        self._coming = _Copies()
        self._kept = _Copies()
        self._keeping = threading.Lock()
        self._idle: deque[Any] = deque()  # streams that no thread works on apart
        with self._device:
            self._pool.set_limit(size=self.limit)
            self._copying = cp.cuda.Stream(non_blocking=True)
        self._lanes = ThreadPoolExecutor(lanes, "fastprobe-gpu")

    @contextmanager
    def session(self) -> Iterator[None]:
        """Make the device and its memory current in the calling thread, which keeps its stream."""
        with self._device, cp.cuda.using_allocator(self._pool.malloc):
            yield

    @contextmanager
    def lane_pool(self) -> Iterator[Executor]:
        """Lend the lanes; when they are given back, all that was begun in them is finished.

        The threads stay from loan to loan, and with them the handles of cuBLAS and cuSOLVER, which are costly to make.
        """
        with Lanes(self._lanes, self._lane) as lanes:
            yield lanes

    @contextmanager
    def apart(self) -> Iterator[None]:
        """As :meth:`session`, in a thread that is not the caller's: on a stream that it has for itself.

        All that was begun on the stream is finished at the end. Streams are used again, because the memory that CuPy
        keeps for each would otherwise pile up.
        """
        with self.session():
            try:
                stream = self._idle.pop()
            except IndexError:
                stream = cp.cuda.Stream(non_blocking=True)
            try:
                with stream:
                    try:
                        yield
                    finally:
                        self.settle()
            finally:
                self._idle.append(stream)

    def settle(self) -> None:
        """Wait for what the calling thread has begun."""
        cp.cuda.get_current_stream().synchronize()

    def upload(self, a: Any) -> Array:
        """Copy an array of the host to the device, by way of the page-locked buffers that CuPy keeps.

        An array that :meth:`prefetch` has seen is on its way or there.
        """
        copy = self._coming.get(a, last=True)
        if copy is None:
            copy = cp.asarray(a)
        if not self._in_lane:
            self.settle()
        return copy

    def take_over(self, a: Any) -> Array:
        """Use an array of the device as it is, when what the caller's stream does to it is done."""
        if not self._in_lane:
            self.settle()
        return a

    def download(self, a: Array) -> NDArray[Any]:
        """Copy an array to the host, when it is computed."""
        return a.get()

    def prefetch(self, a: NDArray[Any]) -> None:
        """Begin to copy an array on a stream of its own; :meth:`upload` of that array then gives the copy.

        Safe to call from any thread. If there is no room beside what is being worked on, nothing happens.
        """
        with self.session(), self._copying:
            try:
                copy = cp.asarray(a)
            except MemoryError:
                _log.info("%s: no room to copy the next submission ahead of its turn", self.name)
                return
            self._coming.put(a, copy)

    def keep(self, a: NDArray[Any]) -> Array:
        """Copy an array that never changes, once for as long as it lives: the draws that all submissions share."""
        with self._keeping:  # whoever comes second waits until the copy is begun, and has his stream wait for its end
            copy = self._kept.get(a)
            if copy is None:
                copy = cp.asarray(a)
                self._kept.put(a, copy)
        return copy

    def holds(self, a: Any) -> bool:
        """Whether an array is one of CuPy's."""
        return isinstance(a, cp.ndarray)

    @contextmanager
    def _lane(self) -> Iterator[None]:
        """Work on the stream of this thread, and wait for it at the end."""
        with self.session():
            if not hasattr(self._local, "stream"):
                self._local.stream = cp.cuda.Stream(non_blocking=True)
            with self._local.stream:
                self._local.working = True
                try:
                    yield
                finally:
                    self.settle()
                    self._local.working = False

    @property
    def _in_lane(self) -> bool:
        return getattr(self._local, "working", False)


class _Copies:
    """Device copies of arrays of the host, found by identity and dropped with their originals."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[Array, Any]] = {}

    def put(self, original: NDArray[Any], copy: Array) -> None:
        """Note a copy that the current stream has begun."""
        self._found[id(original)] = copy, cp.cuda.get_current_stream().record()
        weakref.finalize(original, self._found.pop, id(original), None).atexit = False

    def get(self, original: Any, *, last: bool = False) -> Array | None:
        """Give the copy, if there is one, to be used on the current stream; forget it if this is the last use."""
        key = id(original)
        copy, begun = (self._found.pop if last else self._found.get)(key, (None, None))
        if copy is not None:
            cp.cuda.get_current_stream().wait_event(begun)
        return copy
