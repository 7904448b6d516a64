"""Submissions of a run: found without being read, told apart by name, recognised by what they hold."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fastprobe.embeddings import Submission
from fastprobe.errors import InputError
from fastprobe.store import Entry, Store, is_store
from fastprobe.store.sources import submission_files

__all__ = ["FileItem", "Item", "StoreItem", "find_items"]

_ID_FILES = (".ids.csv", ".ids.txt")
_MATRICES = (".npy", ".zarr")  # that may have an id file


class Item(Protocol):
    """A submission that has not been read."""

    @property
    def name(self) -> str:
        """Name of the submission."""

    @property
    def place(self) -> str:
        """Where it is, for messages."""

    @property
    def lenient(self) -> bool:
        """Whether it is repaired when it is read, where that is needed."""

    @property
    def source(self) -> str:
        """Where to find it again by name: what :func:`find_items` takes, from any working directory."""

    @property
    def digest(self) -> str | None:
        """Hash of what it holds, if that is known without reading it."""

    def fingerprint(self) -> str:
        """Say, without reading it, what changes when it does.

        Raises
        ------
        InputError
            If it is not there any more.
        """

    def read(self) -> Submission:
        """Read it.

        Raises
        ------
        InputError
            If that fails.
        """


@dataclass(frozen=True)
class FileItem:
    """A submission in a file, or in a folder that is a Zarr store of its own.

    Attributes
    ----------
    name : str
    path : Path
    lenient : bool
        Repair what can be repaired.
    """

    name: str
    path: Path
    lenient: bool = False

    @property
    def digest(self) -> None:
        """Not known before it is read."""
        return None

    @property
    def place(self) -> str:
        """The path, absolute."""
        return _absolute(self.path)

    @property
    def source(self) -> str:
        """The same."""
        return self.place

    def fingerprint(self) -> str:
        """Place, sizes and modification times: of the file, of those in it if it is a folder, and of its id file."""
        try:
            stats = [_stamp(self.path)]
            if self.path.name.lower().endswith(_MATRICES):
                beside = (self.path.with_name(self.path.stem + ending) for ending in _ID_FILES)
                inside = sorted(self.path.rglob("*"))
                stats += [_stamp(path) for path in (*beside, *inside) if path.exists()]
        except OSError as error:
            raise InputError(
                str(self.path),
                found=error.strerror or str(error),
                expected="the submission that was found there before",
                fix="put it back, or start the run again without it",
            ) from None
        text = f"{self.place}{stats}{self.lenient}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, digest_size=16).hexdigest()

    def read(self) -> Submission:
        """Read the file; see :meth:`fastprobe.Submission.read`."""
        try:
            self.name.encode()
        except UnicodeEncodeError:
            raise InputError(
                str(self.path), found="a name that is not UTF-8", expected="one that a table can hold",
                fix="rename the file",
            ) from None  # fmt: skip
        return Submission.read(self.path, name=self.name, lenient=self.lenient)


@dataclass(frozen=True)
class StoreItem:
    """A submission in a store of many.

    Attributes
    ----------
    entry : Entry
    store : Store
    """

    entry: Entry
    store: Store

    @property
    def name(self) -> str:
        """Name of the submission."""
        return self.entry.name

    @property
    def place(self) -> str:
        """The store, and the name in it."""
        return f"{self.store.location}, submission {self.name!r}"

    @property
    def source(self) -> str:
        """Location of the store; a local one as an absolute path."""
        location = self.store.location
        return location if location.startswith("s3://") else _absolute(location)

    @property
    def lenient(self) -> bool:
        """False: what was repaired was so when it was ingested."""
        return False

    @property
    def digest(self) -> str:
        """The hash that the store knows."""
        return self.entry.digest

    def fingerprint(self) -> str:
        """The same hash."""
        return self.entry.digest

    def read(self) -> Submission:
        """Read it from the store."""
        return self.store.read(self.name)


def find_items(places: Sequence[str | Path], *, lenient: bool = False) -> list[Item]:
    """Find submissions, without reading one.

    Parameters
    ----------
    places : sequence of str or Path
        Files; folders, of which every file with a known ending counts; and stores of submissions, which may be
        ``s3://bucket/prefix.zarr``.
    lenient : bool
        Repair what can be repaired when a file is read.

    Returns
    -------
    list of Item
        Sorted by name; that of a file is the file name without its ending.

    Raises
    ------
    InputError
        If a place is not there or holds no submission, or two submissions have one name.
    """
    stores = [place for place in places if str(place).startswith("s3://") or is_store(Path(place))]
    files = [place for place in places if place not in stores]
    by_name: dict[str, Item] = {}
    for item in _items(files, stores, lenient):
        if (before := by_name.setdefault(item.name, item)) is not item:
            raise InputError(
                "SUBMISSIONS",
                found=f"two submissions with the name {item.name!r}: {before.place} and {item.place}",
                expected="a different name for each",
                fix="rename one of them, or leave it out",
            )
    return [by_name[name] for name in sorted(by_name)]


def _absolute(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links


def _stamp(path: Path) -> tuple[str, int, int]:
    found = os.stat(path)  # noqa: PTH116 - the same in half the time, for thousands of submissions
    return path.name, found.st_size, found.st_mtime_ns


def _items(files: Sequence[str | Path], stores: Sequence[str | Path], lenient: bool) -> Iterator[Item]:
    for path in submission_files(files) if files else ():
        if not _is_id_file(path):
            yield FileItem(path.stem, path, lenient)
    for place in stores:
        store = Store.open(place)
        if not store.entries():
            raise InputError(
                store.location, found="a store without submissions", expected="at least one",
                fix="ingest some, or name another store",
            )  # fmt: skip
        yield from (StoreItem(entry, store) for entry in store.entries())


def _is_id_file(path: Path) -> bool:
    """Whether a file that was named holds the ids of the matrix beside it."""
    ending = next((ending for ending in _ID_FILES if path.name.endswith(ending)), None)
    stem = path.name.removesuffix(ending or "")
    return ending is not None and any(path.with_name(stem + suffix).exists() for suffix in _MATRICES)
