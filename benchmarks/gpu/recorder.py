"""A pytest plugin that writes what became of each test, as a line of JSON, the moment it is known.

A crash of the process then loses the test that crashed and none before it. Where hypothesis is not installed, property
tests run on the examples of :mod:`benchmarks.gpu.examples`.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the suite loads this module where pytest may be missing
    import pytest

__all__ = ["RECORD"]

RECORD = "FASTPROBE_GPU_RECORD"
"""Environment variable: the file to write to."""

_LINES = 8  # of a failure that are kept


def _write(outcome: str, name: str, reason: str = "", seconds: float = 0.0) -> None:
    line = {"outcome": outcome, "test": name, "reason": reason, "seconds": seconds}
    with Path(os.environ[RECORD]).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def _why(report: Any) -> str:
    """Why a test was skipped, or the first lines of why it failed."""
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    text = report.longreprtext if crash is None else f"{Path(crash.path).name}:{crash.lineno}: {crash.message}"
    return "\n".join(text.strip().splitlines()[:_LINES])


def pytest_configure(config: pytest.Config) -> None:
    """Put the stand-in where hypothesis is missing, before any test module is loaded."""
    if find_spec("hypothesis") is None:
        from benchmarks.gpu import examples

        sys.modules.update(examples.modules())


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Write down a module that cannot be loaded."""
    if report.outcome != "passed":
        lines = report.longreprtext.strip().splitlines()
        last = [line for line in lines if line.startswith("E ")] or lines
        why = _why(report) if report.outcome == "skipped" else last[-1].removeprefix("E").strip()
        _write("skipped" if report.outcome == "skipped" else "error", report.nodeid, why)


def pytest_runtest_logstart(nodeid: str) -> None:
    """Write down which test is begun, so that a crash is known by its name."""
    _write("begun", nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down what became of a test."""
    if report.when == "call" or report.outcome != "passed":
        outcome = report.outcome if report.when == "call" or report.outcome == "skipped" else "error"
        _write(outcome, report.nodeid, "" if report.outcome == "passed" else _why(report), report.duration)
