"""From the name of a store to where its bytes lie."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from fastprobe.errors import InputError
from fastprobe.store.archive import Archive, ArchiveInTheMaking
from fastprobe.store.folder import Folder
from fastprobe.store.objects import Objects, WritableObjects

__all__ = ["LOCK", "ROOT", "at_location", "for_writing", "is_store", "marked", "marker"]

ROOT = "zarr.json"
LOCK = "index/lock"

_FORMAT, _VERSION = "submissions", 1


def at_location(location: str | Path) -> Objects:
    """Return the objects of a store that is there; whether it is one is not looked at.

    Raises
    ------
    InputError
        If the name is not that of a store, or an archive cannot be opened.
    """
    if (bucket := _bucket(location)) is not None:
        return bucket
    path = _local(location)
    if not path.name.endswith(".zip"):
        return Folder(path)
    if not path.exists() and ArchiveInTheMaking.folder_of(path).is_dir():
        raise InputError(
            str(path),
            found="an archive that is not finished",
            expected="a finished one",
            fix="run the same fastprobe ingest again: it goes on where it was",
        )
    try:
        return Archive(path)
    except FileNotFoundError:
        raise missing(str(path)) from None
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(
            str(path),
            found=f"a file that cannot be read as a zip archive ({error})",
            expected="a store that fastprobe ingest wrote",
            fix="copy the file again, or ingest the original files again",
        ) from None


def for_writing(location: str | Path) -> WritableObjects:
    """Return the objects of a store that may not be there yet.

    Raises
    ------
    InputError
        If the name is not that of a store, or that of an archive, which is written once, that is there.
    """
    if (bucket := _bucket(location)) is not None:
        return bucket
    path = _local(location)
    if not path.name.endswith(".zip"):
        return Folder(path)
    if path.exists():
        raise read_only(str(path))
    return ArchiveInTheMaking(path, LOCK)


def read_only(location: str) -> InputError:
    """Say that an archive is not written to."""
    return InputError(
        location,
        found="an archive, which is written once",
        expected="a new name, or a store in a folder",
        fix="ingest into a folder (--store NAME.zarr), which takes more at any time, or all files into a new archive",
    )


def missing(location: str) -> InputError:
    """Say that there is no store."""
    return InputError(
        location,
        found="no store",
        expected="one that fastprobe ingest wrote",
        fix=f"check the name, or make it: fastprobe ingest FILE... --store {location}",
    )


def marker() -> bytes:
    """Metadata of the root of a store: a Zarr group."""
    attributes = {"fastprobe": {"format": _FORMAT, "version": _VERSION}}
    return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=2).encode()


def marked(root: bytes | None, location: str) -> bool:
    """Whether metadata of a root are those of a store.

    Raises
    ------
    InputError
        If it was written by a later version of fastprobe.
    """
    try:
        mark: Any = json.loads(root or b"")["attributes"]["fastprobe"]
        if mark["format"] != _FORMAT:
            return False
        version = int(mark["version"])
    except (ValueError, TypeError, KeyError):
        return False
    if version != _VERSION:
        raise InputError(
            location,
            found=f"a store of version {version}",
            expected=f"version {_VERSION}",
            fix="install the fastprobe that wrote it, or ingest the original files again",
        )
    return True


def is_store(path: Path) -> bool:
    """Whether a folder or an archive of this machine is a store of submissions."""
    if path.is_dir():
        return marked(Folder(path).get(ROOT), str(path))
    if not path.name.endswith(".zarr.zip") or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return ROOT in archive.namelist() and marked(archive.read(ROOT), str(path))


def _bucket(location: str | Path) -> WritableObjects | None:
    if not str(location).startswith("s3://"):
        return None
    text = str(location).rstrip("/")
    if not text.endswith(".zarr") or text.count("/") < 3:
        raise InputError(
            text, found="no name of a store", expected="s3://BUCKET/PREFIX.zarr", fix="write it in this form"
        )
    from fastprobe.store.bucket import Bucket

    return Bucket(text)


def _local(location: str | Path) -> Path:
    path = Path(location)
    if not path.name.endswith((".zarr", ".zarr.zip")):
        raise InputError(
            str(location),
            found="a name that is not that of a store",
            expected="a folder that ends in .zarr, a file that ends in .zarr.zip, or s3://BUCKET/PREFIX.zarr",
            fix="change the name",
        )
    return path
