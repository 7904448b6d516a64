"""``fastprobe leaderboard``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fastprobe.cli import options
from fastprobe.cli.output import Output
from fastprobe.cli.values import Rank

__all__ = ["leaderboard"]


def leaderboard(
    run_dir: Annotated[
        Path, typer.Argument(metavar="RUN_DIR", help="Folder of a run, or a .parquet or .json file of scores.")
    ],
    rank: options.RankChoice = Rank.NEUCO,
    format_: options.FormatChoice = None,
    out: options.Out = None,
    quiet: options.Quiet = False,
) -> None:
    """Rank the submissions of a run."""
    output = Output.plan(format_, out, quiet=quiet)

    from fastprobe.cli.tables import leaderboard_layout
    from fastprobe.ranking import leaderboard as rank_all
    from fastprobe.results import Scores

    board = rank_all(Scores.read(run_dir), rank=rank.value)
    output.emit(board, partial(leaderboard_layout, board))
