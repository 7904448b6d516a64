"""A bulk run and its workers, watched, and some of them killed."""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from benchmarks.cases.bulk.processes import (
    WatchedRun,
    cpu_seconds,
    draw_moment,
    moment,
    peak_bytes,
    worker_processes,
)
from benchmarks.measure import BenchmarkError

__all__ = ["Watched", "watch"]

_LOOK = 20  # submissions after which new workers are looked for
_LATE = 0.2  # seconds that a kill may come after its moment
_SPARED = (
    0.1  # of the submissions, the last: one that has lost two workers is tried then, and not set aside for a third
)


@dataclass(frozen=True, eq=False)
class Watched:
    """What was seen of a run.

    Attributes
    ----------
    seconds : float
        For all submissions, at the rate between the first and the last.
    whole_seconds : float
        From start to end of the process.
    driver_cpu_seconds : float
        CPU time of the process of the run, for each submission, between the first and the last.
    driver_peak : int
        Its peak memory, bytes.
    worker_peaks : tuple of int
        That of every worker that was seen, largest first.
    told : Counter of str
        How often each submission was told to be scored.
    lost : tuple of int
        Submissions that each loss of a worker took along.
    kills : int
        Workers that were killed here.
    """

    seconds: float
    whole_seconds: float
    driver_cpu_seconds: float
    driver_peak: int
    worker_peaks: tuple[int, ...]
    told: Counter[str]
    lost: tuple[int, ...]
    kills: int

    def facts(self) -> Mapping[str, Any]:
        """Return the same without names of submissions, JSON-serialisable."""
        return {name: value for name, value in vars(self).items() if name != "told"}


def watch(command: Sequence[str], count: int, *, kills: int = 0, chance: random.Random) -> Watched:
    """Watch a run until its end.

    Parameters
    ----------
    command : sequence of str
    count : int
        Submissions that are to be scored, 2 or more.
    kills : int
        How many workers to kill meanwhile.
    chance : random.Random

    Raises
    ------
    BenchmarkError
        If it ends with another exit status than 0, or tells of fewer submissions.
    """
    crew = _Crew(chance, kills, count)
    times, cpu, lost = list[float](), list[float](), list[int]()
    with WatchedRun(command) as process:
        for event in process.events():
            if event["event"] == "scored":
                times.append(moment(event))
                cpu.append(cpu_seconds(process.pid))
                crew.look(process.pid, len(times))
            elif event["event"] == "worker_lost":
                lost.append(len(event["submissions"]))
        process.end()
    if len(set(process.told)) < count:
        raise BenchmarkError(f"{len(set(process.told))} of {count} submissions were told to be scored")
    scale = count / (len(times) - 1)
    return Watched(
        seconds=scale * (times[-1] - times[0]),
        whole_seconds=process.seconds,
        driver_cpu_seconds=(cpu[-1] - cpu[0]) / (len(times) - 1),
        driver_peak=crew.driver_peak,
        worker_peaks=tuple(sorted(crew.peaks.values(), reverse=True)),
        told=Counter(process.told),
        lost=tuple(lost),
        kills=crew.kills,
    )


class _Crew:
    """The workers of a run: what they need, and who is killed next.

    Parameters
    ----------
    chance : random.Random
    kills : int
        How many are to be killed.
    count : int
        Submissions.
    """

    def __init__(self, chance: random.Random, kills: int, count: int) -> None:
        self._chance, self._wanted = chance, kills
        self._last = count - math.ceil(_SPARED * count)
        self._workers: list[int] = []
        self.peaks: dict[int, int] = {}
        self.driver_peak = self.kills = 0
        self._moment = self._next(0)

    def look(self, run: int, done: int) -> None:
        """Look at a run when so many submissions are done, and kill a worker if it is time for that."""
        due = done > self._moment
        if due or done % _LOOK == 1:
            self._workers = worker_processes(run)
        self.driver_peak = max(self.driver_peak, peak_bytes(run))
        for worker in self._workers:
            self.peaks[worker] = max(self.peaks.get(worker, 0), peak_bytes(worker))
        if due and self._workers:
            time.sleep(self._chance.random() * _LATE)
            self._kill(self._chance.choice(self._workers))
            self._moment = self._next(done)

    def _next(self, done: int) -> float:
        left = self._wanted - self.kills
        return done + draw_moment(self._chance, max(0, self._last - done), left) if left else math.inf

    def _kill(self, worker: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
            self.kills += 1
