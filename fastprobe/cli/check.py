"""``fastprobe check``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fastprobe.cli import options
from fastprobe.cli.output import print_report
from fastprobe.cli.protocol import build_protocol
from fastprobe.cli.values import ReportFormat, as_options, names
from fastprobe.protocol import DEFAULT

__all__ = ["check"]


def check(
    submission: Annotated[Path, typer.Argument(metavar="SUBMISSION", help="File of embeddings.")],
    labels: options.Labels,
    tasks: options.Tasks = None,
    ids: options.Ids = None,
    protocol: options.ProtocolName = DEFAULT,
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
    format_: options.ReportFormatChoice = ReportFormat.TABLE,
) -> None:
    """Look for trouble in a submission before time is spent on it; exit with 2 if an error is among the findings."""
    chosen = build_protocol(
        protocol,
        kernel=kernel,
        landmarks=landmarks,
        gamma=gamma,
        degree=degree,
        folds=folds,
        scheme=fold_scheme,
        groups=groups,
        split=split,
        seed=seed,
        test_size=test_size,
    )
    task_names = None if tasks is None else names(tasks)

    from fastprobe.check import check_files
    from fastprobe.cli.tables import report_layout

    with as_options({"tasks": "--tasks"}):
        report = check_files(submission, labels, chosen, tasks=task_names, ids=ids)
    print_report(format_, report.to_json(), partial(report_layout, report))
    if not report.ok:
        raise typer.Exit(2)
