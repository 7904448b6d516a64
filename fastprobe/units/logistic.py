"""Logistic probes on the tasks of a sample group, one task after another."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.metrics import decision_statistics, fold_scores, probability_metrics
from fastprobe.probes.logistic import CONVERGED, LIMIT, LogisticProblem, Solution, describe, select, solve
from fastprobe.protocol import Protocol
from fastprobe.results import TaskScore
from fastprobe.units.base import Records
from fastprobe.units.work import GroupWork

__all__ = ["score_tasks"]

_log = logging.getLogger(__name__)


def score_tasks(work: GroupWork, tasks: Sequence[int]) -> Records:
    """Score some tasks of a group by logistic probes; see :mod:`fastprobe.units.groups`.

    Parameters
    ----------
    work : GroupWork
    tasks : sequence of int
        Numbers of the tasks in the group, all of them classifications.

    Returns
    -------
    list of list of TaskScore
        For every protocol, the records of these tasks.
    """
    by_task = [_score(work, task) for task in tasks]
    return [list(of_protocol) for of_protocol in zip(*by_task, strict=True)]


def _score(work: GroupWork, number: int) -> list[TaskScore]:
    """Score one task, under all protocols."""
    task, held_out, protocol = work.group.tasks[number], work.group.folds.held_out, work.protocols[0]
    problem = LogisticProblem(work.backend, work.design, work.backend.asarray(task.y), task.n_classes)
    alphas = [strength * work.variance for strength in work.strengths]
    folds = len(held_out)
    if protocol.alpha == "auto":
        chosen, _ = select(problem, work.inner, folds, alphas)
        solution = solve(problem, held_out, alphas, chosen[:, None] == np.arange(len(alphas)))
        return [_record(work, number, problem, solution, chosen, protocol)]
    solution = solve(problem, held_out, alphas)
    return [
        _record(work, number, problem, solution, np.full(folds, a), of_strength)
        for a, of_strength in enumerate(work.protocols)
    ]


def _record(
    work: GroupWork,
    number: int,
    problem: LogisticProblem,
    solution: Solution,
    chosen: NDArray[np.int64],
    protocol: Protocol,
) -> TaskScore:
    """Make the record of a task, with the strength that was chosen for every fold."""
    backend, folds = work.backend, np.arange(len(chosen))
    decisions = solution.decisions[backend.asarray(folds), :, backend.asarray(chosen)]
    stats = decision_statistics(backend, solution.sets, problem.codes, decisions)
    metrics = probability_metrics(backend, solution.sets, problem.codes, decisions, logistic=True)
    status, gradient = solution.status[folds, chosen], solution.gradient[folds, chosen]
    fitted = status == CONVERGED
    columns: dict[str, Any] = {
        f"fold_{name}": tuple(np.where(fitted, values, np.nan).tolist()) for name, values in metrics.items()
    }
    alone = int(solution.alone[folds, chosen].sum())
    for note in (notes := list(_notes(status, alone))):
        _log.warning("%s, %s: %s", work.located.submission.name, work.group.tasks[number].name, note)
    return work.record(
        number,
        protocol,
        route="newton",
        stats=stats,
        scores=fold_scores(stats, "classification"),
        reasons=[describe(int(s)) for s in status],
        alphas=[work.strengths[a] for a in chosen],
        errors=solution.error[folds, chosen],
        iterations=solution.iterations,
        n_refactorised=alone,
        notes=notes,
        fold_gradient_norms=tuple(gradient.tolist()),
        **columns,
    )


def _notes(status: NDArray[np.int8], alone: int) -> Iterator[str]:
    if alone:
        yield f"{alone} folds were not brought to the optimum by float32 directions and went on alone, in float64"
    if missed := int((status == LIMIT).sum()):
        yield f"{missed} folds did not converge and have no score"
    if alone := int(((status != LIMIT) & (status != CONVERGED)).sum()):
        yield f"{alone} folds have training labels of one class and no score"
