"""Choosing the strength of a logistic probe inside the training rows of every fold.

The rule is that of :mod:`fastprobe.probes.inner`, with the mean log loss of the validation rows for a loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastprobe.metrics import log_losses
from fastprobe.probes.inner import InnerPlan, last_least
from fastprobe.probes.logistic.problem import CONVERGED, SINGLE_CLASS, LogisticProblem
from fastprobe.probes.logistic.solve import solve

__all__ = ["select"]

_BATCH_BYTES = 2**28  # decision values of inner fits that are held at once


def select(
    problem: LogisticProblem,
    plan: InnerPlan,
    folds: int,
    alphas: Sequence[float],
    training: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Choose a strength for every fold.

    Parameters
    ----------
    problem : LogisticProblem
    plan : InnerPlan
    folds : int
        Number of outer folds K.
    alphas : sequence of float, ascending, length A
    training : ndarray of bool, shape (n, P), optional
        Rows that train for each set of the plan; by default all that it does not leave out.

    Returns
    -------
    chosen : ndarray of int64, shape (K,)
        Index of the strength.
    loss : ndarray, shape (K, A)
        Mean log loss of the validation rows; infinite where a fit did not converge. Rows of a class that did not train
        the probe tell nothing of a strength and do not count, nor do any for a probe of one class.
    """
    backend = problem.backend
    total, count = np.zeros((folds, len(alphas))), np.zeros(folds)
    bytes_per_set = 16 * max(map(len, plan.left_out)) * len(alphas) * (problem.outputs + 1)
    per_batch = max(1, _BATCH_BYTES // bytes_per_set)
    for first in range(0, len(plan.left_out), per_batch):
        batch = plan.left_out[first : first + per_batch]
        rows_of = None if training is None else training[:, first : first + per_batch]
        solution = solve(problem, batch, alphas, training=rows_of)
        codes = problem.codes[solution.sets.rows]
        losses = backend.to_numpy(log_losses(backend.xp, solution.decisions, codes))
        for fold, p, rows in plan.validate:
            if first <= p < first + len(batch) and solution.status[p - first, 0] != SINGLE_CLASS:
                of_rows = losses[p - first, np.searchsorted(batch[p - first], rows)]
                known = of_rows[np.isfinite(of_rows[:, 0])]
                total[fold] += np.where(solution.status[p - first] == CONVERGED, known.sum(axis=0), np.inf)
                count[fold] += len(known)
    loss = total / np.maximum(count, 1.0)[:, None]
    return last_least(loss), loss
