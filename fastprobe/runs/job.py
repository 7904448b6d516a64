"""The bulk job: submissions are read ahead, scored, and what comes of them is written.

Each of the three is done in a thread of its own, or by workers, and the calling thread waits: an interrupt is answered
at once, whatever compiled code is busy with. What has been scored by then is written, what is being scored is given up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any
from typing import Protocol as Interface

from fastprobe.backend import Backend, check_device, get_backend
from fastprobe.errors import InputError
from fastprobe.protocol import DEFAULT, Protocol
from fastprobe.runs.ahead import yield_to_others
from fastprobe.runs.folder import Failure, RunFolder
from fastprobe.runs.history import is_noted, note
from fastprobe.runs.inputs import Item
from fastprobe.runs.keep import Done, Event, Keeper
from fastprobe.runs.pipeline import Pipeline
from fastprobe.runs.plan import Overwrite, Plan, Unit, plan_run
from fastprobe.runs.scoring import UnitScorer
from fastprobe.runs.settings import Settings
from fastprobe.runs.terms import Terms
from fastprobe.tasks import Benchmark

if TYPE_CHECKING:
    from fastprobe.cluster import ClusterSpec

__all__ = ["RunReport", "run"]

_log = logging.getLogger(__name__)

_PATIENCE = 1.5  # seconds that an interrupt waits for scores to be written


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
    noted : bool
        Whether there are other scores than when the history of the leaderboard was last written.
    seconds : mapping of str to float
        Time of the stages ``read``, ``copy``, ``solve`` and ``write``, which overlap, and ``all``.
    """

    scored: int
    finished: int
    failed: tuple[Failure, ...]
    noted: bool
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
    cluster: ClusterSpec | None = None,
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
    cluster : ClusterSpec, optional
        Workers that score, instead of this process; `device` is then the device of each of them, by its name.
    event : callable, optional
        See :data:`fastprobe.runs.keep.Event`.

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
    tell = _one_at_a_time(event)
    chosen = protocol if isinstance(protocol, Protocol) else Protocol.load(protocol)
    if isinstance(device, str) and cluster is None:
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
            _note(folder)  # as they were
        with folder.writing():
            folder.note_settings(Settings.of(benchmark, chosen, lenient=lenient))
            folder.scores.drop(plan.stale)
        keeper = Keeper(terms, folder, overwrite, tell)
        if plan.pending:
            with _source(plan.pending, terms, device, cluster, overwrite, tell, lenient=lenient) as source:
                _keep_all(source, keeper)
        folder.put_together()
        noted = _note(folder, reread=overwrite == "always")
    report = RunReport(
        keeper.scored,
        len(plan.finished) + keeper.recognised,
        (*plan.failed, *keeper.failed),
        noted,
        {**keeper.seconds, "all": time.perf_counter() - began},
    )
    counts = {"scored": report.scored, "finished": report.finished, "failed": len(report.failed)}
    tell({"event": "ended", **counts, "seconds": dict(report.seconds)})
    return report


def _note(folder: RunFolder, *, reread: bool = False) -> bool:
    """Add to the history of the leaderboard. A history that is damaged is no reason to fail: the scores are there."""
    if is_noted(folder) and not reread:
        return False
    try:
        with folder.writing():
            return note(folder, reread=reread)
    except InputError as error:
        _log.warning("the history of the leaderboard is not continued: %s", error)
        return False


def _one_at_a_time(event: Event | None) -> Event:
    telling = Lock()

    def tell(what: Mapping[str, Any]) -> None:
        if event is not None:
            with telling:
                event(what)

    return tell


def _in_numbers(plan: Plan) -> dict[str, int]:
    return {
        "pending": len(plan.pending),
        "scores": plan.n_scores,
        "finished": len(plan.finished),
        "failed": len(plan.failed),
        "out_of_date": len(plan.stale),
    }


class _Source(Interface):
    """Where outcomes come from: this process, or workers."""

    def take(self) -> list[Done]:
        """Wait for outcomes, and return those that there are; none after the last."""

    def close(self) -> None:
        """Begin nothing more, and wait for nothing; what is done can still be taken."""


class _Here:
    """Units scored in this process.

    Parameters
    ----------
    units : sequence of Unit
    scorer : UnitScorer
    overwrite : {"missing", "never", "always"}
    """

    def __init__(self, units: Sequence[Unit], scorer: UnitScorer, overwrite: Overwrite) -> None:
        self._coming = iter(units)
        self._pipeline = Pipeline(units, scorer, overwrite, most=len(units))

    def take(self) -> list[Done]:
        return [Done(next(self._coming), outcome) for outcome in self._pipeline.take()]

    def close(self) -> None:
        self._pipeline.close()


def _keep_all(source: _Source, keeper: Keeper) -> None:
    """Keep all that comes, in a thread of its own, and wait for that: whoever waits can be interrupted."""
    written: Future[None] = Future()

    def keep() -> None:
        yield_to_others()
        try:
            while done := source.take():
                keeper.keep(done)
        except BaseException as error:  # raised in the calling thread
            written.set_exception(error)
        else:
            written.set_result(None)

    writer = Thread(target=keep, name="fastprobe-writer", daemon=True)
    writer.start()
    try:
        written.result()
    finally:
        source.close()
        writer.join(_PATIENCE)


@contextmanager
def _source(
    units: Sequence[Unit], terms: Terms, device: str | Backend, cluster: ClusterSpec | None, overwrite: Overwrite,
    event: Event, *, lenient: bool,
) -> Iterator[_Source]:  # fmt: skip
    if cluster is not None:
        from fastprobe.cluster import on_cluster

        with on_cluster(cluster, units, terms, device, overwrite, event, lenient=lenient) as source:
            yield source
    else:
        backend = get_backend(device) if isinstance(device, str) else device
        yield _Here(units, UnitScorer(backend, terms, lenient=lenient), overwrite)
