"""How soon a run with everything finished knows that nothing is pending."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.cases.bulk.amounts import N_TASKS, Goals
from benchmarks.cases.bulk.data import TINY, BulkData
from benchmarks.cases.bulk.processes import run_command
from benchmarks.measure import BenchmarkError, Contestant, Outcome, ProcessRun, race, run_process
from benchmarks.report import CaseReport, Check, tabulate
from benchmarks.settings import ALPHA, Settings
from fastprobe.protocol import Protocol
from fastprobe.runs import RunFolder, Terms, find_items, plan_run

__all__ = ["run"]

_SECONDS = 3.0  # at most
_FOLDS = 3  # of which nothing here depends: scores are not read

_TEXT = """{tiny} submissions of {n} x {d} with {tasks} tasks, finished by one ``fastprobe run`` on their files; then,
from the files and from a store of the same, what a run finds out before it begins: ``plan_run``, with looking for the
submissions and reading the journals, in this process; ``fastprobe run --dry-run`` and ``fastprobe run`` as processes
of their own. Neither files nor store are read."""

_PLAN, _DRY, _RUN = "plan_run", "fastprobe run --dry-run", "fastprobe run"


class _Case:
    """A run in which everything is finished, and ways to look at it.

    Parameters
    ----------
    data : BulkData
    settings : Settings
    out : Path
        Folder of the run.
    """

    def __init__(self, data: BulkData, settings: Settings, out: Path) -> None:
        self._data, self._settings, self._out = data, settings, out
        self._terms = Terms.of(data.tiny.benchmark, Protocol.named("ridge").with_options(alpha=ALPHA, folds=_FOLDS))
        self.pending = 0  # the most that anyone took for pending

    def score(self, place: Path) -> ProcessRun:
        """Have everything scored.

        Raises
        ------
        BenchmarkError
            If something is not.
        """
        done = self._process(place)
        scored = json.loads(done.stdout)["scored"]
        if scored != self._data.amounts.tiny:
            raise BenchmarkError(f"{scored} of {self._data.amounts.tiny} submissions were scored")
        return done

    def contestants(self, kind: str, place: Path) -> list[Contestant]:
        """Ways to find out that nothing is pending."""
        ways = {_PLAN: self._plan, _DRY: self._dry_run, _RUN: self._run_again}
        return [Contestant(f"{name}, {kind}", partial(way, place), warm_up=True) for name, way in ways.items()]

    def _plan(self, place: Path) -> Outcome:
        plan = plan_run(find_items([place]), self._terms, RunFolder(self._out))
        self._note(len(plan.finished))
        return Outcome()

    def _dry_run(self, place: Path) -> Outcome:
        done = self._process(place, "--dry-run")
        self._note(len(json.loads(done.stdout)["finished"]))
        return Outcome(seconds=done.seconds, peak_bytes=done.peak_bytes)

    def _run_again(self, place: Path) -> Outcome:
        done = self._process(place)
        self._note(json.loads(done.stdout)["finished_before"])
        return Outcome(seconds=done.seconds, peak_bytes=done.peak_bytes)

    def _process(self, place: Path, *more: str) -> ProcessRun:
        command = run_command([place], self._data.tiny.labels, self._out, "--quiet", *more, folds=_FOLDS)
        return run_process(command, threads=self._settings.threads)

    def _note(self, finished: int) -> None:
        self.pending = max(self.pending, self._data.amounts.tiny - finished)


def run(settings: Settings) -> CaseReport:
    """Measure the case.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    CaseReport
    """
    data, goals = BulkData.of(settings), Goals(settings.scale)
    tiny = data.amounts.tiny
    settings.log("  submissions as files and in a store")
    places = {"files": data.tiny_files(), "store": data.tiny_store()}
    with tempfile.TemporaryDirectory(prefix="bulk-", dir=settings.cache) as name:
        case = _Case(data, settings, Path(name) / "run")
        settings.log("  scoring them")
        first = case.score(places["files"])
        contestants = [each for kind, place in places.items() for each in case.contestants(kind, place)]
        timings = race(contestants, repeat=min(settings.repeat, 3), budget=settings.budget, log=settings.log)
    rows = tabulate(contestants, timings, baseline=contestants[0].name, references={})
    findings = []
    for row in rows:
        seconds = row.median_seconds or 0.0
        goal = goals.at_most(seconds, _SECONDS, "{:g} s".format)
        findings.append(f"{row.contestant}: {1e6 * seconds / tiny:.0f} us a submission, {seconds:.2f} s for all{goal}")
    findings.append(f"scoring them took {first.seconds:.0f} s, {1000 * first.seconds / tiny:.1f} ms a submission")
    return CaseReport(
        "bulk-preflight",
        "A bulk run with everything finished",
        _TEXT.format(tiny=tiny, n=TINY[0], d=TINY[1], tasks=N_TASKS),
        contestants[0].name,
        rows,
        tuple(findings),
        {"scored_in_s": first.seconds, "folds": _FOLDS},
        (
            Check("the number of submissions taken for finished from those that are", float(case.pending), 0.0),
            *goals.checks(),
        ),
    )
