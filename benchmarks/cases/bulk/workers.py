"""Bulk runs with Dask workers on this machine: their speed beside threads, and a run whose workers are killed."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cases.bulk.amounts import Goals
from benchmarks.cases.bulk.data import BulkData
from benchmarks.cases.bulk.processes import run_command
from benchmarks.cases.bulk.rows import Differences, Rows, fold_scores_on_disk, rows_on_disk
from benchmarks.cases.bulk.watch import Watched, watch
from benchmarks.measure import BenchmarkError
from benchmarks.problem import FoldScores, largest_difference
from benchmarks.report import TOLERANCE, CaseReport, Check, Row
from benchmarks.settings import Settings

__all__ = ["run"]

_WORKERS = (1, 2, 3)
_KILLED = 3  # workers of the run whose workers are killed
_BLOCKS = 2  # of submissions, in a run
_ROUNDS = 2  # at most
_SEED = 11

_TEXT = """``fastprobe run`` on {count} submissions of {n} x {d}, each run a process of its own: scored by its threads,
or by workers (``--workers``), which share the cores. Seconds are those between the first and the last submission that
is told to be scored, times {count} / {others}: what it takes to start processes is in the whole only. Runs take turns.
Then one with {workers} workers, one of which is ended by SIGKILL at each of {kills} random moments, all of them before
the last tenth of the submissions. Sums are rounded otherwise with another number of threads, so runs are held to the
first with as many for each worker, bit for bit, and fold scores to those of the first run."""

_THREADS, _LOST = "threads, no Dask", f"{_KILLED} workers, killed"


def _title(workers: int) -> str:
    return f"{workers} worker{'s' if workers > 1 else ''}"


class _Case:
    """Runs of all kinds, each in a new folder.

    Parameters
    ----------
    data : BulkData
    settings : Settings
    scratch : Path
    """

    def __init__(self, data: BulkData, settings: Settings, scratch: Path) -> None:
        self._data, self._settings, self._scratch = data, settings, scratch
        self.count = data.amounts.block * _BLOCKS
        self.runs: dict[str, list[Watched]] = {}
        self._first: dict[int, tuple[str, Rows]] = {}  # of the runs with so many threads for each worker
        self._same: dict[tuple[str, str], Differences] = {}
        self._folds: FoldScores = {}
        self._difference: dict[str, float] = {}

    def go(self, name: str, workers: int | None = None, *, kills: int = 0) -> None:
        """Have a run watched, and compare what it wrote with what others did."""
        more = () if workers is None else ("--workers", str(workers))
        number = sum(map(len, self.runs.values()))
        out = self._scratch / f"run-{number}"
        folds = self._settings.n_folds
        command = run_command(self._data.blocks(_BLOCKS), self._data.big.labels, out, *more, folds=folds)
        found = watch(command, self.count, kills=kills, chance=random.Random(_SEED))
        self.runs.setdefault(name, []).append(found)
        self._compare(name, max(1, self._settings.threads // (workers or 1)), out)
        self._settings.log(f"  {name}: {found.seconds:.3g} s, {found.whole_seconds:.3g} s in all")

    def _compare(self, name: str, threads: int, out: Path) -> None:
        rows, folds = rows_on_disk(out), fold_scores_on_disk(out)
        if threads in self._first:
            first, wanted = self._first[threads]
            pair = name, first
            self._same[pair] = self._same.get(pair, Differences()) + Differences.between(rows, wanted)
        else:
            self._first[threads] = name, rows
        self._folds = self._folds or folds
        both = folds.keys() & self._folds.keys()  # what is missing is seen above
        difference = largest_difference({key: folds[key] for key in both}, {key: self._folds[key] for key in both})
        self._difference[name] = max(self._difference.get(name, 0.0), difference)

    def seconds(self, name: str) -> float:
        """Median of the runs of a kind."""
        return median(run.seconds for run in self.runs[name])

    def rows(self) -> tuple[Row, ...]:
        """One for each kind of run."""
        return tuple(self._row(name, runs) for name, runs in self.runs.items())

    def _row(self, name: str, runs: Sequence[Watched]) -> Row:
        seconds = tuple(run.seconds for run in runs)
        peak = max((peak for run in runs for peak in run.worker_peaks), default=0)
        columns = {
            "a second": f"{self.count / median(seconds):.3g}",
            "whole seconds": f"{median(run.whole_seconds for run in runs):.3g}",
            "driver's CPU, ms a submission": f"{1000 * median(run.driver_cpu_seconds for run in runs):.2f}",
            "MiB of a worker": f"{peak / 2**20:.0f}" if peak else "",
        }
        peaks = tuple(run.driver_peak for run in runs)
        return Row(
            name, seconds, median(seconds), median(seconds) / self.seconds(_THREADS), peak_bytes=peaks,
            median_peak_bytes=median(peaks), difference=self._difference[name], tolerance=TOLERANCE, columns=columns,
        )  # fmt: skip

    def checks(self) -> list[Check]:
        """Whether all runs wrote the same, and told it once."""
        told = sum(abs(times - 1) for runs in self.runs.values() for run in runs for times in run.told.values())
        same = [d.check(f"the scores of {name} from those of {first}") for (name, first), d in self._same.items()]
        return [*same, Check("how often submissions were told to be scored from once each", float(told), 0.0)]

    def facts(self) -> Mapping[str, Any]:
        """All runs, in numbers."""
        return {name: [run.facts() for run in runs] for name, runs in self.runs.items()}


def run(settings: Settings) -> CaseReport:
    """Measure the case.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    CaseReport

    Raises
    ------
    BenchmarkError
        If there is no Dask here.
    """
    if find_spec("distributed") is None:
        raise BenchmarkError("Dask is not installed; to fix: pip install -e '.[cluster]'")
    data, goals = BulkData.of(settings), Goals(settings.scale)
    amounts = data.amounts
    with tempfile.TemporaryDirectory(prefix="bulk-", dir=settings.cache) as name:
        case = _Case(data, settings, Path(name))
        for _ in range(min(settings.repeat, _ROUNDS)):
            case.go(_THREADS)
            for workers in _WORKERS:
                case.go(_title(workers), workers)
        case.go(_LOST, _KILLED, kills=amounts.worker_kills)
    one, two = case.seconds(_title(1)), case.seconds(_title(2))
    (lost,) = case.runs[_LOST]
    findings = (
        f"2 workers have {one / two:.3g} times the throughput of 1{goals.at_least(one / two, 1.0, '{:g}'.format)}, "
        f"and {case.seconds(_THREADS) / two:.3g} times that of threads",
        f"{lost.kills} kills of workers: {len(lost.lost)} had work, and {sum(lost.lost)} submissions in all were "
        f"given to them, {max(lost.lost, default=0)} at most to one, and begun again elsewhere",
    )
    missed = Check("the number of kills from the one that was wanted", float(amounts.worker_kills - lost.kills), 0.0)
    text = _TEXT.format(
        count=case.count, others=case.count - 1, n=amounts.n, d=amounts.d, workers=_KILLED, kills=amounts.worker_kills
    )
    checks = (*case.checks(), missed, *goals.checks())
    return CaseReport(
        "bulk-workers", "Bulk runs with workers", text, _THREADS, case.rows(), findings, case.facts(), checks
    )
