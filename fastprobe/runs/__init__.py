"""Bulk runs: many submissions, resumable, each scored once whatever happens in between.

What is to be scored (:mod:`~fastprobe.runs.inputs`), what decides the scores (:mod:`~fastprobe.runs.terms`) and what is
there already (:mod:`~fastprobe.runs.folder`) give the plan (:mod:`~fastprobe.runs.plan`), which a run carries out
(:mod:`~fastprobe.runs.job`).
"""

from __future__ import annotations

from fastprobe.runs.folder import BusyError, Failure, KnownInput, RunFolder, WriteError
from fastprobe.runs.inputs import Item, find_items
from fastprobe.runs.job import RunReport, run
from fastprobe.runs.plan import Plan, plan_run
from fastprobe.runs.settings import Settings
from fastprobe.runs.terms import Terms

__all__ = [
    "BusyError",
    "Failure",
    "Item",
    "KnownInput",
    "Plan",
    "RunFolder",
    "RunReport",
    "Settings",
    "Terms",
    "WriteError",
    "find_items",
    "plan_run",
    "run",
]
