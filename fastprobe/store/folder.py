"""A store in a local folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastprobe.files import to_disk, write_to_disk
from fastprobe.lock import held
from fastprobe.store.objects import WritableObjects, busy

if TYPE_CHECKING:
    import zarr.storage

__all__ = ["Folder"]


class Folder(WritableObjects):
    """Objects that are files below a folder.

    Parameters
    ----------
    path : Path
    location : str, optional
        The store, as the user names it; the folder by default.
    """

    def __init__(self, path: Path, location: str | None = None) -> None:
        super().__init__(str(path) if location is None else location)
        self.path = path

    def get(self, name: str) -> bytes | None:
        """Read a file."""
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def children(self, name: str) -> list[str]:
        """List a folder."""
        try:
            return sorted(entry.name for entry in os.scandir(self.path / name))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def put(self, name: str, data: bytes) -> None:
        """Write a file under another name, bring it to the disk, and rename it."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_to_disk(path, data)

    def delete(self, name: str) -> None:
        """Remove a file or a folder."""
        path = self.path / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def sync(self, name: str) -> None:
        """Bring a folder to the disk, files first, then the names of what they are in."""
        for folder, _, files in os.walk(self.path / name, topdown=False):
            for file in files:
                to_disk(Path(folder, file))
            to_disk(Path(folder))
        to_disk(self.path)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock file."""
        with (
            (self.path / name).open("a+b") as file,
            held(file, lambda holder: busy(self.location, holder, "wait for it, or end it")),
        ):
            yield

    def zarr(self, *, read_only: bool) -> zarr.storage.LocalStore:
        """Give the folder to the Zarr library."""
        from zarr.storage import LocalStore

        return LocalStore(self.path, read_only=read_only)
