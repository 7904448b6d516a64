"""Timing: contestants take turns in this process; whole commands run in processes of their own."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.problem import FoldScores

__all__ = ["ROOT", "BenchmarkError", "Contestant", "Outcome", "ProcessRun", "Timing", "race", "run_process"]

ROOT = Path(__file__).resolve().parents[1]


class BenchmarkError(Exception):
    """A contestant failed, or the contestants disagree."""


@dataclass(frozen=True)
class Outcome:
    """What one run of a contestant gives back.

    Attributes
    ----------
    scores : FoldScores or None
        None where there is nothing to compare.
    seconds : float or None
        Time that the contestant took itself (a child process does); by default the clock around the call.
    peak_bytes : int or None
        Peak resident memory of a process of its own.
    facts : mapping
        More to tell, JSON-serialisable.
    """

    scores: FoldScores | None = None
    seconds: float | None = None
    peak_bytes: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contestant:
    """One row of a table.

    Attributes
    ----------
    name : str
    run : callable
        Does the work once.
    scale : float
        Full work over measured work: 10 where 4 of 40 folds are measured. Times are reported multiplied by it.
    note : str
        What a reader has to know about the row.
    tolerance : float or None
        Largest difference from the reference that still is agreement; None where none is expected.
    missing : str or None
        Why the contestant cannot run; the table says so in its place.
    warm_up : bool
        Whether one run goes before the others and is told apart (compiled code, first touch of memory).
    once : bool
        Whether one run is enough.
    imports : tuple of str
        Modules to import before the clock. Where a time is scaled up, an import must not be.
    """

    name: str
    run: Callable[[], Outcome]
    scale: float = 1.0
    note: str = ""
    tolerance: float | None = None
    missing: str | None = None
    warm_up: bool = False
    once: bool = False
    imports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Timing:
    """What a contestant took.

    Attributes
    ----------
    seconds : tuple of float
        Every run, for the full work.
    cold_seconds : float or None
        The warm-up run.
    peak_bytes : tuple of int
    scores : FoldScores or None
        Of the last run.
    facts : mapping
        Of the last run.
    """

    seconds: tuple[float, ...] = ()
    cold_seconds: float | None = None
    peak_bytes: tuple[int, ...] = ()
    scores: FoldScores | None = field(default=None, repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def median_seconds(self) -> float:
        """Median over the runs."""
        return median(self.seconds)

    @property
    def median_peak_bytes(self) -> float | None:
        """Median over the runs, None where the contestant ran in this process."""
        return median(self.peak_bytes) if self.peak_bytes else None


@dataclass(frozen=True)
class ProcessRun:
    """A command that ran to its end with exit status 0.

    Attributes
    ----------
    seconds : float
        Wall time from start to end of the process.
    peak_bytes : int
        Peak resident memory.
    stdout : str
    """

    seconds: float
    peak_bytes: int
    stdout: str


def _timed_run(contestant: Contestant) -> tuple[float, Outcome]:
    gc.collect()
    start = time.perf_counter()
    try:
        outcome = contestant.run()
    except BenchmarkError as error:
        raise BenchmarkError(f"{contestant.name}: {error}") from error
    elapsed = time.perf_counter() - start
    return contestant.scale * (elapsed if outcome.seconds is None else outcome.seconds), outcome


def race(
    contestants: Sequence[Contestant],
    *,
    repeat: int,
    budget: float,
    log: Callable[[str], None],
) -> dict[str, Timing]:
    """Let the contestants take turns, A B C A B C, so that a noisy machine disturbs all of them.

    Parameters
    ----------
    contestants : sequence of Contestant
    repeat : int
        Rounds.
    budget : float
        Seconds for each contestant. One that has spent them sits out the next rounds; everyone runs at least once.
    log : callable
        Told what happens.

    Returns
    -------
    dict of str to Timing
        By name, in the order given; contestants that are not installed are left out.
    """
    present = [c for c in contestants if c.missing is None]
    cold: dict[str, float] = {}
    runs: dict[str, list[tuple[float, Outcome]]] = {c.name: [] for c in present}
    spent = dict.fromkeys(runs, 0.0)
    for contestant in present:
        for module in contestant.imports:
            import_module(module)
        if contestant.warm_up:
            cold[contestant.name], _ = _timed_run(contestant)
    for turn in range(repeat):
        for contestant in present:
            used, times = spent[contestant.name], len(runs[contestant.name])
            if turn and (contestant.once or used + used / times > budget):
                continue
            start = time.perf_counter()
            seconds, outcome = _timed_run(contestant)
            spent[contestant.name] += time.perf_counter() - start
            runs[contestant.name].append((seconds, outcome))
            log(f"  {contestant.name}: {seconds:.3g} s" + (" (scaled)" if contestant.scale != 1 else ""))
    return {
        name: Timing(
            seconds=tuple(seconds for seconds, _ in done),
            cold_seconds=cold.get(name),
            peak_bytes=tuple(outcome.peak_bytes for _, outcome in done if outcome.peak_bytes is not None),
            scores=done[-1][1].scores,
            facts=done[-1][1].facts,
        )
        for name, done in runs.items()
    }


def run_process(
    command: Sequence[str], *, threads: int, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> ProcessRun:
    """Run a command in a process of its own, started from a small one.

    Parameters
    ----------
    command : sequence of str
    threads : int
        Threads that every BLAS and OpenMP in it may use.
    cwd : Path
        Working folder; the root of the repository by default, so that ``python -m fastprobe`` finds the checkout.
    env : mapping or None
        More environment variables.

    Returns
    -------
    ProcessRun

    Raises
    ------
    BenchmarkError
        If the command ends with another exit status than 0; the message ends with its last words.
    """
    limits = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads)
    )
    with tempfile.TemporaryDirectory(prefix="fastprobe-bench-") as name:
        result, stdout, stderr = (Path(name) / part for part in ("result.json", "stdout", "stderr"))
        launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("timed.py"))]
        subprocess.run(
            [*launcher, str(result), str(stdout), str(stderr), *command],
            check=True,
            cwd=cwd,
            env={**os.environ, **limits, **(env or {})},
        )
        record = json.loads(result.read_text())
        if record["exit_status"] != 0:
            last_words = stderr.read_text(errors="replace")[-2000:]
            raise BenchmarkError(f"exit status {record['exit_status']} of {' '.join(command[:4])} ...\n{last_words}")
        return ProcessRun(record["seconds"], record["peak_bytes"], stdout.read_text())
