"""Ridge on a submission: a unit is a sample group."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe import __version__
from fastprobe.backend import Backend, Design
from fastprobe.backend.lanes import as_finished
from fastprobe.embeddings import Submission
from fastprobe.folds import read_assignment
from fastprobe.groups import SampleGroup, sample_groups
from fastprobe.metrics import CONSTANT, fold_scores, fold_statistics
from fastprobe.planner import Shape, choose_route
from fastprobe.probes.ridge import RidgeProblem, Solution, solve
from fastprobe.probes.ridge.grams import GramPart, merge
from fastprobe.probes.ridge.select import plan_inner, select
from fastprobe.protocol import Protocol
from fastprobe.qscore import q_score
from fastprobe.results import TaskScore
from fastprobe.tasks import Benchmark, Task
from fastprobe.units.base import Located, Records

__all__ = ["RidgeScorer"]

_log = logging.getLogger(__name__)


class RidgeScorer:
    """Scores submissions by ridge; see :class:`fastprobe.units.base.Scorer`.

    Parameters
    ----------
    backend : Backend
    benchmark : Benchmark
    protocols : sequence of Protocol
        They differ in their fixed strength only.
    route : str or None
        Force a route.
    """

    def __init__(
        self, backend: Backend, benchmark: Benchmark, protocols: Sequence[Protocol], route: str | None
    ) -> None:
        self._backend, self._route = backend, route
        self._benchmark = benchmark
        self._assignment = read_assignment(protocols[0].folds)
        self._groups = sample_groups(benchmark, protocols[0].folds, self._assignment)
        self.protocols = list(protocols)
        self.units = len(self._groups)

    def run(self, located: Located) -> Iterator[Records]:
        """Score a submission; give the records of each sample group when it is finished."""
        groups = self._groups
        if located.benchmark is not self._benchmark:
            groups = sample_groups(located.benchmark, self.protocols[0].folds, self._assignment)
        yield from _Unit(self._backend, located, self.protocols, self._route).run(groups)


@dataclass(frozen=True, eq=False)
class _Unit:
    """One submission under all protocols."""

    backend: Backend
    located: Located
    protocols: list[Protocol]
    route: str | None

    @property
    def submission(self) -> Submission:
        return self.located.submission

    def run(self, groups: Sequence[SampleGroup]) -> Iterator[Records]:
        """Score all groups, and give the records of each when it is finished.

        Groups go through as many lanes as the device likes, so that what one of them does in a single thread does not
        leave the others idle. Groups that are made up of others come last, when the Gram matrices of those are known.
        """
        x = self.backend.asarray(self.submission.x)
        variance = self._variance(x)
        needed = {part for group in groups for part in group.parts}
        grams: dict[int, GramPart] = {}

        def work(i: int) -> Records:
            group = groups[i]
            rows = self.located.rows_of[group.positions]
            design = self.backend.design(x, rows)
            source = self._gram_source(x, rows, design, group, grams)
            problem = RidgeProblem(self.backend, design, self.backend.asarray(group.y), source)
            records = self._records(group, problem, variance)
            if i in needed and problem.has_gram:
                grams[i] = GramPart(problem.n, design.mean, problem.gram)
            return records

        waves = [
            [i for i in reversed(range(len(groups))) if not groups[i].parts],
            [i for i in range(len(groups)) if groups[i].parts],
        ]
        with self.backend.lane_pool() as lanes:
            lanes.submit(lambda: self.located.embedding_hash)  # cached for the records
            for wave in waves:
                yield from as_finished(lanes, work, wave)

    def _variance(self, x: Any) -> float:
        """Square of the scale that standardises: a strength for scaled features, times it, is one for raw features."""
        if not self.protocols[0].standardize:
            return 1.0
        _, std = self.backend.moments(x, self.located.labelled_rows())
        return std * std if std > 0 else 1.0

    def _gram_source(
        self, x: Any, rows: NDArray[np.int64], design: Design, group: SampleGroup, grams: dict[int, GramPart]
    ) -> Callable[[], Any] | None:
        if not group.parts or not all(part in grams for part in group.parts):
            return None
        parts = [grams[part] for part in group.parts]

        def source() -> Any:
            rest = self.backend.design(x, rows[group.rest]) if len(group.rest) else None
            return merge(self.backend, design, parts, rest)

        return source

    def _records(self, group: SampleGroup, problem: RidgeProblem, variance: float) -> Records:
        protocol = self.protocols[0]
        held_out, folds = group.folds.held_out, len(group.folds)
        if protocol.alpha == "auto":
            grid = protocol.alpha_grid
            strengths = [alpha * variance for alpha in grid]
            inner = plan_inner(held_out, problem.n, protocol.inner_folds, protocol.folds.seed, group.folds.groups)
            selection = select(problem, inner, folds, strengths, self._choose(problem, inner.left_out, len(grid)))
            solution = solve(problem, held_out, strengths, self._choose(problem, held_out, len(grid)))
            return [
                [
                    self._record(group, problem, solution, j, selection.chosen[:, j], grid, protocol)
                    for j in range(problem.t)
                ]
            ]
        grid = tuple(float(p.alpha) for p in self.protocols)
        solution = solve(problem, held_out, [a * variance for a in grid], self._choose(problem, held_out, len(grid)))
        return [
            [self._record(group, problem, solution, j, np.full(folds, a), grid, p) for j in range(problem.t)]
            for a, p in enumerate(self.protocols)
        ]

    def _choose(self, problem: RidgeProblem, left_out: Sequence[NDArray[np.int64]], alphas: int) -> str:
        shape = Shape(problem.n, problem.d, problem.t, len(left_out), max(map(len, left_out)), alphas)
        memory = self.backend.memory() / self.backend.lanes
        plan = choose_route(shape, route=self.route, memory=memory, rates=self.backend.rates)
        _log.debug("%s: route %s of %s", shape, plan.route, plan.seconds)
        return plan.route

    def _record(
        self,
        group: SampleGroup,
        problem: RidgeProblem,
        solution: Solution,
        j: int,
        chosen: NDArray[np.int64],
        grid: Sequence[float],
        protocol: Protocol,
    ) -> TaskScore:
        task, folds = group.tasks[j], np.arange(len(group.folds))
        backend = self.backend
        if (chosen == chosen[0]).all():
            residuals = solution.residuals[:, :, int(chosen[0]), j]
        else:
            residuals = solution.residuals[backend.asarray(folds), :, backend.asarray(chosen), j]
        stats = fold_statistics(backend, solution.sets, problem.labels[:, j], residuals, task.kind)
        error, refactorised = solution.error[folds, chosen], solution.refactorised[folds, chosen]
        reasons: list[str | None] = [None] * len(folds)
        scores = fold_scores(stats, task.kind)
        for k in folds:
            if solution.failed[k, chosen[k]]:
                reasons[k] = f"no route solved it: relative residual {error[k]:.1e}"
            elif np.isnan(scores[k]):
                reasons[k] = CONSTANT[task.kind]
            elif task.kind == "classification" and _one_class(task.y, group.folds.held_out[k]):
                reasons[k] = "training labels are of one class"
        by_fold = tuple(None if reason else float(s) for s, reason in zip(scores, reasons, strict=True))
        q = q_score(by_fold, eps=protocol.eps, max_failed=protocol.max_failed)
        return TaskScore(
            submission=self.submission.name,
            task=task.name,
            kind=task.kind,
            metric="r2" if task.kind == "regression" else "f1",
            n_samples=problem.n,
            n_features=problem.d,
            n_folds=len(folds),
            n_failed=q.n_failed,
            mean=q.mean,
            std=q.std,
            q=q.q,
            q_reason=q.reason,
            fold_scores=by_fold,
            fold_reasons=tuple(reasons),
            fold_alphas=tuple(grid[a] for a in chosen),
            fold_residuals=tuple(map(float, error)),
            fold_epochs=(),
            fold_stats=stats,
            protocol_name=protocol.name,
            protocol_hash=protocol.hash,
            embedding_hash=self.located.embedding_hash,
            label_hash=task.digest,
            version=__version__,
            device=backend.device,
            dtype="float32+float64" if solution.route == "mixed" else "float64",
            route=solution.route,
            iterations=solution.iterations,
            residual=float(np.nanmax(error)) if not np.isnan(error).all() else float("nan"),
            n_refactorised=int(refactorised.sum()),
            notes=(*task.notes, *self._notes(group, task, solution, int(refactorised.sum()))),
            repairs=self.located.repairs(task),
            n_missing_labels=task.n_missing,
        )

    def _notes(self, group: SampleGroup, task: Task, solution: Solution, refactorised: int) -> Iterator[str]:
        scheme = self.protocols[0].folds.scheme
        if group.folds.scheme != scheme:
            yield f"{group.folds.scheme} folds: {scheme} needs classes"
        if refactorised:
            note = f"{refactorised} folds missed the tolerance by {solution.route} and were solved by {solution.refuge}"
            _log.warning("%s, %s: %s", self.submission.name, task.name, note)
            yield note


def _one_class(y: NDArray[np.float64], held_out: NDArray[np.int64]) -> bool:
    positive = float(y.sum() - y[held_out].sum())
    return positive in (0.0, float(len(y) - len(held_out)))
