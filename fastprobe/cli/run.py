"""``fastprobe run``."""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastprobe.cli import options
from fastprobe.cli.failure import printable
from fastprobe.cli.log import remarks
from fastprobe.cli.output import note, print_report
from fastprobe.cli.progress import DelayedBar
from fastprobe.cli.protocol import build_protocol
from fastprobe.cli.values import Device, ReportFormat, as_options, names, one_of
from fastprobe.protocol import DEFAULT

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fastprobe.cluster import ClusterSpec
    from fastprobe.runs import Plan, RunReport

__all__ = ["run"]

_SHOWN = 20  # failures that are listed on the screen
_RUN: dict[str, Any] = {"rich_help_panel": "Run"}
_WORKERS: dict[str, Any] = {"rich_help_panel": "Workers"}


class Overwrite(StrEnum):
    """What is scored again."""

    MISSING = "missing"
    NEVER = "never"
    ALWAYS = "always"


class LogFormat(StrEnum):
    """How the progress is told."""

    TEXT = "text"
    JSON = "json"


def run(
    submissions: Annotated[
        list[str],
        typer.Argument(
            metavar="SUBMISSIONS",
            help="Folders of submissions, files of embeddings, stores (also s3://BUCKET/NAME.zarr).",
        ),
    ],
    labels: options.Labels,
    out: Annotated[
        Path, typer.Option("--out", metavar="RUN_DIR", help="Folder of the run: the same command again goes on there.")
    ],
    tasks: options.Tasks = None,
    lenient: options.Lenient = False,
    device: options.DeviceChoice = Device.AUTO,
    overwrite: Annotated[
        Overwrite,
        typer.Option(
            "--overwrite",
            metavar="missing|never|always",
            parser=one_of("--overwrite", Overwrite),
            help="Score what is missing or out of date; only what is missing; everything.",
            **_RUN,
        ),
    ] = Overwrite.MISSING,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Only the submissions that failed before.", **_RUN)
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", help="Processes of this machine that score on the CPU (Dask).", **_WORKERS
        ),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option("--gpus", metavar="N|all", help="GPUs of this machine, a process each (dask-cuda).", **_WORKERS),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="ADDRESS", help="A Dask scheduler whose workers score.", **_WORKERS),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is pending, and read no submission.", **_RUN)
    ] = False,
    protocol: options.ProtocolName = DEFAULT,
    alpha: options.Alpha = None,
    kernel: options.KernelChoice = None,
    landmarks: options.Landmarks = None,
    gamma: options.Gamma = None,
    degree: options.Degree = None,
    folds: options.NFolds = None,
    fold_scheme: options.FoldSchemeName = None,
    groups: options.Groups = None,
    split: options.Split = None,
    seed: options.Seed = None,
    test_size: options.TestSize = None,
    log: Annotated[
        LogFormat,
        typer.Option(
            "--log",
            metavar="text|json",
            parser=one_of("--log", LogFormat),
            help="On standard error: remarks and a bar, or a JSON object a line with the seconds of every stage.",
            rich_help_panel="Output",
        ),
    ] = LogFormat.TEXT,
    format_: options.ReportFormatChoice = ReportFormat.TABLE,
    quiet: options.Quiet = False,
) -> None:
    """Score thousands of submissions; go on where an earlier run ended."""
    chosen = build_protocol(
        protocol, alpha=alpha, kernel=kernel, landmarks=landmarks, gamma=gamma, degree=degree, folds=folds,
        scheme=fold_scheme, groups=groups, split=split, seed=seed, test_size=test_size,
    )  # fmt: skip
    task_names = None if tasks is None else names(tasks)
    cluster = _cluster(workers, gpus, scheduler)

    from fastprobe.runs import RunFolder, Terms, find_items, plan_run
    from fastprobe.runs import run as run_all
    from fastprobe.tasks import Benchmark

    items = find_items(submissions, lenient=lenient)
    with as_options({"tasks": "--tasks"}):
        benchmark = Benchmark.from_folder(labels, tasks=task_names, lenient=lenient)
    if dry_run:
        terms = Terms.of(benchmark, chosen)
        plan = plan_run(items, terms, RunFolder(out), overwrite=overwrite.value, retry_failed=retry_failed)
        print_report(format_, json.dumps(_plan_document(plan)), lambda width: _plan_lines(plan))
        return
    as_json = log is LogFormat.JSON
    told = _JsonLog() if as_json else remarks(quiet=quiet)
    with told, DelayedBar(quiet=quiet or as_json) as bar, _ended_by_signals():
        try:
            report = run_all(
                items,
                benchmark,
                out,
                protocol=chosen,
                device=device.value,
                lenient=lenient,
                overwrite=overwrite.value,
                retry_failed=retry_failed,
                cluster=cluster,
                event=told if isinstance(told, _JsonLog) else _OnBar(bar),
            )
        except KeyboardInterrupt:
            if isinstance(told, _JsonLog):
                told({"event": "interrupted"})
            else:
                note(f"what is finished is kept in {out}; the same command goes on there")
            raise
    print_report(format_, json.dumps(_document(report, out)), lambda width: _lines(report, out))
    if report.failed:
        raise typer.Exit(3)


