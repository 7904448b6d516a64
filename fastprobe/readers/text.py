"""CSV text as rows of cells, each with the number of its line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fastprobe.errors import InputError
from fastprobe.readers.table import shorten

__all__ = ["MISSING", "csv_rows", "data_rows", "is_missing", "read_header"]

MISSING: tuple[str, ...] = (
    "", "NaN", "nan", "NAN", "-NaN", "-nan", "NA", "N/A", "n/a", "na", "#N/A", "#N/A N/A", "#NA", "<NA>",
    "NULL", "null", "Null", "None", "none", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN",
)  # fmt: skip
"""Spellings of a value that is not there: those of pandas and Arrow."""

_MISSING_LOWER = frozenset(text.lower() for text in MISSING)


def is_missing(text: str) -> bool:
    """Tell whether a cell is empty or spells NaN."""
    return text.strip().lower() in _MISSING_LOWER


def _decoded_lines(path: Path, file: BinaryIO) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}, line {number}",
                found=f"the byte 0x{line[error.start]:02x}, which is not UTF-8",
                expected="a text file in UTF-8",
                fix="save the file with the encoding UTF-8",
            ) from error


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Iterate over the rows of a CSV file; blank lines are empty rows.

    Yields
    ------
    (int, list of str)
        The line on which the row starts (the first line of the file is 1), and its cells.

    Raises
    ------
    InputError
        If the file cannot be opened, is not UTF-8, or breaks the quoting rules of CSV.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(
            str(path),
            found="nothing there" if isinstance(error, FileNotFoundError) else f"{error.strerror}",
            expected="a readable CSV file",
            fix="check the path and the permissions of the file",
        ) from error
    with file:
        reader = csv.reader(_decoded_lines(path, file), strict=True)
        start = 1
        try:
            for cells in reader:
                yield start, cells
                start = reader.line_num + 1
        except csv.Error as error:
            raise InputError(
                f"{path}, line {start}",
                found=f"text that is not CSV ({error})",
                expected="cells separated by commas, and quotes closed on the line that they open",
                fix="write the file again with a CSV library",
            ) from error


def read_header(path: Path) -> list[str]:
    """Read the column names of a CSV file.

    Raises
    ------
    InputError
        If the file is empty or its first line is blank.
    """
    for _, cells in csv_rows(path):
        if any("\n" in cell for cell in cells):
            raise InputError(
                f"{path}, line 1",
                found="a line break inside a column name",
                expected="a header of one line",
                fix="rename the column",
            )
        if cells:
            return cells
        raise InputError(
            f"{path}, line 1", found="a blank line", expected="the column names", fix="put the header on the first line"
        )
    raise InputError(
        str(path),
        found="an empty file",
        expected="a header with the column 'id', and one row per sample",
        fix="write the file again",
    )


def data_rows(path: Path, n_columns: int) -> Iterator[tuple[int, list[str]]]:
    """Iterate over the rows below the header; blank lines are left out.

    Raises
    ------
    InputError
        As :func:`csv_rows`, and if a row has more or fewer cells than the header.
    """
    rows = csv_rows(path)
    next(rows)
    for line, cells in rows:
        if not cells:
            continue
        if len(cells) != n_columns:
            raise InputError(
                f"{path}, line {line}",
                found=f"{len(cells)} cell{'s' * (len(cells) != 1)} (the first is {shorten(cells[0])})",
                expected=f"{n_columns} cells, as in the header",
                fix="complete the row, or quote cells that contain commas",
            )
        yield line, cells
