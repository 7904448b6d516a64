"""Submissions in turn: the next is read while others are scored, and no more than one is held here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

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
        self._prefetch: Callable[[Any], None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fastprobe-reader")
        self._next = self._submit()

    def __len__(self) -> int:
        return self._count

    def prefetch_with(self, prefetch: Callable[[Any], None]) -> None:
        """Hand the features of every submission that is read from now on to `prefetch`, in the reading thread.

        That is how they come to a GPU while the submission before them is scored.
        """
        self._prefetch = prefetch

    def __iter__(self) -> Iterator[Submission]:
        """Give submission after submission; InputError when the turn of one comes that cannot be read."""
        try:
            while self._next is not None:
                yield self._take(self._next)
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _take(self, present: Future[Submission]) -> Submission:
        """Begin to read the next submission and give the present one, which is then held by who asked for it only."""
        self._next = self._submit()
        return present.result()

    def _submit(self) -> Future[Submission] | None:
        for entry in islice(self._entries, 1):
            return self._thread.submit(self._read, entry)
        return None

    def _read(self, entry: Submission | str | Path) -> Submission:
        submission = _read(entry, ids=self._ids, lenient=self._lenient)
        if self._prefetch is not None and submission.gpu is None:
            self._prefetch(submission.x)
        return submission


def in_turn(submissions: Iterable[Submission | str | Path], *, lenient: bool) -> Iterable[Submission]:
    """Give submission after submission, reading those that are paths.

    A collection is read ahead. An iterator is asked when its turn comes, in the calling thread: its owner decides what
    is done when.
    """
    if isinstance(submissions, ReadAhead):
        return submissions
    if isinstance(submissions, Collection):
        return ReadAhead(submissions, lenient=lenient)
    return map(partial(_read, lenient=lenient), submissions)  # which holds none of them


def _read(entry: Submission | str | Path, *, ids: str | Path | None = None, lenient: bool) -> Submission:
    return entry if isinstance(entry, Submission) else Submission.read(entry, ids=ids, lenient=lenient)
