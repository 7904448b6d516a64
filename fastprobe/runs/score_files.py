"""Finished scores on the disk: Parquet files that are written once, whole or not at all, and what is in each."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from fastprobe.errors import InputError
from fastprobe.files import write_to_disk
from fastprobe.runs.journal import Journal

__all__ = ["Key", "ScoreFiles"]

_KEYS = b"fastprobe.keys"
_MANY = 64  # small files that are put together
_FULL = 512  # scores of a file that is put together: about two megabytes


class Key(NamedTuple):
    """What tells a score from all others.

    Attributes
    ----------
    submission, task : str
    protocol : str
        Hash of the protocol.
    embedding : str
        Hash of the embedding.
    labels : str
        Hash of what else decides the score: see :meth:`fastprobe.runs.terms.Terms.labels`.
    """

    submission: str
    task: str
    protocol: str
    embedding: str
    labels: str


class ScoreFiles:
    """The files of scores in a folder, as they were found and as they have changed through this object since.

    Every file says in its metadata which scores it holds; a journal says the same of all files, so that nobody has to
    open them. Making this object changes nothing on the disk.

    Parameters
    ----------
    folder : Path
        Need not be there, until something is written.
    journal : Path

    Raises
    ------
    InputError
        If there is something else in the folder.
    """

    def __init__(self, folder: Path, journal: Path) -> None:
        self._folder = folder
        self._journal = Journal(journal, "file")
        self._files: dict[str, list[Key]] = {}
        self._of: dict[str, dict[Key, str]] = {}  # by submission: the file of every score
        self._double: set[str] = set()  # files with scores that another one has, too
        told = self._journal.read()
        names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
        for name in sorted(n for n in names if n.endswith(".parquet") and not n.startswith(".")):
            self._files[name] = _as_keys(told.get(name, {}).get("keys")) or _keys_in(folder / name)
            for key in self._files[name]:
                if self._of.setdefault(key.submission, {}).setdefault(key, name) != name:
                    self._double.add(name)
        self._untold = [name for name in self._files if name not in told]

    def __contains__(self, key: Key) -> bool:
        return key in self._of.get(key.submission, ())

    def __iter__(self) -> Iterator[Key]:
        for keys in self._of.values():
            yield from keys

    def of(self, submission: str) -> list[Key]:
        """Keys of the scores of a submission."""
        return list(self._of.get(submission, ()))

    def tidy(self) -> None:
        """Clean up after a crash: have every score in one file only, and every file in the journal."""
        for path in self._folder.glob(".*"):  # half-written
            path.unlink(missing_ok=True)
        for name in self._untold:
            self._journal.put(name, keys=self._files[name])
        for name in sorted(self._double):
            keys = self._files[name]
            self._keep(name, [i for i, key in enumerate(keys) if self._of[key.submission][key] == name])
        self._untold.clear()
        self._double.clear()

    def put(self, scores: pa.Table, keys: Sequence[Key]) -> None:
        """Write scores to the disk, in a file of their own.

        Parameters
        ----------
        scores : pyarrow.Table
            As :meth:`fastprobe.Scores.to_arrow` gives it.
        keys : sequence of Key
            Of every row.
        """
        self._write(scores, list(keys))

    def drop(self, stale: Collection[Key]) -> None:
        """Remove scores."""
        gone = {key: self._of[key.submission].pop(key) for key in stale}
        for name in sorted(set(gone.values())):
            self._keep(name, [i for i, key in enumerate(self._files[name]) if key not in gone])

    def put_together(self) -> None:
        """Put small files together if there are many: readers open few instead of thousands.

        What is held in memory does not depend on how many there are.
        """
        small = [name for name, keys in sorted(self._files.items()) if len(keys) <= _FULL // 2]
        if len(small) < _MANY:
            return
        while small:
            size, batch = 0, []
            tables: list[pa.Table] = []
            while small and size + len(self._files[small[0]]) <= _FULL:
                table = self._read(small[0])
                if tables and not table.schema.equals(tables[0].schema):  # of another version of fastprobe
                    break
                size += table.num_rows
                tables.append(table)
                batch.append(small.pop(0))
            if len(batch) > 1:
                # A crash from here on leaves scores twice, which readers know to be the same.
                self._write(pa.concat_tables(tables), [key for name in batch for key in self._files[name]])
                for name in batch:
                    self._remove(name)
        self._journal.shorten()

    def _keep(self, name: str, rows: list[int]) -> None:
        """Have only some rows in a file."""
        keys = self._files[name]
        if len(rows) == len(keys):
            return
        if rows:
            self._write(self._read(name).take(rows), [keys[i] for i in rows])
        self._remove(name)

    def _write(self, table: pa.Table, keys: list[Key]) -> None:
        text = json.dumps(keys).encode()
        name = f"{hashlib.blake2b(text, digest_size=16).hexdigest()}.parquet"
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _KEYS: text})
        parquet = pa.BufferOutputStream()  # one write to the file instead of hundreds
        pq.write_table(table, parquet, use_dictionary=False, write_statistics=False, compression="none")
        write_to_disk(self._folder / name, memoryview(parquet.getvalue()))
        self._journal.put(name, keys=keys)
        self._files[name] = keys
        for key in keys:
            self._of.setdefault(key.submission, {})[key] = name

    def _remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)
        self._journal.put(name)
        del self._files[name]

    def _read(self, name: str) -> pa.Table:
        """Read a file without what it says about its keys, which would make its schema differ from others."""
        path = self._folder / name
        try:
            table = pq.ParquetFile(path).read()
        except (OSError, pa.ArrowException) as error:
            raise _damaged(path, str(error)) from None
        if table.num_rows != len(self._files[name]):
            raise _damaged(path, f"{table.num_rows} rows instead of {len(self._files[name])}")
        metadata = {key: value for key, value in (table.schema.metadata or {}).items() if key != _KEYS}
        return table.replace_schema_metadata(metadata)


def _keys_in(path: Path) -> list[Key]:
    try:
        keys = _as_keys(json.loads((pq.ParquetFile(path).schema_arrow.metadata or {})[_KEYS]))
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from None
    if keys is None:
        raise _damaged(path, "no keys")
    return keys


def _as_keys(values: Any) -> list[Key] | None:
    """Keys as a file or a journal gives them; None for anything else. Most texts are the same again and again."""
    try:
        return [Key._make(map(sys.intern, value)) for value in values]
    except TypeError:
        return None


def _damaged(path: Path, found: str) -> InputError:
    return InputError(
        str(path),
        found=f"not the scores of a run ({found})",
        expected="only files that fastprobe run wrote",
        fix="take it out of the folder; what it held is scored again",
    )
