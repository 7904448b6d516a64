"""Submissions in turn: the next ones are read while others are scored."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from fastprobe.embeddings import Submission
from fastprobe.errors import DeviceError, FastprobeError, InputError
from fastprobe.inflight import in_order
from fastprobe.results import Scores
from fastprobe.runs.ahead import Ahead
from fastprobe.runs.plan import Overwrite, Unit
from fastprobe.runs.scoring import UnitScorer

__all__ = ["STAGES", "Outcome", "Pipeline"]

_log = logging.getLogger(__name__)

STAGES = ("read", "copy", "solve")
"""What is done with a submission before its scores are written, in seconds: reading and hashing it, handing it to the
device ahead of its turn (next to nothing on the CPU), and scoring it."""

_AHEAD = 2  # submissions that wait for their turn
_UNWRITTEN = 16  # submissions whose scores wait to be written
_PATIENCE = 0.25  # seconds that scores wait for others: a file of several costs hardly more than a file of one


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a unit.

    Attributes
    ----------
    digest : str
        Hash of the embedding; empty if it could not be read.
    tasks : tuple of str
        Tasks that were scored; none if all scores were there, or after an error.
    scores : pyarrow.Table or None
        Their scores, in this order.
    error : FastprobeError or None
    seconds : mapping of str to float
        Time of each of :data:`STAGES`.
    """

    digest: str
    tasks: tuple[str, ...]
    scores: pa.Table | None
    error: FastprobeError | None
    seconds: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class _Read:
    """A submission that was read, or why it was not."""

    unit: Unit
    submission: Submission | None
    error: FastprobeError | None
    seconds: Mapping[str, float]


class Pipeline:
    """Units on their way: read in one thread, scored in another, and taken in their order.

    Parameters
    ----------
    units : iterable of Unit
    scorer : UnitScorer
    overwrite : {"missing", "never", "always"}
        See :func:`fastprobe.runs.plan_run`.
    most : int
        How many there are at most.
    """

    def __init__(self, units: Iterable[Unit], scorer: UnitScorer, overwrite: Overwrite, *, most: int) -> None:
        self._scorer, self._overwrite = scorer, overwrite
        self._on_host = scorer.terms.protocol.probe == "neuco"  # it standardises there
        self._reading = Ahead(map(self._read, units), most=_AHEAD, name="fastprobe-reader", yielding=True)
        outcomes = in_order(self._reading, self._score, at_once=self._at_once, most=most)
        self._scoring = Ahead(outcomes, most=_UNWRITTEN, name="fastprobe-scorer")

    def take(self) -> list[Outcome]:
        """Wait for outcomes, and return those that there are: of the next units; none after the last.

        Raises
        ------
        FastprobeError, RuntimeError
            An error that is not a submission's: those that would come after it are not scored.
        """
        return self._scoring.take(patience=_PATIENCE)

    def close(self) -> None:
        """Begin nothing more, and wait for nothing; what is done can still be taken."""
        self._reading.close()
        self._scoring.close()

    def _read(self, unit: Unit) -> _Read:
        """Read a submission, and hash it here, beside the work on others."""
        began = time.perf_counter()
        submission, error = None, None
        try:
            submission = unit.item.read()
            submission.digest  # noqa: B018  # kept for later
        except Exception as wrong:
            error = _told(unit, wrong)
        seconds = {"read": time.perf_counter() - began}
        if submission is not None and not self._on_host:
            began = time.perf_counter()
            self._scorer.backend.prefetch(submission.x)
            seconds["copy"] = time.perf_counter() - began
        return _Read(unit, submission, error, seconds)

    def _at_once(self, found: _Read) -> int:
        x = None if found.submission is None else found.submission.x
        return 1 if x is None else self._scorer.backend.in_flight(x.nbytes, x.shape[1])

    def _score(self, found: _Read, apart: bool) -> Outcome:
        """Score a unit; what comes of it does not hold the features."""
        began = time.perf_counter()
        tasks: tuple[str, ...] = ()
        scores, digest, error = None, "", found.error
        if found.submission is not None:
            digest = found.submission.digest
            try:
                if wanted := self._wanted(found.unit, digest):
                    rows = self._scorer.score(found.submission, wanted, apart=apart)
                    tasks = tuple(row.task for row in rows)
                    scores = Scores(rows, self._scorer.terms.protocol.to_dict()).to_arrow()
            except DeviceError as wrong:
                if apart:  # fewer at the same time may do
                    raise
                error = wrong
            except RuntimeError:  # the device or the machine, and no submission
                raise
            except Exception as wrong:
                error = _told(found.unit, wrong)
        solve = time.perf_counter() - began
        seconds = {"read": 0.0, "copy": 0.0, **found.seconds, "solve": solve}
        return Outcome(digest, tasks, scores, error, seconds)

    def _wanted(self, unit: Unit, digest: str) -> tuple[str, ...]:
        """Tasks that are missing, now that the content is known: it may have been scored under another time stamp."""
        if digest == unit.digest or self._overwrite == "never":
            return unit.tasks
        terms = self._scorer.terms
        return terms.together([t for t in terms.tasks if terms.key(unit.item.name, digest, t) not in unit.there])


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
