"""The application: which commands there are."""

from __future__ import annotations

import gc
import logging
import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from fastprobe import __version__
from fastprobe.cli.check import check
from fastprobe.cli.demo import demo
from fastprobe.cli.doctor import doctor
from fastprobe.cli.failure import GuardedGroup
from fastprobe.cli.ingest import ingest
from fastprobe.cli.leaderboard import leaderboard
from fastprobe.cli.neuco import neuco
from fastprobe.cli.run import run
from fastprobe.cli.score import score
from fastprobe.cli.sweep import sweep
from fastprobe.cli.verify import verify

__all__ = ["app", "main"]

app = typer.Typer(
    name="fastprobe",
    help="Exact, batched scoring of embeddings by linear probes.",
    epilog="Exit status: 0 done; 2 the input or the options are wrong; 3 some submissions of a bulk job failed; "
    "4 an audit found something; 130 interrupted; 1 anything else.",
    cls=GuardedGroup,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fastprobe {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def fastprobe(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Exact, batched scoring of embeddings by linear probes."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


for command in (demo, score, ingest, run, leaderboard, verify, sweep, neuco, check, doctor):
    app.command()(command)


def main() -> None:
    """Run the command line and end the process with its status.

    At once: all files are written and closed by then, and unloading the compiled kernels takes longer than printing.
    """
    gc.set_threshold(
        200_000
    )  # imports and parsing make many objects and no garbage: the usual 700 costs 5 % of the time
    try:
        app(prog_name="fastprobe")
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    logging.shutdown()
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
