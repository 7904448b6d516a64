"""``fastprobe ingest``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastprobe.cli import options
from fastprobe.cli.log import remarks
from fastprobe.cli.output import note, print_report
from fastprobe.cli.progress import DelayedBar
from fastprobe.cli.values import ReportFormat, a_whole_number, as_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fastprobe.store import IngestResult

__all__ = ["ingest"]

_OPTION_OF = {"workers": "--workers", "files": "FILE"}
_SHOWN = 20


def ingest(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files of embeddings, and folders of them.")],
    store: Annotated[
        str,
        typer.Option(
            "--store",
            metavar="STORE.zarr",
            help="Where to: a folder NAME.zarr, which takes more at any time; an archive NAME.zarr.zip, written once; "
            "or s3://BUCKET/PREFIX.zarr.",
        ),
    ],
    lenient: options.Lenient = False,
    ids: options.Ids = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            parser=a_whole_number("--workers", 4),
            help="Files at a time, and so matrices in memory.",
            show_default="the cores, 4 at most",
        ),
    ] = None,
    compress: Annotated[bool, typer.Option("--compress", help="Compress the features: smaller, and slower.")] = False,
    format_: options.ReportFormatChoice = ReportFormat.TABLE,
    quiet: options.Quiet = False,
) -> None:
    """Put submissions into one Zarr store; files that are there already are skipped."""
    from fastprobe.store import Store
    from fastprobe.store import ingest as ingest_files

    begin = time.perf_counter()
    try:
        with remarks(quiet=quiet), DelayedBar(quiet=quiet) as bar, as_options(_OPTION_OF):
            target = Store.open_or_create(store)
            result = ingest_files(
                files, target, lenient=lenient, ids=ids, workers=workers, compress=compress, progress=bar
            )
    except KeyboardInterrupt:
        note(f"what is in {store} is kept; the same command goes on there")
        raise
    seconds = time.perf_counter() - begin
    document = json.dumps(_document(result, target.location, seconds), indent=2)
    print_report(format_, document, partial(_layout, result, target.location, len(target), seconds))
    if result.failed:
        raise typer.Exit(3)


def _document(result: IngestResult, location: str, seconds: float) -> dict[str, Any]:
    kinds = {name: [vars(entry) for entry in entries] for name, entries in _kinds(result)}
    return {"store": location, "seconds": seconds, **kinds, "failed": [vars(failure) for failure in result.failed]}


def _layout(result: IngestResult, location: str, count: int, seconds: float, width: int) -> Iterator[RenderableType]:
    from rich.text import Text

    from fastprobe.cli.failure import printable
    from fastprobe.cli.tables import new_table

    table = new_table()
    for header in ("Submissions", "Number", "Files", "Values"):
        table.add_column(header, justify="left" if header == "Submissions" else "right")
    for name, entries in _kinds(result):
        values = sum(entry.nbytes for entry in entries)
        table.add_row(name, f"{len(entries):,}", _size(sum(entry.source_size for entry in entries)), _size(values))
    table.add_row("failed", f"{len(result.failed):,}", "", "", style="bold red" if result.failed else "")
    yield table
    yield ""
    done = [*result.added, *result.replaced]
    rate = f"; {_size(sum(entry.source_size for entry in done) / seconds)}/s of files" if done else ""
    yield Text(printable(f"{location}: {count:,} submissions; took {seconds:.1f} s{rate}"))
    for failure in result.failed[:_SHOWN]:
        yield Text(f"failed: {printable(failure.error)}", style="red")
    if len(result.failed) > _SHOWN:
        yield Text(f"and {len(result.failed) - _SHOWN} more; --format json lists all", style="red")


def _kinds(result: IngestResult) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for name in ("added", "replaced", "skipped"):
        yield name, getattr(result, name)


def _size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.3g} TB"