def _cluster(workers: int | None, gpus: str | None, scheduler: str | None) -> ClusterSpec | None:
    if workers is None and gpus is None and scheduler is None:
        return None
    from fastprobe.cluster import ClusterSpec

    return ClusterSpec(workers, int(gpus) if gpus is not None and gpus.isdecimal() else gpus, scheduler)


class _JsonLog(logging.Handler):
    """A JSON object on standard error for everything that happens, the remarks of the library among it."""

    def __enter__(self) -> None:
        logging.getLogger("fastprobe").addHandler(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        logging.getLogger("fastprobe").removeHandler(self)

    def __call__(self, event: Mapping[str, Any]) -> None:
        at = datetime.now().astimezone().isoformat(timespec="milliseconds")
        sys.stderr.write(json.dumps({"at": at, **event}) + "\n")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a remark."""
        self({"event": "remark", "level": record.levelname.lower(), "text": record.getMessage()})


class _OnBar:
    """The bar, moved on by what happens, with the rate and the time that remains."""

    def __init__(self, bar: DelayedBar) -> None:
        self._bar, self._began = bar, time.monotonic()
        self._total = self._done = self._failed = 0

    def __call__(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "begun":
            self._total, self._began = event["pending"], time.monotonic()
        if "submission" not in event:
            return
        self._done += 1
        self._failed += event["event"] == "failed"
        seconds = (time.monotonic() - self._began) / self._done
        left = timedelta(seconds=round(seconds * (self._total - self._done)))
        failed = f", {self._failed} failed" if self._failed else ""
        self._bar(f"{60 / seconds:.0f} a minute, {left} left{failed}", self._done, self._total)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _document(report: RunReport, out: Path) -> dict[str, Any]:
    return {
        "run": str(out),
        "scored": report.scored,
        "finished_before": report.finished,
        "failed": [{"submission": f.name, "place": f.place, "error": f.error} for f in report.failed],
        "seconds": dict(report.seconds),
    }


def _lines(report: RunReport, out: Path) -> Iterator[RenderableType]:
    from rich.text import Text

    return map(Text, map(printable, _report_lines(report, out)))


def _report_lines(report: RunReport, out: Path) -> Iterator[str]:
    rate = report.scored / report.seconds["all"] if report.scored else 0.0
    yield (
        f"{report.scored} submissions scored in {report.seconds['all']:.1f} s ({rate * 60:.0f} a minute), "
        f"{report.finished} finished before, {len(report.failed)} failed"
    )
    for failure in report.failed[:_SHOWN]:
        yield f"  {failure.name}: {failure.error}"
    if len(report.failed) > _SHOWN:
        yield f"  and {len(report.failed) - _SHOWN} more, in {out / 'failures.jsonl'}"
    if report.scored:
        spent = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in report.seconds.items() if stage != "all")
        yield f"stages, which overlap: {spent}"
    if report.failed:
        yield "mend their files, and the same command scores them; --retry-failed tries them as they are"
    if report.noted:
        from fastprobe.cli.movement_tables import movement_lines

        yield from movement_lines(out)
    if report.scored or report.finished:
        yield f"rank them: fastprobe leaderboard {out}"


def _plan_document(plan: Plan) -> dict[str, Any]:
    return {
        "pending": [{"submission": unit.item.name, "tasks": list(unit.tasks)} for unit in plan.pending],
        "finished": list(plan.finished),
        "failed": [failure.name for failure in plan.failed],
        "out_of_date": len(plan.stale),
    }


def _plan_lines(plan: Plan) -> Iterator[RenderableType]:
    yield (
        f"{len(plan.pending)} submissions pending with up to {plan.n_scores} scores, {len(plan.finished)} finished, "
        f"{len(plan.failed)} failed before, {len(plan.stale)} scores out of date"
    )
