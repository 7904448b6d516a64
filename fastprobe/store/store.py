"""A store of submissions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastprobe.embeddings import Submission
from fastprobe.errors import InputError
from fastprobe.store.arrays import ArrayReader
from fastprobe.store.entry import Entry
from fastprobe.store.index import INDEX, index_node, read_index
from fastprobe.store.location import LOCK, ROOT, at_location, for_writing, marked, marker, missing, read_only
from fastprobe.store.objects import Objects, WritableObjects, reaching, storing
from fastprobe.store.writer import Writer

__all__ = ["Store"]


class Store:
    """Many submissions in one place, as they were when the store was opened.

    Made by :meth:`open` and :meth:`create`; filled by :func:`fastprobe.ingest`. Threads may read at the same time.

    Attributes
    ----------
    location : str
        The store, as it was named.
    """

    def __init__(self, objects: Objects) -> None:
        self.location = objects.location
        self._objects = objects
        self._reader = ArrayReader(objects)
        with reaching(objects):
            self._entries: Mapping[str, Entry] = read_index(objects)

    def __reduce__(self) -> tuple[Any, ...]:
        return Store.open, (self.location,)

    @classmethod
    def open(cls, location: str | Path) -> Store:
        """Open a store that is there.

        Parameters
        ----------
        location : str or Path
            A folder that ends in ``.zarr``, a ``.zarr.zip`` file, or ``s3://bucket/prefix.zarr`` (extra ``remote``).

        Raises
        ------
        InputError
            If there is no store, or it is damaged, or cannot be reached.
        """
        objects = at_location(location)
        with reaching(objects):
            found = marked(objects.get(ROOT), objects.location)
        if not found:
            raise missing(objects.location)
        return cls(objects)

    @classmethod
    def create(cls, location: str | Path) -> Store:
        """Make an empty store.

        Parameters
        ----------
        location : str or Path
            As for :meth:`open`. An archive is made in a folder beside it, and is there once an ingest is done.

        Raises
        ------
        InputError
            If anything is there already, or it cannot be written to.
        """
        store = cls.open_or_create(location)
        if store.entries():
            raise InputError(
                store.location,
                found="a store with submissions in it",
                expected="nothing yet",
                fix="open it, or choose another name",
            )
        return store

    @classmethod
    def open_or_create(cls, location: str | Path) -> Store:
        """Open a store to write to, and make it if it is not there.

        Raises
        ------
        InputError
            If something else is there, or it cannot be written to.
        """
        objects = for_writing(location)
        with storing(objects):
            if not marked(objects.get(ROOT), objects.location):
                if set(objects.children("")) - {INDEX}:  # an index alone is what an interrupted creation leaves
                    raise InputError(
                        objects.location,
                        found="something else than a store of submissions",
                        expected="such a store, or nothing",
                        fix="choose another name",
                    )
                objects.put(f"{INDEX}/{ROOT}", index_node())
                objects.put(ROOT, marker())
        return cls(objects)

    def entries(self) -> list[Entry]:
        """Entries of all submissions, sorted by name."""
        return [self._entries[name] for name in sorted(self._entries)]

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def entry(self, name: str) -> Entry:
        """Return the entry of a submission.

        Raises
        ------
        InputError
            If there is none.
        """
        if name not in self._entries:
            raise InputError(
                self.location,
                found=f"no submission {name!r} among {len(self):,}",
                expected="the name of a submission of the store",
                fix="choose one of entries(), or ingest its file",
            )
        return self._entries[name]

    def read(self, name: str, *, verify: bool = False) -> Submission:
        """Read a submission.

        Parameters
        ----------
        name : str
        verify : bool
            Hash what was read and hold it against the index. (Checksums of the stored bytes are looked at anyway.)

        Returns
        -------
        Submission
            As it was when it was ingested; its digest is known without hashing.

        Raises
        ------
        InputError
            If there is none of that name, or it is damaged or cannot be reached.
        """
        entry = self.entry(name)
        with reaching(self._objects):
            ids, x = self._reader.read(entry)
        if verify and (digest := Submission(name, ids, x).digest) != entry.digest:
            raise InputError(
                f"{self.location}, submission {name!r}",
                found=f"content with the hash {digest}",
                expected=entry.digest,
                fix=f"ingest {entry.source} into a new store",
            )
        # Without the constructor: what it would check was checked before this was stored, and checksums hold since.
        submission = object.__new__(Submission)
        known = {"name": name, "ids": ids, "x": x, "repairs": entry.repairs, "_digest": entry.digest}
        submission.__dict__.update(known)
        return submission

    @contextmanager
    def writer(self) -> Iterator[Writer]:
        """Hold the store to write to it; what was written is there for this store, too, when the block ends.

        Raises
        ------
        InputError
            If the store is an archive or cannot be written to, or another process holds it.
        """
        objects = self._objects
        if not isinstance(objects, WritableObjects):
            raise read_only(self.location)
        with storing(objects), objects.lock(LOCK):
            writer = Writer(objects)
            self._entries = writer.index.entries
            yield writer
            writer.index.put_together()
            if self._entries:
                self._objects = objects.finish()
                self._reader = ArrayReader(self._objects)
