"""What people see of a sweep: how small an embedding may be, in tables and in words; or its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from fastprobe.cli.failure import printable
from fastprobe.cli.tables import Footnotes, new_table, number, protocol_title
from fastprobe.report.labels import METRICS, describe, percent
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
_NAME_WIDTH = 28
_NARROW = 110
_SHARE_WIDTH = 10
_STATISTICS = {"mean": 4, "std": 4, "q": 2}

Row = tuple[str, str, str, list[str]]
"""Submission, task, setting, and the cells of numbers."""


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
    if kept := smallest_sizes(table):
        yield from _answer(kept, width)
    elif len(table["fraction"].unique()) > 1:
        yield from _learning(table, width)
    else:
        yield from _rows(table)
    if remarks := [*_remarks(table)]:
        yield ""
    yield from remarks


def _title(table: pa.Table, protocol: Mapping[str, Any]) -> str:
    alphas = table["alpha"].drop_null().unique().to_pylist()
    if len(alphas) > 1:
        protocol = {**protocol, "alpha": f"{min(alphas):g} to {max(alphas):g}"}
    submissions = table["submission"].unique().to_pylist()
    if len(submissions) != 1:
        return protocol_title(protocol)
    return f"{submissions[0]} ({table['n_features'][0].as_py()} dimensions): {protocol_title(protocol)}"


# --- The smallest sizes that keep the score --------------------------------------------------------------------------


def _answer(kept: Sequence[Kept], width: int) -> Iterator[RenderableType]:
    curves = _by_curve(kept)
    keys = [key for key in CURVE_KEYS if len({getattr(answer, key) for answer in kept}) > 1]
    headers = ["Size", "Mean", "Q", *(f"{percent(answer.share)} kept by" for answer in curves[0])]
    notes, rows = Footnotes(), list[Row]()
    for curve in curves[:_MAX_ROWS]:
        first = curve[0]
        mark = notes.mark([] if first.reason is None else [f"no answer: {first.reason}"])
        full = [str(first.full_size), number(first.full_mean, 4), number(first.full_q, 2)]
        answers = [_size(answer, mark, narrow=width < _NARROW) for answer in curve]
        rows.append((first.submission, first.task, _setting(keys, vars(first)), full + answers))
    yield from _tables(rows, headers)
    yield from _more(len(curves) - _MAX_ROWS)
    yield Text("In brackets: 5 % to 95 % of the sizes that resamples of the folds give.", style="dim")
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
    band, bytes_ = f"({answer.low}-{answer.high})", f"{answer.bytes_per_sample} B"
    return f"{answer.size}, {bytes_}\n{band}" if narrow else f"{answer.size} {band}, {bytes_}"


def _sentences(curves: Sequence[Sequence[Kept]], keys: Sequence[str]) -> Iterator[Text]:
    """Say the first answer of each submission on each task, of its curve with the best full score.

    Orders of the same dimensions have the same full score up to rounding: of equal ones, the fewest bytes speak.
    """
    of_task: dict[tuple[str, str], list[Kept]] = {}
    for first, *_ in curves:
        if first.size is not None:
            of_task.setdefault((first.submission, first.task), []).append(first)
    named = [key for key in CURVE_KEYS if key == "task" or key in keys]
    for answers in [*of_task.values()][:_MAX_SENTENCES]:
        best = min(answers, key=lambda answer: (-round(answer.full_mean or 0.0, 4), answer.bytes_per_sample or 0))
        choice = f" (best of {len(answers)} curves)" if len(answers) > 1 else ""
        sentence = (
            f"{describe(named, vars(best))}{choice}: {best.size} of {best.full_size} dimensions "
            f"({best.bytes_per_sample} bytes) keep {percent(best.share)} of {METRICS.get(best.metric, best.metric)} "
            f"{number(best.full_mean, 2)}; over folds {best.low} to {best.high}"
        )
        yield Text(printable(sentence))
    yield from _more(len(of_task) - _MAX_SENTENCES)


# --- The rows --------------------------------------------------------------------------------------------------------


def _rows(table: pa.Table) -> Iterator[RenderableType]:
    keys = _differing(table, KEYS)
    rows: list[Row] = []
    for record in _records(table.slice(0, _MAX_ROWS)):
        cells = [str(record["bytes_per_sample"]), *(number(record[name], d) for name, d in _STATISTICS.items())]
        rows.append((record["submission"], record["task"], _setting(keys, record), cells))
    yield from _tables(rows, ["Bytes", "Mean", "Std", "Q"])
    yield from _more(len(table) - _MAX_ROWS)


def _learning(table: pa.Table, width: int) -> Iterator[RenderableType]:
    """Yield the rows with the shares of training rows as columns, as many in each table as fit."""
    others = [key for key in KEYS if key != "fraction"]
    keys = _differing(table, others)
    curves = grouped(table, others)
    records = [_records(table.take(rows)) for rows in [*curves.values()][:_MAX_ROWS]]
    labels = [(first["submission"], first["task"], _setting(keys, first)) for first, *_ in records]
    _, tasks, settings = ([min(len(text), _NAME_WIDTH) for text in column] for column in zip(*labels, strict=True))
    at_once = max(1, (width - max(tasks) - max(settings) - 6) // _SHARE_WIDTH)
    yield "Mean score and, below it, Q, by the share of the training rows that is used"
    fractions = sorted(table["fraction"].unique().to_pylist())
    for start in range(0, len(fractions), at_once):
        block = fractions[start : start + at_once]
        rows = [(*label, _scores(of_curve, block)) for label, of_curve in zip(labels, records, strict=True)]
        yield from _tables(rows, [percent(fraction) for fraction in block])
    yield from _more(len(curves) - _MAX_ROWS)


def _scores(records: Sequence[Mapping[str, Any]], fractions: Sequence[float]) -> list[str]:
    cells = {record["fraction"]: f"{number(record['mean'], 4)}\n{number(record['q'], 2)}" for record in records}
    return [cells.get(fraction, "-") for fraction in fractions]


def _records(table: pa.Table) -> list[dict[str, Any]]:
    return table.select([*KEYS, "bytes_per_sample", *_STATISTICS]).to_pylist()


# --- What all of them share ------------------------------------------------------------------------------------------


def _differing(table: pa.Table, keys: Iterable[str]) -> list[str]:
    return [key for key in keys if len(table[key].unique()) > 1]


def _setting(keys: Iterable[str], values: Mapping[str, Any]) -> str:
    """Return what tells a row from others of its submission and task."""
    return describe([key for key in keys if key not in ("submission", "task")], values)


def _tables(rows: Sequence[Row], numbers: Sequence[str]) -> Iterator[RenderableType]:
    """Yield a table for each submission, with its name where there are several."""
    of_submission: dict[str, list[Row]] = {}
    for row in rows:
        of_submission.setdefault(row[0], []).append(row)
    with_setting = any(setting for _, _, setting, _ in rows)
    for submission, of_one in of_submission.items():
        yield ""
        table = _table(submission if len(of_submission) > 1 else None, numbers, with_setting=with_setting)
        for _, task, setting, cells in of_one:
            names = [task, setting] if with_setting else [task]
            table.add_row(*(Text(printable(name)) for name in names), *cells)
        yield table


def _table(title: str | None, numbers: Sequence[str], *, with_setting: bool) -> Table:
    table = new_table(title)
    for header in ["Task", "Setting"] if with_setting else ["Task"]:
        table.add_column(header, overflow="fold", max_width=_NAME_WIDTH)
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def _more(count: int, what: str = "") -> Iterator[Text]:
    if count > 0:
        yield Text(f"and {count} more{what}, in the files")


def _remarks(table: pa.Table) -> Iterator[Text]:
    """Yield how many rows have folds that failed, and every note with the number of rows that carry it."""
    import pyarrow.compute as pc

    if failed := pc.sum(pc.greater(table["n_failed"], 0)).as_py():
        yield Text(f"{failed} of {len(table)} rows: folds failed, and are left out of the means", style="dim")
    notes = pc.value_counts(pc.list_flatten(table["notes"])).to_pylist()
    for note in notes[:_MAX_NOTES]:
        yield Text(printable(f"{note['counts']} of {len(table)} rows: {note['values']}"), style="dim")
    yield from _more(len(notes) - _MAX_NOTES, " notes")
