"""Peak memory of many submissions in one call."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.cases.process import score_command, scores_in
from benchmarks.measure import BenchmarkError, Contestant, Outcome, race, run_process
from benchmarks.report import CaseReport, tabulate
from benchmarks.settings import Settings
from benchmarks.workload import make_submission
from fastprobe.files import atomic_path

__all__ = ["run"]

COUNTS = (1, 4, 16)
"""Submissions in one call."""

_TEXT = """``fastprobe score`` on 1, 4 and 16 different submissions (``.npz``) in one call, each call a process of its
own. Memory for a few submissions is needed, not for all of them."""


def _files(settings: Settings, count: int) -> list[str]:
    """Write the submissions that are not there yet. The folder is named by their content's digest."""
    folder = settings.cache / f"e2s-many-{settings.workload.submission.digest}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"e2s-{index:02d}.npz" for index in range(count)]
    for index, path in enumerate(paths):
        if not path.is_file():
            submission = make_submission(settings.scale, settings.workload.seed, index)
            with atomic_path(path) as partial, Path(partial).open("wb") as file:
                np.savez(file, id=submission.ids, x=submission.x)
    return [str(path) for path in paths]


def run(settings: Settings) -> CaseReport:
    """Measure the case.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    CaseReport

    Raises
    ------
    BenchmarkError
        If a submission has no scores.
    """
    paths = _files(settings, max(COUNTS))

    def contestant(count: int) -> Contestant:
        def score() -> Outcome:
            done = run_process(score_command(settings, paths[:count]), threads=settings.threads)
            found = scores_in(done.stdout)
            if len(found) != count:
                raise BenchmarkError(f"{count} submissions were given, {len(found)} have scores")
            return Outcome(seconds=done.seconds, peak_bytes=done.peak_bytes)

        return Contestant(f"{count} submission{'s' if count > 1 else ''}", score)

    contestants = [contestant(count) for count in COUNTS]
    timings = race(contestants, repeat=min(settings.repeat, 3), budget=settings.budget, log=settings.log)
    baseline = contestants[0].name
    rows = tabulate(contestants, timings, baseline=baseline, references={})
    few, many = (rows[i].median_peak_bytes or 0 for i in (0, -1))
    matrix = settings.workload.submission.x.nbytes
    more = COUNTS[-1] - COUNTS[0]
    findings = (
        f"{COUNTS[-1]} submissions need {many / few:.3g} times the memory of one",
        f"a submission is {matrix / 2**20:.0f} MiB; {more} more need memory for {(many - few) / matrix:.3g}",
    )
    return CaseReport("memory", "Memory of many submissions", _TEXT, baseline, rows, findings, {"matrix_bytes": matrix})
