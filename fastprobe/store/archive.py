"""A store in one ``.zarr.zip`` file: written once, from a folder beside it, and read without unpacking."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from fastprobe.files import atomic_path, to_disk
from fastprobe.store.folder import Folder
from fastprobe.store.objects import Objects

if TYPE_CHECKING:
    import zarr.storage

__all__ = ["Archive", "ArchiveInTheMaking"]


class Archive(Objects):
    """Objects that are members of a zip file. Threads may read at the same time.

    Parameters
    ----------
    path : Path

    Raises
    ------
    OSError, zipfile.BadZipFile
        If it cannot be opened.
    """

    errors = (OSError, zipfile.BadZipFile)

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._zip = zipfile.ZipFile(path)

    def get(self, name: str) -> bytes | None:
        """Read a member, whose checksum is held against that of the archive."""
        try:
            return self._zip.read(name)
        except KeyError:
            return None

    def children(self, name: str) -> list[str]:
        """List what is below a name."""
        prefix = f"{name}/" if name else ""
        below = (member[len(prefix) :] for member in self._zip.namelist() if member.startswith(prefix))
        return sorted({rest.split("/", 1)[0] for rest in below})

    def zarr(self, *, read_only: bool) -> zarr.storage.ZipStore:
        """Give the archive to the Zarr library."""
        from zarr.storage import ZipStore

        assert read_only, "an archive is written once, and not by the Zarr library"
        return ZipStore(self._path, mode="r")


class ArchiveInTheMaking(Folder):
    """The folder ``<name>.part`` beside an archive that is to be; it becomes the archive when it is finished.

    Parameters
    ----------
    path : Path
        Of the archive.
    lock_name : str
        The object that is not to go into it.
    """

    def __init__(self, path: Path, lock_name: str) -> None:
        super().__init__(self.folder_of(path), str(path))
        self._archive, self._lock_name = path, lock_name

    @staticmethod
    def folder_of(path: Path) -> Path:
        """Where an archive is made."""
        return path.with_name(f"{path.name}.part")

    def finish(self) -> Archive:
        """Put everything into the archive, uncompressed, and remove the folder."""
        with atomic_path(self._archive) as temporary:
            with zipfile.ZipFile(temporary, "x", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
                for file in sorted(self.path.rglob("*")):
                    name = file.relative_to(self.path).as_posix()
                    if file.is_file() and name != self._lock_name:
                        archive.write(file, name)
            to_disk(temporary)
        shutil.rmtree(self.path)
        return Archive(self._archive)
