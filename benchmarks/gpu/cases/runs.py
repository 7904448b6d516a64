"""Bulk runs: submissions a minute from files, from a store and by a worker, beside one call of the engine in memory."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import fastprobe
from benchmarks.cases.bulk.amounts import N_TASKS, Amounts
from benchmarks.cases.bulk.data import BulkData, into_store
from benchmarks.gpu.beside import require
from benchmarks.gpu.cases.parity import RIDGE_TOLERANCE, difference
from benchmarks.gpu.context import Context
from benchmarks.gpu.ledger import Finding, Missed, Skipped
from benchmarks.gpu.options import ALPHA
from benchmarks.gpu.target import Target
from benchmarks.gpu.timing import readable
from fastprobe.cluster import ClusterSpec
from fastprobe.embeddings import Submission
from fastprobe.protocol import Protocol
from fastprobe.results import Scores
from fastprobe.runs import RunReport, find_items
from fastprobe.runs import run as run_all
from fastprobe.runs.pipeline import STAGES

__all__ = ["Q_TOLERANCE", "compared", "run", "shares", "worker"]

Q_TOLERANCE = (100 / 1e-3 + 50) * RIDGE_TOLERANCE
"""Largest difference of Q over its size, at least 1e-3, that follows from the tolerance e of fold scores: mean and
standard deviation change by e at most, and Q = 2 mean / (std + 0.02) by 100 e + 50 |Q| e."""

_KEY = ("submission", "task", "embedding_hash", "label_hash", "protocol_hash")
_FILES = "run, from files"
_MOST = 200  # submissions at full scale
_TRIAL = 8  # as many as a GPU scores at the same time; from them it is estimated how many there is time for
_PIECES = 8  # of the time that is left: scored four times, ingested, read and compared, and workers started
_START = 8.0  # seconds that a worker needs until it scores, on a GPU more


def shares(seconds: Mapping[str, float], at_once: int) -> dict[str, float]:
    """Tell what share of a run each of its threads was at work; a run waits for the one that always is.

    Parameters
    ----------
    seconds : mapping of str to float
        As :attr:`fastprobe.runs.RunReport.seconds`.
    at_once : int
        Submissions that are scored at the same time; the seconds of each of them count.
    """
    busy = {
        "reading": seconds["read"] + seconds["copy"],
        "scoring": seconds["solve"] / at_once,
        "writing": seconds["write"],
    }
    return {what: spent / seconds["all"] for what, spent in busy.items()}


def compared(out: Path, wanted: Scores) -> Finding:
    """Hold the scores in the folder of a run to those of the engine in memory.

    Raises
    ------
    Missed
        If scores are missing, too many, or of another embedding, protocol or labels; if fold scores or Q differ.
    """
    have, want = Counter(_keys_on_disk(out)), Counter(tuple(getattr(row, name) for name in _KEY) for row in wanted.rows)
    if have != want:
        lost, surplus = want - have, have - want
        first = ", ".join(min(lost + surplus)[:2])
        text = f"{lost.total()} scores missing, {surplus.total()} that should not be there; first {first}"
        raise Missed(Finding(text))
    finding = difference([Scores.read(out)], [wanted], RIDGE_TOLERANCE, relative=False)
    if not finding.values["q_difference"] <= Q_TOLERANCE:
        raise Missed(Finding(f"{finding.text}, which is more than {Q_TOLERANCE:.0e}", finding.values))
    return Finding(f"{have.total()} scores: {finding.text}", finding.values)


def _keys_on_disk(out: Path) -> Iterator[tuple[str, ...]]:
    """Give what each row is the score of, file by file, so that one that is there twice is seen twice."""
    for path in (out / "scores").glob("*.parquet"):
        for row in pq.ParquetFile(path).read(columns=list(_KEY)).to_pylist():
            yield tuple(row[name] for name in _KEY)


def worker(target: Target) -> dict[str, Any]:
    """Options of a run by one worker that has the device; in a rehearsal by a process on the CPU.

    Raises
    ------
    Skipped
        If a package is missing, or it would be another GPU.
    """
    require("distributed")
    if not target.is_gpu:
        return {"cluster": ClusterSpec(workers=1), "device": "cpu"}
    require("dask_cuda")
    if target.name not in ("cuda", "cuda:0"):
        raise Skipped(f"one worker has the first GPU, and this is {target.name}")
    return {"cluster": ClusterSpec(gpus=1), "device": "cuda"}


@dataclass(frozen=True, eq=False)
class _InMemory:
    """What the engine gave.

    Attributes
    ----------
    scores : Scores
    a_minute : float
        Submissions.
    """

    scores: Scores
    a_minute: float


class _Runs:
    """Submissions in files, and what is made of them.

    Parameters
    ----------
    context : Context
    scratch : Path
        Folder for submissions, the store and the runs.
    """

    def __init__(self, context: Context, scratch: Path) -> None:
        self._context, self._target, self._scratch = context, context.target, scratch
        self._data = BulkData(Amounts.of(context.options.scale), scratch).big
        self._protocol = Protocol.named("ridge").with_options(alpha=ALPHA, folds=context.options.folds)
        self._files = self._data.files("files", range(_TRIAL))
        self._count = _TRIAL
        self._memory: _InMemory | None = None

    def submissions(self) -> Finding:
        """Run a few, twice, and write as many as there is time for."""
        (_, cold), (_, warm) = (self._run([self._files], f"trial-{i}") for i in range(2))
        fitting = int(self._context.ledger.left / _PIECES / (warm / _TRIAL))
        self._count = max(_TRIAL, min(round(_MOST * self._context.options.scale), fitting))
        self._data.files("files", range(self._count))
        n, d = self._data.noise.shape
        size = next(self._files.glob("*.npz")).stat().st_size
        text = (
            f"{self._count} files of {n} x {d} (float32), {size / 1e6:.3g} MB each, with {N_TASKS} tasks x "
            f"{self._protocol.folds.n_folds} folds; a run of {_TRIAL} takes {readable(cold)} at first, then "
            f"{readable(warm)}"
        )
        values = {"submissions": self._count, "n": n, "d": d, "npz_bytes": size, "cold_seconds": cold}
        return Finding(text, {**values, "trial": _TRIAL, "trial_seconds": warm})

    def in_memory(self) -> Finding:
        """Score arrays that are read and hashed before the clock."""
        submissions = [Submission.read(path) for path in sorted(self._files.glob("*.npz"))]
        for submission in submissions:
            submission.digest  # noqa: B018  # kept for later
        begun = time.perf_counter()
        scores = fastprobe.score(
            submissions, self._data.benchmark, protocol=self._protocol, device=self._target.backend
        )
        seconds = time.perf_counter() - begun
        self._memory = _InMemory(scores, 60 * len(submissions) / seconds)
        text = f"{self._memory.a_minute:.4g} submissions a minute, {readable(seconds / len(submissions))} each"
        values = {"submissions": len(submissions), "seconds": seconds, "per_minute": self._memory.a_minute}
        return Finding(text, values)

    def from_files(self, name: str) -> Finding:
        """Run on the files."""
        return self._paced(*self._run([self._files], name))

    def from_store(self, name: str) -> Finding:
        """Run on a store of the same."""
        require("zarr")
        begun = time.perf_counter()
        store = into_store(self._files, self._scratch / "store.zarr")
        ingesting = time.perf_counter() - begun
        found = self._paced(*self._run([store], name))
        return Finding(
            f"{found.text}; ingested in {readable(ingesting)}", {**found.values, "ingest_seconds": ingesting}
        )

    def by_worker(self, name: str) -> Finding:
        """Run on the files by a worker that has the device; its start is told, and not in the pace."""
        options = worker(self._target)
        if (left := self._context.ledger.left) < _START:
            raise Skipped(f"{left:.0f} seconds were left, and a worker takes longer to start")
        stamps: list[float] = []

        def note(event: Mapping[str, Any]) -> None:
            if event["event"] == "scored":
                stamps.append(time.perf_counter())

        report, seconds = self._run([self._files], name, event=note, **options)
        a_minute = 60 * (len(stamps) - 1) / (stamps[-1] - stamps[0])
        text = (
            f"from the first to the last {self._pace(a_minute)}; {_spent(report)}; {readable(seconds)} in all, the "
            "start of the worker included"
        )
        values = {"per_minute": a_minute, "seconds": seconds, "stages": dict(report.seconds)}
        return Finding(text, values)

    def again(self) -> Finding:
        """Make the call of the run on the files once more."""
        report, seconds = self._run([self._files], _FILES, there=self._count)
        return Finding(f"nothing pending after {readable(seconds)}", {"seconds": seconds, "finished": report.finished})

    def scores(self, name: str) -> Finding:
        """Compare the scores of a run with those from memory."""
        if self._memory is None:
            raise Skipped("there are no scores from memory")
        return compared(self._scratch / name, self._memory.scores)

    def _run(self, places: Sequence[Path], name: str, *, there: int = 0, **more: Any) -> tuple[RunReport, float]:
        """Run; Missed unless all are scored, but for those that are there."""
        options = {"protocol": self._protocol, "device": self._target.backend, **more}
        begun = time.perf_counter()
        items = find_items(places)
        report = run_all(items, self._data.benchmark, self._scratch / name, **options)
        seconds = time.perf_counter() - begun
        if (report.scored, report.finished) != (len(items) - there, there):
            first = "".join(f"; first {failure.error}" for failure in report.failed[:1]).replace(
                f"{self._scratch}/", ""
            )
            text = f"of {len(items)} submissions {report.scored} were scored, {report.finished} were there"
            raise Missed(Finding(f"{text} ({there} should have been), {len(report.failed)} failed{first}"))
        return report, seconds

    def _paced(self, report: RunReport, seconds: float) -> Finding:
        n, d = self._data.noise.shape
        at_once = min(self._count, self._target.backend.in_flight(4 * n * d, d))
        busy = shares(report.seconds, at_once)
        waits = max(busy, key=busy.__getitem__)
        a_minute = 60 * self._count / seconds
        text = (
            f"{self._pace(a_minute)}; {_spent(report)} of {readable(seconds)}; it waits for {waits}, which goes on for "
            f"{busy[waits]:.0%} of the time; scored at once: {at_once}"
        )
        values = {"per_minute": a_minute, "seconds": seconds, "stages": dict(report.seconds)}
        return Finding(text, {**values, "at_once": at_once, "shares": busy, "waits_for": waits})

    def _pace(self, a_minute: float) -> str:
        beside = "" if self._memory is None else f", {a_minute / self._memory.a_minute:.1%} of those in memory"
        return f"{a_minute:.4g} submissions a minute{beside}"


def _spent(report: RunReport) -> str:
    return ", ".join(f"{stage} {readable(report.seconds[stage])}" for stage in (*STAGES, "write"))


def run(context: Context) -> None:
    """Measure runs from files, once more, from a store, and by a worker; hold their scores to those from memory."""
    ledger = context.ledger

    def measure(name: str, work: Callable[[str], Finding]) -> None:
        if ledger.measure(name, lambda: work(name)) is not None:
            ledger.measure(f"{name}: scores", lambda: runs.scores(name))

    with tempfile.TemporaryDirectory(prefix="fastprobe-gpu-") as scratch:
        runs = _Runs(context, Path(scratch))
        ledger.measure("submissions", runs.submissions)
        ledger.measure("in memory, one call", runs.in_memory)
        measure(_FILES, runs.from_files)
        ledger.measure(f"{_FILES}, once more", runs.again)
        measure("run, from a store", runs.from_store)
        measure("run, by a worker", runs.by_worker)
