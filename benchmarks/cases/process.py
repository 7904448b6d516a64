"""The whole process: from the files on disk to the table."""

from __future__ import annotations

import json
import sys

import numpy as np

from benchmarks.measure import BenchmarkError, Contestant, Outcome, race, run_process
from benchmarks.peers import sklearn_ridge
from benchmarks.problem import FoldScores
from benchmarks.report import TOLERANCE, CaseReport, tabulate
from benchmarks.settings import ALPHA, Settings

__all__ = ["run", "score_command", "scores_in"]

_TEXT = """``fastprobe score`` on the CSV submission and the label folder, as a process of its own:
interpreter, imports, reading, 11 tasks at alpha 100 with 40 folds, output. Peak memory is the largest resident set."""

_OURS = "fastprobe score"


def score_command(settings: Settings, submissions: list[str], protocol: str = "ridge") -> list[str]:
    """Return the command that scores submission files by this interpreter; ridge at one strength."""
    options = {"--labels": settings.files.labels, "--protocol": protocol, "--folds": settings.n_folds}
    if protocol == "ridge":
        options["--alpha"] = ALPHA
    command = [sys.executable, "-m", "fastprobe", "score", *submissions]
    for option, value in (options | {"--device": "cpu", "--format": "json"}).items():
        command += [option, str(value)]
    return command


def scores_in(document: str) -> dict[str, FoldScores]:
    """Read what ``fastprobe score --format json`` prints.

    Parameters
    ----------
    document : str

    Returns
    -------
    dict of str to FoldScores
        By submission.

    Raises
    ------
    BenchmarkError
        If it is not one JSON document.
    """
    try:
        rows = json.loads(document)["scores"]
    except (json.JSONDecodeError, KeyError) as error:
        raise BenchmarkError(f"standard output is not the JSON document of the interface: {error!r}") from error
    found: dict[str, dict[str, np.ndarray]] = {}
    for row in rows:
        found.setdefault(row["submission"], {})[row["task"]] = np.array(row["fold_scores"], dtype=np.float64)
    return dict(found)


def run(settings: Settings) -> CaseReport:
    """Measure the case.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    CaseReport
    """
    command = score_command(settings, [str(settings.files.csv)])

    def score() -> Outcome:
        done = run_process(command, threads=settings.threads)
        (scores,) = scores_in(done.stdout).values()
        return Outcome(scores, done.seconds, done.peak_bytes)

    contestants = [Contestant(_OURS, score, tolerance=TOLERANCE, warm_up=True)]
    if "neuco" in settings.peers:
        contestants.append(settings.neuco_contestant())
    timings = race(contestants, repeat=settings.repeat, budget=settings.budget, log=settings.log)
    reference = sklearn_ridge.fold_scores(settings.problem, ALPHA, settings.peer_folds)
    rows = tabulate(contestants, timings, baseline=_OURS, references={_OURS: reference})
    size = settings.files.csv.stat().st_size
    matrix = settings.workload.submission.x.nbytes
    findings = [f"the CSV has {size / 1e6:.0f} MB, the float32 matrix {matrix / 2**20:.0f} MiB"]
    findings += [f"fastprobe is {row.ratio:.3g} times as fast as {row.contestant}" for row in rows[1:] if row.ratio]
    facts = {name: timing.facts for name, timing in timings.items() if timing.facts}
    return CaseReport(
        "process",
        "The whole process",
        _TEXT,
        _OURS,
        rows,
        tuple(findings),
        {"csv_bytes": size, "matrix_bytes": matrix, **facts},
    )
