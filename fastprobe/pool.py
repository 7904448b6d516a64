"""The pool of a leaderboard: the Q of every submission on every task, which is all that ranks and weights depend on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fastprobe.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Pool", "PoolRow", "PoolScore"]

PoolRow = tuple[str, str, float | None, str | None, str, str, str]
"""Submission, task, Q, why there is none, and the hashes of embedding, labels and protocol, as ``Scores.pool`` has
them."""


class PoolScore(NamedTuple):
    """The Q of a submission on a task.

    Attributes
    ----------
    q : float or None
        Finite; None if there is none.
    reason : str or None
        Why there is none.
    embedding, labels : str
        Hashes of what was scored.
    """

    q: float | None
    reason: str | None
    embedding: str
    labels: str


@dataclass(frozen=True)
class Pool:
    """Scores that are ranked together: of one protocol, and of each task on the same labels.

    Attributes
    ----------
    protocol : str
        Its hash; empty if there are no scores.
    scores : mapping of str to mapping of str to PoolScore
        By submission and task.
    at : datetime, optional
        When the scores were so, if that is past.
    """

    protocol: str
    scores: Mapping[str, Mapping[str, PoolScore]]
    at: datetime | None = None

    @classmethod
    def of(cls, rows: Iterable[PoolRow], *, at: datetime | None = None) -> Pool:
        """Collect scores, each submission and task once.

        Raises
        ------
        InputError
            If they are of different protocols, or of different labels of one task.
        """
        scores: dict[str, dict[str, PoolScore]] = {}
        labelled: dict[str, tuple[str, str]] = {}
        of_all: tuple[str, str] | None = None
        for submission, task, q, reason, embedding, labels, protocol in rows:
            of_all = of_all or (protocol, submission)
            of_task = labelled.setdefault(task, (labels, submission))
            if of_all[0] != protocol:
                raise _differs(submission, "protocol", protocol, *of_all)
            if of_task[0] != labels:
                raise _differs(submission, f"labels of the task {task!r}", labels, *of_task)
            there = q is not None and math.isfinite(q)
            scores.setdefault(submission, {})[task] = PoolScore(q if there else None, reason, embedding, labels)
        return cls(of_all[0] if of_all else "", scores, at)

    @classmethod
    def from_arrow(cls, table: pa.Table) -> Pool:
        """Collect the scores of a table as ``Scores.pool`` gives it; see :meth:`of`."""
        return cls.of(_rows(table))

    @classmethod
    def read(cls, path: str | Path) -> Pool:
        """Read what ``Scores.read`` reads, but of the files in a folder only the columns that are needed.

        Raises
        ------
        InputError
            If nothing is there, it is not a score table, or the scores cannot be ranked together.
        """
        from fastprobe.results import Scores

        table = _columns_of(Path(path))
        # Whatever is not plainly in order, Scores.read puts in order, or it says what is wrong.
        return cls.from_arrow(Scores.read(path).pool() if table is None else table)

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that any submission was scored on, sorted."""
        return tuple(sorted({task for row in self.scores.values() for task in row}))

    @cached_property
    def complete(self) -> Mapping[str, Mapping[str, float]]:
        """Q of every task, sorted by name, of every submission that has one for each of them."""
        found: dict[str, dict[str, float]] = {}
        for submission, row in self.scores.items():
            qs = {task: row[task].q for task in self.tasks if task in row}
            there = {task: q for task, q in qs.items() if q is not None}
            if len(there) == len(self.tasks):
                found[submission] = there
        return found

    def missing(self, submission: str) -> dict[str, str]:
        """Tasks without a Q of a submission, and why."""
        row, found = self.scores[submission], dict[str, str]()
        for task in self.tasks:
            if task not in row:
                found[task] = "not scored"
            elif row[task].q is None:
                found[task] = row[task].reason or "no Q"
        return found


def _columns_of(path: Path) -> pa.Table | None:
    """The columns of a pool in the files of a folder; None if anything about them is not as a run leaves it."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from fastprobe.results import POOL, SCHEMA

    folder = path / "scores" if (path / "scores").is_dir() else path
    parts = sorted(part for part in folder.glob("*.parquet") if not part.name.startswith("."))
    try:
        tables = [pq.ParquetFile(part).read(columns=list(POOL)).select(POOL) for part in parts]
        table = pa.concat_tables(part.replace_schema_metadata(None) for part in tables)
    except (OSError, KeyError, pa.ArrowException):
        return None
    fields = [(table.schema.field(name), SCHEMA.field(name)) for name in POOL]
    typed = all(found.type == field.type for found, field in fields)
    filled = all(field.nullable or not table[field.name].null_count for _, field in fields)
    twice = table.group_by(["submission", "task"]).aggregate([([], "count_all")])
    one_protocol = pc.count_distinct(table["protocol_hash"]).as_py() == 1
    return table if typed and filled and one_protocol and twice.num_rows == table.num_rows else None


def _rows(table: pa.Table) -> Iterable[PoolRow]:
    from fastprobe.results import POOL

    return zip(*(table[name].to_pylist() for name in POOL), strict=True)


def _differs(submission: str, what: str, digest: str, expected: str, of: str) -> InputError:
    return InputError(
        f"submission {submission!r}",
        found=f"a score with another {what} (hash {digest})",
        expected=f"the {what} of submission {of!r} (hash {expected})",
        fix="rank only scores of one protocol on the same labels; score again what differs",
    )
