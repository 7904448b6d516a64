"""``fastprobe score``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastprobe.cli import options
from fastprobe.cli.log import remarks
from fastprobe.cli.output import Layout, Output, View
from fastprobe.cli.progress import DelayedBar
from fastprobe.cli.protocol import build_protocol, build_protocols
from fastprobe.cli.values import Device, Rank, Route, as_options, names
from fastprobe.errors import InputError
from fastprobe.protocol import DEFAULT

if TYPE_CHECKING:
    from fastprobe.protocol import Protocol
    from fastprobe.results import Scores
    from fastprobe.tasks import Benchmark

__all__ = ["score"]


def score(
    submissions: Annotated[list[Path], typer.Argument(metavar="SUBMISSION", help="Files of embeddings.")],
    labels: options.Labels,
    tasks: options.Tasks = None,
    lenient: options.Lenient = False,
    ids: options.Ids = None,
    device: options.DeviceChoice = Device.AUTO,
    route: options.RouteChoice = Route.AUTO,
    protocol: options.ProtocolChoice = None,
    compare: options.Compare = None,
    rank: options.CompareRank = None,
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
    format_: options.FormatChoice = None,
    out: options.Out = None,
    quiet: options.Quiet = False,
) -> None:
    """Score one or more submissions on every task and print their Q-scores."""
    output = Output.plan(format_, out, quiet=quiet)
    require_meaning(compare, protocol=protocol, rank=rank, route=route)
    settings: dict[str, Any] = {
        "alpha": alpha,
        "kernel": kernel,
        "landmarks": landmarks,
        "gamma": gamma,
        "degree": degree,
        "folds": folds,
        "scheme": fold_scheme,
        "groups": groups,
        "split": split,
        "seed": seed,
        "test_size": test_size,
    }
    if compare is None:
        protocols = [build_protocol(protocol or DEFAULT, **settings)]
        require_routes(route, protocols[0])
    else:
        protocols = build_protocols(compare, **settings)
    task_names = None if tasks is None else names(tasks)
    require_distinct(submissions)

    from fastprobe.reading import ReadAhead

    reading = ReadAhead(submissions, ids=ids, lenient=lenient)  # starts now, while labels and libraries are loaded

    from fastprobe import engine
    from fastprobe.tasks import Benchmark

    with as_options({"tasks": "--tasks"}):
        benchmark = Benchmark.from_folder(labels, tasks=task_names, lenient=lenient)
    require_same_tasks(protocols, benchmark)
    with remarks(quiet=quiet), DelayedBar(quiet=quiet) as bar:
        common: dict[str, Any] = {"device": device.value, "lenient": lenient, "progress": bar}
        if compare is None:
            forced = None if route is Route.AUTO else route.value
            tables = [engine.score(reading, benchmark, protocol=protocols[0], route=forced, **common)]
        else:
            tables = engine.score_protocols(reading, benchmark, protocols=protocols, **common)
    output.emit(*(scored(tables[0]) if compare is None else compared(tables, rank or Rank.NEUCO)))


def scored(scores: Scores) -> tuple[View, Layout]:
    """Return the views of a score table."""
    from fastprobe.cli.tables import score_layout

    return scores, partial(score_layout, scores)


def compared(tables: Sequence[Scores], rank: Rank) -> tuple[View, Layout]:
    """Return the views of the scores of several protocols."""
    from fastprobe.agreement import compare_protocols
    from fastprobe.cli.agreement_tables import agreement_layout

    agreement = compare_protocols(tables, rank=rank.value)
    return agreement, partial(agreement_layout, agreement)


def require_meaning(compare: str | None, *, protocol: str | None, rank: Rank | None, route: Route) -> None:
    """Raise InputError if an option has no meaning with ``--compare``, or without it."""
    if compare is None and rank is not None:
        raise InputError(
            "--rank",
            found=f"{rank} without --compare",
            expected="--rank only where protocols are compared",
            fix="add --compare, or rank what --out wrote with fastprobe leaderboard",
        )
    if compare is not None and protocol is not None:
        raise InputError(
            "--compare",
            found="both --protocol and --compare",
            expected="one of them",
            fix=f"leave --protocol out; --compare {protocol},... makes it the reference",
        )
    if compare is not None and route is not Route.AUTO:
        raise InputError(
            "--route",
            found=f"{route} with --compare",
            expected="--route only with one protocol",
            fix="leave --route out",
        )


def require_same_tasks(protocols: Sequence[Protocol], benchmark: Benchmark) -> None:
    """Raise InputError if one protocol leaves out tasks that another one scores, so that they cannot be compared."""
    by_protocol = [{t.name for t in benchmark.tasks if p.probe_for(t.kind) is not None} for p in protocols]
    common = set.intersection(*by_protocol)
    for protocol, scored in zip(protocols, by_protocol, strict=True):
        if common and (others := sorted(scored - common)):
            raise InputError(
                "--compare",
                found=f"{protocol.name}, which scores {', '.join(others)}, and another protocol that does not",
                expected="protocols that score the same tasks",
                fix=f"add --tasks {','.join(sorted(common))}",
            )


def require_routes(route: Route, protocol: Protocol) -> None:
    """Raise InputError if a route is forced on a protocol that has none."""
    if route is not Route.AUTO and not protocol.has_ridge:
        raise InputError(
            "--route",
            found=f"{route} with {protocol.name}, which is trained in one way only",
            expected="--route only with ridge or closed-form",
            fix="leave --route out",
        )


def require_distinct(paths: Sequence[Path]) -> None:
    """Raise InputError if a file is not there, or two files would give submissions of one name."""
    named: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise InputError(str(path), found="nothing there", expected="a submission file", fix="check the path")
        if path.is_dir() or path.suffix == ".zip":
            _require_no_store(path)
        if (before := named.setdefault(path.stem, path)) is not path:
            raise InputError(
                "SUBMISSION",
                found=f"two files that give the name {path.stem!r}: {before} and {path}",
                expected="a different file name, without its suffix, for each submission",
                fix="rename one of the files, or give it once",
            )


def _require_no_store(path: Path) -> None:
    from fastprobe.store import is_store

    if is_store(path):
        raise InputError(
            str(path),
            found="a store of many submissions",
            expected="a file of one",
            fix=f"score it with fastprobe run {path} --labels DIR --out RUN_DIR, or name the files that it was made of",
        )
