"""Kernel ridge on the tasks of a sample group, all of them in one search for kernels and strengths."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend import RowSets
from fastprobe.kernel_spec import KernelSpec
from fastprobe.metrics import fold_scores, fold_statistics, probability_metrics
from fastprobe.planner import Shape, choose_route
from fastprobe.probes.inner import InnerPlan
from fastprobe.probes.kernel import Best, Frame, Search, candidates, drawn_rows, require_memory
from fastprobe.probes.kernel.search import Trial
from fastprobe.probes.ridge.solve import TOLERANCE
from fastprobe.protocol import Protocol
from fastprobe.results import TaskScore
from fastprobe.units.base import Records
from fastprobe.units.work import GroupWork

__all__ = ["score_tasks"]

_log = logging.getLogger(__name__)


def score_tasks(work: GroupWork, tasks: Sequence[int]) -> Records:
    """Score some tasks of a group by kernel ridge; see :mod:`fastprobe.units.groups`.

    Parameters
    ----------
    work : GroupWork
    tasks : sequence of int
        Numbers of the tasks in the group.

    Returns
    -------
    list of list of TaskScore
        For every protocol, the records of these tasks.

    Raises
    ------
    InputError
        If the kernel matrix, or the Nyström features, would not fit into the memory.
    """
    spec = work.protocols[0].kernel
    assert spec is not None  # the protocol sees to it
    n, d = len(work.rows), work.x.shape[1]
    names = ", ".join(repr(work.group.tasks[task].name) for task in tasks)
    where = f"submission {work.located.submission.name!r}, {'tasks' if len(tasks) > 1 else 'task'} {names}"
    require_memory(where, n=n, d=d, landmarks=spec.landmarks, available=work.memory)
    y, columns = work.group.labels(tasks)
    points = Frame.of(spec.kernel, work.design, mean=work.mean, variance=work.variance).points(
        work.backend, work.design
    )
    kernels = candidates(spec, work.backend, points)
    search = Search(work.backend, points, work.backend.asarray(y), kernels, work.strengths)
    sets = work.backend.row_sets(work.group.folds.held_out, n)
    auto = work.protocols[0].alpha == "auto"
    inner = work.inner if len(kernels) > 1 or (auto and len(work.strengths) > 1) else None
    if spec.landmarks is None:
        made_by, trials = _MadeBy("dual"), search.exact(sets, inner)
    else:
        made_by, trials = _by_landmarks(work, spec, search, inner)
    best = [Best(work.backend, len(sets), columns) for _ in work.protocols]
    for trial in trials:
        best[0 if auto else trial.alpha].offer(trial)
    return [
        [_record(work, task, p, search, sets, of_protocol, j, columns[j], made_by) for j, task in enumerate(tasks)]
        for p, of_protocol in zip(work.protocols, best, strict=True)
    ]


@dataclass(frozen=True)
class _MadeBy:
    """How all tasks were solved, for the records."""

    route: str
    dtype: str = "float64"
    notes: tuple[str, ...] = ()


def _by_landmarks(
    work: GroupWork, spec: KernelSpec, search: Search, inner: InnerPlan | None
) -> tuple[_MadeBy, Iterator[Trial]]:
    assert spec.landmarks is not None
    n, held_out = len(search.points), work.group.folds.held_out
    landmarks = drawn_rows(n, spec.landmarks, spec.seed)

    def route(left_out: Sequence[NDArray[np.int64]]) -> str:
        columns, widest = search.y.shape[1], max(map(len, left_out))
        shape = Shape(n, len(landmarks), columns, len(left_out), widest, len(search.alphas))
        return choose_route(shape, memory=work.memory, rates=work.backend.rates).route

    chosen, inner_route = route(held_out), "" if inner is None else route(inner.left_out)
    dtype = "float32+float64" if chosen == "mixed" else "float64"
    made_by = _MadeBy(f"nystroem+{chosen}", dtype, (f"Nyström features of {len(landmarks)} landmarks",))
    return made_by, search.nystroem(landmarks, held_out, chosen, inner, inner_route)


def _record(
    work: GroupWork,
    task: int,
    protocol: Protocol,
    search: Search,
    sets: RowSets,
    best: Best,
    j: int,
    columns: slice,
    made_by: _MadeBy,
) -> TaskScore:
    """Make the record of a task, number j of those that were solved together."""
    backend, of_task = work.backend, work.group.tasks[task]
    residuals, y = best.residuals[:, :, columns], search.y[:, columns]
    of_labels: dict[str, Any] = {}
    if of_task.kind == "classification":
        decisions = y[sets.rows] - residuals
        codes = backend.asarray(of_task.y)
        found = probability_metrics(backend, sets, codes, decisions, logistic=False)
        of_labels = {f"fold_{name}": tuple(values.tolist()) for name, values in found.items()}
    single = columns.stop - columns.start == 1
    stats = fold_statistics(
        backend, sets, y[:, 0] if single else y, residuals[:, :, 0] if single else residuals, of_task.kind
    )
    refactorised = int(best.refactorised[:, j].sum())
    notes = list(made_by.notes)
    if refactorised:
        notes.append(f"{refactorised} folds missed the tolerance and were solved by another route")
        _log.warning("%s, %s: %s", work.located.submission.name, of_task.name, notes[-1])
    return work.record(
        task,
        protocol,
        route=made_by.route,
        stats=stats,
        scores=fold_scores(stats, of_task.kind),
        reasons=[_reason(error) for error in best.error[:, j]],
        alphas=[search.alphas[a] for a in best.alpha[:, j]],
        errors=best.error[:, j],
        dtype=made_by.dtype,
        iterations=best.iterations,
        n_refactorised=refactorised,
        notes=notes,
        fold_kernels=tuple(str(search.kernels[k]) for k in best.kernel[:, j]),
        **of_labels,
    )


def _reason(error: float) -> str | None:
    """Why a fold failed, with the remedy; None if it did not."""
    if error <= TOLERANCE:
        return None
    missed = "no Cholesky factor" if np.isnan(error) else f"relative residual {error:.1e}, above {TOLERANCE:.0e}"
    return f"the equations of the kernel were not solved ({missed}): raise alpha, or lower gamma, degree or coef0"
