"""Scores: one typed Arrow table is the only result format; JSON, CSV, Parquet and screen tables are views of it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from fastprobe.columns import ArrowRows, GivenRows, Rows, fitted, null_for_nan
from fastprobe.errors import InputError
from fastprobe.rows import SCHEMA, SINCE_MULTI_CLASS, FoldStats, TaskScore, json_ready, to_record, undo_json
from fastprobe.views import ArrowViews

__all__ = ["POOL", "SCHEMA", "FoldStats", "Scores", "TaskScore"]

POOL = ("submission", "task", "q", "q_reason", "embedding_hash", "label_hash", "protocol_hash")
"""Columns of :meth:`Scores.pool`."""

_PROTOCOL_KEY = b"fastprobe.protocol"
_CSV_COLUMNS = tuple(f.name for f in SCHEMA if not f.name.startswith("fold_"))


class Scores(ArrowViews):
    """A table of scores (submission x task), with the protocol that made them.

    A pair of submission and task stands in the table once. Where it is given more than once with the same embedding,
    labels and protocol (a job that was interrupted may write a part again), the last row is kept. Where those differ,
    two submissions share a name or the labels have changed, and that is an error.

    Parameters
    ----------
    rows : iterable of TaskScore
    protocol : mapping
        The protocol as :meth:`fastprobe.protocol.Protocol.to_dict` gives it; stored as table metadata.

    Attributes
    ----------
    rows : sequence of TaskScore
    protocol : mapping

    Raises
    ------
    InputError
        If two rows of one submission and task come from different embeddings, labels or protocols.
    """

    def __init__(self, rows: Iterable[TaskScore], protocol: Mapping[str, Any]) -> None:
        self._held, self._at = _unique(rows if isinstance(rows, ArrowRows) else GivenRows(rows))
        self.protocol: Mapping[str, Any] = dict(protocol)

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[TaskScore]:
        return iter(self._held)

    def __repr__(self) -> str:
        return f"<Scores: {len(self.submissions)} submissions x {len(self.tasks)} tasks, {self.protocol.get('name')}>"

    @cached_property
    def rows(self) -> Sequence[TaskScore]:
        """The rows. Of a table that was read, they are made when they are first asked for; most questions need none."""
        return tuple(self._held)

    @cached_property
    def submissions(self) -> tuple[str, ...]:
        """Names of the submissions, in order of appearance."""
        return tuple(dict.fromkeys(self._held.column("submission")))

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that any submission was scored on, sorted."""
        return tuple(sorted(set(self._held.column("task"))))

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.submissions)

    @cached_property
    def _qs(self) -> list[float | None]:
        return self._held.column("q")

    def _position(self, submission: str, task: str) -> int | None:
        """Return where the row of a pair is, None if it has none."""
        found = self._at.get((submission, task))
        if found is None:
            if submission not in self._names:
                raise KeyError(f"no submission {submission!r}; known: {', '.join(self.submissions)}")
            if task not in self.tasks:
                raise KeyError(f"no task {task!r}; known: {', '.join(self.tasks)}")
        return found

    def get(self, submission: str, task: str) -> TaskScore | None:
        """Return one row, or None if that submission has no row for that task.

        Raises
        ------
        KeyError
            If no row has that submission, or none has that task.
        """
        found = self._position(submission, task)
        return None if found is None else self._held[found]

    def q(self, submission: str, task: str) -> float | None:
        """Return the Q-score of a submission on a task; None if it has none.

        Raises
        ------
        KeyError
            If no row has that submission, or none has that task.
        """
        found = self._position(submission, task)
        return None if found is None else self._qs[found]

    def mean_q(self, submission: str) -> float | None:
        """Return the mean Q of a submission over all tasks of the table; None if it has no Q for any one of them.

        Raises
        ------
        KeyError
            If no row has that submission.
        """
        qs = [self.q(submission, task) for task in self.tasks]
        return None if None in qs else math.fsum(q for q in qs if q is not None) / len(qs)

    def mean_qs(self) -> dict[str, float | None]:
        """Return the mean Q of every submission; see :meth:`mean_q`."""
        return {submission: self.mean_q(submission) for submission in self.submissions}

    @classmethod
    def concat(cls, parts: Iterable[Scores]) -> Scores:
        """Put several score tables of one protocol together.

        Raises
        ------
        InputError
            If the parts were made by different protocols, or contradict each other (see :class:`Scores`).
        """
        parts = list(parts)
        if not parts:
            return cls((), {})
        protocol = _one_protocol([(f"score table {i}", part.protocol) for i, part in enumerate(parts)])
        held = [part._held for part in parts]
        if all(isinstance(rows, GivenRows) for rows in held):
            return cls(chain.from_iterable(held), protocol)
        return cls(ArrowRows(pa.concat_tables(rows.to_table() for rows in held)), protocol)

    # --- Arrow and Parquet -------------------------------------------------------------------------------------------

    def to_arrow(self) -> pa.Table:
        """Return the table with the columns of :data:`SCHEMA`, the protocol as JSON in its metadata."""
        return self._held.to_table().replace_schema_metadata({_PROTOCOL_KEY: json.dumps(json_ready(self.protocol))})

    def pool(self) -> pa.Table:
        """Return what leaderboards rank by, in order of the rows: the columns of :data:`POOL`."""
        return self._held.select(POOL)

    @classmethod
    def from_arrow(cls, table: pa.Table, *, where: str = "score table") -> Scores:
        """Read a table as :meth:`to_arrow` gives it. Further columns are ignored.

        Parameters
        ----------
        table : pyarrow.Table
        where : str
            How errors name the table.

        Raises
        ------
        InputError
            If a column is missing or of another type, a value is missing, or the table carries no protocol.

        Notes
        -----
        Tables of earlier versions are read: columns of :data:`fastprobe.rows.SINCE_MULTI_CLASS` that they lack are
        empty.
        """
        table, protocol = _checked(table, where)
        return cls(ArrowRows(null_for_nan(table)), protocol)

    @classmethod
    def read_parquet(cls, path: str | Path) -> Scores:
        """Read a Parquet file, or every ``*.parquet`` in a folder, in order of their names.

        Raises
        ------
        InputError
            If nothing is there, a file is not a score table, or the parts do not belong together.
        """
        import pyarrow.parquet as pq

        path = Path(path)
        parts = sorted(p for p in path.glob("*.parquet") if not p.name.startswith(".")) if path.is_dir() else [path]
        if not parts:
            raise _not_scores(str(path), "no Parquet file in this folder")
        tables, protocols = [], []
        for part in parts:
            try:
                table = pq.ParquetFile(part, pre_buffer=False).read(use_threads=False)
            except (OSError, pa.ArrowException) as error:
                raise _not_scores(str(part), str(error)) from None
            checked, protocol = _checked(table, str(part))
            tables.append(checked)
            protocols.append((str(part), protocol))
        common = _one_protocol(protocols)
        return cls(ArrowRows(null_for_nan(pa.concat_tables(tables))), common)

    # --- JSON and CSV ------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"protocol": ..., "scores": [...], "mean_q": {...}}`` of JSON values.

        A score is an object with the columns of :data:`SCHEMA`; NaN and infinity become None.
        """
        document = {"protocol": self.protocol, "scores": [to_record(r) for r in self.rows], "mean_q": self.mean_qs()}
        ready: dict[str, Any] = json_ready(document)
        return ready

    def to_json(self) -> str:
        """Return :meth:`to_dict` as one JSON document."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    @classmethod
    def from_dict(cls, document: Any, *, where: str = "score document") -> Scores:
        """Read a document as :meth:`to_dict` gives it; a null among numbers becomes NaN where the column has no nulls.

        Raises
        ------
        InputError
            If it is not such a document.
        """
        if not (isinstance(document, dict) and isinstance(document.get("protocol"), dict)):
            raise _not_scores(where, "no object 'protocol'")
        records = document.get("scores")
        if not (isinstance(records, list) and all(isinstance(record, dict) for record in records)):
            raise _not_scores(where, "no list 'scores' of objects")
        for i, record in enumerate(records):
            missing = [name for name in SCHEMA.names if name not in record and name not in SINCE_MULTI_CLASS]
            if missing:
                raise _not_scores(where, f"no field {missing[0]!r} in scores[{i}]")
        schema = SCHEMA.with_metadata({_PROTOCOL_KEY: json.dumps(document["protocol"])})
        try:
            table = pa.Table.from_pylist([undo_json(record) for record in records], schema=schema)
        except (pa.ArrowException, TypeError, ValueError, AttributeError) as error:
            raise _not_scores(where, str(error)) from None
        return cls.from_arrow(table, where=where)

    def to_csv_text(self) -> str:
        """Return the table as CSV: one row per submission and task.

        The scalar columns of :data:`SCHEMA` stand under their names, ``notes`` joined by ``"; "``, ``repairs`` as
        ``name=count``, the score of every fold under ``fold_0`` to ``fold_{K-1}``. An empty cell is a missing value.
        The other lists (reasons, strengths, residuals and sufficient statistics of the folds) are in Parquet and JSON.
        """
        n_folds = max((len(row.fold_scores) for row in self.rows), default=0)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*_CSV_COLUMNS, *(f"fold_{k}" for k in range(n_folds))])
        for row in self.rows:
            record = json_ready(to_record(row))
            record["notes"] = "; ".join(row.notes)
            record["repairs"] = "; ".join(f"{name}={count}" for name, count in row.repairs.items())
            writer.writerow([*(record[name] for name in _CSV_COLUMNS), *record["fold_scores"]])
        return text.getvalue()

    @classmethod
    def read(cls, path: str | Path) -> Scores:
        """Read scores from a file that ``score --out`` wrote (Parquet or JSON), or from the folder of a run.

        Of a folder, the part files in its subfolder ``scores`` are read; without one, the Parquet files in it.

        Raises
        ------
        InputError
            If nothing is there, or it is not a score table.
        """
        path = Path(path)
        if path.is_dir():
            return cls.read_parquet(path / "scores" if (path / "scores").is_dir() else path)
        if path.suffix.lower() == ".parquet":
            return cls.read_parquet(path)
        if not path.exists():
            raise _not_scores(str(path), "nothing there")
        if path.suffix.lower() != ".json":
            raise _not_scores(str(path), f"a file name that ends in {path.suffix!r}")
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise _not_scores(str(path), error.strerror or str(error)) from None
        except ValueError as error:
            raise _not_scores(str(path), f"text that is not JSON ({error})") from None
        return cls.from_dict(document, where=str(path))


