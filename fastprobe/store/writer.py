"""Writing to a store: a submission is there once the index names it, and its arrays are written before."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from fastprobe.embeddings import Submission
from fastprobe.store.arrays import rows_of_a_chunk, write_arrays
from fastprobe.store.entry import Entry, is_key, key_of
from fastprobe.store.index import INDEX, GrowingIndex
from fastprobe.store.objects import WritableObjects, storing
from fastprobe.store.sources import Stamp

__all__ = ["Writer"]


class Writer:
    """Adds submissions to a store; in the hands of who holds its lock. Threads may add at the same time.

    Parameters
    ----------
    objects : WritableObjects
        What a crash left there is removed.
    """

    def __init__(self, objects: WritableObjects) -> None:
        self._objects = objects
        self.index = GrowingIndex(objects)
        known = {entry.key for entry in self.index.entries.values()}
        for child in objects.children(""):
            if is_key(child) and child not in known:
                objects.delete(child)
        for child in objects.children(INDEX):
            if child.startswith("."):
                objects.delete(f"{INDEX}/{child}")

    def add(self, submission: Submission, stamp: Stamp, *, compress: bool = False) -> str:
        """Store a submission, in place of the one with its name if there is one.

        Parameters
        ----------
        submission : Submission
        stamp : Stamp
            Of the file that it comes from.
        compress : bool
            Store the features compressed.

        Returns
        -------
        str
            ``"added"``, ``"replaced"``, or ``"skipped"`` if the same content was there.

        Raises
        ------
        InputError
            If it cannot be written; the store is as it was.
        """
        held = self.index.entries.get(submission.name)
        if held is not None and held.digest == submission.digest:
            touched = replace(held, **stamp.fields(), repairs=dict(submission.repairs))
            if touched != held:
                with storing(self._objects, submission.name):
                    self.index.put(touched)
            return "skipped"
        n, d = submission.x.shape
        entry = Entry(
            name=submission.name, digest=submission.digest, n=n, d=d, dtype=submission.x.dtype.name,
            key=key_of(submission.name, submission.digest),
            chunk_rows=rows_of_a_chunk(n, d * submission.x.dtype.itemsize), compressed=compress,
            **stamp.fields(), repairs=dict(submission.repairs),
        )  # fmt: skip
        with storing(self._objects, submission.name):
            try:
                write_arrays(self._objects, entry, submission)
                self._objects.sync(entry.key)
            except BaseException:
                with suppress(Exception):
                    self._objects.delete(entry.key)
                raise
            self.index.put(entry)  # if this fails the line may be there or not: the next who writes finds out
            if held is not None:
                self._objects.delete(held.key)
        return "added" if held is None else "replaced"
