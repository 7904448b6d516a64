"""``fastprobe verify``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastprobe.cli import options
from fastprobe.cli.log import remarks
from fastprobe.cli.output import Output
from fastprobe.cli.progress import DelayedBar
from fastprobe.cli.values import a_whole_number, as_options
from fastprobe.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from fastprobe.audit import Audit

__all__ = ["DIFFERS", "verify"]

DIFFERS = 4
"""Exit status if something differs, or could not be checked."""

_SHOWN = 50  # scores that are listed on the screen, those with findings and large differences first
_ORIGINALS: dict[str, Any] = {"rich_help_panel": "Originals"}


def _sample(text: str) -> int | str:
    """Parse ``--sample``."""
    try:
        return text if text == "all" else int(text)
    except ValueError:
        raise InputError(
            "--sample", found=repr(text), expected="a whole number from 1 on, or all",
            fix="write for example --sample 20",
        ) from None  # fmt: skip


def verify(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of a run.")],
    sample: Annotated[
        Any,
        typer.Option("--sample", metavar="N|all", parser=_sample, help="How many scores to check, drawn at random."),
    ] = "10",
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            metavar="K",
            parser=a_whole_number("--folds", 4),
            help="Refit only K folds of each, drawn at random; all if not given.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            parser=a_whole_number("--seed", 1),
            help="Seed of the draw, to repeat an audit; another one each time if not given.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="DIR", help="Folder of labels, if not where the run found it.", **_ORIGINALS),
    ] = None,
    submissions: Annotated[
        list[str] | None,
        typer.Option(
            "--submissions",
            metavar="PLACE",
            help="Folder, file or store of submissions, if not where the run found them; may be given again.",
            **_ORIGINALS,
        ),
    ] = None,
    fold_file: Annotated[
        Path | None,
        typer.Option(
            "--fold-file", metavar="FILE", help="File of groups or of the split, if it was moved.", **_ORIGINALS
        ),
    ] = None,
    format_: options.FormatChoice = None,
    out: options.Out = None,
    quiet: options.Quiet = False,
) -> None:
    """Audit a run: compute some of its scores again from the original files, by naive refits."""
    output = Output.plan(format_, out, quiet=quiet)

    from fastprobe.audit import verify as audit_run

    named = {"sample": "--sample", "folds": "--folds", "seed": "--seed"}
    with as_options(named), remarks(quiet=quiet), DelayedBar(quiet=quiet) as bar:
        audit = audit_run(
            run_dir,
            sample=sample,
            seed=seed,
            folds=folds,
            labels=labels,
            submissions=submissions or (),
            fold_file=fold_file,
            progress=_OnBar(bar),
        )
    output.emit(audit, partial(audit_layout, audit))
    if not audit.ok:
        raise typer.Exit(DIFFERS)


class _OnBar:
    """The bar, moved on by every fold, with the time that remains."""

    def __init__(self, bar: DelayedBar) -> None:
        self._bar, self._began = bar, time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        left = (time.monotonic() - self._began) / done * (total - done)
        self._bar(f"folds, about {timedelta(seconds=round(left))} left: {what}", done, total)


def audit_layout(audit: Audit, width: int) -> Iterator[RenderableType]:
    """Yield the audit: the scores that were checked, what was found, and how to repeat it.

    Parameters
    ----------
    audit : Audit
    width : int
        Columns of the screen.
    """
    from rich.text import Text

    from fastprobe.cli.failure import printable
    from fastprobe.cli.tables import protocol_title

    title = f"{audit.run}: {audit.n_checked} of {audit.n_scores} scores refitted"
    yield Text(printable(f"{title}, {protocol_title(audit.protocol)}"), style="bold")
    yield ""
    yield _scores(audit)
    if len(audit.rows) > _SHOWN:
        yield Text(f"and {len(audit.rows) - _SHOWN} more")
    yield ""
    if audit.findings:
        yield _findings(audit)
        yield ""
    for remark in (*audit.remarks, *_counts(audit)):
        yield Text(printable(remark), style="dim")
    yield Text(printable(_verdict(audit)), style="bold" if audit.ok else "bold red")
    yield Text(f"drawn with --seed {audit.seed}", style="dim")


def _scores(audit: Audit) -> Table:
    from rich.text import Text

    from fastprobe.cli.failure import printable
    from fastprobe.cli.tables import new_table, number

    table = new_table()
    for i, header in enumerate(("Submission", "Task", "Folds", "Difference", "Allowed", "Q", "Refitted", "Agrees")):
        table.add_column(header, justify="left" if i in (0, 1, 7) else "right", overflow="fold")
    order = sorted(audit.rows, key=lambda row: (row.agrees, -(row.difference or 0.0)))
    shown = {(row.submission, row.task) for row in order[:_SHOWN]}
    for row in audit.rows:
        if (row.submission, row.task) in shown:
            table.add_row(
                *(Text(printable(text)) for text in (row.submission, row.task)),
                f"{row.n_refitted}/{row.n_folds}",
                _short(row.difference),
                _short(row.tolerance),
                number(row.q, 2),
                number(row.q_refitted, 2),
                Text("yes") if row.agrees else Text("no", style="bold red"),
            )
    return table


def _findings(audit: Audit) -> Table:
    from rich.text import Text

    from fastprobe.cli.failure import printable
    from fastprobe.cli.tables import new_table

    table = new_table()
    for header in ("Finding", "Score", "What"):
        table.add_column(header, overflow="fold")
    for finding in audit.findings:
        where = ", ".join(filter(None, (finding.submission, finding.task))) or "all"
        table.add_row(finding.kind, *(Text(printable(text)) for text in (where, finding.message)))
    return table


def _counts(audit: Audit) -> Iterator[str]:
    if undecided := sum(row.n_undecided for row in audit.rows):
        yield f"in {undecided} folds samples whose decision value is 0 within rounding were decided as in the record"
    if tied := sum(row.n_tied for row in audit.rows):
        yield f"in {tied} folds another strength is as good within rounding, and that of the record was taken"


def _verdict(audit: Audit) -> str:
    if audit.largest is None:
        return f"nothing could be compared: {_findings_count(audit)}"
    row = audit.largest
    where = f"{row.submission}, {row.task}, fold {row.fold}"
    end = "everything agrees" if audit.ok else _findings_count(audit)
    return f"largest difference of a fold score {_short(row.difference)} ({where}): {end}"


def _findings_count(audit: Audit) -> str:
    return f"{len(audit.findings)} finding{'s' * (len(audit.findings) != 1)}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"
