"""cuML: ``LogisticRegression`` refitted for every fold, in float64."""

from __future__ import annotations

from importlib import import_module

import numpy as np

from benchmarks.binary import BinaryTask, Hyperplanes
from benchmarks.problem import FoldScores

__all__ = ["fold_scores"]

_TOL, _MOST_ITERATIONS = 1e-10, 100_000


def fold_scores(task: BinaryTask, c: float, measured: int) -> FoldScores:
    """Refit every fold by its quasi-Newton method.

    Parameters
    ----------
    task : BinaryTask
    c : float
        C, the inverse of the strength.
    measured : int
        Solve only the first folds.

    Returns
    -------
    FoldScores
        F1, shape (measured,).
    """
    logistic, cp = import_module("cuml.linear_model").LogisticRegression, import_module("cupy")
    x, truth = cp.asarray(task.x), cp.asarray(task.truth.astype(np.float64))
    weights, intercepts = [], []
    for train, _ in task.folds[:measured]:
        rows = cp.asarray(train)
        model = logistic(C=c, tol=_TOL, max_iter=_MOST_ITERATIONS, output_type="numpy").fit(x[rows], truth[rows])
        weights.append(np.ravel(model.coef_))
        intercepts.append(float(np.ravel(model.intercept_)[0]))
    planes = Hyperplanes(np.stack(weights), np.array(intercepts))
    return {task.name: task.f1_scores(task.decisions(planes))}
