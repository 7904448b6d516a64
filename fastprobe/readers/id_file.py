"""Ids in a file beside a matrix that has none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastprobe.errors import InputError
from fastprobe.readers.text import csv_rows

__all__ = ["IdFile", "read_ids"]


@dataclass(frozen=True)
class IdFile:
    """Ids, one a line.

    Attributes
    ----------
    path : Path
    ids : list of str
        Blank lines among them are empty ids; blank lines at the end are none.
    lines : list of int
        Line of every id; the first line of the file is 1.
    """

    path: Path
    ids: list[str]
    lines: list[int]

    def place(self, row: int) -> str:
        """Name the line of an id."""
        return f"{self.path}, line {self.lines[row]}"


def read_ids(matrix: Path, ids: Path | None = None) -> IdFile:
    """Read the ids of a ``.npy`` file or a Zarr array.

    Parameters
    ----------
    matrix : Path
    ids : Path or None
        One id a line, under an optional header ``id``, quoted as CSV if need be. None: ``<stem>.ids.csv`` or
        ``<stem>.ids.txt`` beside the matrix.

    Raises
    ------
    InputError
        If there is no such file, or it has more than one column.
    """
    path = ids if ids is not None else _beside(matrix)
    texts: list[str] = []
    lines: list[int] = []
    for line, cells in csv_rows(path):
        if len(cells) > 1:
            raise InputError(
                f"{path}, line {line}",
                found=f"{len(cells)} cells",
                expected="one id a line",
                fix="remove the other columns, or quote ids that contain commas",
            )
        texts.append(cells[0] if cells else "")
        lines.append(line)
    if texts[:1] == ["id"]:
        del texts[0], lines[0]
    while texts and not texts[-1]:
        del texts[-1], lines[-1]
    return IdFile(path, texts, lines)


def _beside(matrix: Path) -> Path:
    candidates = [matrix.with_name(f"{matrix.stem}.ids{suffix}") for suffix in (".csv", ".txt")]
    found = [path for path in candidates if path.is_file()]
    if not found:
        raise InputError(
            str(matrix),
            found=f"a matrix without ids, and neither {candidates[0].name} nor {candidates[1].name} beside it",
            expected="a file with one id a line",
            fix="write that file, or name it with the option ids",
        )
    return found[0]
