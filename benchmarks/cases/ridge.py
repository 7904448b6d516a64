"""Ridge at one strength, in memory."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.measure import Contestant, Outcome, race
from benchmarks.peers import cvmatrix_gram, floor, himalaya_ridge, ours, sklearn_ridge, why_missing
from benchmarks.problem import IMPORTS
from benchmarks.report import TOLERANCE, CaseReport, tabulate
from benchmarks.settings import ALPHA, Settings

__all__ = ["run"]

_TEXT = """All 11 tasks of one submission, 40 ShuffleSplit folds, alpha 100, from the float32 matrix in memory to the
score of every fold. Everyone standardises, splits and scores within that time (where a time is scaled up from a few
folds, standardising stays outside). Differences are the largest over all tasks and folds, against scikit-learn in
float64."""


def _ours(settings: Settings, route: str | None) -> Contestant:
    def run() -> Outcome:
        answer = ours.solve(settings.workload, ALPHA, settings.n_folds, route)
        return Outcome(answer.scores, facts={"routes": answer.routes})

    if route is None:
        return Contestant("fastprobe", run, warm_up=True, tolerance=TOLERANCE)
    return Contestant(f"fastprobe, route {route}", run, note="forced for every task", tolerance=TOLERANCE)


def _peers(settings: Settings) -> list[Contestant]:
    problem, folds = settings.problem, settings.peer_folds
    found = []
    if "floor" in settings.peers:
        x = problem.features()

        def syrk() -> Outcome:
            floor.gram(x)
            return Outcome()

        found.append(
            Contestant("floor: float64 SYRK", syrk, note="one Gram matrix of all rows, nothing else", warm_up=True)
        )
    if "cvmatrix" in settings.peers:
        found.append(
            Contestant(
                "CVMatrix and Cholesky",
                lambda: Outcome(cvmatrix_gram.fold_scores(problem, ALPHA)),
                note="training Gram matrices by subtraction",
                tolerance=TOLERANCE,
                missing=why_missing("cvmatrix"),
                imports=("cvmatrix", "scipy.linalg", *IMPORTS),
            )
        )
    if "sklearn" in settings.peers:
        found.append(
            Contestant(
                "scikit-learn",
                lambda: Outcome(sklearn_ridge.fold_scores(problem, ALPHA)),
                note="refits, tasks with the same samples fitted together",
                tolerance=TOLERANCE,
                imports=("sklearn.linear_model", *IMPORTS),
            )
        )
    if "himalaya" in settings.peers:
        prepared = problem.prepared()
        some = f"refits; measured on {folds} of {settings.n_folds} folds"
        for dtype, tolerance in ((np.float32, None), (np.float64, TOLERANCE)):
            name = np.dtype(dtype).name
            solve = partial(himalaya_ridge.fold_scores, prepared, ALPHA, dtype, folds)
            found.append(
                Contestant(
                    f"himalaya, {name}",
                    lambda solve=solve: Outcome(solve()),  # type: ignore[misc]
                    scale=settings.n_folds / folds,
                    note=some + (" (its precision for float32 embeddings)" if tolerance is None else ""),
                    tolerance=tolerance,
                    missing=why_missing("himalaya"),
                    imports=("himalaya.ridge", *IMPORTS),
                )
            )
    if "neuco" in settings.peers:
        found.append(settings.neuco_contestant())
    return found


def run(settings: Settings) -> CaseReport:
    """Measure the case.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    CaseReport
    """
    baseline = _ours(settings, None)
    routes = [_ours(settings, route) for route in settings.routes]
    contestants = [baseline, *routes, *_peers(settings)]
    timings = race(contestants, repeat=settings.repeat, budget=settings.budget, log=settings.log)
    refits = timings.get("scikit-learn")
    reference = refits.scores if refits else sklearn_ridge.fold_scores(settings.problem, ALPHA, settings.peer_folds)
    assert reference is not None
    references = {c.name: reference for c in contestants if c.name != "scikit-learn"}
    rows = tabulate(contestants, timings, baseline=baseline.name, references=references)
    return CaseReport(
        name="ridge",
        title="Ridge at one strength",
        text=_TEXT,
        baseline=baseline.name,
        rows=rows,
        findings=tuple(
            f"fastprobe is {r.ratio:.3g} times as fast as {r.contestant}" for r in rows if r.ratio and r.ratio > 1
        ),
        facts={name: timing.facts for name, timing in timings.items() if timing.facts},
    )
