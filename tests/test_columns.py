"""Rows held as Arrow columns answer as the rows themselves do. The twins here take one value at a time."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from itertools import pairwise
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_rows import classification_row, multi_class_row, regression_row, table

from fastprobe import columns
from fastprobe.errors import InputError
from fastprobe.results import POOL, SCHEMA, FoldStats, Scores, TaskScore
from fastprobe.rows import json_ready, to_record

_VALUES: dict[str, list[Any]] = {
    "str": ["", "a", "team-7", "Ü \N{SNOWMAN}", "x" * 40],
    "int": [0, 1, -7, 2**63 - 1, -(2**63)],
    "float": [0.0, -0.0, 0.1, 5e-324, -1.5e308, math.nan, math.inf, -math.inf],
}
_VALUES |= {f"{name} | None": [None, *values] for name, values in _VALUES.items()}


def _value(of_type: str, random: Random) -> Any:
    """Draw a value by how the field of a dataclass is annotated; lists of length 0 to 3."""
    if of_type == "FoldStats":
        return FoldStats(*(_value(f.type, random) for f in fields(FoldStats)))
    if of_type == "Mapping[str, int]":
        return {_value("str", random): _value("int", random) for _ in range(random.randrange(3))}
    if of_type.startswith("tuple["):
        items = of_type.removeprefix("tuple[").removesuffix(", ...]")
        return tuple(_value(items, random) for _ in range(random.randrange(4)))
    return random.choice(_VALUES[of_type])


def _row(i: int, random: Random) -> TaskScore:
    row = TaskScore(*(_value(f.type, random) for f in fields(TaskScore)))
    return replace(row, task=f"{row.task} {i}")


_tables = st.builds(
    lambda n, random: [_row(i, random) for i in range(n)], st.integers(0, 5), st.integers(0, 2**32).map(Random)
)


def slow_table(scores: Scores) -> pa.Table:
    records = [{**record, "repairs": list(record["repairs"].items())} for record in map(slow_record, scores.rows)]
    protocol = json.dumps(json_ready(scores.protocol))
    return pa.Table.from_pylist(records, schema=SCHEMA.with_metadata({"fastprobe.protocol": protocol}))


def slow_record(row: TaskScore) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for name in SCHEMA.names:
        stat = name.removeprefix("fold_")
        value = getattr(row.fold_stats, stat) if hasattr(row.fold_stats, stat) else getattr(row, name)
        missing = SCHEMA.field(name).nullable and isinstance(value, float) and math.isnan(value)
        record[name] = None if missing else value
    record["fold_scores"] = [None if s is None or math.isnan(s) else s for s in row.fold_scores]
    return record


def slow_rows(arrow: pa.Table) -> list[TaskScore]:
    rows = []
    for record in arrow.to_pylist():
        values = {name: as_tuple(value) for name, value in record.items()}
        stats = FoldStats(**{f.name: values.pop(f"fold_{f.name}") for f in fields(FoldStats)})
        rows.append(TaskScore(**{**values, "fold_stats": stats, "repairs": dict(record["repairs"])}))
    return rows


def as_tuple(value: Any) -> Any:
    return tuple(map(as_tuple, value)) if isinstance(value, list) else value


def same(found: pa.Table, wanted: pa.Table) -> None:
    """Compare the values as text, for NaN is not equal to itself."""
    assert found.schema.equals(wanted.schema, check_metadata=True)
    assert repr(found.to_pylist()) == repr(wanted.to_pylist())
    found.validate(full=True)


def many(n: int = 80) -> list[TaskScore]:
    """More rows than are made together, of every kind."""
    makers = (regression_row, classification_row, multi_class_row)
    return [makers[i % 3](f"team {i // 2}", f"task {i % 2}", float(i) if i % 7 else None) for i in range(n)]


def arrow_of(rows: list[TaskScore]) -> Scores:
    return Scores.from_arrow(table(*rows).to_arrow())


@settings(max_examples=60, deadline=None)
@given(_tables)
def test_the_table_of_rows_is_what_taking_one_value_at_a_time_gives(rows):
    scores = table(*rows)
    same(scores.to_arrow(), slow_table(scores))
    same(scores.pool(), slow_table(scores).select(POOL).replace_schema_metadata(None))
    assert repr([to_record(row) for row in rows]) == repr([slow_record(row) for row in rows])


@settings(max_examples=60, deadline=None)
@given(_tables, st.lists(st.integers(0, 5), max_size=3))
def test_the_rows_of_a_table_are_what_taking_one_value_at_a_time_gives(rows, cuts):
    arrow = table(*rows).to_arrow()
    edges = sorted({0, *(min(cut, len(rows)) for cut in cuts), len(rows)})
    parts = [arrow.slice(a, b - a) for a, b in pairwise(edges)] or [arrow]
    scores = Scores.from_arrow(pa.concat_tables(parts))
    assert repr(list(scores)) == repr(slow_rows(arrow))
    same(scores.to_arrow(), arrow)
    same(scores.pool(), arrow.select(POOL).replace_schema_metadata(None))


@pytest.mark.parametrize("values", [[[1], [2, 3], [], [4]], [[[1], [2]], [[], [3, 4]], [], [[5]]]])
def test_values_of_a_part_of_an_array(values):
    for a in range(4):
        assert columns._values(pa.array(values).slice(a, 2)) == list(as_tuple(values[a : a + 2]))


def test_rows_are_made_in_batches_in_any_order_and_once():
    rows = many()
    scores = arrow_of(rows)
    last = scores.get(rows[-1].submission, rows[-1].task)
    assert repr(scores.rows) == repr(table(*rows).rows)
    assert scores.rows[-1] is last
    assert [scores.get(row.submission, row.task) is row for row in scores] == [True] * len(rows)


def test_questions_have_the_answers_of_the_rows():
    rows = [*many(), regression_row("late", "task 1", 3.0)]
    given_, held = table(*rows), arrow_of(rows)
    assert (held.submissions, held.tasks, len(held)) == (given_.submissions, given_.tasks, len(given_))
    assert held.mean_qs() == given_.mean_qs()
    assert held.mean_q("late") is held.q("late", "task 0") is held.get("late", "task 0") is None
    assert held.to_json() == given_.to_json()
    assert held.to_csv_text() == given_.to_csv_text()


def test_no_row_is_made_unless_somebody_asks_for_rows(tmp_path, monkeypatch):
    (tmp_path / "scores").mkdir()
    rows = many()
    for i in range(0, len(rows), 20):
        table(*rows[i : i + 20]).to_parquet(tmp_path / "scores" / f"{i:03}.parquet")
    monkeypatch.setattr(columns, "_rows_of", lambda table: pytest.fail("rows were made"))
    scores = Scores.read(tmp_path)
    both = Scores.concat([scores, table(regression_row("late", "task 0")), scores])
    assert (len(scores), len(both)) == (80, 81)
    assert both.mean_qs() == {"late": None, **scores.mean_qs()}
    assert both.pool().num_rows == both.to_arrow().num_rows == 81
    with pytest.raises(pytest.fail.Exception, match="rows were made"):
        scores.get("team 0", "task 0")


@pytest.mark.parametrize("held", [table, lambda *rows: arrow_of(list(rows))])
def test_of_rows_that_are_there_twice_the_last_are_kept_where_they_are(held):
    first, other, last = regression_row(q=1.0), regression_row("other"), regression_row(q=2.0)
    parts = [held(first, other), held(last, regression_row("third"))]
    scores = Scores.concat(parts)
    assert scores.submissions == ("other", "team", "third")
    assert scores.q("team", "height") == scores.get("team", "height").q == 2.0
    assert scores.pool()["q"].to_pylist() == [12.5, 2.0, 12.5]


@pytest.mark.parametrize("what", ["embedding_hash", "label_hash", "protocol_hash"])
def test_contradicting_rows_of_a_table_are_refused_when_it_is_read(what, tmp_path):
    row, other = regression_row(), replace(regression_row(), **{what: "another"})
    rows = [*many(), row, regression_row("other"), other]
    arrow = pa.concat_tables([table(*rows[:-1]).to_arrow(), table(other).to_arrow()])
    message = f"submission 'team', task 'height'.*{what.replace('_', ' ')}s? .*{getattr(row, what)} and another"
    with pytest.raises(InputError, match=message):
        Scores.from_arrow(arrow)
    table(*rows[:-1]).to_parquet(tmp_path / "a.parquet")
    table(other).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match=message):
        Scores.read(tmp_path)


@pytest.mark.parametrize("name", [field.name for field in SCHEMA if not field.nullable])
@pytest.mark.parametrize("says_so", [True, False], ids=["nulls allowed", "nulls not allowed"])
def test_a_missing_value_is_refused_when_the_table_is_read(name, says_so):
    arrow = table(regression_row("a"), regression_row("b")).to_arrow()
    i = SCHEMA.get_field_index(name)
    spoiled = pa.concat_arrays([arrow[name].slice(0, 1).combine_chunks(), pa.nulls(1, SCHEMA.field(name).type)])
    spoiled = arrow.set_column(i, SCHEMA.field(name).with_nullable(says_so), spoiled)
    with pytest.raises(InputError, match=f"run/1.parquet: found .*'{name}' with null values"):
        Scores.from_arrow(spoiled, where="run/1.parquet")


def test_text_that_is_none_is_refused_when_the_table_is_read():
    arrow = table(regression_row("a")).to_arrow()
    spoiled = pa.array([b"\xff\xfe"]).view(pa.string())
    with pytest.raises(InputError, match=r"score table: found .*UTF8"):
        Scores.from_arrow(arrow.set_column(0, SCHEMA.field(0), spoiled))


def test_a_protocol_that_is_not_json_is_refused():
    arrow = table(regression_row()).to_arrow().replace_schema_metadata({"fastprobe.protocol": "{"})
    with pytest.raises(InputError, match="score table: found"):
        Scores.from_arrow(arrow)


@pytest.mark.parametrize("cut", [0, 1])
def test_nan_of_other_programs_is_a_missing_value(cut):
    values = {"mean": [0.5, math.nan], "std": [math.nan, 0.06], "q": [12.5, math.nan]}
    values["fold_scores"] = [[0.5, math.nan, 0.75], [None, -0.5, math.nan]]
    arrow = spoiled = table(regression_row("a"), regression_row("b")).to_arrow()
    for name, column in values.items():
        i, field = SCHEMA.get_field_index(name), SCHEMA.field(name)
        spoiled = spoiled.set_column(i, field, pa.array(column, field.type))
        arrow = arrow.set_column(i, field, pa.array(column, field.type, from_pandas=True))
    assert arrow["fold_scores"].to_pylist() == [[0.5, None, 0.75], [None, -0.5, None]]
    scores = Scores.from_arrow(pa.concat_tables([spoiled.slice(0, cut), spoiled.slice(cut)]))
    same(scores.to_arrow(), arrow)
    assert scores.mean_qs() == {"a": 12.5, "b": None}
    assert scores.get("b", "height").fold_scores == (None, -0.5, None)


def test_the_pool_of_no_rows_has_its_columns():
    for scores in (table(), arrow_of([])):
        assert scores.pool().num_rows == 0
        assert tuple(scores.pool().column_names) == POOL
