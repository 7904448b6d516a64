"""Choosing the strength of ridge inside the training rows of every fold, exactly.

The strength of fold k and a task is the one with the least mean squared error over the validation rows of that fold
(:mod:`fastprobe.probes.inner`), by the same block leave-out as the folds with larger sets. Labels of classification
tasks are -1/+1 and the same squared error decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Backend
from fastprobe.probes.inner import InnerPlan, last_least
from fastprobe.probes.ridge.problem import RidgeProblem
from fastprobe.probes.ridge.solve import Solution, solve

__all__ = ["Selection", "select"]

Ints = NDArray[np.int64]

_BATCH_BYTES = 2**28  # residuals of inner solves that are held at once


@dataclass(frozen=True, eq=False)
class Selection:
    """What was chosen.

    Attributes
    ----------
    chosen : ndarray of int64, shape (K, t)
        Index of the strength in the grid.
    mse : ndarray, shape (K, A, t)
        Mean squared validation error; infinite where a solve failed.
    error : float
        Largest relative residual of the inner solves.
    """

    chosen: Ints
    mse: NDArray[np.float64]
    error: float


def select(problem: RidgeProblem, plan: InnerPlan, folds: int, alphas: Sequence[float], route: str) -> Selection:
    """Choose a strength for every fold and task.

    Parameters
    ----------
    problem : RidgeProblem
    plan : InnerPlan
    folds : int
        Number of outer folds K.
    alphas : sequence of float, ascending
    route : str
        Route of the inner solves.
    """
    backend = problem.backend
    sse = np.zeros((folds, len(alphas), problem.t))
    count = np.zeros(folds)
    failed = np.zeros((folds, len(alphas)), dtype=bool)
    worst = 0.0
    bytes_per_set = 24 * max(map(len, plan.left_out)) * len(alphas) * problem.t
    per_batch = max(1, _BATCH_BYTES // bytes_per_set)
    for first in range(0, len(plan.left_out), per_batch):
        batch = plan.left_out[first : first + per_batch]
        solution = solve(problem, batch, alphas, route)
        worst = max(worst, float(np.nanmax(solution.error)))
        served = [(fold, p - first, rows) for fold, p, rows in plan.validate if first <= p < first + len(batch)]
        squares = _squares(backend, solution, [(p, np.searchsorted(batch[p], rows)) for _, p, rows in served])
        for (fold, p, rows), square in zip(served, squares, strict=True):
            sse[fold] += square
            count[fold] += len(rows)
            failed[fold] |= solution.failed[p]
    mse = np.where(failed[:, :, None], np.inf, sse / count[:, None, None])
    return Selection(last_least(mse), mse, worst)


def _squares(backend: Backend, solution: Solution, picked: Sequence[tuple[int, Ints]]) -> NDArray[np.float64]:
    """Sums of squares over some slots of a set, for every pair (set, slots): shape (pairs, A, t), in one copy."""
    _, _, alphas, t = solution.residuals.shape
    sizes = np.array([len(slots) for _, slots in picked])
    member = np.arange(sizes.max()) < sizes[:, None]
    padded = np.zeros(member.shape, dtype=np.int64)
    padded[member] = np.concatenate([slots for _, slots in picked])
    xp, set_of = backend.xp, backend.asarray(np.array([[p] for p, _ in picked]))
    slots, mask = backend.asarray(padded), backend.asarray(member)
    out = xp.empty((len(picked), alphas, t))

    def work(chunk: slice) -> None:
        residuals = solution.residuals[set_of[chunk], slots[chunk]]
        residuals = xp.where(mask[chunk][:, :, None, None], residuals, 0.0)
        out[chunk] = (residuals * residuals).sum(axis=1)

    backend.for_chunks(work, len(picked), 24 * member.shape[1] * alphas * t)
    return backend.to_numpy(out)
