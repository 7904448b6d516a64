"""What people see of several protocols: places side by side, rank correlations, who moves, who is left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from fastprobe.cli.failure import printable
from fastprobe.cli.tables import Footnotes, new_table, number, protocol_title, remark_counts

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from fastprobe.agreement import Agreement, PairAgreement

__all__ = ["agreement_layout"]

_MAX_MOVES = 24


def agreement_layout(agreement: Agreement, width: int) -> Iterator[RenderableType]:
    """Yield the comparison: mean Q and place of each submission, then tasks and moves for each pair of protocols.

    Parameters
    ----------
    agreement : Agreement
    width : int
        Columns of the screen.
    """
    for scores in agreement.tables:
        yield Text(printable(protocol_title(scores.protocol)), style="bold")
    yield ""
    yield Text(f"Mean Q and place, rule {agreement.rank}")
    yield _standings(agreement)
    notes = Footnotes()
    for pair in agreement.pairs:
        yield ""
        yield Text(printable(f"{pair.other} against {pair.reference}: {pair.summary}"), style="bold")
        yield _tasks(pair, notes)
        if pair.moves:
            yield ""
            yield _moves(pair)
        if (more := len(pair.moves) - _MAX_MOVES) > 0:
            yield Text(f"and {more} more, by at most {abs(pair.moves[_MAX_MOVES].shift)}")
    if any(standing.missing for standing in agreement.submissions):
        yield ""
        yield _left_out(agreement)
    if remarks := [*notes.lines(), *_remarks(agreement)]:
        yield ""
    yield from remarks


def _table(*headers: str, left: int = 1) -> Table:
    """Return a table whose first `left` columns are text and whose others are numbers."""
    table = new_table()
    for i, header in enumerate(headers):
        table.add_column(Text(header), justify="left" if i < left else "right", overflow="fold")
    return table


def _standings(agreement: Agreement) -> Table:
    headers = [header for name in agreement.protocols for header in (printable(name), "place")]
    table = _table("Submission", *headers)
    for standing in agreement.submissions:
        cells = []
        for name in agreement.protocols:
            place = standing.place[name]
            cells += [number(standing.mean_q[name], 2), "-" if place is None else str(place)]
        table.add_row(Text(printable(standing.submission)), *cells)
    return table


def _tasks(pair: PairAgreement, notes: Footnotes) -> Table:
    table = _table("\nTask", "\nTau", "\nRho", "Largest\nchange of Q", "\nin", "Change\nof score")
    for task in pair.tasks:
        why = notes.mark([] if task.reason is None else [f"no correlation: {task.reason}"])
        table.add_row(
            Text(printable(task.task) + why),
            number(task.tau, 2),
            number(task.rho, 2),
            _signed(task.q_difference, 2),
            Text(printable(task.q_submission or "-")),
            _signed(task.score_difference, 4),
        )
    return table


def _moves(pair: PairAgreement) -> Table:
    table = _table("Changes place", printable(pair.reference), printable(pair.other), "shift")
    for move in pair.moves[:_MAX_MOVES]:
        shift = f"{'up' if move.shift > 0 else 'down'} {abs(move.shift)}"
        table.add_row(Text(printable(move.submission)), str(move.reference_place), str(move.place), shift)
    return table


def _left_out(agreement: Agreement) -> Table:
    table = _table("Not ranked", "Protocol", "Task", "Why", left=4)
    for standing in agreement.submissions:
        for protocol, reasons in standing.missing.items():
            for task, reason in reasons.items():
                table.add_row(*(Text(printable(text)) for text in (standing.submission, protocol, task, reason)))
    return table


def _remarks(agreement: Agreement) -> Iterator[Text]:
    for name, scores in zip(agreement.protocols, agreement.tables, strict=True):
        for remark, count in remark_counts(scores).items():
            yield Text(printable(f"{name}, {count} of {len(scores)} scores: {remark}"), style="dim")


def _signed(value: float | None, digits: int) -> str:
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 else text
