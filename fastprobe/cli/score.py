"""``fastprobe score``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fastprobe.cli import options
from fastprobe.cli.log import remarks
from fastprobe.cli.output import Output
from fastprobe.cli.progress import DelayedBar
from fastprobe.cli.protocol import build_protocol
from fastprobe.cli.values import Device, Route, as_options, names
from fastprobe.errors import InputError

__all__ = ["score"]


def score(
    submissions: Annotated[list[Path], typer.Argument(metavar="SUBMISSION", help="Files of embeddings.")],
    labels: options.Labels,
    tasks: options.Tasks = None,
    lenient: options.Lenient = False,
    ids: options.Ids = None,
    device: options.DeviceChoice = Device.AUTO,
    route: options.RouteChoice = Route.AUTO,
    protocol: options.ProtocolName = "ridge",
    alpha: options.Alpha = None,
    folds: options.NFolds = None,
    fold_scheme: options.FoldSchemeName = None,
    groups: options.Groups = None,
    split: options.Split = None,
    seed: options.Seed = None,
    test_size: options.TestSize = None,
    format_: options.FormatChoice = None,
    out: options.Out = None,
    quiet: options.Quiet = False,
) -> None:
    """Score one or more submissions on every task and print their Q-scores."""
    output = Output.plan(format_, out, quiet=quiet)
    chosen = build_protocol(
        protocol,
        alpha=alpha,
        folds=folds,
        scheme=fold_scheme,
        groups=groups,
        split=split,
        seed=seed,
        test_size=test_size,
    )
    task_names = None if tasks is None else names(tasks)
    require_distinct(submissions)

    from fastprobe.reading import ReadAhead

    reading = ReadAhead(submissions, ids=ids, lenient=lenient)  # starts now, while labels and libraries are loaded

    from fastprobe.cli.tables import score_layout
    from fastprobe.engine import score as score_all
    from fastprobe.tasks import Benchmark

    with as_options({"tasks": "--tasks"}):
        benchmark = Benchmark.from_folder(labels, tasks=task_names, lenient=lenient)
    with remarks(quiet=quiet), DelayedBar(quiet=quiet) as bar:
        scores = score_all(
            reading,
            benchmark,
            protocol=chosen,
            device=device.value,
            route=None if route is Route.AUTO else route.value,
            lenient=lenient,
            progress=bar,
        )
    output.emit(scores, partial(score_layout, scores))


def require_distinct(paths: Sequence[Path]) -> None:
    """Raise InputError if a file is not there, or two files would give submissions of one name."""
    named: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise InputError(str(path), found="nothing there", expected="a submission file", fix="check the path")
        if (before := named.setdefault(path.stem, path)) is not path:
            raise InputError(
                "SUBMISSION",
                found=f"two files that give the name {path.stem!r}: {before} and {path}",
                expected="a different file name, without its suffix, for each submission",
                fix="rename one of the files, or give it once",
            )
