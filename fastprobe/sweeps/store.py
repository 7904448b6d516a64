"""Where a sweep keeps the units that it has finished, so that the same command goes on after an interruption."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fastprobe.errors import InputError
from fastprobe.files import atomic_path
from fastprobe.sweeps.table import SCHEMA

__all__ = ["Parts", "key_of"]

_NUMERICS = 1
"""Raised when the same unit would give other numbers."""


def key_of(decides: Mapping[str, Any]) -> str:
    """Hash of everything that decides the rows of a unit (32 hexadecimal digits)."""
    text = json.dumps({"numerics": _NUMERICS, **decides}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Parts:
    """Tables of finished units, a Parquet file each, in a folder.

    Parameters
    ----------
    folder : path or None
        None keeps nothing.

    Raises
    ------
    InputError
        If the folder cannot be made or written to.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = None if folder is None else folder / "parts"
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(self._folder / "probe") as probe:
                probe.touch()
        except OSError as error:
            raise InputError(
                "out",
                found=f"{str(folder)!r}: {error.strerror or error}",
                expected="a folder that can be written to",
                fix="name another folder",
            ) from None
        (self._folder / "probe").unlink(missing_ok=True)

    @property
    def kept(self) -> bool:
        """Whether anything is kept."""
        return self._folder is not None

    def get(self, key: str) -> pa.Table | None:
        """Return the table of a unit, or None if it is not there. A damaged file counts as not there."""
        if self._folder is None:
            return None
        path = self._folder / f"{key}.parquet"
        try:
            return pq.ParquetFile(path).read().select(SCHEMA.names).cast(SCHEMA)
        except (OSError, pa.ArrowException, KeyError):
            return None

    def put(self, key: str, table: pa.Table) -> None:
        """Keep the table of a unit."""
        if self._folder is not None:
            with atomic_path(self._folder / f"{key}.parquet") as temporary:
                pq.write_table(table, temporary)
