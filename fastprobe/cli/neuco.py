"""``fastprobe neuco``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from fastprobe.cli import options
from fastprobe.cli.log import remarks
from fastprobe.cli.output import note
from fastprobe.cli.progress import DelayedBar
from fastprobe.cli.values import Device

__all__ = ["neuco"]


def neuco(
    annotation_path: Annotated[
        Path, typer.Option("--annotation_path", metavar="DIR", help="Folder of <task>__<type>.csv label files.")
    ],
    submission_file: Annotated[Path, typer.Option("--submission_file", metavar="FILE", help="File of embeddings.")],
    output_dir: Annotated[
        Path, typer.Option("--output_dir", metavar="DIR", help="Where results and leaderboards are written.")
    ] = Path("results"),
    config: Annotated[
        Path, typer.Option("--config", metavar="FILE", help="YAML file with the settings of the probe.")
    ] = Path("config.yaml"),
    method_name: Annotated[
        str | None,
        typer.Option(
            "--method_name", metavar="NAME", help="Name of the run.", show_default="the submission's file name"
        ),
    ] = None,
    phase: Annotated[
        str, typer.Option("--phase", metavar="NAME", help="Runs of one phase are ranked together.")
    ] = "results",
    exclude_file: Annotated[
        Path | None, typer.Option("--exclude_file", metavar="FILE", help="Ids to leave out, one a line.")
    ] = None,
    device: options.DeviceChoice = Device.AUTO,
    quiet: options.Quiet = False,
) -> None:
    """Do what NeuCo-Bench's main.py does: same options, config and files, in a fraction of the time."""
    from fastprobe.compat.neuco import Job, NeucoConfig, run

    job = Job(
        annotation_path=annotation_path,
        submission_file=submission_file,
        output_dir=output_dir,
        config=NeucoConfig.read(config),
        method=submission_file.stem if method_name is None else method_name,
        phase=phase,
        exclude_file=exclude_file,
        device=device.value,
    )
    with remarks(quiet=quiet), DelayedBar(quiet=quiet) as bar, tidy_termination():
        finished = run(job, write=sys.stdout.write, progress=bar)
    if not quiet:
        note(f"wrote {finished.folder}")


@contextmanager
def tidy_termination() -> Iterator[None]:
    """Let SIGTERM unwind the program as Ctrl-C does, so that half-written results are removed."""

    def leave(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
