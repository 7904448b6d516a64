"""What people see of a sweep: how small an embedding may be, in a table and in words; or its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from fastprobe.cli.failure import printable
from fastprobe.cli.tables import Footnotes, new_table, number, protocol_title
from fastprobe.report.labels import METRICS, describe, key_value, percent
from fastprobe.sweeps.keep import CURVE_KEYS, KEYS, Kept, grouped, smallest_sizes

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import RenderableType
    from rich.table import Table

    from fastprobe.sweeps.table import Sweep

__all__ = ["sweep_layout"]

_MAX_ROWS = 60
_MAX_SENTENCES = 12
_MAX_NOTES = 12
_NARROW = 100
_TEXT_KEYS = ("submission", "task", "order", "quantizer")


def sweep_layout(sweep: Sweep, width: int) -> Iterator[RenderableType]:
    """Yield the smallest sizes that keep the score, where the sweep has curves over size; its rows otherwise.

    Parameters
    ----------
    sweep : Sweep
    width : int
        Columns of the screen.
    """
    table = sweep.to_arrow()
    yield Text(printable(_title(table, sweep.protocol)), style="bold")
    if len(table) == 0:
        yield "no rows"
        return
    yield ""
    if kept := smallest_sizes(table):
        yield from _answer(kept, width)
    elif len(table["fraction"].unique()) > 1:
        yield from _learning(table)
    else:
        yield from _rows(table)
    if remarks := [*_remarks(table)]:
        yield ""
    yield from remarks


def _title(table: pa.Table, protocol: Mapping[str, Any]) -> str:
    submissions = table["submission"].unique().to_pylist()
    if len(submissions) != 1:
        return protocol_title(protocol)
    return f"{submissions[0]} ({table['n_features'][0].as_py()} dimensions): {protocol_title(protocol)}"


# --- The smallest sizes that keep the score --------------------------------------------------------------------------


def _answer(kept: Sequence[Kept], width: int) -> Iterator[RenderableType]:
    curves = _by_curve(kept)
    keys = [key for key in CURVE_KEYS if key == "task" or len({getattr(answer, key) for answer in kept}) > 1]
    shares = [percent(answer.share) for answer in curves[0]]
    table, notes = _table(keys, "Size", "Mean", "Q", *(f"{share} kept by" for share in shares)), Footnotes()
    for curve in curves[:_MAX_ROWS]:
        first = curve[0]
        mark = notes.mark([] if first.reason is None else [f"no answer: {first.reason}"])
        full = str(first.full_size), number(first.full_mean, 4), number(first.full_q, 2)
        answers = (_size(answer, mark, narrow=width < _NARROW) for answer in curve)
        table.add_row(*_key_cells(keys, vars(first)), *full, *answers)
    yield table
    yield from _more(len(curves) - _MAX_ROWS, "in the files")
    yield Text("In brackets: 5 % to 95 % of the sizes that 1000 resamples of the folds give.", style="dim")
    yield from notes.lines()
    if sentences := [*_sentences(curves, keys)]:
        yield ""
    yield from sentences


def _by_curve(kept: Sequence[Kept]) -> list[list[Kept]]:
    curves: dict[tuple[Any, ...], list[Kept]] = {}
    for answer in kept:
        curves.setdefault(tuple(getattr(answer, key) for key in CURVE_KEYS), []).append(answer)
    return list(curves.values())


def _size(answer: Kept, mark: str, *, narrow: bool) -> str:
    if answer.size is None:
        return f"-{mark}"
    band = f"({answer.low}-{answer.high})"
    return (
        f"{answer.size}, {answer.bytes_per_sample} B\n{band}"
        if narrow
        else f"{answer.size} {band}, {answer.bytes_per_sample} B"
    )


def _sentences(curves: Sequence[Sequence[Kept]], keys: Sequence[str]) -> Iterator[Text]:
    """Say the first answer of each submission on each task, of its curve with the best full score."""
    of_task: dict[tuple[str, str], list[Kept]] = {}
    for first, *_ in curves:
        if first.size is not None:
            of_task.setdefault((first.submission, first.task), []).append(first)
    for answers in [*of_task.values()][:_MAX_SENTENCES]:
        best = max(answers, key=lambda answer: answer.full_mean or 0.0)
        choice = f" (best of {len(answers)} curves)" if len(answers) > 1 else ""
        sentence = (
            f"{describe(keys, vars(best))}{choice}: {best.size} of {best.full_size} dimensions "
            f"({best.bytes_per_sample} bytes) keep {percent(best.share)} of {METRICS.get(best.metric, best.metric)} "
            f"{number(best.full_mean, 2)}; over folds {best.low} to {best.high}"
        )
        yield Text(printable(sentence))
    yield from _more(len(of_task) - _MAX_SENTENCES, "in the files")


# --- The rows --------------------------------------------------------------------------------------------------------


def _rows(table: pa.Table) -> Iterator[RenderableType]:
    keys = _differing(table, KEYS)
    shown = _table(keys, "Bytes", "Mean", "Std", "Q")
    for record in _records(table.slice(0, _MAX_ROWS)):
        statistics = number(record["mean"], 4), number(record["std"], 4), number(record["q"], 2)
        shown.add_row(*_key_cells(keys, record), str(record["bytes_per_sample"]), *statistics)
    yield shown
    yield from _more(len(table) - _MAX_ROWS, "in the files")


def _learning(table: pa.Table) -> Iterator[RenderableType]:
    """Yield the rows with the share of training rows as columns."""
    others = [key for key in KEYS if key != "fraction"]
    keys = _differing(table, others)
    fractions = sorted(table["fraction"].unique().to_pylist())
    shown = _table(keys, "Bytes", *map(percent, fractions))
    curves = grouped(table, others)
    for rows in [*curves.values()][:_MAX_ROWS]:
        records = {record["fraction"]: record for record in _records(table.take(rows))}
        first = next(iter(records.values()))
        cells = (_score(records.get(fraction)) for fraction in fractions)
        shown.add_row(*_key_cells(keys, first), str(first["bytes_per_sample"]), *cells)
    yield "Mean score and, below it, Q, by the share of the training rows that is used"
    yield shown
    yield from _more(len(curves) - _MAX_ROWS, "in the files")


def _records(table: pa.Table) -> list[dict[str, Any]]:
    return table.select([*KEYS, "bytes_per_sample", "mean", "std", "q"]).to_pylist()


def _score(record: Mapping[str, Any] | None) -> str:
    return "-" if record is None else f"{number(record['mean'], 4)}\n{number(record['q'], 2)}"


# --- What all of them share ------------------------------------------------------------------------------------------


def _differing(table: pa.Table, keys: Sequence[str]) -> list[str]:
    """Return the task, and the keys that have more than one value."""
    return [key for key in keys if key == "task" or len(table[key].unique()) > 1]


def _table(keys: Sequence[str], *numbers: str) -> Table:
    """Return an empty table with columns for some keys, and then for numbers."""
    table = new_table()
    for header in keys:
        table.add_column(
            header.capitalize(), justify="left" if header in _TEXT_KEYS else "right", overflow="fold", max_width=28
        )
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def _key_cells(keys: Sequence[str], values: Mapping[str, Any]) -> list[Text]:
    return [Text(printable(key_value(key, values[key]))) for key in keys]


def _more(count: int, where: str) -> Iterator[Text]:
    if count > 0:
        yield Text(f"and {count} more, {where}")


def _remarks(table: pa.Table) -> Iterator[Text]:
    """Yield how many rows have folds that failed, and every note with the number of rows that carry it."""
    import pyarrow.compute as pc

    if failed := pc.sum(pc.greater(table["n_failed"], 0)).as_py():
        yield Text(f"{failed} of {len(table)} rows: folds failed, and are left out of the means", style="dim")
    notes = pc.value_counts(pc.list_flatten(table["notes"])).to_pylist()
    for note in notes[:_MAX_NOTES]:
        yield Text(printable(f"{note['counts']} of {len(table)} rows: {note['values']}"), style="dim")
    yield from _more(len(notes) - _MAX_NOTES, "notes in the files")
