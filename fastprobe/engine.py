"""The engine: submissions x tasks -> scores.

One submission at a time is read, scored on all sample groups and let go, so that memory does not grow with the number
of submissions. Within a group all tasks, folds and strengths are solved together by the route that the planner chooses.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastprobe import __version__
from fastprobe.backend import Backend, Design, get_backend
from fastprobe.embeddings import Submission
from fastprobe.errors import InputError
from fastprobe.folds import read_assignment
from fastprobe.groups import SampleGroup, sample_groups
from fastprobe.metrics import CONSTANT, fold_scores, fold_statistics
from fastprobe.planner import Shape, choose_route
from fastprobe.probes.ridge import RidgeProblem, Solution, solve
from fastprobe.probes.ridge.grams import GramPart, merge
from fastprobe.probes.ridge.select import plan_inner, select
from fastprobe.protocol import Protocol
from fastprobe.qscore import q_score
from fastprobe.results import Scores, TaskScore
from fastprobe.tasks import Benchmark, Kind, Task

__all__ = ["ArrayScore", "Progress", "score", "score_arrays", "score_path"]

_log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with (submission, units done, units in all) whenever a unit (submission x sample group) is finished."""

Alpha = float | Literal["auto"]


def score(
    submissions: Iterable[Submission | str | Path],
    benchmark: Benchmark,
    *,
    protocol: str | Protocol = "ridge",
    alpha: Alpha | None = None,
    folds: int | None = None,
    device: str = "auto",
    route: str | None = None,
    lenient: bool = False,
    progress: Progress | None = None,
) -> Scores:
    """Score submissions on every task of a benchmark.

    Parameters
    ----------
    submissions : iterable of Submission or path
        Paths are read when their turn comes, so that only one embedding is in memory at a time; so is a generator.
    benchmark : Benchmark
    protocol : str or Protocol
        Name of a built-in protocol, path of a ``.toml`` file, or a protocol.
    alpha : float or "auto", optional
        Overrides the strength of the protocol.
    folds : int, optional
        Overrides its number of folds.
    device : {"auto", "cpu", "cuda"}
    route : str, optional
        Force a route (``direct``, ``downdate``, ``iterate``, ``dual``) instead of letting the planner choose.
    lenient : bool
        Mend what NeuCo-Bench would mend, and count it; also drops labelled samples that a submission lacks.
    progress : callable, optional
        See :data:`Progress`.

    Returns
    -------
    Scores
        Rows in the order of the submissions, tasks sorted by name.

    Raises
    ------
    InputError
        If a submission, the benchmark, an option or their combination is wrong.
    """
    chosen = _protocol(protocol, alpha, folds)
    (scores,) = _score(submissions, benchmark, [chosen], device, route, lenient, progress)
    return scores


def score_path(
    submissions: Iterable[Submission | str | Path],
    benchmark: Benchmark,
    *,
    alphas: Sequence[float],
    protocol: str | Protocol = "ridge",
    folds: int | None = None,
    device: str = "auto",
    route: str | None = None,
    lenient: bool = False,
    progress: Progress | None = None,
) -> list[Scores]:
    """Score submissions at several strengths at once; other parameters as in :func:`score`.

    Parameters
    ----------
    alphas : sequence of float, length A
        Distinct strengths.

    Returns
    -------
    list of Scores
        One per strength, each what :func:`score` gives at that strength.
    """
    if len(set(alphas)) != len(alphas) or not len(alphas):
        raise InputError("alphas", found=repr(list(alphas)), expected="distinct numbers above 0", fix="list each once")
    protocols = [_protocol(protocol, alpha, folds) for alpha in alphas]
    if any(p.alpha == "auto" for p in protocols):
        raise InputError("alphas", found="'auto'", expected="numbers above 0", fix="use score(alpha='auto')")
    return _score(submissions, benchmark, protocols, device, route, lenient, progress)


@dataclass(frozen=True, eq=False)
class ArrayScore:
    """Score of one array of features on one array of labels.

    Attributes
    ----------
    fold_scores : ndarray of float64, shape (K,)
        R2 or F1 of every fold; NaN where it failed.
    mean, std, q : float or None
    record : TaskScore
        The full record.
    """

    fold_scores: NDArray[np.float64]
    mean: float | None
    std: float | None
    q: float | None
    record: TaskScore


