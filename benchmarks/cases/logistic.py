"""Logistic probes: one strength, paths of strengths, and the strength chosen inside every fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from benchmarks.binary import BinaryTask, Hyperplanes, flips, make_binary, relative_difference
from benchmarks.measure import Contestant, Outcome, Timing, race
from benchmarks.peers import ours, sklearn_logistic
from benchmarks.problem import FoldScores, largest_difference, make_problem, q_score, restrict
from benchmarks.report import TOLERANCE, CaseReport, Check, Row, tabulate
from benchmarks.settings import Settings
from fastprobe.protocol import ALPHA_GRID

__all__ = ["COSTS", "PATH", "TASK", "TOLERANCE_OF_DECISIONS", "run"]

TASK = "ships"
COSTS = (1.0, 0.01, 100.0)
"""Values of C that everyone is measured at; the first is the single strength that all others are compared with."""

PATH = tuple(np.logspace(0, 4, 10).tolist())
"""Strengths alpha = 1 / C of the path."""

TOLERANCE_OF_DECISIONS = 1e-5
"""Largest difference of decision values, relative to the largest of the fold (at least 1), that is agreement."""

_AT_LEAST, _AIM, _PATH_AT_MOST = 30.0, 60.0, 5.0

_TEXT = f"""The classification {TASK} of the workload, 40 ShuffleSplit folds, from the float32 matrix in memory to the
F1 of every fold. fastprobe solves all folds, and all strengths of a path, at once; it also standardises the whole
submission within its time. scikit-learn's ``LogisticRegression`` is refitted for some of the folds, on standardised
features, and its time is scaled up. Its ``tol`` is tightened, before the clock, until the norm of the gradient is at
most fastprobe's in each of these folds; if no tol down to 1e-12 does that, it is the loosest that comes within twice
the least norm. Gradient norms are of the objective of ``LogisticRegression`` on standardised features, computed by the
same code for everyone, the largest of the measured folds. Differences are of decision values, relative to the largest
of the fold (at least 1), from those of newton-cholesky at its tightest; F1 flips are held-out samples that are decided
otherwise."""

_AUTO, _TEN, _GRID = "fastprobe, auto", f"fastprobe, path of {len(PATH)}", f"fastprobe, path of {len(ALPHA_GRID)}"


def _name(who: str, c: float) -> str:
    return f"{who}, C = {c:g}"


@dataclass
class _Refits:
    """scikit-learn at one strength; keeps what it fitted last."""

    task: BinaryTask
    c: float
    solver: str
    tol: float
    measured: int
    found: Hyperplanes | None = field(default=None, repr=False)

    def __call__(self) -> Outcome:
        self.found = sklearn_logistic.refit(self.task, self.c, self.solver, self.tol, self.measured)
        return Outcome()


class _Case:
    def __init__(self, settings: Settings) -> None:
        self._settings, self._measured = settings, settings.peer_folds
        self._workload = restrict(settings.workload, [TASK])

    @cached_property
    def task(self) -> BinaryTask:
        return make_binary(make_problem(self._workload, self._settings.n_folds).prepared(), TASK)

    @cached_property
    def planes(self) -> dict[float, Hyperplanes]:
        """Hyperplanes of fastprobe, of all folds at every C."""
        self._settings.log("  fitting hyperplanes, before the clock")
        return {c: ours.hyperplanes(self.task, 1 / c) for c in COSTS}

    @cached_property
    def references(self) -> dict[float, Hyperplanes]:
        """What everyone's decision values are compared with, at every C."""
        return {c: sklearn_logistic.exact(self.task, c, self._measured) for c in COSTS}

    @cached_property
    def refits(self) -> dict[str, _Refits]:
        """scikit-learn's contestants by name."""
        found = {}
        for c in COSTS:
            goals = self.task.gradient_norms(self.planes[c].first(self._measured), 1 / c)
            for solver in sklearn_logistic.SOLVERS:
                tol = sklearn_logistic.tightened(self.task, c, solver, goals)
                self._settings.log(f"  scikit-learn {solver}, C = {c:g}: tol {tol:g}")
                name = _name(f"scikit-learn {solver}", c)
                found[name] = _Refits(self.task, c, solver, tol, self._measured)
        return found

    def one(self, c: float) -> Contestant:
        def work() -> Outcome:
            answer = ours.solve(self._workload, 1 / c, self._settings.n_folds, protocol="logistic")
            norms = answer.records[TASK].fold_gradient_norms
            return Outcome(answer.scores, facts={"recorded_gradient_norms": list(norms)})

        return Contestant(_name("fastprobe", c), work, tolerance=TOLERANCE_OF_DECISIONS, warm_up=True)

    def path(self, name: str, alphas: tuple[float, ...]) -> Contestant:
        def work() -> Outcome:
            return Outcome(ours.path_scores(self._workload, alphas, self._settings.n_folds, "logistic"))

        note = f"alpha = 1 / C from {alphas[0]:g} to {alphas[-1]:g}, in one call"
        return Contestant(name, work, note=note, warm_up=True)

    def auto(self) -> Contestant:
        def work() -> Outcome:
            return Outcome(ours.solve(self._workload, "auto", self._settings.n_folds, protocol="logistic").scores)

        note = f"one of {len(ALPHA_GRID)} strengths, chosen inside the training rows of every fold"
        return Contestant(_AUTO, work, note=note, warm_up=True)

    def contestants(self) -> list[Contestant]:
        folds = self._settings.n_folds
        theirs = [
            Contestant(
                name,
                refit,
                scale=folds / self._measured,
                note=f"tol {refit.tol:g}; measured on {self._measured} of {folds} folds",
                imports=("sklearn.linear_model",),
            )
            for name, refit in self.refits.items()
        ]
        return [*map(self.one, COSTS), self.path(_TEN, PATH), self.path(_GRID, ALPHA_GRID), self.auto(), *theirs]

    def rows(self, contestants: list[Contestant], timings: Mapping[str, Timing]) -> tuple[Row, ...]:
        """Rows of the table; a refit's time is relative to fastprobe's at the same strength."""
        same = {name: _name("fastprobe", refit.c) for name, refit in self.refits.items()}
        baseline = _name("fastprobe", COSTS[0])
        rows = tabulate(contestants, timings, baseline=baseline, references={}, baselines=same)
        details = dict[str, Callable[[Row], Row]]()
        for c in COSTS:
            details[_name("fastprobe", c)] = self._detail(c, self.planes[c].first(self._measured))
        for name, refit in self.refits.items():
            assert refit.found is not None
            details[name] = self._detail(refit.c, refit.found)
        return tuple(details[row.contestant](row) if row.contestant in details else row for row in rows)

    def _detail(self, c: float, found: Hyperplanes) -> Callable[[Row], Row]:
        """Return what adds to a row how exact hyperplanes of the measured folds are."""
        task = self.task
        mine, theirs = task.decisions(found), task.decisions(self.references[c])
        columns = {
            "gradient norm": f"{task.gradient_norms(found, 1 / c).max():.1e}",
            "F1 flips": f"{flips(mine, theirs)} of {mine.size}",
            "Q of these folds": f"{q_score(task.f1_scores(mine)):.3f}",
        }
        return lambda row: replace(row, difference=relative_difference(mine, theirs), columns=columns)

    def checks(self, timings: Mapping[str, Timing]) -> tuple[Check, ...]:
        """Compare the scores of the timed calls with those of the hyperplanes, and those of the paths with them."""
        scored, again, along = dict[str, np.ndarray](), dict[str, np.ndarray](), dict[str, np.ndarray]()
        for c in COSTS:
            name = _name("fastprobe", c)
            scored[name] = _scores(timings[name])[TASK]
            again[name] = self.task.f1_scores(self.task.decisions(self.planes[c]))
            along[name] = _scores(timings[_GRID])[TASK][ALPHA_GRID.index(1 / c)]
        first = {_TEN: _scores(timings[_TEN])[TASK][0]}
        return (
            Check("F1, in one call and by hyperplanes", largest_difference(scored, again), TOLERANCE),
            Check(f"F1, on the path of {len(ALPHA_GRID)} and alone", largest_difference(along, scored), TOLERANCE),
            Check(
                f"F1, on the path of {len(PATH)} and alone",
                largest_difference(first, {_TEN: scored[_name("fastprobe", COSTS[0])]}),
                TOLERANCE,
            ),
        )

    def findings(self, rows: tuple[Row, ...], timings: Mapping[str, Timing]) -> tuple[str, ...]:
        full = self._settings.scale == 1  # the goals were set for the full size
        ratios = {row.contestant: row.ratio for row in rows if row.ratio is not None}
        lines = []
        for c in COSTS:
            times = [ratios[_name(f"scikit-learn {solver}", c)] for solver in sklearn_logistic.SOLVERS]
            line = f"C = {c:g}: fastprobe is {times[0]:.3g} times as fast as lbfgs (scaled up)"
            if full and c == COSTS[0]:
                line += f" (at least {_AT_LEAST:g}, aim {_AIM:g}: {_verdict(times[0])})"
            lines.append(f"{line}, {times[1]:.3g} times as fast as newton-cholesky")
        ten = f"{len(PATH)} strengths cost {ratios[_TEN]:.3g} times one strength, C = 1"
        if full:
            ten += f" (at most {_PATH_AT_MOST:g}: {'kept' if ratios[_TEN] <= _PATH_AT_MOST else 'missed'})"
        wide = f"the {len(ALPHA_GRID)} of the protocol's grid {ratios[_GRID]:.3g} times, auto {ratios[_AUTO]:.3g} times"
        values = ", ".join(f"{self._q(timings, _name('fastprobe', c)):.3f} at C = {c:g}" for c in COSTS)
        return (*lines, f"{ten}; {wide}", f"Q of all folds: {values}, {self._q(timings, _AUTO):.3f} for auto")

    @staticmethod
    def _q(timings: Mapping[str, Timing], name: str) -> float:
        return q_score(_scores(timings[name])[TASK])


def _scores(timing: Timing) -> FoldScores:
    assert timing.scores is not None
    return timing.scores


def _verdict(ratio: float) -> str:
    return "missed" if ratio < _AT_LEAST else "kept" if ratio < _AIM else "kept, aim reached"


def run(settings: Settings) -> CaseReport:
    """Measure the case.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    CaseReport
    """
    case = _Case(settings)
    contestants = case.contestants()
    timings = race(contestants, repeat=settings.repeat, budget=settings.budget, log=settings.log)
    rows = case.rows(contestants, timings)
    return CaseReport(
        "logistic",
        "Logistic probes",
        _TEXT,
        "fastprobe at C = 1; for scikit-learn, fastprobe at the same C",
        rows,
        case.findings(rows, timings),
        {
            "path": PATH,
            "grid": ALPHA_GRID,
            "gradient_norms": {f"{c:g}": case.task.gradient_norms(case.planes[c], 1 / c).tolist() for c in COSTS},
            "tol": {name: refit.tol for name, refit in case.refits.items()},
            **{name: timing.facts for name, timing in timings.items() if timing.facts},
        },
        case.checks(timings),
    )
