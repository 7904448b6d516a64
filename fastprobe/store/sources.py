"""The files that submissions come from: which there are, and whether one has changed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastprobe.errors import InputError
from fastprobe.readers import SUFFIXES
from fastprobe.store.location import is_store

__all__ = ["Stamp", "submission_files"]

_ID_FILES = (".ids.csv", ".ids.txt")
_SELF_CONTAINED = frozenset(SUFFIXES) - {".npy", ".zarr"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stamp:
    """A file, and what changes when it is written to.

    Attributes
    ----------
    path : str
        Absolute.
    size, mtime_ns : int
        Bytes, and time of the last change in nanoseconds since 1970; of a folder, of all files in it together.
    """

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Look at a file or a folder.

        Raises
        ------
        OSError
            If it is not there.
        """
        files = [path, *path.rglob("*")] if path.is_dir() else [path]
        stats = [file.stat() for file in files]
        size, mtime_ns = sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)
        return cls(os.path.abspath(path), size, mtime_ns)  # noqa: PTH100 - resolve() would follow links

    def fields(self) -> dict[str, Any]:
        """Return what an entry keeps of it."""
        return {"source": self.path, "source_size": self.size, "source_mtime_ns": self.mtime_ns}

    @property
    def proves(self) -> bool:
        """Whether the same stamp means the same submission: not for folders, nor where ids come from another file."""
        return Path(self.path).suffix.lower() in _SELF_CONTAINED


def submission_files(places: Iterable[str | Path]) -> list[Path]:
    """Find submissions: the files that are named, and those with a known ending in the folders that are named.

    Of a folder, hidden files, id files (``<name>.ids.csv``) and stores are left out.

    Returns
    -------
    list of Path
        In the order given; of a folder sorted by name.

    Raises
    ------
    InputError
        If nothing is named, a place is not there or is a store, a folder holds no submission, or two files give one
        name.
    """
    named: dict[str, Path] = {}
    for path in (found for place in places for found in _files(Path(place))):
        if (before := named.setdefault(path.stem, path)) is not path:
            raise InputError(
                str(path),
                found=f"a second file that gives the name {path.stem!r}, beside {before}",
                expected="a different file name, without its ending, for each submission",
                fix="rename one of the files, or give it once",
            )
    if not named:
        raise InputError("files", found="none", expected="at least one submission", fix="name files or folders")
    return list(named.values())


def _files(place: Path) -> Iterator[Path]:
    if not place.exists():
        raise InputError(str(place), found="nothing there", expected="a submission file", fix="check the path")
    if is_store(place):
        raise InputError(
            str(place),
            found="a store of submissions",
            expected="files of submissions",
            fix="name the files that it was made of",
        )
    if not place.is_dir() or place.suffix.lower() in SUFFIXES:
        yield place
        return
    inside = sorted(place.iterdir(), key=lambda path: path.name)  # names are compared in a tenth of the time of paths
    found = [path for path in inside if _is_submission(path)]
    if not found:
        raise InputError(
            str(place),
            found="a folder without submissions",
            expected=f"files whose names end in one of {', '.join(SUFFIXES)}",
            fix="name the folder that has them",
        )
    yield from found


def _is_submission(path: Path) -> bool:
    if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or path.name.lower().endswith(_ID_FILES):
        return False
    if is_store(path):
        _log.info("%s is a store of submissions, and left out", path)
        return False
    return True