def score_arrays(
    x: Any,
    y: Any,
    *,
    kind: Kind = "regression",
    protocol: str | Protocol = "ridge",
    alpha: Alpha | None = None,
    folds: int | None = None,
    device: str = "auto",
    route: str | None = None,
) -> ArrayScore:
    """Score features and labels that are in memory; row i of `x` belongs to label i.

    Parameters
    ----------
    x : array, shape (n, d)
        Anything that :func:`numpy.asarray` or DLPack understands.
    y : array, shape (n,)
        Labels; two values for classification.
    kind : {"regression", "classification"}
    protocol, alpha, folds, device, route
        As in :func:`score`. Schemes that read a file of ids need :func:`score`.

    Raises
    ------
    InputError
        If shapes do not fit, or a value is not finite.
    """
    chosen = _protocol(protocol, alpha, folds)
    if chosen.folds.needs_file:
        raise InputError(
            "protocol", found=f"{chosen.folds.scheme} folds, which go by sample id", expected="a scheme without a file",
            fix="use fastprobe.score with a Submission and a Benchmark",
        )  # fmt: skip
    x, y = _host(x), _host(y)
    if y.ndim != 1 or x.ndim != 2 or len(x) != len(y):
        raise InputError(
            "score_arrays", found=f"x {x.shape} and y {y.shape}", expected="(n, d) and (n,)", fix="reshape them"
        )
    ids = [f"{i:09d}" for i in range(len(y))]
    task = Task.from_arrays("labels", kind, ids, y)
    scores = score(
        [Submission.from_arrays("array", ids, x)],
        Benchmark.from_tasks([task]),
        protocol=chosen,
        device=device,
        route=route,
    )
    row = scores.rows[0]
    by_fold = np.array([np.nan if s is None else s for s in row.fold_scores])
    return ArrayScore(by_fold, row.mean, row.std, row.q, row)


def _host(a: Any) -> NDArray[Any]:
    if not isinstance(a, np.ndarray) and hasattr(a, "__dlpack__"):
        return np.from_dlpack(a)
    return np.asarray(a)


def _protocol(protocol: str | Protocol, alpha: Alpha | None, folds: int | None) -> Protocol:
    found = protocol if isinstance(protocol, Protocol) else Protocol.load(protocol)
    return found.with_options(alpha=alpha, folds=folds)


def _score(
    submissions: Iterable[Submission | str | Path],
    benchmark: Benchmark,
    protocols: list[Protocol],
    device: str,
    route: str | None,
    lenient: bool,
    progress: Progress | None,
) -> list[Scores]:
    """Score under protocols that differ in their fixed strength only; one Scores each."""
    backend = get_backend(device)
    spec = protocols[0].folds
    assignment = read_assignment(spec)
    groups = sample_groups(benchmark, spec, assignment)
    if route is not None:
        choose_route(Shape(1, 1, 1, 1, 1), route=route)  # a wrong name fails before anything is read
    rows: list[list[TaskScore]] = [[] for _ in protocols]
    seen: set[str] = set()
    try:
        total = len(submissions) * len(groups)  # type: ignore[arg-type]  # a generator has no length
    except TypeError:
        total = 0
    done = 0
    for entry in submissions:
        submission = entry if isinstance(entry, Submission) else Submission.read(entry, lenient=lenient)
        if submission.name in seen:
            raise InputError(
                "submissions",
                found=f"two with the name {submission.name!r}",
                expected="one name each",
                fix="rename one",
            )
        seen.add(submission.name)
        known, dropped = _restrict(benchmark, submission, lenient)
        own = groups if known is benchmark else sample_groups(known, spec, assignment)
        unit = _Unit(backend, submission, known, protocols, route, dropped)
        found: list[dict[str, TaskScore]] = [{} for _ in protocols]
        with backend.session():
            for records in unit.run(own):
                for by_task, record in zip(found, records, strict=True):
                    by_task.update({r.task: r for r in record})
                done += 1
                if progress is not None:
                    progress(submission.name, done, max(total, done))
        for target, by_task in zip(rows, found, strict=True):
            target.extend(by_task[name] for name in sorted(by_task))
        del submission, unit
    return [Scores(r, p.to_dict()) for r, p in zip(rows, protocols, strict=True)]


