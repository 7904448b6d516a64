"""The cases, one module each: what is measured, on whom, and what the numbers mean."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.cases import auto, memory, neuco, path, process, read, ridge
from benchmarks.report import CaseReport
from benchmarks.settings import Settings

__all__ = ["CASES"]

CASES: dict[str, Callable[[Settings], CaseReport]] = {
    "ridge": ridge.run,
    "path": path.run,
    "auto": auto.run,
    "process": process.run,
    "read": read.run,
    "memory": memory.run,
    "neuco": neuco.run,
}
"""Every case by its name on the command line, in the order of a full run."""
