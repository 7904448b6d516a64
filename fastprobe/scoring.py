"""Submissions on their way through the scorers: one at a time on the CPU, a few on a device that one leaves idle.

A submission is read, scored under every protocol and let go. No more are in memory than are scored at the same time,
and the one that is read ahead.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend import Backend
from fastprobe.backend.select import cores
from fastprobe.embeddings import Submission
from fastprobe.errors import InputError
from fastprobe.inflight import in_order
from fastprobe.results import TaskScore
from fastprobe.tasks import Benchmark
from fastprobe.units import Located, Scorer, locate

__all__ = ["Progress", "Run", "located", "needed_ids", "restrict"]

Progress = Callable[[str, int, int], None]
"""Called with (submission, units done, units in all) whenever a unit is finished: a sample group of a submission for
ridge, a task of a submission for neuco. Where several submissions are scored at the same time it is called from their
threads, by one of them at a time."""


@dataclass(eq=False)
class _Job:
    """A submission that is to be scored.

    Attributes
    ----------
    submission : Submission
    digest : Future of str, or None
        Its hash, where that is computed beside the scoring.
    counted : int
        Units that were reported as done; they are not again if it is scored again.
    """

    submission: Submission
    digest: Future[str] | None
    counted: int = 0


class Run:
    """Submissions and what scores them. Iterating, once, gives the records of each: for every protocol, by task.

    Parameters
    ----------
    coming : iterable of Submission
        Asked in the calling thread.
    count : int or None
        How many there are, if that is known.
    benchmark : Benchmark
    backend : Backend
    scorers : sequence of Scorer
    on_host : sequence of str
        Names of protocols that want the features on the host.
    lenient : bool
        Leave out labelled samples that a submission lacks.
    progress : callable or None
        See :data:`Progress`.

    Attributes
    ----------
    protocols : list of Protocol
        Of all scorers.
    """

    def __init__(
        self,
        coming: Iterable[Submission],
        count: int | None,
        benchmark: Benchmark,
        backend: Backend,
        scorers: Sequence[Scorer],
        on_host: Sequence[str],
        lenient: bool,
        progress: Progress | None,
    ) -> None:
        self.protocols = [protocol for scorer in scorers for protocol in scorer.protocols]
        self._coming, self._count = coming, count
        self._benchmark, self._backend, self._scorers = benchmark, backend, scorers
        self._on_host, self._lenient, self._progress = on_host, lenient, progress
        self._needed = needed_ids(benchmark)
        self._total = (count or 0) * sum(scorer.units for scorer in scorers)
        self._seen: set[str] = set()
        self._done, self._reporting = 0, threading.Lock()

    def __iter__(self) -> Iterator[list[list[TaskScore]]]:
        most = sys.maxsize if self._count is None else max(1, self._count)
        with ThreadPoolExecutor(cores(), thread_name_prefix="fastprobe-digest") as hashing:
            jobs = map(partial(self._job, hashing), self._coming)  # which holds none of them
            yield from in_order(jobs, self._score, at_once=self._at_once, most=most)

    def _job(self, hashing: ThreadPoolExecutor, submission: Submission) -> _Job:
        if submission.name in self._seen:
            raise InputError(
                "submissions",
                found=f"two with the name {submission.name!r}",
                expected="one name each",
                fix="rename one",
            )
        self._seen.add(submission.name)
        if submission.gpu is not None:
            _require_place(submission, self._backend, self._on_host)
            with self._backend.session():
                self._backend.asarray(submission.x)  # waits for the stream on which the caller computed it
        job = _Job(submission, None)
        if self._at_once(job) > 1:
            job.digest = hashing.submit(getattr, submission, "digest")
        return job

    def _at_once(self, job: _Job) -> int:
        return self._backend.in_flight(job.submission.x.nbytes, job.submission.x.shape[1])

    def _score(self, job: _Job, apart: bool) -> list[list[TaskScore]]:
        located = self._located(job)
        found: list[dict[str, TaskScore]] = [{} for _ in self.protocols]
        with self._backend.session(apart=apart):
            first = done = 0
            for scorer in self._scorers:
                for records in scorer.run(located):
                    for by_task, record in zip(found[first:], records, strict=False):
                        by_task.update({r.task: r for r in record})
                    done += 1
                    self._report(job, done)
                first += len(scorer.protocols)
        rows = [[by_task[name] for name in sorted(by_task)] for by_task in found]
        if job.digest is None:
            return rows
        return [[replace(row, embedding_hash=job.digest.result()) for row in of_protocol] for of_protocol in rows]

    def _located(self, job: _Job) -> Located:
        return located(
            self._benchmark,
            self._needed,
            job.submission,
            lenient=self._lenient,
            hashed_beside=job.digest is not None,
        )

    def _report(self, job: _Job, done: int) -> None:
        """Note that some units of a submission are done."""
        with self._reporting:
            if done <= job.counted:
                return
            job.counted = done
            self._done += 1
            if self._progress is not None:
                self._progress(job.submission.name, self._done, max(self._total, self._done))


def _require_place(submission: Submission, backend: Backend, on_host: Sequence[str]) -> None:
    """Raise InputError if the features lie on a GPU, and will be worked on elsewhere."""
    lies, works = f"cuda:{submission.gpu}", backend.device.partition(" ")[0]
    if lies == works and not on_host:
        return
    raise InputError(
        f"submission {submission.name!r}",
        found=f"features on {lies}",
        expected=f"features of the host, for {on_host[0]}" if on_host else f"features of the host or {works}",
        fix="copy them to the host" if on_host else f"score with device={lies!r}, or copy them to the host",
    )


def needed_ids(benchmark: Benchmark) -> NDArray[np.bool_]:
    """Which of the labelled ids of a benchmark are samples of its tasks."""
    return np.isin(benchmark.labelled_ids, np.concatenate([task.ids for task in benchmark.tasks]))


def located(
    benchmark: Benchmark,
    needed: NDArray[np.bool_],
    submission: Submission,
    *,
    lenient: bool,
    hashed_beside: bool = False,
) -> Located:
    """Find the samples of a benchmark in a submission.

    Parameters
    ----------
    benchmark : Benchmark
    needed : ndarray of bool
        Its :func:`needed_ids`, which are the same for all submissions.
    submission : Submission
    lenient : bool
        Leave out the samples that it lacks.
    hashed_beside : bool
        See :class:`fastprobe.units.Located`.

    Raises
    ------
    InputError
        As :func:`restrict`.
    """
    rows_of = locate(benchmark, submission)
    if not (rows_of[needed] < 0).any():
        return Located(submission, benchmark, rows_of, {}, hashed_beside)
    known, dropped = restrict(benchmark, submission, lenient=lenient)
    return Located(submission, known, rows_of, dropped, hashed_beside)


def restrict(benchmark: Benchmark, submission: Submission, *, lenient: bool) -> tuple[Benchmark, dict[str, int]]:
    """Drop the labelled samples that a submission lacks, counted by task.

    Raises
    ------
    InputError
        If it lacks some and this is not `lenient`, or a task would be left with fewer than two.
    """
    present = set(submission.ids.tolist())
    tasks, dropped = [], {}
    for task in benchmark.tasks:
        has = np.array([sample in present for sample in task.ids.tolist()])
        if has.all():
            tasks.append(task)
            continue
        lacking = task.ids[~has]
        if not lenient or has.sum() < 2:
            raise InputError(
                f"submission {submission.name!r}, task {task.name!r}",
                found=f"no embedding for {len(lacking)} of {len(task.ids)} labelled samples, first {str(lacking[0])!r}",
                expected="an embedding for every labelled sample",
                fix="add the missing rows, or score with --lenient to leave those samples out",
            )
        dropped[task.name] = len(lacking)
        tasks.append(replace(task, ids=task.ids[has], y=task.y[has]))
    return replace(benchmark, tasks=tuple(tasks)), dropped
