"""The files of a history: what has changed in the pool of scores, since the file before.

Files are only added, under numbers that count up. Each says in its metadata when the scores were so.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from fastprobe.errors import InputError
from fastprobe.files import atomic_path, to_disk
from fastprobe.runs.score_files import Key

__all__ = ["Noted", "Part", "State", "read_parts", "write_part"]

_META = b"fastprobe.history"
_FORMAT = 1
_SCHEMA = pa.schema(
    [
        pa.field("submission", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("protocol_hash", pa.string(), nullable=False),
        pa.field("embedding_hash", pa.string(), nullable=False),
        pa.field("terms_hash", pa.string(), nullable=False),  # Key.labels
        pa.field("label_hash", pa.string()),
        pa.field("q", pa.float64()),
        pa.field("q_reason", pa.string()),
        pa.field("gone", pa.bool_(), nullable=False),
    ]
)


class Noted(NamedTuple):
    """What the history knows of a score, beside its key.

    Attributes
    ----------
    labels : str
        Hash of the labels of the task.
    q : float or None
    reason : str or None
        Why there is no Q.
    """

    labels: str
    q: float | None
    reason: str | None


@dataclass(frozen=True)
class State:
    """A state of the pool.

    Attributes
    ----------
    number : int
        From 1.
    at : datetime
        When it began, in UTC, by the second.
    protocol : str
        Name of the protocol.
    protocol_hash : str
        Empty if there were no scores.
    version : str
        Of fastprobe, that noted it.
    """

    number: int
    at: datetime
    protocol: str
    protocol_hash: str
    version: str


@dataclass(frozen=True, eq=False)
class Part:
    """What changed the pool into a state.

    Attributes
    ----------
    state : State
    table : pyarrow.Table
    """

    state: State
    table: pa.Table

    @property
    def submissions(self) -> set[str]:
        """Those whose scores it changes."""
        return set(self.table["submission"].to_pylist())

    def replay(self, known: dict[Key, Noted]) -> None:
        """Change the pool before into the pool after."""
        *key, labels, q, reason, gone = (column.to_pylist() for column in self.table.columns)
        keys = map(Key._make, zip(*key, strict=True))
        noted = map(Noted._make, zip(labels, q, reason, strict=True))
        for of, what, is_gone in zip(keys, noted, gone, strict=True):
            if is_gone:
                known.pop(of, None)
            else:
                known[of] = what


def read_parts(folder: Path) -> list[Part]:
    """Read all parts.

    Raises
    ------
    InputError
        If one is missing or damaged.
    """
    return [_read(path, number) for number, path in enumerate(sorted(folder.glob("[!.]*.parquet")), start=1)]


def write_part(folder: Path, state: State, new: Mapping[Key, Noted], gone: Collection[Key]) -> None:
    """Add a part: whole or not at all, and on the disk.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    if not folder.is_dir():
        folder.mkdir()
        to_disk(folder.parent)
    for path in folder.glob(".*"):  # half-written, before a crash
        path.unlink(missing_ok=True)
    meta = {
        "format": _FORMAT,
        "at": state.at.isoformat(),
        "protocol": {"name": state.protocol, "hash": state.protocol_hash},
        "version": state.version,
    }
    table = _table(new, gone).replace_schema_metadata({_META: json.dumps(meta)})
    with atomic_path(folder / _name(state.number)) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)
        to_disk(temporary)
    to_disk(folder)


def _table(new: Mapping[Key, Noted], gone: Collection[Key]) -> pa.Table:
    came = [*zip(*new, strict=True), *zip(*new.values(), strict=True), [False] * len(new)] if new else []
    went = [*zip(*sorted(gone), strict=True), *[[None] * len(gone)] * 3, [True] * len(gone)] if gone else []
    columns = [
        pa.array([*a, *b], field.type)
        for a, b, field in zip(came or [()] * len(_SCHEMA), went or [()] * len(_SCHEMA), _SCHEMA, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMA)


def _read(path: Path, number: int) -> Part:
    if path.name != _name(number):
        raise _damaged(path, f"this where {_name(number)} should be")
    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, str(error)) from None
    if not table.schema.equals(_SCHEMA, check_metadata=False):
        raise _damaged(path, f"the columns {', '.join(table.column_names)}")
    try:
        meta = json.loads((table.schema.metadata or {})[_META])
        if meta["format"] != _FORMAT:
            raise _damaged(path, f"format {meta['format']}, of another version of fastprobe")
        at, protocol = datetime.fromisoformat(meta["at"]).astimezone(UTC), meta["protocol"]
        return Part(State(number, at, protocol["name"], protocol["hash"], meta["version"]), table)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from None


def _damaged(path: Path, found: str) -> InputError:
    return InputError(
        str(path),
        found=found,
        expected="the parts of a history that fastprobe run wrote, with none missing",
        fix=f"put it back from a copy, or remove the folder {path.parent}: the history begins anew with the next run",
    )


def _name(number: int) -> str:
    return f"{number:08d}.parquet"
