"""The cases, one module each: what is measured, on whom, and what the numbers mean."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.cases import auto, closed_form, kernel, logistic, memory, neuco, path, process, read, ridge, sweep
from benchmarks.cases.bulk import kills, preflight, throughput, workers
from benchmarks.cases.bulk import memory as bulk_memory
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
    "logistic": logistic.run,
    "kernel": kernel.run,
    "closed-form": closed_form.run,
    "sweep": sweep.run,
    "bulk": throughput.run,
    "bulk-memory": bulk_memory.run,
    "bulk-kills": kills.run,
    "bulk-workers": workers.run,
    "bulk-preflight": preflight.run,
}
"""Every case by its name on the command line, in the order of a full run."""
