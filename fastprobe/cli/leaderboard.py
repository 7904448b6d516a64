"""``fastprobe leaderboard``."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastprobe.cli import options
from fastprobe.cli.output import Output, note
from fastprobe.cli.values import Rank
from fastprobe.errors import InputError

if TYPE_CHECKING:
    from fastprobe.pool import Pool
    from fastprobe.runs.history import History

__all__ = ["leaderboard"]

_HISTORY: dict[str, Any] = {"rich_help_panel": "History"}


def leaderboard(
    run_dir: Annotated[
        Path, typer.Argument(metavar="RUN_DIR", help="Folder of a run, or a .parquet or .json file of scores.")
    ],
    rank: options.RankChoice = Rank.NEUCO,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="DATE|last|first",
            help="Who moved since then, and why: since a day or a time, the change before this one, or the beginning.",
            **_HISTORY,
        ),
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="DATE", help="The leaderboard of that day or time.", **_HISTORY)
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="When it changed, by what, and who led.", **_HISTORY)
    ] = False,
    format_: options.FormatChoice = None,
    out: options.Out = None,
    quiet: options.Quiet = False,
) -> None:
    """Rank the submissions of a run; say who moved since a day, and why."""
    output = Output.plan(format_, out, quiet=quiet)
    if history and (since or at):
        raise InputError(
            "--history", found="--since or --at beside it", expected="it alone: it lists all states",
            fix="leave one of them out",
        )  # fmt: skip
    if history:
        _show_history(run_dir, rank.value, output)
    elif since is not None:
        _show_movements(run_dir, since, at, rank.value, output)
    else:
        _show_board(run_dir, at, rank.value, output)


def _show_board(run: Path, at: str | None, rank: str, output: Output) -> None:
    from fastprobe.cli.movement_tables import local_time
    from fastprobe.cli.tables import leaderboard_layout
    from fastprobe.pool import Pool
    from fastprobe.ranking import rank_pool

    pool = Pool.read(run) if at is None else _pool_at(_history(run), at)
    if pool.at is not None and not output.quiet:
        note(f"the leaderboard since {local_time(pool.at)}, as it was at {at}")
    board = rank_pool(pool, rank=rank)
    output.emit(board, partial(leaderboard_layout, board))


def _show_movements(run: Path, since: str, at: str | None, rank: str, output: Output) -> None:
    from fastprobe.cli.movement_tables import movement_layout
    from fastprobe.movement import compare
    from fastprobe.pool import Pool

    history = _history(run)
    if since == "last":
        before = history.before_last(where="--since")
    elif since == "first":
        before = history.first(where="--since")
    else:
        before = history.at(_begin_of("--since", since, "last, first, "), where="--since")
    now = Pool.read(run) if at is None else _pool_at(history, at)
    if now.at is not None and now.at < before.at:
        raise InputError(
            "--at", found=f"{at}, which is before --since {since}", expected="a later time", fix="exchange the two"
        )
    moves = compare(history.pool(before), now, rank=rank)
    output.emit(moves, partial(movement_layout, moves))


def _show_history(run: Path, rank: str, output: Output) -> None:
    from fastprobe.cli.movement_tables import timeline_layout
    from fastprobe.runs.timeline import timeline

    line = timeline(run, rank=rank)
    output.emit(line, partial(timeline_layout, line))


def _history(run: Path) -> History:
    from fastprobe.runs.history import History

    return History(run)


def _pool_at(history: History, text: str) -> Pool:
    return history.pool(history.at(_end_of("--at", text), where="--at"))


def _begin_of(option: str, text: str, words: str = "") -> datetime:
    """The moment that a text names, of a day the one at which it begins; local time if it names no zone."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise InputError(
            option,
            found=repr(text),
            expected=f"{words}a day or a time, as in ISO 8601",
            fix=f"write for example {option} 2026-11-20 or {option} 2026-11-20T10:00",
        ) from None


def _end_of(option: str, text: str) -> datetime:
    """The moment that a text names, of a day the last one."""
    moment = _begin_of(option, text)
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return moment
    return datetime.combine(day + timedelta(days=1), time()).astimezone() - timedelta(microseconds=1)