def _restrict(benchmark: Benchmark, submission: Submission, lenient: bool) -> tuple[Benchmark, dict[str, int]]:
    """Check that a submission has every labelled sample; drop those it lacks, counted by task, if lenient."""
    known = set(submission.ids.tolist())
    tasks, dropped = [], {}
    for task in benchmark.tasks:
        has = np.fromiter((i in known for i in task.ids.tolist()), dtype=bool, count=len(task.ids))
        if has.all():
            tasks.append(task)
            continue
        lacking = task.ids[~has]
        if not lenient or has.sum() < 2:
            raise InputError(
                f"submission {submission.name!r}, task {task.name!r}",
                found=f"no embedding for {len(lacking)} of {len(task.ids)} labelled samples, first {str(lacking[0])!r}",
                expected="an embedding for every labelled sample",
                fix="add the missing rows, or score with --lenient to leave those samples out",
            )
        dropped[task.name] = len(lacking)
        tasks.append(replace(task, ids=task.ids[has], y=task.y[has]))
    if not dropped:
        return benchmark, {}
    return Benchmark(tasks=tuple(tasks), labelled_ids=benchmark.labelled_ids), dropped


@dataclass(frozen=True, eq=False)
class _Unit:
    """One submission on its way through the sample groups."""

    backend: Backend
    submission: Submission
    benchmark: Benchmark
    protocols: list[Protocol]
    route: str | None
    dropped: dict[str, int]

    def run(self, groups: Sequence[SampleGroup]) -> Iterator[list[list[TaskScore]]]:
        """Score group after group: a list of records for every protocol."""
        row_of = {sample: row for row, sample in enumerate(self.submission.ids.tolist())}
        x = self.backend.asarray(self.submission.x)
        variance = self._variance(x, row_of)
        wanted = {part for group in groups for part in group.parts}
        grams: dict[int, GramPart] = {}
        for i, group in enumerate(groups):
            rows = np.array([row_of[sample] for sample in group.ids.tolist()])
            design = self.backend.design(x, rows)
            problem = RidgeProblem(
                self.backend, design, self.backend.asarray(group.y), self._gram_source(x, rows, design, group, grams)
            )
            yield self._records(group, problem, variance)
            if i in wanted and problem.has_gram:
                grams[i] = GramPart(problem.n, design.mean, problem.gram)

    def _variance(self, x: Any, row_of: dict[str, int]) -> float:
        """Square of the scale that standardises: a strength for scaled features, times it, is one for raw features."""
        if not self.protocols[0].standardize:
            return 1.0
        labelled = (row_of.get(sample) for sample in self.benchmark.labelled_ids.tolist())
        rows = np.sort(np.fromiter((row for row in labelled if row is not None), dtype=np.int64))
        _, std = self.backend.moments(x, rows)
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

    def _records(self, group: SampleGroup, problem: RidgeProblem, variance: float) -> list[list[TaskScore]]:
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
        plan = choose_route(shape, route=self.route, memory=_memory())
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
        backend, xp = self.backend, self.backend.xp
        sets = backend.row_sets(group.folds.held_out, problem.n)
        residuals = solution.residuals[backend.asarray(folds), :, backend.asarray(chosen), j]
        stats = fold_statistics(backend, sets, xp.asarray(group.y[:, j]), residuals, task.kind)
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
            fold_stats=stats,
            protocol_name=protocol.name,
            protocol_hash=protocol.hash,
            embedding_hash=self.submission.digest,
            label_hash=task.digest,
            version=__version__,
            device=backend.device,
            dtype="float64",
            route=solution.route,
            iterations=solution.iterations,
            residual=float(np.nanmax(error)) if not np.isnan(error).all() else float("nan"),
            n_refactorised=int(refactorised.sum()),
            notes=(*task.notes, *self._notes(group, task, solution, int(refactorised.sum()))),
            repairs={**self.submission.repairs, **self._dropped(task)},
            n_missing_labels=task.n_missing,
        )

    def _dropped(self, task: Task) -> dict[str, int]:
        return {"samples_without_embedding_dropped": self.dropped[task.name]} if task.name in self.dropped else {}

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


def _memory() -> float:
    """Bytes that a route may use: half of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2
