"""``fastprobe run`` as a process that is watched while it is at work: what it tells, what it needs, its workers."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import Any

from benchmarks.measure import ROOT, BenchmarkError
from benchmarks.settings import ALPHA

__all__ = [
    "Event",
    "WatchedRun",
    "cpu_seconds",
    "draw_moment",
    "moment",
    "peak_bytes",
    "run_command",
    "worker_processes",
]

Event = Mapping[str, Any]
"""A line of ``--log json``."""

_LIMIT = 300.0

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def run_command(
    places: Sequence[Path], labels: Path, out: Path, *more: str, folds: int, start: Sequence[str] = ("-m", "fastprobe")
) -> list[str]:
    """Return the command of a bulk run by this interpreter; ridge at one strength.

    Parameters
    ----------
    places : sequence of Path
        Folders of submissions, or stores.
    labels, out : Path
    *more : str
        Further options.
    folds : int
    start : sequence of str
        What the interpreter starts.
    """
    options = {"--labels": labels, "--out": out, "--protocol": "ridge", "--alpha": ALPHA, "--folds": folds}
    command = [sys.executable, *start, "run", *map(str, places)]
    for option, value in (options | {"--device": "cpu", "--format": "json"}).items():
        command += [option, str(value)]
    return [*command, *more]


class WatchedRun:
    """A run under way, with ``--log json``; left as a context, it is over.

    Threads are left to the run, as a user would: variables that set them are taken out of its environment.

    Parameters
    ----------
    command : sequence of str
    env : mapping of str to str, optional
        More environment variables.
    limit : float
        Seconds after which it is killed, as one that waits for ever.

    Attributes
    ----------
    pid : int
    told : list of str
        Submissions that it said were scored, until now.
    seconds : float
        From start to end.
    start_seconds : float
        Until it said what is pending; 0 if it has not.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None, *, limit: float = _LIMIT) -> None:
        inherited = {name: value for name, value in os.environ.items() if name not in _THREADS}
        self._process = subprocess.Popen(
            [*command, "--log", "json"],
            cwd=ROOT,
            env={**inherited, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.pid = self._process.pid
        self.told: list[str] = []
        self.seconds = self.start_seconds = 0.0
        self._began = time.perf_counter()
        self._words: deque[str] = deque(maxlen=20)
        self._limit = limit
        self._timer = Timer(limit, self.kill)
        self._timer.start()

    def __enter__(self) -> WatchedRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._timer.cancel()
        self.kill()
        self._process.communicate()

    def events(self) -> Iterator[Event]:
        """Give what the run tells, when it tells it, until it ends. A line that was cut off was not told."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            text = line.decode(errors="replace")
            event = _event(text)
            if event is None or event["event"] == "remark":
                self._words.append(text)
            if event is None:
                continue
            if event["event"] == "begun":
                self.start_seconds = time.perf_counter() - self._began
            if event["event"] == "scored":
                self.told.append(event["submission"])
            yield event

    def kill(self) -> None:
        """End it by SIGKILL, if it has not ended."""
        self._process.kill()

    def end(self) -> bool:
        """Take in what it still tells, and wait for the end; false if it was killed.

        Raises
        ------
        BenchmarkError
            If it ended with another exit status than 0, or not within its limit.
        """
        deque(self.events(), maxlen=0)
        status = self._process.wait()
        self._timer.cancel()
        self.seconds = time.perf_counter() - self._began
        last_words = "".join(self._words)[-2000:]
        if status == -signal.SIGKILL and self.seconds > self._limit:
            raise BenchmarkError(
                f"fastprobe run told of {len(self.told)} submissions and did not end in {self._limit:g} s\n{last_words}"
            )
        if status not in (0, -signal.SIGKILL):
            raise BenchmarkError(f"exit status {status} of fastprobe run\n{last_words}")
        return status == 0


def _event(line: str) -> Event | None:
    """The object of a line that was not cut off; None for any other line."""
    try:
        return json.loads(line) if line.startswith("{") and line.endswith("\n") else None
    except ValueError:
        return None


def draw_moment(chance: random.Random, pending: int, kills: int) -> int:
    """Draw after how many submissions the next kill comes.

    Parameters
    ----------
    chance : random.Random
    pending : int
        Submissions that are left; one of them at least comes behind the kill, where there is one.
    kills : int
        Kills that are left, to be spread evenly.

    Returns
    -------
    int
        From 0.
    """
    return chance.randint(0, max(0, min(2 * pending // (kills + 1), pending - 1)))


def moment(event: Event) -> float:
    """When something happened, in seconds since the epoch."""
    return datetime.fromisoformat(event["at"]).timestamp()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, without its children; 0 if it is not there."""
    fields = _status(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def peak_bytes(pid: int) -> int:
    """Peak resident memory of a process until now; 0 if it is not there."""
    for line in _read(pid, "status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def worker_processes(pid: int) -> list[int]:
    """Processes that a run has started by ``multiprocessing``, and those that they have, sorted."""
    parents = {int(path.name): _status(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()}
    found, seen = [], {pid}
    while new := {child for child, fields in parents.items() if fields and int(fields[1]) in seen} - seen:
        seen |= new
        found += [child for child in new if "spawn_main" in _read(child, "cmdline")]
    return sorted(found)


def _status(pid: int) -> list[str]:
    """Fields of /proc/PID/stat behind the name, from the state on; none if the process is not there."""
    return _read(pid, "stat").rpartition(")")[2].split()


def _read(pid: int, name: str) -> str:
    try:
        return (Path("/proc") / str(pid) / name).read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
