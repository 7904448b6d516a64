"""Options that mean the same in every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fastprobe.cli.values import (
    Device,
    Format,
    Kernel,
    Rank,
    ReportFormat,
    Route,
    a_number,
    a_strength,
    a_whole_number,
    one_of,
)
from fastprobe.protocol import DEFAULT, FOLD_SCHEMES, PROTOCOLS

_FOLDS: dict[str, Any] = {"rich_help_panel": "Folds"}
_PROTOCOL: dict[str, Any] = {"rich_help_panel": "Protocol"}
_OUTPUT: dict[str, Any] = {"rich_help_panel": "Output"}

Labels = Annotated[Path, typer.Option("--labels", metavar="DIR", help="Folder of <task>__<type>.csv files.")]
Tasks = Annotated[
    str | None, typer.Option("--tasks", metavar="A,B", help="Only these tasks, names with commas between them.")
]
Lenient = Annotated[
    bool, typer.Option("--lenient", help="Repair bad cells as NeuCo-Bench does, and count the repairs.")
]
Ids = Annotated[Path | None, typer.Option("--ids", metavar="FILE", help="Ids of the rows of an .npy file, one a line.")]
DeviceChoice = Annotated[
    Device,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda",
        parser=one_of("--device", Device),
        help="auto takes a GPU if there is one; cuda:N one of several.",
    ),
]
RouteChoice = Annotated[
    Route,
    typer.Option(
        "--route",
        metavar="NAME",
        parser=one_of("--route", Route),
        help="How ridge folds are solved: auto, direct, downdate, iterate, dual or mixed. All give the same scores.",
    ),
]

_PROTOCOL_NAMES = f"{', '.join(PROTOCOLS)}, or a .toml file."
ProtocolName = Annotated[str, typer.Option("--protocol", metavar="NAME|FILE", help=_PROTOCOL_NAMES, **_PROTOCOL)]
ProtocolChoice = Annotated[
    str | None,
    typer.Option("--protocol", metavar="NAME|FILE", help=_PROTOCOL_NAMES, show_default=DEFAULT, **_PROTOCOL),
]
Compare = Annotated[
    str | None,
    typer.Option(
        "--compare",
        metavar="A,B",
        help="Score by several protocols and show how much they agree with the first, e.g. neuco,closed-form.",
        **_PROTOCOL,
    ),
]
Alpha = Annotated[
    Any,
    typer.Option(
        "--alpha",
        metavar="FLOAT|auto",
        parser=a_strength,
        help="Strength of the penalty; auto chooses it inside the training rows of each fold (built in: auto, for "
        "ridge 100).",
        **_PROTOCOL,
    ),
]
KernelChoice = Annotated[
    Kernel | None,
    typer.Option(
        "--kernel",
        metavar="rbf|polynomial",
        parser=one_of("--kernel", Kernel),
        help="Kernel of the protocol kernel (built in: rbf).",
        **_PROTOCOL,
    ),
]
Landmarks = Annotated[
    int | None,
    typer.Option(
        "--landmarks",
        metavar="N",
        parser=a_whole_number("--landmarks", 2000),
        help="Nystroem features of N samples instead of the kernel matrix of all (protocol kernel).",
        **_PROTOCOL,
    ),
]
Gamma = Annotated[
    float | None,
    typer.Option(
        "--gamma",
        metavar="FLOAT",
        parser=a_number("--gamma", 0.001),
        help="Width of the kernel; if not given, it is taken from the embedding (protocol kernel).",
        **_PROTOCOL,
    ),
]
Degree = Annotated[
    int | None,
    typer.Option(
        "--degree",
        metavar="N",
        parser=a_whole_number("--degree", 2),
        help="Degree of the polynomial kernel; if not given, chosen among 2 and 3 (protocol kernel).",
        **_PROTOCOL,
    ),
]
NFolds = Annotated[
    int | None,
    typer.Option(
        "--folds", metavar="N", parser=a_whole_number("--folds", 40), help="Retraining folds (built in: 40).", **_FOLDS
    ),
]
FoldSchemeName = Annotated[
    str | None,
    typer.Option("--fold-scheme", metavar="NAME", help=f"{', '.join(FOLD_SCHEMES)} (built in: shuffle).", **_FOLDS),
]
Groups = Annotated[
    Path | None,
    typer.Option(
        "--groups",
        metavar="FILE",
        help="CSV id,group: a group is never on both sides (group-shuffle, or group-kfold if chosen).",
        **_FOLDS,
    ),
]
Split = Annotated[
    Path | None,
    typer.Option(
        "--split",
        metavar="FILE",
        help="CSV id,split with dev or eval: one fixed fold that trains on dev.",
        **_FOLDS,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", metavar="N", parser=a_whole_number("--seed", 42), help="Seed of the folds (built in: 42).", **_FOLDS
    ),
]
TestSize = Annotated[
    float | None,
    typer.Option(
        "--test-size",
        metavar="SHARE",
        parser=a_number("--test-size", 0.1),
        help="Share held out by shuffle schemes (built in: 0.1).",
        **_FOLDS,
    ),
]

RankChoice = Annotated[
    Rank,
    typer.Option(
        "--rank",
        metavar="neuco|mean|uniform",
        parser=one_of("--rank", Rank),
        help="Ranks weighted by the spread of Q; mean Q; or ranks with equal weights.",
    ),
]
CompareRank = Annotated[
    Rank | None,
    typer.Option(
        "--rank",
        metavar="neuco|mean|uniform",
        parser=one_of("--rank", Rank),
        help="Rule of the places that --compare shows.",
        show_default="neuco",
        **_PROTOCOL,
    ),
]
FormatChoice = Annotated[
    Format | None,
    typer.Option(
        "--format",
        metavar="table|json|csv|parquet",
        parser=one_of("--format", Format),
        help="How to show the result; a table if not given.",
        **_OUTPUT,
    ),
]
ReportFormatChoice = Annotated[
    ReportFormat,
    typer.Option(
        "--format", metavar="table|json", parser=one_of("--format", ReportFormat), help="How to show it.", **_OUTPUT
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write .json, .csv, .parquet or .txt (table).", **_OUTPUT)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no remarks.", **_OUTPUT)]
