"""The bulk job on one machine: submissions are read ahead, scored, and what comes of them is written.

Each of the three is done in a thread of its own, and the calling thread waits: an interrupt is answered at once,
whatever compiled code is busy with. What has been scored by then is written, what is being scored is given up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from fastprobe.backend import Backend, check_device, get_backend
from fastprobe.embeddings import Submission
from fastprobe.errors import DeviceError, FastprobeError, InputError
from fastprobe.inflight import in_order
from fastprobe.protocol import DEFAULT, Protocol
from fastprobe.results import Scores, TaskScore
from fastprobe.runs.ahead import Ahead
from fastprobe.runs.folder import Failure, RunFolder
from fastprobe.runs.inputs import Item
from fastprobe.runs.plan import Overwrite, Plan, Unit, look_at, plan_run
from fastprobe.runs.scoring import UnitScorer
from fastprobe.runs.terms import Terms
from fastprobe.tasks import Benchmark

__all__ = ["Event", "RunReport", "run"]

_log = logging.getLogger(__name__)

_AHEAD = 2  # submissions that wait for their turn, and scores that wait to be written
_PATIENCE = 1.5  # seconds that an interrupt waits for scores to be written

Event = Callable[[Mapping[str, Any]], None]
"""Called with what has happened, in any thread, but one at a time:

- ``{"event": "begun", "pending", "scores", "finished", "failed", "out_of_date"}``, the plan in numbers;
- ``{"event": "scored", "submission", "scores", "read_s", "solve_s", "write_s"}`` when they are on the disk;
- ``{"event": "recognised", ...}`` with the same fields, when all scores of a changed file were there;
- ``{"event": "failed", "submission", "error", ...}`` with the same seconds;
- ``{"event": "ended", "scored", "finished", "failed", "seconds"}``.
"""


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    Attributes
    ----------
    scored : int
        Submissions.
    finished : int
        Submissions all of whose scores were there, under an older time stamp maybe.
    failed : tuple of Failure
        In this run, and before if they were not tried again.
    seconds : mapping of str to float
        Time of the stages ``read``, ``solve`` and ``write``, which overlap, and ``all``.
    """

    scored: int
    finished: int
    failed: tuple[Failure, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)


def run(
    items: Sequence[Item],
    benchmark: Benchmark,
    out: str | Path,
    *,
    protocol: str | Protocol = DEFAULT,
    device: str | Backend = "auto",
    lenient: bool = False,
    overwrite: Overwrite = "missing",
    retry_failed: bool = False,
    event: Event | None = None,
) -> RunReport:
    """Score many submissions, each once, and keep every score when it is finished.

    Parameters
    ----------
    items : sequence of Item
        What :func:`fastprobe.runs.find_items` found.
    benchmark : Benchmark
    out : path
        Folder of the run; the same call goes on where another one ended.
    protocol : str or Protocol
    device : str or Backend
        See :func:`fastprobe.score`.
    lenient : bool
        Leave out labelled samples that a submission lacks.
    overwrite, retry_failed
        See :func:`fastprobe.runs.plan_run`.
    event : callable, optional
        See :data:`Event`.

    Returns
    -------
    RunReport

    Raises
    ------
    InputError
        If options or labels are wrong, or another process is at work in the folder. What is wrong with a submission is
        recorded, and the others go on.
    WriteError
        If the folder cannot be written to, because the disk is full for example. What is finished is kept.
    KeyboardInterrupt
        Within two seconds of an interrupt. What is finished is kept.
    """
    began = time.perf_counter()
    tell = event or (lambda _: None)
    chosen = protocol if isinstance(protocol, Protocol) else Protocol.load(protocol)
    if isinstance(device, str):
        check_device(device)
    terms, folder = Terms.of(benchmark, chosen), RunFolder(Path(out))
    left_out = sorted(set(benchmark.names) - set(terms.tasks))
    if left_out:
        _log.warning("the protocol %s leaves out the regression tasks %s", chosen.name, ", ".join(left_out))
    with folder.locked():
        plan = plan_run(items, terms, folder, overwrite=overwrite, retry_failed=retry_failed)
        tell({"event": "begun", **_in_numbers(plan)})
        if plan.stale:
            _log.warning("%d scores in %s are out of date, and dropped", len(plan.stale), out)
            with folder.writing():
                folder.scores.drop(plan.stale)
        work = _Work(plan.pending, terms, folder, overwrite, tell)
        if plan.pending:
            backend = get_backend(device) if isinstance(device, str) else device
            work.go(backend, UnitScorer(backend, terms, lenient=lenient))
        folder.put_together()
    report = RunReport(
        work.scored,
        len(plan.finished) + work.recognised,
        (*plan.failed, *work.failed),
        {**work.seconds, "all": time.perf_counter() - began},
    )
    counts = {"scored": report.scored, "finished": report.finished, "failed": len(report.failed)}
    tell({"event": "ended", **counts, "seconds": dict(report.seconds)})
    return report


