"""himalaya on its NumPy backend: ``Ridge`` refitted for every fold, ``RidgeCV`` over many strengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray

from benchmarks.problem import FoldScores, Problem, score_fold, splits

__all__ = ["best_mean_scores", "fold_scores"]


def fold_scores(problem: Problem, alpha: float, dtype: DTypeLike, measured: int | None = None) -> FoldScores:
    """Refit every fold by a singular value decomposition.

    Parameters
    ----------
    problem : Problem
    alpha : float
    dtype : dtype
        himalaya computes in the precision of what it is given: float32 for embeddings as they come.
    measured : int or None
        Solve only the first folds.

    Returns
    -------
    FoldScores
        Shape (folds,) per task.
    """
    from himalaya.backend import set_backend
    from himalaya.ridge import Ridge

    set_backend("numpy")
    x = problem.features().astype(dtype, copy=False)
    found: dict[str, NDArray[np.float64]] = {}
    for group in problem.groups:
        x_group, y = x[group.rows], group.y.astype(dtype)
        scores = []
        for train, test in splits(len(x_group), problem.n_folds, measured):
            model = Ridge(alpha=alpha, fit_intercept=True, solver_params={"warn": False}).fit(x_group[train], y[train])
            scores.append(score_fold(group, test, model.predict(x_group[test])))
        found |= zip(group.names, np.transpose(scores), strict=True)
    return found


def best_mean_scores(problem: Problem, alphas: Sequence[float], measured: int | None = None) -> FoldScores:
    """Cross-validate many strengths with ``RidgeCV`` in float64.

    Parameters
    ----------
    problem : Problem
        Regression tasks only: RidgeCV scores by R2.
    alphas : sequence of float
    measured : int or None
        Use only the first folds.

    Returns
    -------
    FoldScores
        Shape (1,) per task: the mean R2 over the folds at the strength where it is best, all that RidgeCV tells.
    """
    from himalaya.backend import set_backend
    from himalaya.ridge import RidgeCV
    from himalaya.scoring import r2_score

    set_backend("numpy")
    x = problem.features()
    found: dict[str, NDArray[np.float64]] = {}
    for group in problem.groups:
        folds = splits(len(group.rows), problem.n_folds, measured)
        params = {"score_func": r2_score, "warn": False}
        model = RidgeCV(alphas=np.asarray(alphas), fit_intercept=True, cv=folds, solver_params=params)
        model.fit(x[group.rows], group.y)
        found |= {name: np.array([score]) for name, score in zip(group.names, model.cv_scores_, strict=True)}
    return found
