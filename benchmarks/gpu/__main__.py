"""Command line of the GPU suite: ``python -m benchmarks.gpu``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gpu.cases import PARTS
from benchmarks.gpu.environment import missing_modules
from benchmarks.gpu.options import Options
from benchmarks.gpu.suite import NoDevice, Suite
from benchmarks.gpu.summary import failures, to_markdown
from fastprobe.backend import check_device
from fastprobe.errors import InputError
from fastprobe.files import write_text

__all__ = ["main"]

_QUICK = {"scale": 0.1, "parity_scale": 0.05, "repeat": 5}


def _parts(text: str) -> tuple[str, ...]:
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(PARTS)}")
    if not names:
        raise argparse.ArgumentTypeError(f"no part is named; there are {', '.join(PARTS)}")
    return tuple(name for name in PARTS if name in names)


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return path.resolve()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Tests, parity with the CPU and speed on one GPU. Writes gpu-<part>.json and gpu.md. "
        "Exit status: 0; 1 if anything failed; 2 for wrong options or without a GPU.",
    )
    default = Path(__file__).resolve().parents[1] / "results"
    parser.add_argument("--list", action="store_true", help="name the parts and end")
    parser.add_argument("--out", type=Path, default=default, help="folder for the results (default benchmarks/results)")
    parser.add_argument("--only", type=_parts, default=tuple(PARTS), help=f"of {','.join(PARTS)}; default all")
    parser.add_argument("--budget", type=_positive, default=480.0, help="seconds for everything (default 480)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size, fewer runs: a smoke test")
    parser.add_argument("--scale", type=_positive, help="size of the workload where speed is measured (default 1)")
    parser.add_argument("--data", type=_folder, help="real data to compare on: <set>/submissions and <set>/labels")
    parser.add_argument("--neuco", type=_folder, metavar="CHECKOUT", help="a checkout of NeuCo-Bench")
    parser.add_argument(
        "--neuco-python", type=Path, metavar="PYTHON", help="an interpreter that has what NeuCo-Bench needs"
    )
    parser.add_argument("--commit", help="commit of this checkout, for the results, where git cannot tell")
    parser.add_argument(
        "--device", default="cuda", help="cuda, or cuda:N; cpu rehearses the suite without a GPU (default cuda)"
    )
    return parser


def _options(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> Options:
    if chosen.neuco_python is not None and chosen.neuco is None:
        parser.error("--neuco-python goes with --neuco")
    if chosen.device == "auto":
        parser.error("--device auto: say cuda, cuda:N or cpu")
    # The interpreter of a virtual environment is a link, and only its own place tells it which environment it is.
    python = os.path.abspath(chosen.neuco_python or sys.executable)  # noqa: PTH100
    options = Options(
        device=chosen.device,
        budget=chosen.budget,
        data=None if chosen.data is None else str(chosen.data),
        neuco=None if chosen.neuco is None else str(chosen.neuco),
        neuco_python=None if chosen.neuco is None else python,
        commit=chosen.commit,
    )
    more: dict[str, Any] = dict(_QUICK) if chosen.quick else {}
    if chosen.scale is not None:
        more |= {"scale": chosen.scale, "parity_scale": min(chosen.scale, options.parity_scale)}
    return replace(options, **more)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite.

    Parameters
    ----------
    arguments : sequence of str or None
        Command-line arguments; those of the process by default.

    Returns
    -------
    int
        Exit status: 0; 1 if anything failed; 2 for wrong options or without a GPU, and then nothing is written.
    """
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.list:
        print("\n".join(f"{name:9} {part.text}" for name, part in PARTS.items()))
        return 0
    options = _options(chosen, parser)
    suite = Suite(options, chosen.out.resolve(), lambda line: print(line, file=sys.stderr, flush=True))
    try:
        if missing := missing_modules():
            raise InputError(
                "this Python", found=f"no {', '.join(missing)}", expected="what fastprobe needs",
                fix=f"pip install {' '.join(missing)}",
            )  # fmt: skip
        check_device(options.device)
        suite.describe()
    except (InputError, NoDevice) as error:
        print(error, file=sys.stderr)
        return 2
    results = suite.run(chosen.only)
    page = to_markdown(results, suite.environment, options.shown())
    write_text(chosen.out / "gpu.md", page)
    print(page)
    return 1 if failures(results) else 0


if __name__ == "__main__":
    sys.exit(main())
