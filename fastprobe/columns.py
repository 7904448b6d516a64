"""The rows of a score table, held as they were made or as Arrow columns.

Reading a hundred thousand scores takes seconds as columns and a minute as objects, and a leaderboard asks for seven of
the columns. So rows that come from Arrow stay there, and become objects when somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import chain, pairwise
from typing import Any

import pyarrow as pa

from fastprobe.rows import FOLD_SCORES, SCHEMA, STATS, FoldStats, TaskScore, to_values

__all__ = ["ArrowRows", "GivenRows", "Rows", "fitted", "null_for_nan"]

_STRUCTURE = pa.struct(list(SCHEMA))
_REPAIRS = SCHEMA.get_field_index("repairs")
_BATCH = 32  # rows that are made together: few enough to make for the sake of one


class GivenRows:
    """Rows as they were made.

    Parameters
    ----------
    rows : iterable of TaskScore
    """

    def __init__(self, rows: Iterable[TaskScore]) -> None:
        self._rows = tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[TaskScore]:
        return iter(self._rows)

    def __getitem__(self, i: int) -> TaskScore:
        return self._rows[i]

    def keep(self, positions: Sequence[int]) -> GivenRows:
        """Return the rows at some positions only."""
        return GivenRows(self._rows[i] for i in positions)

    def column(self, name: str) -> list[Any]:
        """Return the values of a column without lists."""
        return [getattr(row, name) for row in self._rows]

    def select(self, names: Sequence[str]) -> pa.Table:
        """Return some columns without lists, a null for NaN where there may be nulls."""
        schema = pa.schema([SCHEMA.field(name) for name in names])
        arrays = [pa.array(self.column(f.name), f.type, from_pandas=f.nullable) for f in schema]
        return pa.Table.from_arrays(arrays, schema=schema)

    def to_table(self) -> pa.Table:
        """Return all columns of SCHEMA, a null for NaN where there may be nulls and for the score of a fold."""
        # Arrow fills an array of structures in a single pass: half of the time of an array for every column.
        structures = pa.array([_structure(row) for row in self._rows], _STRUCTURE)
        return pa.Table.from_struct_array(structures)


class ArrowRows:
    """Rows in the columns of a table. Those that somebody asks for are made, with their neighbours, and kept.

    Parameters
    ----------
    table : pyarrow.Table
        With the schema SCHEMA, no nulls but where it has them, and no NaN there.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._made: dict[int, list[TaskScore]] = {}

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[TaskScore]:
        return chain.from_iterable(map(self._batch, range(-(-len(self) // _BATCH))))

    def __getitem__(self, i: int) -> TaskScore:
        return self._batch(i // _BATCH)[i % _BATCH]

    def keep(self, positions: Sequence[int]) -> ArrowRows:
        """Return the rows at some positions only."""
        return ArrowRows(self._table.take(pa.array(positions, pa.int64())))

    def column(self, name: str) -> list[Any]:
        """Return the values of a column without lists."""
        values: list[Any] = self._table[name].to_pylist()
        return values

    def select(self, names: Sequence[str]) -> pa.Table:
        """Return some columns."""
        return self._table.select(list(names))

    def to_table(self) -> pa.Table:
        """Return the table."""
        return self._table

    def _batch(self, i: int) -> list[TaskScore]:
        if i not in self._made:
            self._made[i] = _rows_of(self._table.slice(i * _BATCH, _BATCH))
        return self._made[i]


Rows = GivenRows | ArrowRows


def fitted(table: pa.Table) -> pa.Table:
    """Return the columns of SCHEMA of a table that has each of them once.

    Raises
    ------
    pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError
        If a column is of another type, a value is missing, or what is there cannot be read.
    """
    table = table.select(SCHEMA.names)
    complete = (
        column.null_count == 0 for field, column in zip(SCHEMA, table.columns, strict=True) if not field.nullable
    )
    if not (table.schema.equals(SCHEMA) and all(complete)):  # a cast that changes nothing takes its time, too
        table = table.cast(SCHEMA)
    table.validate(full=True)
    return pa.Table.from_arrays(table.columns, schema=SCHEMA)


def null_for_nan(table: pa.Table) -> pa.Table:
    """Return a table of SCHEMA with nulls for NaN, where it may have nulls and among the scores of the folds."""
    import pyarrow.compute as pc

    for i, field in enumerate(SCHEMA):
        if field.nullable and field.type == pa.float64():
            table = table.set_column(i, field, pc.if_else(pc.is_nan(table[i]), None, table[i]))
    if pc.any(pc.is_nan(pc.list_flatten(table[FOLD_SCORES]))).as_py():
        lists = table[FOLD_SCORES].combine_chunks()
        scores = pc.if_else(pc.is_nan(lists.values), None, lists.values)
        table = table.set_column(
            FOLD_SCORES, SCHEMA.field(FOLD_SCORES), pa.ListArray.from_arrays(lists.offsets, scores)
        )
    return table


def _structure(row: TaskScore) -> tuple[Any, ...]:
    """Return the values of a row as Arrow takes them for a structure."""
    values = to_values(row)
    values[_REPAIRS] = list(values[_REPAIRS].items())
    return tuple(values)


def _rows_of(table: pa.Table) -> list[TaskScore]:
    columns = {name: _values(table[name].combine_chunks()) for name in SCHEMA.names}
    columns["repairs"] = [dict(pairs) for pairs in columns["repairs"]]
    columns["fold_stats"] = [FoldStats(*lists) for lists in zip(*(columns[name] for name in STATS), strict=True)]
    return [TaskScore(*values) for values in zip(*(columns[f.name] for f in fields(TaskScore)), strict=True)]


def _values(array: pa.Array) -> list[Any]:
    """Return the values of an array, lists as tuples. Numbers of many lists are fetched in one go."""
    if not pa.types.is_list(array.type):
        values: list[Any] = array.to_pylist()
        return values
    offsets = array.offsets.to_pylist()
    inner = _values(array.values.slice(offsets[0], offsets[-1] - offsets[0]))
    return [tuple(inner[a - offsets[0] : b - offsets[0]]) for a, b in pairwise(offsets)]
