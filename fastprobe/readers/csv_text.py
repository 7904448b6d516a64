"""CSV as participants submit it: ``id,0,1,...``, one row per sample.

Arrow parses the file in blocks and in parallel, straight to float32, NeuCo-Bench's precision. Where it refuses the
file, a careful reading row by row with the same number parser takes over: it names the place, applies repairs, or finds
that the text was only unusual.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastprobe.errors import InputError
from fastprobe.readers.columns import Layout, lay_out
from fastprobe.readers.parsing import parse_numbers
from fastprobe.readers.table import Table, shorten
from fastprobe.readers.text import data_rows, is_missing, read_header

__all__ = ["read"]

_MIN_SEGMENT, _MAX_SEGMENT = 1 << 20, 8 << 20
"""Bytes; measured on 13,260 x 1024: smaller segments are slower, larger ones need more memory and are no faster."""

_MAX_THREADS = 8
"""Every thread holds one segment and its columns; more than these would outgrow the matrix."""

_NULLS = ["", "NaN", "nan", "NA", "null"]
"""The frequent spellings of missing values; Arrow compares every cell with each. Others get the careful reading."""


def read(path: Path, *, lenient: bool = False) -> Table:
    """Read a CSV file.

    Parameters
    ----------
    path : Path
        UTF-8, comma-separated, with a header that :func:`~fastprobe.readers.columns.lay_out` accepts.
    lenient : bool
        Cells that are not numbers become 0 (``"non_numeric_to_zero"``); surplus columns are left out.

    Returns
    -------
    Table
        ``x`` is float32: every number is rounded to it once; NaN for empty cells, infinity for numbers beyond float32.

    Raises
    ------
    InputError
        If the file is empty, is not UTF-8 or not CSV, or has a wrong header, rows of different lengths, or (strict)
        cells that are not numbers.
    """
    import pyarrow as pa

    layout = lay_out(read_header(path), f"{path}, line 1", lenient=lenient)
    places = CsvPlaces(path, layout)
    try:
        ids, x = _parse(path, layout)
        n_replaced = 0
    except pa.ArrowInvalid:
        ids, x, n_replaced = _parse_carefully(path, layout, lenient=lenient)
    repairs = {**layout.repairs, **({"non_numeric_to_zero": n_replaced} if n_replaced else {})}
    return Table(ids, x, places, repairs)


@dataclass(frozen=True)
class CsvPlaces:
    """Places of a CSV file, by line (as an editor counts) and column name; found by reading the file again."""

    path: Path
    layout: Layout

    @property
    def source(self) -> str:
        """The file."""
        return str(self.path)

    def row(self, row: int) -> str:
        """Name a row by its line."""
        return f"{self.path}, line {self._text_row(row)[0]}"

    def cell(self, row: int, column: int, value: object) -> tuple[str, str]:
        """Name a cell by line and column; found is its text."""
        line, cells = self._text_row(row)
        position = self.layout.features[column]
        text = cells[position]
        if not text.strip():
            found = "an empty cell"
        elif is_missing(text) or "inf" in text.lower():
            found = shorten(text)
        else:
            found = f"{shorten(text)}, which is beyond the range of float32 (3.4e38)"
        return _cell(self.path, line, self.layout.names[position]), found

    def _text_row(self, row: int) -> tuple[int, list[str]]:
        return next(islice(data_rows(self.path, len(self.layout.names)), row, None))


def _cell(path: Path, line: int, name: str) -> str:
    return f"{path}, line {line}, column {shorten(name)}"


def _parse(path: Path, layout: Layout) -> tuple[list[str], NDArray[np.float32]]:
    """Read with Arrow, a few segments of the file at a time.

    Segments bound the memory: the matrix, and per thread one segment with its columns. (Arrow's own reader of whole
    files holds all columns before a row-major matrix can be made of them, and needs twice as much.)

    Raises
    ------
    pyarrow.ArrowInvalid
        For rows of wrong length, cells that are not numbers, and text that cannot be cut into segments of whole rows.
    """
    import pyarrow as pa
    import pyarrow.csv as pc

    # Columns are named by position: the header was read and judged before, and may hold any text.
    features = [str(j) for j in layout.features]
    names = ["id" if j == layout.id_column else str(j) for j in range(len(layout.names))]
    options = pc.ConvertOptions(
        column_types={"id": pa.string(), **dict.fromkeys(features, pa.float32())},
        include_columns=["id", *features],
        null_values=_NULLS,
    )
    segments = _segments(path)

    def parse(segment: _Segment, row: int, n_lines: int) -> tuple[list[str], int]:
        """Fill the rows of `x` from `row`; returns the ids and the row behind the last."""
        block = segment.read(path)
        if block.count(b'"') % 2 or not block.strip():
            raise pa.ArrowInvalid("a quoted cell that goes on in the next segment, or a segment of blank lines")
        reading = pc.ReadOptions(column_names=names, block_size=len(block), use_threads=False)
        table = pc.read_csv(pa.BufferReader(block), read_options=reading, convert_options=options)
        if table.num_rows > n_lines:
            raise pa.ArrowInvalid("lines that end in a carriage return only")
        for batch in table.remove_column(0).to_batches():
            x[row : row + batch.num_rows] = batch.to_tensor(null_to_nan=True, row_major=True).to_numpy()
            row += batch.num_rows
        return table.column(0).to_pylist(), row

    with ThreadPoolExecutor(min(pa.cpu_count(), _MAX_THREADS)) as pool:
        n_lines = list(pool.map(lambda segment: segment.n_lines(path), segments))
        starts = list(accumulate(n_lines, initial=0))
        x = np.empty((starts.pop(), len(features)), dtype=np.float32)
        parsed = list(pool.map(parse, segments, starts, n_lines))
    ids = [i for part, _ in parsed for i in part]
    if len(ids) < len(x):  # blank lines
        x = np.concatenate([x[start:end] for start, (_, end) in zip(starts, parsed, strict=True)])
    return ids, x


@dataclass(frozen=True)
class _Segment:
    """Consecutive whole lines of a file."""

    start: int
    stop: int

    def read(self, path: Path) -> bytes:
        with path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.stop - self.start)

    def n_lines(self, path: Path) -> int:
        block = self.read(path)
        return block.count(b"\n") + (not block.endswith(b"\n"))


def _segments(path: Path) -> list[_Segment]:
    """Cut a file, below its first line, into segments that end where a line ends."""
    total = path.stat().st_size
    size = min(max(total // 32, _MIN_SEGMENT), _MAX_SEGMENT)
    with path.open("rb") as file:
        file.readline()
        cuts = [file.tell()]
        while cuts[-1] < total:
            file.seek(min(cuts[-1] + size, total))
            file.readline()
            cuts.append(file.tell())
    return [_Segment(start, stop) for start, stop in pairwise(cuts)]


def _parse_carefully(path: Path, layout: Layout, *, lenient: bool) -> tuple[list[str], NDArray[np.float32], int]:
    """Read row by row; returns ids, matrix, and how many cells that are not numbers became 0."""
    import pyarrow as pa

    ids: list[str] = []
    rows: list[NDArray[np.float32]] = []
    n_replaced = 0
    for line, cells in data_rows(path, len(layout.names)):
        values, not_numbers = parse_numbers([cells[j] for j in layout.features], pa.float32())
        if not_numbers and not lenient:
            position = layout.features[not_numbers[0]]
            raise InputError(
                _cell(path, line, layout.names[position]),
                found=shorten(cells[position]),
                expected="a number, such as 0.25 or -1e-3",
                fix="write the value as a number, or read leniently to set such cells to 0",
            )
        n_replaced += len(not_numbers)
        ids.append(cells[layout.id_column])
        rows.append(values)
    x = np.stack(rows) if rows else np.empty((0, len(layout.features)), dtype=np.float32)
    return ids, x, n_replaced
