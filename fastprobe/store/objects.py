"""Where the bytes of a store lie: named objects in a folder, an archive or a bucket."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from fastprobe.errors import FastprobeError, InputError
from fastprobe.lock import Holder

if TYPE_CHECKING:
    import zarr.abc.store

__all__ = ["Objects", "WritableObjects", "busy", "reaching", "storing"]


class Objects(ABC):
    """Named objects that can be read. Names have slashes in them, as in a file system.

    Attributes
    ----------
    location : str
        The store, as the user names it.
    errors : tuple of type
        What the methods raise if the medium fails.
    """

    errors: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, location: str) -> None:
        self.location = location

    @abstractmethod
    def get(self, name: str) -> bytes | None:
        """Read an object; None if it is not there."""

    def get_many(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """Read several objects."""
        return map(self.get, names)

    @abstractmethod
    def children(self, name: str) -> list[str]:
        """Names directly below `name` (the empty string: the root), without what comes before; sorted."""

    @abstractmethod
    def zarr(self, *, read_only: bool) -> zarr.abc.store.Store:
        """Give the same objects to the Zarr library."""


class WritableObjects(Objects):
    """Named objects that can be written."""

    @abstractmethod
    def put(self, name: str, data: bytes) -> None:
        """Write an object, whole or not at all; it outlasts a crash of the machine."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove what has this name and everything below it, if there is anything."""

    @abstractmethod
    def sync(self, name: str) -> None:
        """See to it that everything below `name` outlasts a crash of the machine."""

    @abstractmethod
    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock of this name.

        Raises
        ------
        InputError
            If another process holds it; the message says which.
        """

    def finish(self) -> Objects:
        """Return what to read from, once everything is written and the lock given back."""
        return self


@contextmanager
def storing(objects: WritableObjects, name: str | None = None) -> Iterator[None]:
    """Turn what a medium raises while it is written to into an InputError."""
    try:
        yield
    except FastprobeError:
        raise
    except objects.errors as error:
        what = "" if name is None else f", while {name!r} was stored"
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise InputError(
            objects.location,
            found=f"{_detail(error)}{what}",
            expected="room for the submissions" if full else "a place that can be written to",
            fix=f"{'make room' if full else 'see to it, or name another store'}, and run the same command again: it "
            "goes on where it was, and what is in the store stays",
        ) from error


@contextmanager
def reaching(objects: Objects) -> Iterator[None]:
    """Turn what a medium raises while it is read into an InputError."""
    try:
        yield
    except FastprobeError:
        raise
    except objects.errors as error:
        raise InputError(
            objects.location,
            found=_detail(error),
            expected="a store that can be read",
            fix="check the name, the permissions, and for a bucket the AWS_ variables of the environment",
        ) from error


def _detail(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(text.split())[:300]


def busy(location: str, holder: Holder | None, fix: str) -> InputError:
    """Say that somebody else writes to a store."""
    return InputError(
        location,
        found=f"another ingest at work there ({holder or 'just begun'})",
        expected="one at a time",
        fix=fix,
    )
