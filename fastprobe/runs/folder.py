"""The folder of a run: scores that are finished, what failed, what the inputs held, and who is at work.

    RUN_DIR/scores/*.parquet    scores, a file for each finished submission or for many that were put together
    RUN_DIR/finished.jsonl      which scores each of those files holds, so that nobody has to open them
    RUN_DIR/inputs.jsonl        hash of every submission that was read, with what its file looked like from outside
    RUN_DIR/failures.jsonl      submissions that could not be scored, and why
    RUN_DIR/run.json            what the last run was asked for
    RUN_DIR/lock                held while a run is at work

The files of scores are what counts. They are written under another name, brought to the disk and renamed; the journals
only save work, and a line of them that was cut off is as if it were not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from fastprobe.errors import FastprobeError, InputError
from fastprobe.lock import Holder, held
from fastprobe.runs.journal import Journal
from fastprobe.runs.score_files import ScoreFiles
from fastprobe.runs.settings import Settings

__all__ = ["BusyError", "Failure", "KnownInput", "RunFolder", "WriteError"]


class BusyError(InputError):
    """Another process is at work on the run."""


class WriteError(FastprobeError):
    """The folder of a run cannot be written to any more."""


@dataclass(frozen=True)
class Failure:
    """A submission that could not be scored.

    Attributes
    ----------
    name, place : str
    fingerprint : str
        Of the submission at that time; empty if it was not there.
    terms : str
        Hash of the labels and the protocol.
    error : str
    at : str
        Local time, ISO 8601.
    attempts : int
    """

    name: str
    place: str
    fingerprint: str
    terms: str
    error: str
    at: str
    attempts: int


@dataclass(frozen=True)
class KnownInput:
    """A submission as it was when it was read.

    Attributes
    ----------
    fingerprint : str
        See :meth:`fastprobe.runs.inputs.Item.fingerprint`.
    digest : str
        Hash of the embedding.
    source : str
        Where it is found again, see :attr:`fastprobe.runs.inputs.Item.source`; empty if an older version read it.
    lenient : bool
        Whether it was repaired where that was needed.
    """

    fingerprint: str
    digest: str
    source: str = ""
    lenient: bool = False


class RunFolder:
    """The folder of a run. Whoever writes to it holds it, see :meth:`locked`; reading changes nothing.

    Parameters
    ----------
    path : Path
        Need not be there, until it is held.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inputs = Journal(path / "inputs.jsonl", "name")
        self._failures = Journal(path / "failures.jsonl", "name")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run, made if it is not there, and cleaned up after a crash.

        Raises
        ------
        BusyError
            If another process holds it; the message says which.
        InputError
            If it cannot be made or written to.
        WriteError
            If the disk is full.
        """
        with ExitStack() as held_until_then:
            file = held_until_then.enter_context(self._lock_file())
            with self.writing():
                held_until_then.enter_context(held(file, self._busy))
                self.__dict__.pop("scores", None)  # it may have changed until now
                for path in self.path.glob(".*.tmp"):
                    path.unlink(missing_ok=True)
                self.scores.tidy()
            yield

    def put_together(self) -> None:
        """Put small files of scores together, and shorten the journals, where that is worth while."""
        with self.writing():
            self.scores.put_together()
            self._inputs.shorten()
            self._failures.shorten()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Say it clearly if the folder cannot be written to.

        Raises
        ------
        WriteError
        """
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise WriteError(
                f"{self.path}: {reason}. What is finished is kept; the same command goes on from there."
            ) from error

    def _busy(self, holder: Holder | None) -> BusyError:
        return BusyError(
            str(self.path),
            found=f"a run that is at work there ({holder or 'just begun'})",
            expected="one run at a time",
            fix="wait for it, end it, or name another --out",
        )

    def _lock_file(self) -> BinaryIO:
        try:
            (self.path / "scores").mkdir(parents=True, exist_ok=True)
            return (self.path / "lock").open("ab+")
        except OSError as error:
            raise InputError(
                "--out", found=f"{str(self.path)!r}: {error.strerror or error}",
                expected="a folder that can be written to", fix="name another folder, or see to its permissions",
            ) from None  # fmt: skip

    @cached_property
    def scores(self) -> ScoreFiles:
        """The finished scores."""
        return ScoreFiles(self.path / "scores", self.path / "finished.jsonl")

    def settings(self) -> Settings | None:
        """What the last run was asked for; None if there was none, or it did not say."""
        return Settings.read(self.path / "run.json")

    def note_settings(self, settings: Settings) -> None:
        """Remember what a run is asked for."""
        settings.write(self.path / "run.json")

    def known_inputs(self) -> dict[str, KnownInput]:
        """Every submission that was read, by name."""
        lines = self._inputs.read().items()
        return {name: KnownInput(**line) for name, line in lines if _OF_INPUTS - _NEW <= line.keys() <= _OF_INPUTS}

    def note_inputs(self, inputs: Mapping[str, KnownInput]) -> None:
        """Remember what submissions held, by name."""
        self._inputs.put_all({name: vars(known) for name, known in inputs.items()})

    def failures(self) -> dict[str, Failure]:
        """Last failure of every submission that has failed since it was last scored, by name."""
        lines = self._failures.read().items()
        return {name: Failure(name, **line) for name, line in lines if line.keys() == _FIELDS}

    def note_failure(
        self, name: str, place: str, fingerprint: str, terms: str, error: FastprobeError, before: Failure | None
    ) -> Failure:
        """Remember that a submission failed, again if it had failed `before`."""
        at = datetime.now().astimezone().isoformat(timespec="seconds")
        attempts = 1 if before is None else before.attempts + 1
        failure = Failure(name, place, fingerprint, terms, str(error), at, attempts)
        self._failures.put(**asdict(failure))
        return failure

    def forget_failure(self, name: str) -> None:
        """Remember that a submission that had failed was scored."""
        self._failures.put(name)


_FIELDS = set(Failure.__dataclass_fields__) - {"name"}
_OF_INPUTS = set(KnownInput.__dataclass_fields__)
_NEW = {"source", "lenient"}  # which earlier versions did not note