def _not_scores(where: str, found: str) -> InputError:
    return InputError(
        where,
        found=found,
        expected="scores as fastprobe writes them (.parquet, .json, or a folder of .parquet parts)",
        fix="give the folder of a run, or a file that `fastprobe score --out` wrote",
    )


def _unique(rows: Rows) -> tuple[Rows, dict[tuple[str, str], int]]:
    """Keep the last row of every pair of submission and task, and say where it is."""
    pairs = list(zip(rows.column("submission"), rows.column("task"), strict=True))
    last = {pair: i for i, pair in enumerate(pairs)}
    if len(last) == len(pairs):
        return rows, last
    _require_agreement(rows, pairs)
    kept = sorted(last.values())
    return rows.keep(kept), {pairs[i]: j for j, i in enumerate(kept)}


def _require_agreement(rows: Rows, pairs: Sequence[tuple[str, str]]) -> None:
    """Raise InputError if two rows of one pair come from different embeddings, labels or protocols."""
    hashes = {what: rows.column(what) for what in ("protocol_hash", "embedding_hash", "label_hash")}
    first: dict[tuple[str, str], int] = {}
    for i, pair in enumerate(pairs):
        before = first.setdefault(pair, i)
        for what, values in hashes.items():
            a, b = values[before], values[i]
            if a != b:
                raise InputError(
                    f"submission {pair[0]!r}, task {pair[1]!r}",
                    found=f"two scores with different {what.replace('_', ' ')} ({a} and {b})",
                    expected="one score for each submission and task",
                    fix="give each submission its own name, or leave out the scores that are out of date",
                )


