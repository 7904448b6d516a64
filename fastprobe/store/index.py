"""The index of a store: what is in it, as small files that are only ever added, and put together now and then.

Every file holds one or more entries; of a name the last one counts. So a file is written once, whole or not at all, on
any medium, and a crash at any moment leaves an index that can be read. Putting together writes one more file with all
entries and then removes those before it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from types import MappingProxyType

from fastprobe.errors import InputError
from fastprobe.store.entry import Entry, from_lines, to_lines
from fastprobe.store.objects import Objects, WritableObjects

__all__ = ["INDEX", "GrowingIndex", "index_node", "read_index"]

INDEX = "index"
_SUFFIX = ".jsonl"
_MANY = 64  # files that are put together when their number is above this and an eighth of that of the entries
_TRIES = 100


def read_index(objects: Objects) -> Mapping[str, Entry]:
    """Read the entries of a store, by name.

    Somebody may be putting the index together meanwhile: what was read counts if the same files are there afterwards.

    Raises
    ------
    InputError
        If a file of the index is damaged.
    """
    files = _files(objects)
    for _ in range(_TRIES):
        contents = list(objects.get_many(files))
        before, files = files, _files(objects)
        if files == before and None not in contents:
            entries: dict[str, Entry] = {}
            for file, content in zip(files, contents, strict=True):
                entries |= _entries(objects, file, content or b"")
            return MappingProxyType(entries)
    raise InputError(
        objects.location,
        found="an index that changes faster than it can be read",
        expected="an index that stands still for a moment",
        fix="wait until the ingest at work there is done",
    )


def index_node() -> bytes:
    """Metadata of an empty Zarr array, which is what the index is to the Zarr library: nothing to look into."""
    node = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [0],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
        "attributes": {"fastprobe": f"the submissions are listed in {INDEX}/*{_SUFFIX}"},
    }
    return json.dumps(node, indent=2).encode()


class GrowingIndex:
    """The index in the hands of who holds the lock of the store. Threads may add at the same time.

    Parameters
    ----------
    objects : WritableObjects
    """

    def __init__(self, objects: WritableObjects) -> None:
        self._objects = objects
        self._lock = threading.Lock()
        self._entries = dict(read_index(objects))
        self._files = _files(objects)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The entries by name."""
        return MappingProxyType(self._entries)

    def put(self, entry: Entry) -> None:
        """Add an entry, in place of the one with its name if there is one."""
        with self._lock:
            self._write({entry.name: entry})
            self._entries[entry.name] = entry
            if len(self._files) > max(_MANY, len(self._entries) // 8):
                self._put_together()

    def put_together(self) -> None:
        """Make one file of all."""
        with self._lock:
            if len(self._files) > 1:
                self._put_together()

    def _put_together(self) -> None:
        old = self._files[:]
        self._write(self._entries)
        for file in old:
            self._objects.delete(file)
            self._files.remove(file)

    def _write(self, entries: Mapping[str, Entry]) -> None:
        number = 1 + (_number(self._files[-1]) if self._files else 0)
        file = f"{INDEX}/{number:012d}{_SUFFIX}"
        self._objects.put(file, to_lines(entries.values()))
        self._files.append(file)


def _files(objects: Objects) -> list[str]:
    names = objects.children(INDEX)
    return [f"{INDEX}/{name}" for name in names if name.endswith(_SUFFIX) and not name.startswith(".")]


def _number(file: str) -> int:
    return int(file.removeprefix(f"{INDEX}/").removesuffix(_SUFFIX))


def _entries(objects: Objects, file: str, content: bytes) -> dict[str, Entry]:
    try:
        return {entry.name: entry for entry in from_lines(content)}
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{objects.location}, {file}",
            found=f"a damaged index ({error})",
            expected="a JSON object a line",
            fix="make the store again: ingest the original files into a new one",
        ) from None
