"""``fastprobe sweep``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastprobe.cli import options
from fastprobe.cli.log import remarks
from fastprobe.cli.output import Output, note
from fastprobe.cli.progress import DelayedBar
from fastprobe.cli.protocol import build_protocol
from fastprobe.cli.score import require_distinct
from fastprobe.cli.values import (
    Device,
    Format,
    PcaRows,
    a_whole_number,
    as_options,
    each_of,
    names,
    one_of,
    sizes_of,
    strengths_of,
    words_of,
)
from fastprobe.errors import InputError

if TYPE_CHECKING:
    from fastprobe.sweeps.table import Sweep

__all__ = ["sweep"]

_PROTOCOL = "ridge"
_SWEEP: dict[str, Any] = {"rich_help_panel": "Sweep"}
_OPTION_OF = {
    "alpha": "--alpha",
    "alphas": "--alphas",
    "bits": "--bits",
    "fractions": "--fractions",
    "join": "--join",
    "orders": "--orders",
    "out": "--out",
    "pca_rows": "--pca-rows",
    "protocol": "--protocol",
    "quantizers": "--quantizers",
    "random_orders": "--random-orders",
    "sizes": "--sizes",
}

Sizes = Annotated[
    Any,
    typer.Option(
        "--sizes",
        metavar="all|A,B",
        parser=sizes_of,
        help="Numbers of leading dimensions; all is every one. If not given, all dimensions together; but for ridge, "
        "with nothing else to sweep, every number.",
        **_SWEEP,
    ),
]
Orders = Annotated[
    Any,
    typer.Option(
        "--orders",
        metavar="A,B",
        parser=words_of("--orders", "given,pca"),
        help="Which dimensions lead: given, variance, pca, random.",
        show_default="given",
        **_SWEEP,
    ),
]
RandomOrders = Annotated[
    int | None,
    typer.Option(
        "--random-orders",
        metavar="N",
        parser=a_whole_number("--random-orders", 3),
        help="How many random orders.",
        show_default="3",
        **_SWEEP,
    ),
]
PcaRowsChoice = Annotated[
    PcaRows | None,
    typer.Option(
        "--pca-rows",
        metavar="train|all",
        parser=one_of("--pca-rows", PcaRows),
        help="Rows of the principal components: those that train each fold, or all of the submission.",
        show_default="train",
        **_SWEEP,
    ),
]
Alphas = Annotated[
    Any,
    typer.Option(
        "--alphas",
        metavar="LO:HI:N|A,B",
        parser=strengths_of,
        help="Strengths, all of them scored: N from LO to HI, or a list. With --alpha auto those to choose from.",
        **_SWEEP,
    ),
]
Bits = Annotated[
    Any,
    typer.Option(
        "--bits", metavar="A,B", parser=each_of("--bits", int, "32,8,1"),
        help="Bits of a stored number: 32, 16, 8, 4, 2, 1; as it was read if not given.", **_SWEEP,
    ),
]  # fmt: skip
Quantizers = Annotated[
    Any,
    typer.Option(
        "--quantizers",
        metavar="A,B",
        parser=words_of("--quantizers", "uniform,sign"),
        help="uniform (one range), dimension (a range each), sign (1 bit); sign for 1 bit, else uniform, if not given.",
        **_SWEEP,
    ),
]
Fractions = Annotated[
    Any,
    typer.Option(
        "--fractions", metavar="A,B", parser=each_of("--fractions", float, "0.1,0.3,1"),
        help="Shares of the training rows, for a learning curve.", show_default="1", **_SWEEP,
    ),
]  # fmt: skip
Join = Annotated[
    int,
    typer.Option(
        "--join", metavar="N", parser=a_whole_number("--join", 2), help="Also join submissions, up to N of them.",
        **_SWEEP,
    ),
]  # fmt: skip
OutFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Folder for table, plots and finished parts: the same command goes on where it was interrupted.",
        rich_help_panel="Output",
    ),
]


def sweep(
    submissions: Annotated[list[Path], typer.Argument(metavar="SUBMISSION", help="Files of embeddings.")],
    labels: options.Labels,
    tasks: options.Tasks = None,
    lenient: options.Lenient = False,
    ids: options.Ids = None,
    device: options.DeviceChoice = Device.AUTO,
    sizes: Sizes = None,
    orders: Orders = None,
    random_orders: RandomOrders = None,
    pca_rows: PcaRowsChoice = None,
    alphas: Alphas = None,
    bits: Bits = None,
    quantizers: Quantizers = None,
    fractions: Fractions = None,
    join: Join = 1,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            metavar="NAME|FILE",
            help="ridge, logistic, closed-form, or a .toml file.",
            rich_help_panel="Protocol",
        ),
    ] = _PROTOCOL,
    alpha: options.Alpha = None,
    folds: options.NFolds = None,
    fold_scheme: options.FoldSchemeName = None,
    groups: options.Groups = None,
    split: options.Split = None,
    seed: options.Seed = None,
    test_size: options.TestSize = None,
    plots: Annotated[
        bool, typer.Option("--plots/--no-plots", help="Draw figures into --out.", rich_help_panel="Output")
    ] = True,
    format_: options.FormatChoice = None,
    out: OutFolder = None,
    quiet: options.Quiet = False,
) -> None:
    """Score every embedding size, strength, bit width or number of labels, and say how small it may be."""
    _require_folder(out, format_)
    _require_order(orders, "random", "--random-orders", random_orders)
    _require_order(orders, "pca", "--pca-rows", pca_rows)
    with as_options(_OPTION_OF):
        chosen = build_protocol(
            protocol, alpha=alpha, folds=folds, scheme=fold_scheme, groups=groups, split=split, seed=seed,
            test_size=test_size,
        )  # fmt: skip
    if alphas is not None and alpha not in (None, "auto"):
        raise InputError(
            "--alphas", found=f"--alphas and --alpha {alpha}", expected="one of them, or --alpha auto",
            fix="leave one out",
        )  # fmt: skip
    if sizes is None and chosen.probe == "ridge" and join == 1 and not (alphas or bits or fractions):
        sizes = "all"
    task_names = None if tasks is None else names(tasks)
    require_distinct(submissions)

    from fastprobe.reading import ReadAhead
    from fastprobe.sweeps.job import sweep as run_sweep
    from fastprobe.tasks import Benchmark

    with as_options({"tasks": "--tasks"}):
        benchmark = Benchmark.from_folder(labels, tasks=task_names, lenient=lenient)
    reading = ReadAhead(submissions, ids=ids, lenient=lenient)
    try:
        with remarks(quiet=quiet), DelayedBar(quiet=quiet) as bar, as_options(_OPTION_OF):
            result = run_sweep(
                reading,
                benchmark,
                sizes=sizes,
                orders=("given",) if orders is None else orders,
                random_orders=3 if random_orders is None else random_orders,
                pca_rows=(pca_rows or PcaRows.TRAIN).value,
                alphas=alphas,
                alpha="auto" if alpha == "auto" else None,
                bits=bits,
                quantizers=quantizers,
                fractions=(1.0,) if fractions is None else fractions,
                join=join,
                protocol=chosen,
                device=device.value,
                lenient=lenient,
                out=out,
                progress=bar,
            )
    except KeyboardInterrupt:
        if out is not None:
            note(f"the finished units are kept in {out}; the same command goes on there")
        raise
    if out is not None:
        _write(result, out, plots=plots, quiet=quiet)
    _show(result, format_, silent=quiet and out is not None)


def _require_folder(out: Path | None, format_: Format | None) -> None:
    """Raise InputError if what is to be written has no folder to go to."""
    if out is None and format_ is Format.PARQUET:
        raise InputError(
            "--format", found="parquet without --out", expected="a folder for it: Parquet is not text",
            fix="add --out DIR, where sweep.parquet is always written, or use --format csv",
        )  # fmt: skip
    if out is not None and out.exists() and not out.is_dir():
        raise InputError("--out", found=f"{str(out)!r}, a file", expected="a folder", fix="name a folder")


def _require_order(orders: Sequence[str] | None, name: str, option: str, value: object) -> None:
    """Raise InputError if an option of an order is given without it."""
    if value is not None and name not in (orders or ()):
        raise InputError(
            option, found=f"{value} without the order {name}", expected=f"{option} only with --orders {name}",
            fix=f"add {name} to --orders, or leave {option} out",
        )  # fmt: skip


def _show(result: Sweep, format_: Format | None, *, silent: bool) -> None:
    """Print the result: JSON or CSV where asked for, and otherwise the table, but for `silent`."""
    from fastprobe.cli.sweep_tables import sweep_layout

    screen = format_ if format_ in (Format.JSON, Format.CSV) else None if silent else Format.TABLE
    Output(screen, None, None, silent).emit(result, partial(sweep_layout, result))


def _write(result: Sweep, folder: Path, *, plots: bool, quiet: bool) -> None:
    """Write the table, and the figures if matplotlib is there."""
    result.to_parquet(folder / "sweep.parquet")
    result.to_csv(folder / "sweep.csv")
    written = ["sweep.parquet", "sweep.csv"]
    if plots and find_spec("matplotlib") is None:
        note("no figures: they need matplotlib, pip install 'fastprobe[report]'")
    elif plots:
        from fastprobe.report.sweep_plots import draw_sweep

        written += [path.name for path in draw_sweep(result.table, folder)]
    if not quiet:
        note(f"wrote {', '.join(written)} to {folder}")
