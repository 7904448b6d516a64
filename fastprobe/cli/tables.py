"""What people see: scores and leaderboards in blocks that fit the screen, findings of a check, a diagnosis."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from fastprobe.cli.failure import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fastprobe.check import Report
    from fastprobe.doctor import Diagnosis
    from fastprobe.ranking import Leaderboard
    from fastprobe.results import Scores
    from fastprobe.rows import TaskScore

__all__ = [
    "Footnotes",
    "diagnosis_layout",
    "leaderboard_layout",
    "new_table",
    "number",
    "protocol_title",
    "remark_counts",
    "report_layout",
    "score_layout",
]

_NAME_WIDTH = 24
_MAX_MATRIX = 24
_METRICS = {"r2": "R2", "f1": "F1", "macro_f1": "macro F1"}
_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)")  # not the digits in names


class Footnotes:
    """Remarks with numbers, in the order in which they first come up; equal remarks share a number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._numbers)

    def mark(self, remarks: Iterable[str]) -> str:
        """Return the marks of some remarks, as `` [1,3]``; empty for none."""
        marks = sorted(self._numbers.setdefault(remark, len(self._numbers) + 1) for remark in dict.fromkeys(remarks))
        return f" [{','.join(map(str, marks))}]" if marks else ""

    def lines(self) -> Iterator[Text]:
        """Yield the remarks."""
        for remark, mark in self._numbers.items():
            yield Text(f"[{mark}] {printable(remark)}", style="dim")


