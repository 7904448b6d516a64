"""cuML: ``Ridge`` refitted for every fold and task, in float64."""

from __future__ import annotations

from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from benchmarks.problem import FoldScores, Problem, score_fold, splits

__all__ = ["fold_scores"]


def fold_scores(problem: Problem, alpha: float, measured: int | None = None) -> FoldScores:
    """Refit every fold by an eigendecomposition, one task at a time: cuML's has no other way.

    Parameters
    ----------
    problem : Problem
        Prepared: a time that is scaled up holds no standardising.
    alpha : float
    measured : int or None
        Solve only the first folds.

    Returns
    -------
    FoldScores
        Shape (folds,) per task.
    """
    ridge, cp = import_module("cuml.linear_model").Ridge, import_module("cupy")
    x = cp.asarray(problem.features())
    found: dict[str, NDArray[np.float64]] = {}
    for group in problem.groups:
        features, labels = x[cp.asarray(group.rows)], cp.asarray(group.y)
        scores = []
        for train, test in splits(len(group.rows), problem.n_folds, measured):
            rows, held_out = cp.asarray(train), cp.asarray(test)
            columns = []
            for j in range(labels.shape[1]):
                model = ridge(alpha=alpha, fit_intercept=True, solver="eig", output_type="cupy")
                model.fit(features[rows], labels[rows, j])
                columns.append(model.predict(features[held_out]).get())
            scores.append(score_fold(group, test, np.stack(columns, axis=1)))
        found |= zip(group.names, np.transpose(scores), strict=True)
    return found
