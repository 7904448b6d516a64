"""Command line of the benchmarks: ``python -m benchmarks [CASE...]``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from fnmatch import filter as filter_names
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES
from benchmarks.machine import available_cores, can_limit_cores, describe, on_cores
from benchmarks.measure import BenchmarkError
from benchmarks.peers import PEERS
from benchmarks.peers.neuco import NeucoCheckout
from benchmarks.report import disagreements, to_markdown, write_report
from benchmarks.settings import Settings

_QUICK_SCALE = 0.1


def _names(known: Sequence[str]) -> Any:
    """Return a parser of a comma-separated list of known names."""

    def parse(text: str) -> tuple[str, ...]:
        found = tuple(name for name in text.split(",") if name)
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return found

    return parse


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _chosen(patterns: Sequence[str]) -> list[str]:
    """Names of the cases that patterns mean, each once; without any, of all."""
    return list(dict.fromkeys(name for pattern in patterns or ["*"] for name in filter_names(CASES, pattern)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="fastprobe beside its peers, in one run. Writes one JSON and one Markdown file per case.",
    )
    here = Path(__file__).resolve().parent
    cache = Path(tempfile.gettempdir()) / "fastprobe-benchmarks"
    parser.add_argument(
        "cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)}, or patterns as 'bulk*'; all of them by default"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the samples and dimensions, two rounds: a smoke test"
    )
    parser.add_argument("--repeat", type=_at_least_one, help="rounds (default 5)")
    parser.add_argument(
        "--budget", type=float, default=120.0, help="seconds after which a contestant sits out (default 120)"
    )
    parser.add_argument(
        "--peers", type=_names(list(PEERS)), default=tuple(PEERS), help=f"of {','.join(PEERS)}; default all"
    )
    parser.add_argument(
        "--peer-folds", type=_at_least_one, default=2, help="folds that slow peers are measured on (default 2)"
    )
    routes = ["direct", "downdate", "iterate", "dual"]
    parser.add_argument(
        "--routes", type=_names(routes), default=(), help=f"also force fastprobe's routes: {','.join(routes)}"
    )
    parser.add_argument(
        "--threads",
        type=_at_least_one,
        default=available_cores(),
        help="threads of every contestant (default: one per core)",
    )
    parser.add_argument(
        "--cache", type=Path, default=cache, help="folder for the workload's files (default: a temporary one)"
    )
    parser.add_argument(
        "--out", type=Path, default=here / "results", help="folder for the results (default benchmarks/results)"
    )
    parser.add_argument("--neuco", type=Path, metavar="CHECKOUT", help="a checkout of NeuCo-Bench")
    parser.add_argument("--neuco-python", type=Path, metavar="PYTHON", help="the interpreter of an environment for it")
    return parser


def _settings(options: argparse.Namespace, parser: argparse.ArgumentParser) -> Settings:
    if (options.neuco is None) != (options.neuco_python is None):
        parser.error("--neuco and --neuco-python go together")
    if options.threads < available_cores() and not can_limit_cores():
        parser.error(f"--threads {options.threads}: this system cannot keep a process on some of its cores")
    unknown = [pattern for pattern in options.cases if not _chosen([pattern])]
    if unknown:
        parser.error(f"no case {unknown[0]!r}; there are {', '.join(CASES)}")
    neuco = None
    if options.neuco is not None:
        # The interpreter of a virtual environment is a link, and only its own place tells it which environment it is.
        neuco = NeucoCheckout(options.neuco.resolve(), Path(os.path.abspath(options.neuco_python)))  # noqa: PTH100
    return Settings(
        scale=_QUICK_SCALE if options.quick else 1.0,
        repeat=options.repeat or (2 if options.quick else 5),
        budget=options.budget,
        threads=options.threads,
        peers=frozenset(options.peers),
        peer_folds=options.peer_folds,
        n_folds=40,
        cache=options.cache.resolve(),
        neuco=neuco,
        routes=options.routes,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases.

    Parameters
    ----------
    arguments : sequence of str or None
        Command-line arguments; those of the process by default.

    Returns
    -------
    int
        Exit status: 0, or 1 if a contestant failed or the answers disagree.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    settings = _settings(options, parser)
    for needed in ("sklearn", "threadpoolctl"):
        if find_spec(needed) is None:
            parser.error(f"{needed} is not installed; to fix: pip install -e '.[bench]'")
    from threadpoolctl import threadpool_limits

    # A limit reaches the libraries that are loaded: SciPy brings a BLAS of its own.
    import_module("scipy.linalg")
    import_module("sklearn.linear_model")
    wrong: list[str] = []
    for name in _chosen(options.cases):
        settings.log(f"{name}:")
        try:
            with threadpool_limits(limits=settings.threads):
                with on_cores(settings.threads):
                    report = CASES[name](settings)
                machine = describe()
        except BenchmarkError as error:
            wrong.append(f"{name}: {error}")
            continue
        chosen = {
            "scale": settings.scale,
            "repeat": settings.repeat,
            "threads": settings.threads,
            "folds": settings.n_folds,
        }
        stem = options.out / (f"{name}-quick" if options.quick else name)
        write_report(report, machine, chosen, stem)
        print(to_markdown(report, machine, chosen))
        wrong += disagreements(report)
    for line in wrong:
        print(f"FAILED: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
