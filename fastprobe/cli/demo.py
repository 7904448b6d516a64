"""``fastprobe demo``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastprobe.cli import options
from fastprobe.cli.log import remarks
from fastprobe.cli.output import note, print_report
from fastprobe.cli.progress import DelayedBar
from fastprobe.cli.values import Device, ReportFormat
from fastprobe.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write data, scores and ranking.")] = Path(
        "fastprobe-demo"
    ),
    device: options.DeviceChoice = Device.AUTO,
    format_: options.ReportFormatChoice = ReportFormat.TABLE,
    quiet: options.Quiet = False,
) -> None:
    """Score and rank six submissions made from a Landsat scene that ships with fastprobe."""
    if out.exists() and not out.is_dir():
        raise InputError(
            "--out", found=f"{str(out)!r}, a file", expected="a folder", fix="name a new or existing folder"
        )

    from fastprobe.cli.tables import leaderboard_layout
    from fastprobe.demo import ATTRIBUTION, FOLDS, run_demo
    from fastprobe.ranking import leaderboard

    with remarks(quiet=quiet), DelayedBar(quiet=quiet) as bar:
        scores = run_demo(out, device=device.value, progress=bar)

    def layout(width: int) -> Iterator[RenderableType]:
        yield from leaderboard_layout(leaderboard(scores), width)
        yield ATTRIBUTION

    print_report(format_, scores.to_json(), layout)
    if not quiet:
        note(f"wrote {out}")
        note(f"score it yourself: fastprobe score {out}/submissions/* --labels {out}/labels --folds {FOLDS}")
