"""Sweeps: every embedding size at about the price of one, beside one size after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from benchmarks.measure import Contestant, Outcome, Timing, race
from benchmarks.peers import our_sweeps, ours, sklearn_sweep
from benchmarks.problem import IMPORTS, FoldScores, Problem, make_problem, restrict
from benchmarks.report import TOLERANCE, CaseReport, tabulate
from benchmarks.settings import ALPHA, Settings
from benchmarks.sizes import SizeSample
from benchmarks.workload import Workload

__all__ = ["ALPHAS", "BITS", "FRACTIONS", "SAMPLED", "TASKS", "alone", "run"]

TASKS = ("biomass_mean", "biomass_std")
ALPHAS = tuple(np.logspace(0, 4, 10).tolist())
BITS = (32, 16, 8, 4, 2, 1)
FRACTIONS = (0.1, 0.25, 0.5, 0.75, 1.0)
SAMPLED = 8
"""Sizes that those are measured at who fit one after the other."""

_EACH = tuple(range(SAMPLED))
_FEW = (2, SAMPLED - 1)  # of the sample, where more would take long
_NESTED_FOLDS = 1  # of the nested loop; one of them means 37 refits for a size
_SCORES_AT_MOST, _SINGLY_AT_LEAST, _REFITS_AT_LEAST, _SURFACE_AT_MOST = 5.0, 100.0, 2000.0, 12.0

_TEXT = f"""The two biomass regressions of the workload, their samples alone, 40 ShuffleSplit folds, alpha {ALPHA:g}
unless it says otherwise: the score of every fold at every embedding size, that is with every number of leading
dimensions, from the float32 matrix in memory. For every size the embedding is standardised by the mean and the
standard deviation of the whole of it. fastprobe is one call of ``fastprobe.sweep``; beside it stand one score of all
dimensions, and the sizes one after the other. The latter are measured at {SAMPLED} sizes, evenly spread and both ends
among them, and summed up over all sizes by the trapezoidal rule. scikit-learn's ``Ridge(solver="cholesky")`` is
refitted for each of these sizes and some of the folds; standardising stays outside of its time. Differences are of
fold scores at the sizes of the sample, from scikit-learn's refits: with the same strength, the same principal
components (its ``PCA`` of the training rows), the same quantised embedding, the same share of the training rows; and
for the chosen strength from a nested loop of refits."""

_ALL, _SCORE, _SINGLY = "fastprobe, all sizes", "fastprobe, one score, route direct", "fastprobe, size after size"
_SURFACE, _PCA = f"fastprobe, all sizes, {len(ALPHAS)} strengths", "fastprobe, all sizes, principal components"
_AUTO, _BITS = "fastprobe, all sizes, auto", f"fastprobe, all sizes, {len(BITS)} bit widths"
_CURVE, _TASKS = f"fastprobe, all sizes, {len(FRACTIONS)} fractions", "fastprobe, all sizes, all 11 tasks"
_REFITS = "scikit-learn, size after size"


@dataclass(frozen=True)
class _Call:
    """One call of fastprobe.sweep.

    Attributes
    ----------
    name : str
    note : str
    reference : callable
        Refits at the sizes of :attr:`at`.
    options : mapping
    column : str or None
        In which the rows of a size differ, if they do.
    values : tuple
        Values of it that are compared.
    at : tuple of int
        Which of the sizes of the sample are compared.
    everything : bool
        Whether it is for all tasks and samples of the workload.
    once : bool
        Whether one run is enough.
    """

    name: str
    note: str
    reference: Callable[[], FoldScores]
    options: Mapping[str, Any] = field(default_factory=dict)
    column: str | None = None
    values: tuple[Any, ...] = (None,)
    at: tuple[int, ...] = _EACH
    everything: bool = False
    once: bool = False


def alone(workload: Workload, names: tuple[str, ...]) -> Workload:
    """Return the workload with some tasks that have the same samples, and no other samples."""
    some = restrict(workload, names)
    ids = some.benchmark.tasks[0].ids
    inside = np.isin(workload.submission.ids, ids)
    submission = replace(workload.submission, ids=workload.submission.ids[inside], x=workload.submission.x[inside])
    return replace(some, submission=submission, benchmark=replace(some.benchmark, labelled_ids=ids))


class _Case:
    def __init__(self, settings: Settings) -> None:
        self._settings, self._folds, self._measured = settings, settings.n_folds, settings.peer_folds
        self._workload = alone(settings.workload, TASKS)
        self.sample = SizeSample.spread(self._workload.submission.x.shape[1], SAMPLED)

    @cached_property
    def _problem(self) -> Problem:
        return make_problem(self._workload, self._folds).prepared()

    def _quantised(self, bits: int) -> Problem:
        from fastprobe import quantize

        values = quantize(self._problem.x, bits, "sign" if bits == 1 else "uniform").values()
        return replace(self._problem, x=values).prepared()

    def _refit(self, problem: Problem, at: tuple[int, ...] = _EACH, alpha: float = ALPHA, **more: Any) -> FoldScores:
        sizes = self.sample.sizes[list(at)].tolist()
        return sklearn_sweep.refit(problem, alpha, sizes, self._measured, **more).scores

    @cached_property
    def calls(self) -> dict[str, _Call]:
        """The calls beside the one that all others are compared with."""
        ends, few = (ALPHAS[0], ALPHAS[-1]), (FRACTIONS[0], FRACTIONS[2])
        some_bits, refit = (8, 1), self._refit

        def stacked(tables: list[FoldScores]) -> FoldScores:
            return {name: np.stack([table[name] for table in tables]) for name in tables[0]}

        def nested() -> FoldScores:
            return sklearn_sweep.nested_fold_scores(
                self._problem, self.sample.sizes[list(_FEW)].tolist(), _NESTED_FOLDS
            )

        found = [
            _Call(
                _SURFACE, f"alpha from {ends[0]:g} to {ends[1]:g}, in one call; compared at both",
                lambda: stacked([refit(self._problem, alpha=alpha) for alpha in ends]),
                {"alphas": ALPHAS}, "alpha", ends,
            ),
            _Call(
                _PCA, "of the training rows of every fold", lambda: refit(self._problem, components=True),
                {"orders": ("pca",), "alpha": ALPHA},
            ),
            _Call(
                _AUTO, "one of 9 strengths for every size, chosen inside the training rows of every fold", nested,
                {"alpha": "auto"}, at=_FEW, once=True,
            ),
            _Call(
                _BITS, f"{', '.join(map(str, BITS))} bits; compared at {' and '.join(map(str, some_bits))}",
                lambda: stacked([refit(self._quantised(bits)) for bits in some_bits]),
                {"bits": BITS, "alpha": ALPHA}, "bits", some_bits,
            ),
            _Call(
                _CURVE, f"{', '.join(f'{f:g}' for f in FRACTIONS)} of the training rows; compared at "
                f"{' and '.join(f'{f:g}' for f in few)}",
                lambda: stacked([refit(self._problem, fraction=fraction) for fraction in few]),
                {"fractions": FRACTIONS, "alpha": ALPHA}, "fraction", few,
            ),
            _Call(
                _TASKS, f"{len(self._settings.workload.submission.ids)} samples",
                lambda: refit(self._settings.problem.prepared(), _FEW), {"alpha": ALPHA}, at=_FEW, everything=True,
            ),
        ]  # fmt: skip
        return {call.name: call for call in found}

    def contestants(self) -> list[Contestant]:
        every = _Call(_ALL, "", dict, {"alpha": ALPHA})
        return [
            self._call(every),
            Contestant(
                _SCORE,
                lambda: Outcome(ours.solve(self._workload, ALPHA, self._folds, "direct").scores),
                note=f"{self.sample.d} dimensions",
                tolerance=TOLERANCE,
                warm_up=True,
            ),
            self._singly(),
            *map(self._call, self.calls.values()),
            self._refits(),
        ]

    def _call(self, call: _Call) -> Contestant:
        workload = self._settings.workload if call.everything else self._workload
        at = self.sample.sizes[list(call.at)]

        def work() -> Outcome:
            start = time.perf_counter()
            found = our_sweeps.sweep(workload, self._folds, sizes="all", protocol="ridge", **call.options)
            spent = time.perf_counter() - start
            return Outcome(our_sweeps.scores_in(found, at, call.column, call.values), spent, facts={"rows": len(found)})

        return Contestant(call.name, work, note=call.note, tolerance=TOLERANCE, warm_up=not call.once, once=call.once)

    def _singly(self) -> Contestant:
        parts = [our_sweeps.leading(self._workload, size, ALPHA) for size in self.sample.sizes.tolist()]

        def work() -> Outcome:
            tables, seconds = list[FoldScores](), list[float]()
            for part in parts:
                start = time.perf_counter()
                tables.append(part.scores(self._folds))
                seconds.append(time.perf_counter() - start)
            scores = {name: np.stack([table[name] for table in tables]) for name in tables[0]}
            return self._summed(scores, seconds)

        return Contestant(
            _SINGLY, work, scale=self.sample.share, note=f"fastprobe.score, {self._how}", tolerance=TOLERANCE,
            warm_up=True,
        )  # fmt: skip

    def _refits(self) -> Contestant:
        def work() -> Outcome:
            found = sklearn_sweep.refit(self._problem, ALPHA, self.sample.sizes.tolist(), self._measured)
            return self._summed(found.scores, found.seconds.tolist())

        return Contestant(
            _REFITS,
            work,
            scale=self.sample.share * self._folds / self._measured,
            note=f"Ridge, solver cholesky; measured on {self._measured} of {self._folds} folds and {self._how}",
            imports=("sklearn.linear_model", *IMPORTS),
        )

    @property
    def _how(self) -> str:
        return f"{len(self.sample.sizes)} of {self.sample.d} sizes, summed up by the trapezoidal rule"

    def _summed(self, scores: FoldScores, seconds: list[float]) -> Outcome:
        """Give the time of all sizes, in the measure of those of the sample: the race scales it up again."""
        by_size = dict(zip(self.sample.sizes.tolist(), seconds, strict=True))
        return Outcome(scores, self.sample.total(seconds) / self.sample.share, facts={"seconds_by_size": by_size})

    def references(self, timings: Mapping[str, Timing]) -> dict[str, FoldScores]:
        """Refits for everyone; those that are not in the race are made after it."""
        refits = timings[_REFITS].scores
        assert refits is not None
        self._settings.log("  refits for comparison, after the clock")
        return {
            _ALL: refits,
            _SCORE: {name: by_size[-1] for name, by_size in refits.items()},
            _SINGLY: refits,
            **{name: call.reference() for name, call in self.calls.items()},
        }

    def findings(self, timings: Mapping[str, Timing]) -> tuple[str, ...]:
        seconds = {name: timing.median_seconds for name, timing in timings.items()}
        every, d = seconds[_ALL], self.sample.d
        goal: Callable[..., str] = partial(_goal, full=self._settings.scale == 1)  # they were set for the full size
        singly, refits = seconds[_SINGLY] / every, seconds[_REFITS] / every
        return (
            f"all {d} sizes cost {every / seconds[_SCORE]:.3g} times one score of {d} dimensions by the direct route"
            + goal(every / seconds[_SCORE], at_most=_SCORES_AT_MOST),
            f"they cost {singly:.3g} times less than fastprobe's scores size after size (scaled up)"
            + goal(singly, at_least=_SINGLY_AT_LEAST),
            f"they cost {refits:.3g} times less than scikit-learn's refits (scaled up)"
            + goal(refits, at_least=_REFITS_AT_LEAST),
            f"{d} sizes x {len(ALPHAS)} strengths cost {seconds[_SURFACE] / every:.3g} times the {d} sizes"
            + goal(seconds[_SURFACE] / every, at_most=_SURFACE_AT_MOST),
        )  # fmt: skip


def _goal(ratio: float, *, full: bool, at_most: float = np.inf, at_least: float = 0.0) -> str:
    """How a ratio stands to its goal, in words."""
    if not full:
        return ""
    wanted = f"at most {at_most:g}" if at_least == 0.0 else f"at least {at_least:g}"
    return f" ({wanted}: {'kept' if at_least <= ratio <= at_most else 'missed'})"


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
    rows = tabulate(contestants, timings, baseline=_ALL, references=case.references(timings))
    return CaseReport(
        "sweep",
        "Every embedding size",
        _TEXT,
        _ALL,
        rows,
        case.findings(timings),
        {
            "sizes": case.sample.sizes.tolist(),
            "weights": case.sample.weights.tolist(),
            "alphas": ALPHAS,
            "fractions": FRACTIONS,
            **{name: timing.facts for name, timing in timings.items() if timing.facts},
        },
    )
