"""Arrow columns as a submission: what Parquet, Arrow and Feather files have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from fastprobe.errors import InputError
from fastprobe.readers.columns import lay_out
from fastprobe.readers.parsing import parse_numbers
from fastprobe.readers.table import ArrayPlaces, Table, shorten
from fastprobe.readers.validation import as_matrix, check_width

__all__ = ["table_of"]

_COLUMNS_AT_ONCE = 64
_ROWS_AT_ONCE = 4096
"""Wide files are read some columns at a time: decoders hold every column that they read, several times over."""

_LISTS_AT_ONCE = 512

ReadColumns = Callable[[Sequence[int], int], Iterable[pa.RecordBatch]]
"""Read the columns at the given positions, in batches of about so many rows; other columns may come with them."""


def table_of(path: Path, schema: pa.Schema, read_columns: ReadColumns, n_rows: int, *, lenient: bool) -> Table:
    """Collect columns into a table.

    Parameters
    ----------
    path : Path
        Named in messages.
    schema : pyarrow.Schema
        A column ``id`` (text or integers) and either one column per feature or a single column of lists of equal
        length.
    read_columns : callable
    n_rows : int
    lenient : bool
        Nulls become 0 (``"nan_to_zero"``), and so does text that is no number (``"non_numeric_to_zero"``).

    Returns
    -------
    Table
        ``x`` has the common NumPy type of the feature columns; float64 for columns of text.

    Raises
    ------
    InputError
        If the columns are not as said, or (strict) hold nulls.
    """
    layout = lay_out(schema.names, str(path), lenient=lenient)
    types = schema.types  # a new list at every access
    lists = [j for j in layout.features if _is_list(types[j])]
    if lists and len(layout.features) > 1:
        raise InputError(
            f"{path}, column {shorten(layout.names[lists[0]])}",
            found=f"a column of lists ({types[lists[0]]}) beside other feature columns",
            expected="one column of numbers per feature, or a single column of lists",
            fix="remove the other columns",
        )
    dtype = _common_type(path, layout.feature_names, [types[j] for j in layout.features], lenient=lenient)
    ids = _ids(path, (batch.column("id") for batch in read_columns([layout.id_column], _ROWS_AT_ONCE)))
    cells = _Cells(ArrayPlaces(str(path), ids, None if lists else layout.feature_names), lenient)
    if lists:
        x = cells.from_lists(read_columns(lists, _LISTS_AT_ONCE), layout.names[lists[0]], n_rows, dtype)
    else:
        x = np.empty((n_rows, len(layout.features)), dtype=dtype)
        for k in range(0, x.shape[1], _COLUMNS_AT_ONCE):
            positions = layout.features[k : k + _COLUMNS_AT_ONCE]
            part = x[:, k : k + _COLUMNS_AT_ONCE]
            cells.fill(part, k, read_columns(positions, _ROWS_AT_ONCE), [layout.names[j] for j in positions])
    return Table(ids, as_matrix(x, str(path)), cells.places, dict(Counter(layout.repairs) + cells.repairs))


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_))


def _is_text(type_: pa.DataType) -> bool:
    text = type_.value_type if pa.types.is_dictionary(type_) else type_
    return bool(pa.types.is_string(text) or pa.types.is_large_string(text) or pa.types.is_string_view(text))


def _common_type(path: Path, names: list[str], types: list[pa.DataType], *, lenient: bool) -> np.dtype[Any]:
    """Give the common NumPy type of the feature columns; refuse columns that are not numbers."""
    numpy_types = []
    for name, type_ in zip(names, types, strict=True):
        value = type_.value_type if _is_list(type_) else type_
        if pa.types.is_floating(value) or pa.types.is_integer(value):
            numpy_types.append(np.dtype(value.to_pandas_dtype()))
        elif lenient and _is_text(type_):
            numpy_types.append(np.dtype(np.float64))
        else:
            raise InputError(
                f"{path}, column {shorten(name)}",
                found=f"values of type {type_}",
                expected="numbers",
                fix="store the embedding as floating-point columns, and nothing else beside 'id'",
            )
    common = np.result_type(*numpy_types)
    as_matrix(np.empty((1, 1), dtype=common), str(path))
    return common


def _ids(path: Path, columns: Iterator[pa.Array]) -> list[str]:
    ids: list[str] = []
    for column in columns:
        if not _is_text(column.type) and not pa.types.is_integer(column.type):
            raise InputError(
                f"{path}, column 'id'",
                found=f"values of type {column.type}",
                expected="ids as text (or integers)",
                fix="convert the ids to text",
            )
        column.validate(full=True)  # Parquet does not hold its text to UTF-8
        ids += [i or "" for i in column.cast(pa.string()).to_pylist()]
    return ids


class _Cells:
    """The cells of one file on their way into a matrix; counts repairs, or refuses what would need them."""

    def __init__(self, places: ArrayPlaces, lenient: bool) -> None:
        self.places, self.lenient = places, lenient
        self.repairs: Counter[str] = Counter()

    def fill(self, x: NDArray[Any], first: int, batches: Iterable[pa.RecordBatch], names: list[str]) -> None:
        """Copy named columns to a part of the matrix that begins at column `first`."""
        start = 0
        for batch in batches:
            present = batch.schema.names
            arrays = []
            for k, name in enumerate(names):
                column = batch.column(present.index(name))
                if _is_text(column.type):
                    column = self._numbers(column)
                arrays.append(self._without_nulls(column, start, first + k))
            block = pa.RecordBatch.from_arrays(arrays, [str(k) for k in range(len(arrays))])
            x[start : start + len(batch)] = block.to_tensor(row_major=True).to_numpy()
            start += len(batch)

    def from_lists(
        self, batches: Iterable[pa.RecordBatch], name: str, n_rows: int, dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        """Copy lists, which must have the length of the first, to a matrix."""
        x: NDArray[Any] | None = None
        start = 0
        for batch in batches:
            if not len(batch):
                continue
            column = batch.column(name)
            lengths = np.asarray(pa.compute.list_value_length(column).fill_null(-1))
            if x is None:
                check_width(max(int(lengths[0]), 0), self.places.source)
                x = np.empty((n_rows, max(int(lengths[0]), 0)), dtype=dtype)
            for row in np.flatnonzero(lengths != x.shape[1])[:1].tolist():
                raise InputError(
                    f"{self.places.row(start + row)}, column {shorten(name)}",
                    found="a null" if lengths[row] < 0 else f"a list of {lengths[row]} values",
                    expected=f"a list of {x.shape[1]} values, as in the first row",
                    fix="store lists of one length",
                )
            values = self._without_nulls(column.flatten(), start, 0, width=x.shape[1])
            x[start : start + len(batch)] = values.to_numpy(zero_copy_only=False).reshape(len(batch), -1)
            start += len(batch)
        return np.empty((0, 1), dtype=dtype) if x is None else x

    def _numbers(self, column: pa.Array) -> pa.Array:
        values, not_numbers = parse_numbers(column.cast(pa.string()).to_pylist(), pa.float64())
        self.repairs["non_numeric_to_zero"] += len(not_numbers)
        return pa.array(values)

    def _without_nulls(self, cells: pa.Array, row: int, column: int, *, width: int = 1) -> pa.Array:
        """Fill nulls with 0; `cells` are rows of `width` cells from the given row and column on."""
        if not cells.null_count:
            return cells
        if not self.lenient:
            down, across = divmod(int(np.asarray(cells.is_null()).argmax()), width)
            where, _ = self.places.cell(row + down, column + across, None)
            raise InputError(
                where,
                found="a null",
                expected="a finite number",
                fix="repair the value, or read leniently to set such values to 0",
            )
        self.repairs["nan_to_zero"] += cells.null_count
        return cells.fill_null(pa.scalar(0).cast(cells.type))
