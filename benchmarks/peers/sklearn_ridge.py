"""scikit-learn: ``Ridge`` refitted from scratch for every fold, tasks with the same samples fitted together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.problem import FoldScores, Problem, inner_splits, score_fold, splits

__all__ = ["fold_scores", "nested_fold_scores"]


def fold_scores(problem: Problem, alpha: float, measured: int | None = None) -> FoldScores:
    """Refit every fold in float64.

    Parameters
    ----------
    problem : Problem
    alpha : float
    measured : int or None
        Solve only the first folds.

    Returns
    -------
    FoldScores
        Shape (folds,) per task.
    """
    from sklearn.linear_model import Ridge

    x = problem.features()
    found: dict[str, NDArray[np.float64]] = {}
    for group in problem.groups:
        x_group = x[group.rows]
        scores = []
        for train, test in splits(len(x_group), problem.n_folds, measured):
            model = Ridge(alpha=alpha).fit(x_group[train], group.y[train])
            prediction = model.predict(x_group[test]).reshape(len(test), -1)
            scores.append(score_fold(group, test, prediction))
        found |= zip(group.names, np.transpose(scores), strict=True)
    return found


def nested_fold_scores(problem: Problem, measured: int) -> FoldScores:
    """Choose the strength of every fold and task by refits inside its training rows.

    The least mean squared error over all of :func:`benchmarks.problem.inner_splits` decides.

    Parameters
    ----------
    problem : Problem
    measured : int
        Solve only the first folds.

    Returns
    -------
    FoldScores
        Shape (measured,) per task.
    """
    from sklearn.linear_model import Ridge

    from fastprobe.protocol import ALPHA_GRID

    x = problem.features()
    found: dict[str, NDArray[np.float64]] = {}
    for group in problem.groups:
        x_group = x[group.rows]
        folds = splits(len(x_group), problem.n_folds)
        scores = []
        for k, (train, test) in enumerate(folds[:measured]):
            sse = np.zeros((len(ALPHA_GRID), group.y.shape[1]))
            for inner, validation in inner_splits(folds, k):
                for i, alpha in enumerate(ALPHA_GRID):
                    model = Ridge(alpha=alpha).fit(x_group[inner], group.y[inner])
                    error = model.predict(x_group[validation]).reshape(len(validation), -1) - group.y[validation]
                    sse[i] += np.square(error).sum(axis=0)
            model = Ridge(alpha=np.array(ALPHA_GRID)[sse.argmin(axis=0)]).fit(x_group[train], group.y[train])
            scores.append(score_fold(group, test, model.predict(x_group[test]).reshape(len(test), -1)))
        found |= zip(group.names, np.transpose(scores), strict=True)
    return found
