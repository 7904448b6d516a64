"""Choosing the strength inside the training rows of every fold."""

from __future__ import annotations

from benchmarks.measure import Contestant, Outcome, race
from benchmarks.peers import ours, sklearn_ridge
from benchmarks.problem import IMPORTS
from benchmarks.report import TOLERANCE, CaseReport, tabulate
from benchmarks.settings import ALPHA, Settings

__all__ = ["run"]

MEASURED = 1
"""Folds that the nested loop is measured on; one of them means some 37 refits for each group of tasks."""

_TEXT = """``alpha="auto"``: for every fold and task the strength (of nine) with the least squared error on validation
rows inside the training rows. The nested scikit-learn loop follows the same rule and refits for every fold, validation
block and strength; it is measured on the first fold and scaled up to all of them."""

_AUTO, _FIXED, _NESTED = "fastprobe, auto", "fastprobe, alpha 100", "scikit-learn, nested loop"


def run(settings: Settings) -> CaseReport:
    """Measure the case.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    CaseReport
    """
    workload, folds = settings.workload, settings.n_folds
    problem = settings.problem.prepared()
    contestants = [
        Contestant(_FIXED, lambda: Outcome(ours.solve(workload, ALPHA, folds).scores), warm_up=True),
        Contestant(
            _AUTO, lambda: Outcome(ours.solve(workload, "auto", folds).scores), tolerance=TOLERANCE, warm_up=True
        ),
        Contestant(
            _NESTED,
            lambda: Outcome(sklearn_ridge.nested_fold_scores(problem, MEASURED)),
            scale=folds / MEASURED,
            note=f"measured on {MEASURED} of {folds} folds",
            imports=("sklearn.linear_model", *IMPORTS),
            once=True,
        ),
    ]
    timings = race(contestants, repeat=settings.repeat, budget=settings.budget, log=settings.log)
    nested = timings[_NESTED].scores
    assert nested is not None
    rows = tabulate(contestants, timings, baseline=_AUTO, references={_AUTO: nested})
    auto = timings[_AUTO].median_seconds
    findings = (
        f"auto costs {auto / timings[_FIXED].median_seconds:.3g} times one strength",
        f"it is {timings[_NESTED].median_seconds / auto:.3g} times as fast as the nested loop (scaled up)",
    )
    return CaseReport("auto", "Strength chosen inside every fold", _TEXT, _AUTO, rows, findings)