def number(value: float | None, digits: int) -> str:
    """Return `value` with so many decimals, or a dash for None; in short form from a million on."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:.3g}"


def new_table(title: str | None = None) -> Table:
    """Return an empty table in the style of all of ours."""
    return Table(title=title and Text(printable(title)), title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)


def score_layout(scores: Scores, width: int) -> Iterator[RenderableType]:
    """Yield the score table: mean, std and Q for one submission, Q for several.

    Parameters
    ----------
    scores : Scores
    width : int
        Columns of the screen.
    """
    notes, wording = Footnotes(), _wordings(note for row in scores for note in row.notes)
    common = _common_notes(scores, wording)
    yield Text(printable(_title(scores)), style="bold")
    if len(scores.submissions) == 1:
        yield ""
        yield _single(scores, lambda row: notes.mark(_remarks(row, wording, common)))
    else:
        cells = {
            (row.task, row.submission): number(row.q, 2) + notes.mark(_remarks(row, wording, common)) for row in scores
        }
        means = {name: number(mean, 2) for name, mean in scores.mean_qs().items()}
        for block in _matrix("Q of each task", scores.tasks, scores.submissions, cells, means, width):
            yield ""
            yield block
    if notes or common:
        yield ""
    yield from notes.lines()
    for note in common:
        yield Text(f"Note: {printable(note)}", style="dim")


def leaderboard_layout(board: Leaderboard, width: int) -> Iterator[RenderableType]:
    """Yield the ranking, the Q of each task where that is not too long, and who is not ranked.

    Parameters
    ----------
    board : Leaderboard
    width : int
        Columns of the screen.
    """
    if board.rows:
        table = new_table()
        for header in ("Place", "Submission", "Mean Q", "Weighted rank"):
            table.add_column(header, justify="left" if header == "Submission" else "right", overflow="fold")
        for row in board.rows:
            numbers = number(row.mean_q, 2), number(row.weighted_rank, 3)
            table.add_row(
                str(row.place), Text(printable(row.submission), style="bold" if row.place == 1 else ""), *numbers
            )
        yield Text(f"Leaderboard, rule {board.rank}", style="bold")
        yield table
        yield ""
        names = [row.submission for row in board.rows]
        if len(names) <= _MAX_MATRIX:
            cells = {(task, row.submission): number(q, 2) for row in board.rows for task, q in row.q.items()}
            for block in _matrix("Q of each task", list(board.weights), names, cells, {}, width, weights=board.weights):
                yield block
                yield ""
    else:
        yield Text("No submission has a Q for every task, so none is ranked.")
    if board.incomplete:
        table = new_table()
        for header in ("Not ranked", "Task", "Why"):
            table.add_column(header, overflow="fold")
        for left_out in board.incomplete:
            for task, reason in left_out.missing.items():
                table.add_row(*(Text(printable(text)) for text in (left_out.submission, task, reason)))
        yield table


def protocol_title(protocol: Mapping[str, Any]) -> str:
    """Return what decides a score in a few words, from what :meth:`Protocol.to_dict` gives."""
    folds, replay = protocol.get("folds", {}), protocol.get("replay")
    parts = [f"protocol {protocol.get('name')}"]
    if replay is None:
        alpha = protocol.get("alpha")
        parts.append(f"alpha {alpha if isinstance(alpha, str) else format(alpha, 'g')}")
    else:
        parts += [f"{replay['epochs']} epochs", f"batch {replay['batch_size']}"]
        parts.append(f"learning rate {replay['learning_rate']:g}")
    return ", ".join([*parts, f"{folds.get('n_folds')} folds ({folds.get('scheme')})"])


def _title(scores: Scores) -> str:
    title = protocol_title(scores.protocol)
    if len(scores.submissions) == 1:
        row = scores.rows[0]
        return f"{row.submission} ({row.n_features} dimensions): {title}"
    return title


def _single(scores: Scores, marks: Callable[[TaskScore], str]) -> Table:
    table = new_table()
    for header in ("Task", "Metric", "Samples", "Mean", "Std", "Q"):
        table.add_column(header, justify="left" if header in ("Task", "Metric") else "right", overflow="fold")
    for row in sorted(scores, key=lambda r: r.task):
        task = Text(printable(row.task) + marks(row))
        statistics = number(row.mean, 4), number(row.std, 4), number(row.q, 2)
        table.add_row(task, _METRICS.get(row.metric, row.metric), str(row.n_samples), *statistics)
    table.add_section()
    table.add_row("mean Q", "", "", "", "", number(scores.mean_q(scores.submissions[0]), 2), style="bold")
    return table


def _matrix(
    corner: str,
    tasks: Sequence[str],
    names: Sequence[str],
    cells: dict[tuple[str, str], str],
    means: dict[str, str],
    width: int,
    weights: Any = None,
) -> Iterator[Table]:
    """Yield tables with tasks as rows and submissions as columns, as many submissions in each as fit."""
    first = min(max(map(len, [corner, *tasks])), _NAME_WIDTH) + (8 if weights else 0)
    sizes = {n: min(max(len(n), *(len(cells.get((t, n), "")) for t in tasks), 6), _NAME_WIDTH) for n in names}
    for block in _blocks(names, sizes, width - first - 4):
        table = new_table()
        table.add_column(corner, overflow="fold", max_width=_NAME_WIDTH)
        if weights:
            table.add_column("Weight", justify="right")
        for name in block:
            table.add_column(Text(printable(name)), justify="right", overflow="fold", max_width=_NAME_WIDTH)
        for task in tasks:
            weight = [number(weights[task], 3)] if weights else []
            table.add_row(Text(printable(task)), *weight, *(Text(cells.get((task, name), "-")) for name in block))
        if means:
            table.add_section()
            table.add_row("mean Q", *(means[name] for name in block), style="bold")
        yield table


def _blocks(names: Sequence[str], sizes: dict[str, int], room: int) -> Iterator[list[str]]:
    block: list[str] = []
    for name in names:
        if block and sum(sizes[n] + 3 for n in [*block, name]) > room:
            yield block
            block = []
        block.append(name)
    if block:
        yield block


def remark_counts(scores: Scores) -> Counter[str]:
    """Return every remark on the scores of a table, and the number of scores that it is about."""
    remarks = [[*_remarks(row, {}, ())] for row in scores]
    wording = _wordings(text for of_row in remarks for text in of_row)
    return Counter(text for of_row in remarks for text in dict.fromkeys(wording[remark] for remark in of_row))


def _common_notes(scores: Scores, wording: Mapping[str, str]) -> list[str]:
    """Return the notes that every row carries: they are about the whole table."""
    counts = Counter(text for row in scores for text in dict.fromkeys(wording[note] for note in row.notes))
    return [text for text, count in counts.items() if count == len(scores) > 1]


def _wordings(texts: Iterable[str]) -> dict[str, str]:
    """How each text is shown: those that differ only in numbers after a colon as one, with the range of each number."""
    alike: dict[str, list[str]] = {}
    for text in dict.fromkeys(texts):
        head, colon, detail = text.partition(": ")
        alike.setdefault(head + colon + _NUMBER.sub("#", detail), []).append(text)
    return {text: _in_ranges(group) for group in alike.values() for text in group}


def _in_ranges(alike: Sequence[str]) -> str:
    details = [text.partition(": ")[2] for text in alike]
    ranges = iter([_range(column) for column in zip(*map(_NUMBER.findall, details), strict=True)])
    head, colon, detail = alike[0].partition(": ")
    return head + colon + _NUMBER.sub(lambda _: next(ranges), detail)


def _range(numbers: Sequence[str]) -> str:
    low, high = min(numbers, key=float), max(numbers, key=float)
    return low if low == high else f"{low} to {high}"


def _remarks(row: TaskScore, wording: Mapping[str, str], common: Sequence[str]) -> Iterator[str]:
    if row.q_reason is not None:
        yield f"no Q: {row.q_reason}"
    if row.n_failed:
        reasons = Counter(reason for reason in row.fold_reasons if reason is not None)
        why = "; ".join(reason if count == row.n_failed else f"{count} x {reason}" for reason, count in reasons.items())
        yield f"{row.n_failed} of {row.n_folds} folds failed" + (f": {why}" if why else "")
    if row.n_missing_labels:
        yield f"{row.n_missing_labels} rows without a label"
    if row.repairs:
        yield "repaired: " + ", ".join(f"{name} {count}" for name, count in row.repairs.items())
    yield from (text for note in row.notes if (text := wording.get(note, note)) not in common)


def report_layout(report: Report, width: int) -> Iterator[RenderableType]:
    """Yield the findings of a check, the gravest first."""
    counts = Counter[str](finding.level for finding in report.findings)
    summary = ", ".join(f"{counts[level]} {level}" for level in _STYLES if counts[level])
    yield Text(
        printable(f"{report.submission}: {'ready to be scored' if report.ok else 'not ready'} ({summary})"),
        style="bold",
    )
    table = new_table()
    table.add_column("Level")
    table.add_column("Where", overflow="fold", max_width=max(_NAME_WIDTH, width // 3))
    table.add_column("Finding", overflow="fold")
    for finding in report.findings:
        text = finding.message + (f". To fix: {finding.fix}." if finding.fix else "")
        table.add_row(
            Text(finding.level, style=_STYLES[finding.level]), Text(printable(finding.where)), Text(printable(text))
        )
    yield table


def diagnosis_layout(diagnosis: Diagnosis, width: int) -> Iterator[RenderableType]:
    """Yield what this machine and this installation have, and what is missing."""
    for title, facts in diagnosis.sections.items():
        table = Table(title=Text(title, style="bold"), title_justify="left", box=None, show_header=False)
        table.add_column(min_width=14)
        table.add_column(overflow="fold")
        for name, fact in facts.items():
            table.add_row(Text(name), Text(printable(fact)))
        yield table
        yield ""
    for missing in diagnosis.missing:
        yield Text(f"missing: {missing.what} ({missing.why}). To get it: {missing.fix}", style="yellow")
    if not diagnosis.missing:
        yield "nothing is missing"
