"""Journals: files of JSON objects, a line each, that only grow: a crash can spoil no more than the last line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fastprobe.files import write_text

__all__ = ["Journal"]

_SPARE = 64  # superseded lines that are let be


class Journal:
    """What is known by name: the last line of a name counts, and one with nothing but the name takes it back.

    A line that was cut off, or damaged, is as if it were not there.

    Parameters
    ----------
    path : Path
        Need not be there yet.
    name : str
        The field that names.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._names = self._spare = 0  # how many when it was read; lines since, and those that were superseded

    def read(self) -> dict[str, dict[str, Any]]:
        """Return the other fields by name."""
        found: dict[str, dict[str, Any]] = {}
        lines = 0
        for line in self._lines():
            lines += 1
            name = line.pop(self._name)
            if line:
                found[name] = line
            else:
                found.pop(name, None)
        self._names, self._spare = len(found), lines - len(found)
        return found

    def put(self, name: str, **fields: Any) -> None:
        """Note something; without fields, take back what was noted.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        self.put_all({name: fields})

    def put_all(self, noted: Mapping[str, Mapping[str, Any]]) -> None:
        """Note several things at once, see :meth:`put`."""
        if not noted:
            return
        lines = "".join(self._line(name, fields) for name, fields in noted.items())
        with self._path.open("ab+") as file:
            ended = file.tell() == 0 or _last_byte(file.fileno()) == b"\n"
            file.write(b"\n" * (not ended) + lines.encode())
        self._spare += len(noted)

    def shorten(self) -> None:
        """Write it anew without what is superseded, if that may be more than half of it."""
        if self._spare > self._names + _SPARE:
            found = self.read()
            self._spare = 0
            write_text(self._path, "".join(self._line(name, fields) for name, fields in found.items()))

    def _line(self, name: str, fields: Mapping[str, Any]) -> str:
        return json.dumps({self._name: name, **fields}) + "\n"

    def _lines(self) -> Iterator[dict[str, Any]]:
        if not self._path.exists():
            return
        for text in self._path.read_bytes().split(b"\n"):
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and isinstance(line.get(self._name), str):
                yield line


def _last_byte(descriptor: int) -> bytes:
    return os.pread(descriptor, 1, os.fstat(descriptor).st_size - 1)
