"""Medians of many runs, the warm-up apart, with inputs in rotation so that it is not the cache that is measured."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from benchmarks.gpu.target import Target

__all__ = ["Measured", "measure", "readable"]

_SHORTEST = 1e-3  # seconds between two events: what they cost, and their resolution, is then below a percent
_MOST_CALLS = 500


@dataclass(frozen=True)
class Measured:
    """Time of one call.

    Attributes
    ----------
    median_seconds, least_seconds, most_seconds : float
    runs : int
    calls_per_run : int
        Calls between two readings of the clock.
    cold_seconds : float
        The very first call: loading of libraries, compilation, allocation.
    """

    median_seconds: float
    least_seconds: float
    most_seconds: float
    runs: int
    calls_per_run: int
    cold_seconds: float

    def values(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def measure(
    target: Target, work: Callable[[int], object], *, inputs: int = 1, repeat: int = 20, seconds: float = 2.0
) -> Measured:
    """Time a call.

    Parameters
    ----------
    target : Target
    work : callable
        Given the number of the input to work on.
    inputs : int
        How many there are; they take turns. Together they should be larger than the cache.
    repeat : int
        Runs.
    seconds : float
        No run is begun after so long, the third excepted.

    Returns
    -------
    Measured
    """
    cold = target.seconds(lambda: work(0))
    warm = [target.seconds(lambda i=i: work(i)) for i in range(inputs)]  # type: ignore[misc]
    calls = min(_MOST_CALLS, max(1, math.ceil(_SHORTEST / max(min(warm), 1e-7))))
    turn = 0

    def run() -> None:
        nonlocal turn
        for _ in range(calls):
            work(turn % inputs)
            turn += 1

    begun, times = time.monotonic(), list[float]()
    while len(times) < repeat and (len(times) < 3 or time.monotonic() - begun < seconds):
        times.append(target.seconds(run) / calls)
    return Measured(median(times), min(times), max(times), len(times), calls, cold)


def readable(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds * 1e9:.3g} ns"
