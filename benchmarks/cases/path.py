"""Twenty strengths for the price of a few."""

from __future__ import annotations

import numpy as np

from benchmarks.measure import Contestant, Outcome, race
from benchmarks.peers import himalaya_ridge, ours, sklearn_ridge, why_missing
from benchmarks.problem import IMPORTS, FoldScores, make_problem, restrict
from benchmarks.report import TOLERANCE, CaseReport, tabulate
from benchmarks.settings import Settings

__all__ = ["ALPHAS", "run"]

ALPHAS: tuple[float, ...] = tuple(np.logspace(-2, 6, 20).tolist())
"""Strengths of the path."""

_SAMPLE = (0, 10, 19)
"""Strengths that scikit-learn is measured on and compared at; the middle one is also the single strength."""

_PAIR = ("biomass_mean", "biomass_std")
"""Two regressions on the same samples, for RidgeCV."""

_TEXT = """Scores of every fold, task and strength: 20 strengths from 0.01 to 1e6 in one call, beside one strength.
scikit-learn refits a sample of folds and strengths. himalaya's RidgeCV cross-validates two tasks; it reports only the
mean R2 at the best strength of each, and that is what is compared."""

_ONE, _ALL, _TWO = "fastprobe, 1 strength", "fastprobe, 20 strengths", "fastprobe, 20 strengths, biomass only"
_REFITS, _CV = "scikit-learn, 20 strengths", "himalaya RidgeCV, 20 strengths, biomass only"


def _best_means(scores: FoldScores, folds: int) -> FoldScores:
    """Return the mean over the first folds at the best strength, as RidgeCV reports it."""
    return {name: by_alpha[:, :folds].mean(axis=1).max(keepdims=True) for name, by_alpha in scores.items()}


def _contestants(settings: Settings) -> list[Contestant]:
    folds, sample = settings.peer_folds, list(_SAMPLE)
    middle = ALPHAS[_SAMPLE[1]]
    pair = restrict(settings.workload, _PAIR)
    pair_problem = make_problem(pair, settings.n_folds).prepared()
    problem = settings.problem.prepared()

    def one() -> Outcome:
        return Outcome(ours.solve(settings.workload, middle, settings.n_folds).scores)

    def everything() -> Outcome:
        scores = ours.path_scores(settings.workload, ALPHAS, settings.n_folds)
        return Outcome({name: by_alpha[sample] for name, by_alpha in scores.items()})

    def two() -> Outcome:
        return Outcome(_best_means(ours.path_scores(pair, ALPHAS, settings.n_folds), folds))

    def refits() -> Outcome:
        tables = [sklearn_ridge.fold_scores(problem, ALPHAS[i], folds) for i in sample]
        return Outcome({name: np.stack([table[name] for table in tables]) for name in tables[0]})

    found = [
        Contestant(_ONE, one, note=f"alpha {middle:.3g}", tolerance=TOLERANCE, warm_up=True),
        Contestant(_ALL, everything, tolerance=TOLERANCE, warm_up=True),
        Contestant(
            _REFITS,
            refits,
            scale=len(ALPHAS) / len(sample) * settings.n_folds / folds,
            note=f"measured on {len(sample)} strengths and {folds} of {settings.n_folds} folds",
            imports=("sklearn.linear_model", *IMPORTS),
            once=True,
        ),
    ]
    if "himalaya" in settings.peers:
        found += [
            Contestant(_TWO, two, note="difference of the best mean R2 from himalaya's", tolerance=TOLERANCE),
            Contestant(
                _CV,
                lambda: Outcome(himalaya_ridge.best_mean_scores(pair_problem, ALPHAS, folds)),
                scale=(settings.n_folds + 1) / (folds + 1),
                note=f"measured on {folds} of {settings.n_folds} folds; its fit on all rows counts as one more",
                missing=why_missing("himalaya"),
                imports=("himalaya.ridge", *IMPORTS),
                once=True,
            ),
        ]
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
    contestants = _contestants(settings)
    timings = race(contestants, repeat=settings.repeat, budget=settings.budget, log=settings.log)
    references: dict[str, FoldScores] = {}
    if (refits := timings[_REFITS].scores) is not None:
        references[_ALL] = refits
        references[_ONE] = {name: by_alpha[1] for name, by_alpha in refits.items()}
    if _CV in timings and (best := timings[_CV].scores) is not None:
        references[_TWO] = best
    rows = tabulate(contestants, timings, baseline=_ONE, references=references)
    seconds = {name: timing.median_seconds for name, timing in timings.items()}
    findings = [
        f"20 strengths cost {seconds[_ALL] / seconds[_ONE]:.3g} times one strength",
        f"fastprobe's path is {seconds[_REFITS] / seconds[_ALL]:.3g} times as fast as scikit-learn's",
    ]
    if _CV in seconds:
        gain = seconds[_CV] / seconds[_TWO]
        findings.append(f"on the biomass tasks it is {gain:.3g} times as fast as himalaya's RidgeCV")
    return CaseReport("path", "A path of strengths", _TEXT, _ONE, rows, tuple(findings), {"alphas": ALPHAS})