def _in_numbers(plan: Plan) -> dict[str, int]:
    return {
        "pending": len(plan.pending),
        "scores": plan.n_scores,
        "finished": len(plan.finished),
        "failed": len(plan.failed),
        "out_of_date": len(plan.stale),
    }


@dataclass(frozen=True, eq=False)
class _Read:
    """A submission that was read, or why it was not."""

    unit: Unit
    submission: Submission | None
    error: FastprobeError | None
    seconds: float


@dataclass(frozen=True, eq=False)
class _Done:
    """What came of a unit: scores (none if all were there), or an error."""

    unit: Unit
    digest: str
    rows: list[TaskScore]
    error: FastprobeError | None
    read_seconds: float
    solve_seconds: float


class _Work:
    """The units of a run under way."""

    def __init__(
        self, units: Sequence[Unit], terms: Terms, folder: RunFolder, overwrite: Overwrite, event: Event
    ) -> None:
        self._units, self._terms, self._folder = units, terms, folder
        self._overwrite, self._event = overwrite, event
        self.seconds = {"read": 0.0, "solve": 0.0, "write": 0.0}
        self.scored = self.recognised = 0
        self.failed: list[Failure] = []

    def go(self, backend: Backend, scorer: UnitScorer) -> None:
        """Score all units; an error that is not a submission's ends the run."""
        host_only = self._terms.protocol.probe == "neuco"  # it standardises there

        def read(unit: Unit) -> _Read:
            found = _read(unit)
            if found.submission is not None and not host_only:
                backend.prefetch(found.submission.x)
            return found

        def at_once(found: _Read) -> int:
            x = None if found.submission is None else found.submission.x
            return 1 if x is None else backend.in_flight(x.nbytes, x.shape[1])

        def score(found: _Read, apart: bool) -> _Done:
            return self._score(scorer, found, apart)

        reading = Ahead(map(read, self._units), most=_AHEAD, name="fastprobe-reader")
        most = len(self._units)
        scoring = Ahead(in_order(reading, score, at_once=at_once, most=most), most=_AHEAD, name="fastprobe-scorer")
        written: Future[None] = Future()
        writer = Thread(target=self._write, args=(scoring, written), name="fastprobe-writer", daemon=True)
        writer.start()
        try:
            written.result()
        finally:
            reading.close()
            scoring.close()
            writer.join(_PATIENCE)

    def _score(self, scorer: UnitScorer, read: _Read, apart: bool) -> _Done:
        """Score a unit; what comes of it does not hold the features."""
        began = time.perf_counter()
        rows: list[TaskScore] = []
        digest, error = "", read.error
        if read.submission is not None:
            digest = read.submission.digest
            tasks = self._tasks(read.unit, digest)
            try:
                rows = scorer.score(read.submission, tasks, apart=apart) if tasks else []
            except DeviceError as wrong:
                if apart:  # fewer at the same time may do
                    raise
                error = wrong
            except RuntimeError:  # the device or the machine, and no submission
                raise
            except Exception as wrong:
                error = _told(read.unit, wrong)
        return _Done(read.unit, digest, rows, error, read.seconds, time.perf_counter() - began)

    def _tasks(self, unit: Unit, digest: str) -> tuple[str, ...]:
        """Tasks that are missing, now that the content is known: it may have been scored under another time stamp."""
        if digest == unit.digest or self._overwrite == "never":
            return unit.tasks
        scores, terms = self._folder.scores, self._terms
        return terms.together([t for t in terms.tasks if terms.key(unit.item.name, digest, t) not in scores])

    def _write(self, scoring: Ahead[_Done], written: Future[None]) -> None:
        """Write what comes of the units, until there is no more; the body of the thread that writes."""
        try:
            for done in scoring:
                self._keep(done)
        except BaseException as error:  # raised in the calling thread
            written.set_exception(error)
        else:
            written.set_result(None)

    def _keep(self, done: _Done) -> None:
        """Write what came of a unit."""
        began = time.perf_counter()
        if done.error is not None:
            what: dict[str, Any] = {"event": "failed", "error": str(done.error)}
            with self._folder.writing():
                self._keep_failure(done, done.error)
        else:
            what = {"event": "scored" if done.rows else "recognised", "scores": len(done.rows)}
            with self._folder.writing():
                self._keep_scores(done)
        stages = {"read": done.read_seconds, "solve": done.solve_seconds, "write": time.perf_counter() - began}
        for stage, seconds in stages.items():
            self.seconds[stage] += seconds
        rounded = {f"{stage}_s": round(seconds, 6) for stage, seconds in stages.items()}
        self._event({**what, "submission": done.unit.item.name, **rounded})

    def _keep_failure(self, done: _Done, error: FastprobeError) -> None:
        unit, item = done.unit, done.unit.item
        fingerprint = unit.fingerprint if look_at(item) else ""  # or it would count as tried when it is there again
        failure = self._folder.note_failure(item.name, item.place, fingerprint, self._terms.digest, error, unit.before)
        self.failed.append(failure)

    def _keep_scores(self, done: _Done) -> None:
        unit, scores, terms = done.unit, self._folder.scores, self._terms
        name = unit.item.name
        if done.rows:
            tasks = {row.task for row in done.rows}
            replaced = [
                key
                for key in scores.of(name)
                if key.task in tasks or (key.embedding != done.digest and self._overwrite != "never")
            ]
            scores.drop(replaced)
            keys = [terms.key(name, done.digest, row.task) for row in done.rows]
            scores.put(Scores(done.rows, terms.protocol.to_dict()), keys)
        self.scored += bool(done.rows)
        self.recognised += not done.rows
        self._folder.note_input(name, unit.fingerprint, done.digest)
        if unit.before is not None:
            self._folder.forget_failure(name)


def _read(unit: Unit) -> _Read:
    """Read a submission, and hash it here, beside the work on others."""
    began = time.perf_counter()
    try:
        submission = unit.item.read()
        submission.digest  # noqa: B018  # kept for later
    except Exception as error:
        return _Read(unit, None, _told(unit, error), time.perf_counter() - began)
    return _Read(unit, submission, None, time.perf_counter() - began)


def _told(unit: Unit, error: Exception) -> FastprobeError:
    """What is recorded of an error, whether or not somebody foresaw it."""
    if isinstance(error, FastprobeError):
        return error
    if isinstance(error, OSError):
        return InputError(
            unit.item.place, found=error.strerror or str(error), expected="a submission that can be read",
            fix="look at the file",
        )  # fmt: skip
    _log.debug("%s", unit.item.place, exc_info=error)
    return FastprobeError(f"{unit.item.place}: {type(error).__name__}: {error}")
