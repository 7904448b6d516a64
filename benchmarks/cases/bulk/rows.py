"""All rows of scores, bit for bit, and whether two computations gave the same."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.problem import FoldScores
from benchmarks.report import Check

__all__ = ["Differences", "Rows", "fold_scores_on_disk", "rows_in", "rows_on_disk"]

Rows = Mapping[tuple[str, str], list[str]]
"""By submission and task, the rows that are there, as text that tells any two floating-point numbers apart."""


def rows_in(tables: Iterable[pa.Table]) -> Rows:
    """Collect the rows of tables of scores, all columns."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for table in tables:
        for row in table.to_pylist():
            found[row["submission"], row["task"]].append(repr(row))
    return dict(found)


def rows_on_disk(run: Path) -> Rows:
    """Collect the rows of the folder of a run, file by file, so that one that is there twice is seen twice."""
    return rows_in(pq.ParquetFile(path).read() for path in sorted((run / "scores").glob("*.parquet")))


def fold_scores_on_disk(run: Path) -> FoldScores:
    """Collect the fold scores in the folder of a run, by submission and task."""
    found = {}
    for path in (run / "scores").glob("*.parquet"):
        for row in pq.ParquetFile(path).read(columns=["submission", "task", "fold_scores"]).to_pylist():
            found[f"{row['submission']}, {row['task']}"] = np.array(row["fold_scores"], dtype=np.float64)
    return found


@dataclass(frozen=True)
class Differences:
    """How rows differ from those that were wanted.

    Attributes
    ----------
    missing, surplus, other : int
        Rows that are not there, that are there too often or should not be, and that hold something else.
    """

    missing: int = 0
    surplus: int = 0
    other: int = 0

    @classmethod
    def between(cls, found: Rows, wanted: Rows) -> Differences:
        """Compare rows with those that are wanted."""
        missing = surplus = other = 0
        for key in found.keys() | wanted.keys():
            have, want = Counter(found.get(key, [])), Counter(wanted.get(key, []))
            same = (have & want).total()
            missing += max(0, want.total() - have.total())
            surplus += max(0, have.total() - want.total())
            other += min(want.total(), have.total()) - same
        return cls(missing, surplus, other)

    def __add__(self, more: Differences) -> Differences:
        return Differences(self.missing + more.missing, self.surplus + more.surplus, self.other + more.other)

    def check(self, what: str) -> Check:
        """Whether there are none.

        Parameters
        ----------
        what : str
            "the scores of A from those of B".
        """
        words = f"{what}, bit for bit, as rows ({self.missing} missing, {self.surplus} too many, {self.other} other)"
        return Check(words, float(self.missing + self.surplus + self.other), 0.0)
