"""Choosing the strength inside the training rows of every fold, exactly.

The strength of fold k and a task is the one with the least mean squared error over validation rows taken from the
training rows of fold k, predicted by models that saw neither those rows nor the held-out rows of fold k; of equal ones
the largest. The validation blocks of fold k are the held-out rows of its neighbours among the folds, k-1, k+1, k-2,
k+2, ... in ring order, less its own held-out rows. So the blocks obey whatever the folds obey (groups, strata), and
leaving out the rows of two folds together serves both of them: ``inner_folds / 2`` solves per fold, by the same block
leave-out with a larger set. Where two folds together would leave less than half of the rows to train on (few or large
folds, a fixed split) each fold's training rows are cut into `inner_folds` blocks of their own instead.

Labels of classification tasks are -1/+1 and the same squared error decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from fastprobe.backend.base import Backend
from fastprobe.probes.ridge.problem import RidgeProblem
from fastprobe.probes.ridge.solve import Solution, solve

__all__ = ["InnerPlan", "Selection", "plan_inner", "select"]

Ints = NDArray[np.int64]

_BATCH_BYTES = 2**28  # residuals of inner solves that are held at once


@dataclass(frozen=True, eq=False)
class InnerPlan:
    """Inner validation of all folds.

    Attributes
    ----------
    left_out : list of ndarray of int64, length P
        Rows that neither train nor choose: the held-out rows of a fold and one of its validation blocks.
    validate : list of (fold, set, rows)
        Rows (ascending, a subset of ``left_out[set]``) whose residuals validate the fold.
    """

    left_out: list[Ints]
    validate: list[tuple[int, int, Ints]]


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


def plan_inner(held_out: Sequence[Ints], n: int, inner_folds: int, seed: int, groups: Ints | None = None) -> InnerPlan:
    """Plan the inner validation of every fold.

    Parameters
    ----------
    held_out : sequence of ndarray of int64, length K
    n : int
        Samples.
    inner_folds : int
        Validation blocks per fold; fewer if there are not as many other folds.
    seed : int
        Of the blocks that are cut from training rows, where neighbours cannot serve.
    groups : ndarray of int64, shape (n,), optional
        Codes of samples that must not be separated by blocks cut from training rows.
    """
    pairs = _ring(len(held_out), inner_folds)
    unions = [np.union1d(held_out[i], held_out[j]) for i, j in pairs]
    validate = [
        (fold, p, np.setdiff1d(held_out[other], held_out[fold]))
        for p, pair in enumerate(pairs)
        for fold, other in (pair, pair[::-1])
    ]
    validated = {fold for fold, _, rows in validate if len(rows)}
    if len(validated) == len(held_out) and max(map(len, unions)) <= n / 2:
        return InnerPlan(unions, validate)
    left_out: list[Ints] = []
    validate = []
    for fold, held in enumerate(held_out):
        train = np.setdiff1d(np.arange(n), held)
        for block in _blocks(train, inner_folds, seed, groups):
            validate.append((fold, len(left_out), block))
            left_out.append(np.union1d(held, block))
    return InnerPlan(left_out, validate)


def _ring(folds: int, inner_folds: int) -> list[tuple[int, int]]:
    """Pairs of neighbouring folds at distances 1 to ``inner_folds / 2``, each once."""
    reach = min(-(-inner_folds // 2), folds // 2)
    neighbours = ((k, (k + step) % folds) for step in range(1, reach + 1) for k in range(folds))
    return sorted({(min(pair), max(pair)) for pair in neighbours})


def _blocks(train: Ints, count: int, seed: int, groups: Ints | None) -> list[Ints]:
    units, member = np.unique(train if groups is None else groups[train], return_inverse=True)
    count = min(count, len(units))
    shuffled = RandomState(seed).permutation(len(units))
    return [np.sort(train[np.isin(member, part)]) for part in np.array_split(shuffled, count)]


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
    last = len(alphas) - 1
    chosen = last - np.argmin(mse[:, ::-1], axis=1)  # the last of equals is the largest strength
    return Selection(chosen, mse, worst)


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
