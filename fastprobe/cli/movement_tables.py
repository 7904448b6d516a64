"""What people see of how a leaderboard changed: who moved and why, and the states that it was in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.text import Text

from fastprobe.cli.failure import printable
from fastprobe.cli.tables import new_table, number
from fastprobe.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fastprobe.movement import Movements
    from fastprobe.runs.timeline import Timeline

__all__ = ["local_time", "movement_layout", "movement_lines", "timeline_layout"]


def movement_lines(run: Path) -> list[str]:
    """Say in a line who moved at the last change of a run's leaderboard; nothing, if there was none before it.

    Raises
    ------
    InputError
        If a part of the history is missing or damaged.
    """
    from fastprobe.movement import compare
    from fastprobe.runs.history import History

    history = History(run)
    if len(history.states) < 2:
        return []
    try:
        moves = compare(*(history.pool(state) for state in history.states[-2:]))
    except InputError as error:
        return [f"the leaderboard cannot be compared with the one before: {error.found}"]
    return [f"{moves.summary}: fastprobe leaderboard {run} --since last"]


def movement_layout(moves: Movements, width: int) -> Iterator[RenderableType]:
    """Yield a summary, those who moved, came, went or were scored anew, and the weights if they have changed."""
    span = f"from {local_time(moves.before)} to {local_time(moves.now)}"
    yield Text(f"Leaderboard, rule {moves.rank}, {span}", style="bold")
    yield Text(printable(f"{moves.summary}."))
    shown = [move for move in moves.moves if move.why]
    if shown:
        table = new_table()
        for header in ("Place", "Was", "Submission", "Mean Q", "Was", "Why"):
            table.add_column(header, justify="left" if header in ("Submission", "Why") else "right", overflow="fold")
        for move in shown:
            places = ("-" if standing is None else str(standing.place) for standing in (move.now, move.before))
            means = (number(None if s is None else s.mean_q, 2) for s in (move.now, move.before))
            table.add_row(*places, Text(printable(move.submission)), *means, Text(printable(move.why)))
        yield ""
        yield table
    if len(shown) < len(moves.moves):
        yield Text(f"not shown, for nothing moved them: {len(moves.moves) - len(shown)}", style="dim")
    if moves.weights != moves.weights_before:
        table = new_table()
        for header in ("Task", "Weight", "Was"):
            table.add_column(header, justify="left" if header == "Task" else "right", overflow="fold")
        for task in moves.tasks:
            weights = (number(of.get(task), 3) for of in (moves.weights, moves.weights_before))
            table.add_row(Text(printable(task)), *weights)
        yield ""
        yield table


def timeline_layout(line: Timeline, width: int) -> Iterator[RenderableType]:
    """Yield the states of a leaderboard."""
    if not line.moments:
        yield "no history yet: the next fastprobe run begins it"
        return
    table = new_table(f"History of the leaderboard, rule {line.rank}")
    several = len({moment.protocol_hash for moment in line.moments}) > 1
    left = ("Since", "First", "Protocol")
    headers = ["Since", "Scored", "Ranked", "First", "Added", "Rescored", "Gone", *["Protocol"] * several]
    for header in headers:
        justify: Literal["left", "right"] = "left" if header in left else "right"
        table.add_column(header, justify=justify, overflow="fold", no_wrap=header == "Since")
    for moment in line.moments:
        counts = ("-" if count is None else str(count) for count in (moment.submissions, moment.ranked))
        leaders = Text(printable(", ".join(moment.leaders) or "-"))
        changes = map(str, (moment.added, moment.rescored, moment.gone))
        protocol = [Text(printable(f"{moment.protocol} {moment.protocol_hash[:8]}"))] * several
        table.add_row(local_time(moment.at), *counts, leaders, *changes, *protocol)
    yield table
    for moment in line.moments:
        if moment.problem is not None:
            yield Text(printable(f"{local_time(moment.at)}: not ranked: {moment.problem}"), style="yellow")


def local_time(moment: datetime | None) -> str:
    """A time as ``--at`` takes it, by the clock of this place; ``now`` for None."""
    return "now" if moment is None else moment.astimezone().replace(tzinfo=None).isoformat(timespec="seconds")
