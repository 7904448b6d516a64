"""Submissions in turn: the next is read while the present one is scored, and no more than these two are in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from fastprobe.embeddings import Submission

__all__ = ["ReadAhead", "in_turn"]


class ReadAhead:
    """A collection of submissions, of which the next is read in a thread of its own.

    Reading starts at once, so that labels can be read and libraries loaded meanwhile. To be iterated over once.

    Parameters
    ----------
    submissions : collection of Submission or path
    ids : path, optional
        Id file of the paths; see :meth:`Submission.read`.
    lenient : bool
        Repair what can be repaired.
    """

    def __init__(
        self,
        submissions: Collection[Submission | str | Path],
        *,
        ids: str | Path | None = None,
        lenient: bool = False,
    ) -> None:
        self._count = len(submissions)
        self._entries = iter(submissions)
        self._ids, self._lenient = ids, lenient
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fastprobe-reader")
        self._next = self._submit()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Submission]:
        """Give submission after submission; InputError when the turn of one comes that cannot be read."""
        try:
            while self._next is not None:
                present = self._next
                self._next = self._submit()
                yield present.result()
                del present
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _submit(self) -> Future[Submission] | None:
        for entry in islice(self._entries, 1):
            return self._thread.submit(self._read, entry)
        return None

    def _read(self, entry: Submission | str | Path) -> Submission:
        if isinstance(entry, Submission):
            return entry
        return Submission.read(entry, ids=self._ids, lenient=self._lenient)


def in_turn(submissions: Iterable[Submission | str | Path], *, lenient: bool) -> Iterable[Submission]:
    """Give submission after submission, reading those that are paths.

    A collection is read ahead. An iterator is asked when its turn comes, in the calling thread: its owner decides what
    is done when.
    """
    if isinstance(submissions, ReadAhead):
        return submissions
    if isinstance(submissions, Collection):
        return ReadAhead(submissions, lenient=lenient)
    return (
        entry if isinstance(entry, Submission) else Submission.read(entry, lenient=lenient) for entry in submissions
    )