def _checked(table: pa.Table, where: str) -> tuple[pa.Table, dict[str, Any]]:
    """Return the columns of SCHEMA of a table that :meth:`Scores.to_arrow` may have made, and the protocol of it."""
    text = (table.schema.metadata or {}).get(_PROTOCOL_KEY)
    if text is None:
        raise _not_scores(where, "no protocol in its metadata")
    for name in SINCE_MULTI_CLASS:
        if name not in table.column_names:
            empty = pa.array([[]] * table.num_rows, SCHEMA.field(name).type)
            table = table.append_column(SCHEMA.field(name), empty)
    for name in SCHEMA.names:
        if table.schema.get_field_index(name) < 0:
            raise _not_scores(where, f"no column {name!r}, or two of them")
    try:
        return fitted(table), json.loads(text)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise _not_scores(where, str(error)) from None


def _one_protocol(named: Sequence[tuple[str, Mapping[str, Any]]]) -> Mapping[str, Any]:
    """Return the protocol of all parts, or raise InputError with the name of the first that has another one."""
    (first_name, first), *rest = named
    for name, protocol in rest:
        a, b = first.get("hash"), protocol.get("hash")
        if a != b:
            raise InputError(
                name,
                found=f"scores of the protocol {protocol.get('name')!r} with hash {b}",
                expected=f"the protocol {first.get('name')!r} with hash {a}, as in {first_name}",
                fix="put only scores of one protocol together; score again what differs",
            )
    return first
