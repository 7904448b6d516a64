"""Label files ``id,label`` and assignment files ``id,group`` or ``id,split``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastprobe.errors import InputError
from fastprobe.readers.table import shorten
from fastprobe.readers.text import data_rows, is_missing, read_header
from fastprobe.readers.validation import MAX_ID_LENGTH, plain_id

__all__ = ["Labels", "read_assignment", "read_labels"]


@dataclass(frozen=True)
class Labels:
    """The content of a label file.

    Attributes
    ----------
    ids : list of str
    values : list of float
        Finite.
    lines : list of int
        Line of every label; the header is line 1.
    n_missing : int
        Rows without a label, which were skipped.
    n_duplicates : int
        Rows with an id that has a label already, which were dropped (``lenient`` only).
    """

    ids: list[str]
    values: list[float]
    lines: list[int]
    n_missing: int
    n_duplicates: int


def read_labels(path: Path, *, lenient: bool = False) -> Labels:
    """Read a label file: the columns ``id`` and ``label``; others are not looked at.

    Raises
    ------
    InputError
        If a column is missing, a row has too many or too few cells, an id is empty or has two labels (strict), or a
        label is infinite or no number.
    """
    names = read_header(path)
    if (plain := _read_plain(path, names)) is not None:
        return plain
    ids, values, lines = [], [], []
    first: dict[str, int] = {}
    n_missing = n_duplicates = 0
    for line, id_, cell in _pairs(path, names, _position(path, names, "id"), _position(path, names, "label")):
        value = _number(cell)
        if value is None and is_missing(cell):
            n_missing += 1
            continue
        if id_ in first:
            if not lenient:
                raise _repeated(path, line, id_, first[id_], "read leniently to keep the first label")
            n_duplicates += 1
            continue
        first[id_] = line
        ids.append(id_)
        values.append(_finite(path, line, cell, value))
        lines.append(line)
    return Labels(ids, values, lines, n_missing, n_duplicates)


def _read_plain(path: Path, names: Sequence[str]) -> Labels | None:
    """Read a file in which nothing is missing, repeated or odd, with Arrow; None if it is not such a file.

    The reading row by row says the same of such files, and what is wrong with others.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    if names.count("id") != 1 or names.count("label") != 1 or len(set(names)) != len(names):
        return None
    try:
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(column_names=names, skip_rows=1, use_threads=False),
            parse_options=csv.ParseOptions(ignore_empty_lines=False, quote_char=False),
            convert_options=csv.ConvertOptions(
                column_types={"id": pa.string(), "label": pa.float64()}, include_columns=["id", "label"], null_values=[]
            ),
        )
    except (pa.ArrowInvalid, OSError):
        return None
    ids, values = table["id"].combine_chunks(), table["label"].combine_chunks()
    odd = pc.or_(pc.match_substring_regex(ids, r"[^\x21-\x7e]|\.zarr|\"|^$"), pc.invert(pc.is_finite(values)))
    if pc.any(odd).as_py() or pc.max(pc.binary_length(ids)).as_py() is None:
        return None
    texts = ids.to_pylist()
    if len(set(texts)) < len(texts) or max(map(len, texts)) > MAX_ID_LENGTH:
        return None
    return Labels(texts, values.to_pylist(), list(range(2, len(texts) + 2)), 0, 0)


def read_assignment(path: Path, column: str, *, values: Sequence[str] | None = None) -> dict[str, str]:
    """Read which group or side every sample belongs to.

    Parameters
    ----------
    path : Path
        CSV with a column ``id``, and further columns.
    column : str
        Column to read; if there is none of that name, the second.
    values : sequence of str, optional
        What the cells may say; anything but nothing by default.

    Raises
    ------
    InputError
        If a column is missing, a row has too many or too few cells, an id is empty or appears twice, or a cell is empty
        or says what it may not say.
    """
    names = read_header(path)
    id_position = _position(path, names, "id")
    if column not in names and (len(names) < 2 or id_position == 1):
        raise _no_column(path, names, column)
    position = names.index(column) if column in names else 1
    assignment: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, id_, cell in _pairs(path, names, id_position, position):
        cell = cell.strip()
        if not cell or (values is not None and cell not in values):
            raise InputError(
                f"{path}, line {line}, column {shorten(names[position])}",
                found=shorten(cell) if cell else "an empty cell",
                expected=f"the {column} of {shorten(id_)}" + (f": {', '.join(values)}" if values else ""),
                fix=f"give every id a {column}",
            )
        if id_ in lines:
            raise _repeated(path, line, id_, lines[id_], "remove one of the rows")
        assignment[id_], lines[id_] = cell, line
    if not assignment:
        raise InputError(str(path), found="no rows", expected=f"one row per sample: id,{column}", fix="fill the file")
    return assignment


def _position(path: Path, names: Sequence[str], name: str) -> int:
    if names.count(name) != 1:
        raise _no_column(path, names, name)
    return names.index(name)


def _no_column(path: Path, names: Sequence[str], name: str) -> InputError:
    listed = ", ".join(shorten(n, 24) for n in names[:6]) + (", ..." if len(names) > 6 else "")
    return InputError(
        f"{path}, line 1",
        found=f"{names.count(name) or 'no'} column{'s' * (names.count(name) > 1)} named {name!r} (columns: {listed})",
        expected=f"one column 'id' and one column {name!r}" if name != "id" else "one column 'id'",
        fix=f"name the column {name!r} in the header, and separate columns by commas",
    )


def _pairs(path: Path, names: Sequence[str], id_position: int, position: int) -> Iterator[tuple[int, str, str]]:
    """Iterate over lines, ids (without suffixes) and cells of one column."""
    for line, cells in data_rows(path, len(names)):
        id_ = plain_id(cells[id_position])
        if not id_.strip() or not id_.isprintable() or len(id_) > MAX_ID_LENGTH:
            raise InputError(
                f"{path}, line {line}, column 'id'",
                found=shorten(id_) if id_.strip() else "an empty id",
                expected=f"the id of a sample, of up to {MAX_ID_LENGTH:,} printable characters",
                fix="correct the id, or remove the row",
            )
        yield line, id_, cells[position]


def _number(cell: str) -> float | None:
    """Parse a label; None for text that is no number, and for NaN."""
    try:
        value = float(cell)
    except ValueError:
        return None
    # Python takes 1_000 for a number; no other reader of CSV does.
    return None if math.isnan(value) or "_" in cell else value


def _finite(path: Path, line: int, cell: str, value: float | None) -> float:
    if value is None or math.isinf(value):
        raise InputError(
            f"{path}, line {line}, column 'label'",
            found=shorten(cell),
            expected="a finite number, or an empty cell for a missing label",
            fix="write the label as a number",
        )
    return value


def _repeated(path: Path, line: int, id_: str, first: int, fix: str) -> InputError:
    return InputError(
        f"{path}, line {line}, column 'id'",
        found=f"the id {shorten(id_)} again; it is already on line {first}",
        expected="every id once ('.zarr' and '.zarr.zip' do not count)",
        fix=fix,
    )
