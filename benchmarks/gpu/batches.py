"""Time per submission when submissions come one after another, as in a bulk job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from fastprobe.embeddings import Submission
from fastprobe.engine import Progress

__all__ = ["Pace", "Score", "pace", "repeated", "throughput"]

_TRIAL = 4  # submissions, from which it is estimated how many there is time for

Score = Callable[[Sequence[Submission], Progress | None], Any]
"""Scores submissions in one call of fastprobe."""


@dataclass(frozen=True)
class Pace:
    """Time per submission within one call.

    Attributes
    ----------
    first_seconds : float
        From the call to the last score of the first submission: folds, draws and set-up are in it.
    mean_seconds : float
        From the first submission that was finished to the last one, for each of the others.
    least_seconds, most_seconds : float
        From one submission that was finished to the next; several may be scored at the same time, and end in a burst.
    submissions : int
    cold_seconds : float
        A call before, with one submission: loading and compilation, too.
    """

    first_seconds: float
    mean_seconds: float
    least_seconds: float
    most_seconds: float
    submissions: int
    cold_seconds: float

    def values(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def repeated(inputs: Sequence[Submission], count: int) -> list[Submission]:
    """Give so many submissions that take turns in their data, each with a name of its own."""
    return [replace(inputs[i % len(inputs)], name=f"s{i}") for i in range(count)]


def pace(score: Score, inputs: Sequence[Submission], *, seconds: float, most: int) -> Pace:
    """Score submissions in one call, and time each.

    Parameters
    ----------
    score : callable
    inputs : sequence of Submission
        They take turns; together they should be larger than the cache.
    seconds : float
        About as long as the call may take: that decides how many submissions there are, at least 4.
    most : int
        Submissions at most.
    """
    cold, _ = _timed(score, repeated(inputs, 1))
    trial, stamps = _timed(score, repeated(inputs, _TRIAL))
    count = max(_TRIAL, min(most, int((seconds - trial) / _mean_gap(stamps))))
    _, stamps = _timed(score, repeated(inputs, count))
    gaps = [b - a for a, b in pairwise(stamps)]
    return Pace(stamps[0], _mean_gap(stamps), min(gaps), max(gaps), count, cold)


def _mean_gap(stamps: Sequence[float]) -> float:
    return (stamps[-1] - stamps[0]) / (len(stamps) - 1)


def throughput(score: Score, inputs: Sequence[Submission], *, callers: int, each: int) -> float:
    """Submissions a second when several threads score at the same time, on one backend.

    Parameters
    ----------
    score : callable
    inputs : sequence of Submission
    callers : int
        Threads.
    each : int
        Submissions of each thread.
    """
    batches = [repeated(inputs, each) for _ in range(callers)]
    gate = threading.Barrier(callers + 1)

    def call(batch: list[Submission]) -> None:
        gate.wait()
        score(batch, None)

    with ThreadPoolExecutor(callers, thread_name_prefix="benchmark-caller") as pool:
        pending = [pool.submit(call, batch) for batch in batches]
        gate.wait()
        begun = time.perf_counter()
        for future in pending:
            future.result()
    return callers * each / (time.perf_counter() - begun)


def _timed(score: Score, submissions: Sequence[Submission]) -> tuple[float, list[float]]:
    """Seconds of a call, and when submissions were finished, counted from its beginning, in order of time."""
    finished: dict[str, float] = {}
    begun = time.perf_counter()

    def progress(name: str, done: int, total: int) -> None:
        finished[name] = time.perf_counter() - begun

    score(submissions, progress)
    return time.perf_counter() - begun, sorted(finished.values())
