"""Ridge on the tasks of a sample group, all of them in one solve."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastprobe.metrics import fold_scores, fold_statistics
from fastprobe.planner import Shape, choose_route
from fastprobe.probes.inner import last_least
from fastprobe.probes.ridge import RidgeProblem, Solution, solve
from fastprobe.probes.ridge.select import select
from fastprobe.protocol import Protocol
from fastprobe.results import TaskScore
from fastprobe.units.base import Records
from fastprobe.units.work import GroupWork

__all__ = ["score_tasks"]

_log = logging.getLogger(__name__)


def score_tasks(work: GroupWork, tasks: Sequence[int]) -> Records:
    """Score some tasks of a group by ridge; see :mod:`fastprobe.units.groups`.

    Parameters
    ----------
    work : GroupWork
    tasks : sequence of int
        Numbers of the tasks in the group.

    Returns
    -------
    list of list of TaskScore
        For every protocol, the records of these tasks.
    """
    protocol, grid, held_out = work.protocols[0], work.strengths, work.group.folds.held_out
    labels, columns = work.group.labels(tasks)
    problem = RidgeProblem(work.backend, work.design, work.backend.asarray(labels), work.gram_source)
    alphas = [strength * work.variance for strength in grid]
    if protocol.alpha == "auto":
        inner = work.inner
        mse = select(problem, inner, len(held_out), alphas, _route(work, problem, inner.left_out)).mse
        solution = solve(problem, held_out, alphas, _route(work, problem, held_out))
        # The classes of a task have one strength: the least squared error of all its columns together.
        chosen = [last_least(mse[:, :, of_task].sum(axis=2)) for of_task in columns]
        each = zip(tasks, columns, chosen, strict=True)
        return [[_record(work, *of, problem, solution, protocol) for of in each]]
    solution = solve(problem, held_out, alphas, _route(work, problem, held_out))
    return [
        [_record(work, *of, np.full(len(held_out), a), problem, solution, p) for of in zip(tasks, columns, strict=True)]
        for a, p in enumerate(work.protocols)
    ]


def _route(work: GroupWork, problem: RidgeProblem, left_out: Sequence[NDArray[np.int64]]) -> str:
    shape = Shape(problem.n, problem.d, problem.t, len(left_out), max(map(len, left_out)), len(work.strengths))
    plan = choose_route(shape, route=work.route, memory=work.memory, rates=work.backend.rates)
    _log.debug("%s: route %s of %s", shape, plan.route, plan.seconds)
    return plan.route


def _record(
    work: GroupWork,
    task: int,
    columns: slice,
    chosen: NDArray[np.int64],
    problem: RidgeProblem,
    solution: Solution,
    protocol: Protocol,
) -> TaskScore:
    """Make the record of a task, some columns of the problem, with the strength that was chosen for every fold."""
    backend, kind, folds = work.backend, work.group.tasks[task].kind, np.arange(len(chosen))
    if (chosen == chosen[0]).all():
        residuals = solution.residuals[:, :, int(chosen[0]), columns]
    else:
        residuals = solution.residuals[backend.asarray(folds), :, backend.asarray(chosen), columns]
    stats = fold_statistics(backend, solution.sets, problem.labels[:, columns], residuals, kind)
    error, failed = solution.error[folds, chosen], solution.failed[folds, chosen]
    refactorised = int(solution.refactorised[folds, chosen].sum())
    notes = []
    if refactorised:
        notes = [f"{refactorised} folds missed the tolerance by {solution.route} and were solved by {solution.refuge}"]
        _log.warning("%s, %s: %s", work.located.submission.name, work.group.tasks[task].name, notes[0])
    return work.record(
        task,
        protocol,
        route=solution.route,
        stats=stats,
        scores=fold_scores(stats, kind),
        reasons=[
            f"no route solved it: relative residual {e:.1e}" if bad else None
            for e, bad in zip(error, failed, strict=True)
        ],
        alphas=[work.strengths[a] for a in chosen],
        errors=error,
        dtype="float32+float64" if solution.route == "mixed" else "float64",
        iterations=solution.iterations,
        n_refactorised=refactorised,
        notes=notes,
    )
