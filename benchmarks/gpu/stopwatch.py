"""Where the time of a call goes: a backend that waits after each of its operations, and notes how long that took."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from benchmarks.gpu.target import Target
from fastprobe.backend import Backend

__all__ = ["HOST", "OPERATIONS", "Stopwatch"]

_SET_UP = {"session", "lane_pool", "in_flight", "prefetch", "memory"}

OPERATIONS = frozenset(
    name for name, value in vars(Backend).items() if callable(value) and not name.startswith("_")
) - _SET_UP  # fmt: skip
"""What a backend computes, by name."""

HOST = "the rest"
"""Host work, and arithmetic of arrays that is no operation of the backend."""


class Stopwatch:
    """A backend for one thread, as slow as one that waits for the device after every operation.

    All time since it was made is told apart: what passes within an operation is that operation's, less what passes in
    operations that it calls by way of its caller (``for_chunks`` is arithmetic of arrays between them).

    Parameters
    ----------
    target : Target

    Attributes
    ----------
    spent : dict of str to float
        Seconds by operation, and those of :data:`HOST`.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._within = [HOST]
        target.synchronize()
        self._last = time.perf_counter()
        self.spent: dict[str, float] = {HOST: 0.0}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target.backend, name)
        return self._timed(name, found) if name in OPERATIONS else found

    def stop(self) -> dict[str, float]:
        """Seconds by operation, the longest first."""
        self._lap()
        return dict(sorted(self.spent.items(), key=lambda entry: -entry[1]))

    def _lap(self) -> None:
        """Give the time since the last lap to what is under way."""
        self._target.synchronize()
        now = time.perf_counter()
        name = self._within[-1]
        self.spent[name] = self.spent.get(name, 0.0) + now - self._last
        self._last = now

    def _timed(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(operation)
        def run(*arguments: Any, **more: Any) -> Any:
            self._lap()
            self._within.append(name)
            try:
                return operation(*arguments, **more)
            finally:
                self._lap()
                self._within.pop()

        return run
