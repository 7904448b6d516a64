"""CVMatrix: the training Gram matrix of every fold by subtracting the held-out rows, then a Cholesky solve.

Its ``training_XTX_XTY`` takes any held-out rows, so the overlapping folds of ShuffleSplit are no trouble.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.problem import FoldScores, Problem, score_fold, splits

__all__ = ["fold_scores"]


def fold_scores(problem: Problem, alpha: float, measured: int | None = None) -> FoldScores:
    """Downdate the Gram matrix of every fold in float64.

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
    from cvmatrix import CVMatrix
    from scipy.linalg import cho_factor, cho_solve

    x = problem.features()
    found: dict[str, NDArray[np.float64]] = {}
    for group in problem.groups:
        x_group = x[group.rows]
        grams = CVMatrix(center_X=True, center_Y=True, scale_X=False, scale_Y=False, copy=False)
        grams.fit(X=x_group, Y=group.y)
        scores = []
        for _, test in splits(len(x_group), problem.n_folds, measured):
            (gram, cross), (x_mean, _, y_mean, _) = grams.training_XTX_XTY(test)
            gram[np.diag_indices_from(gram)] += alpha
            weights = cho_solve(cho_factor(gram, overwrite_a=True, check_finite=False), cross, check_finite=False)
            scores.append(score_fold(group, test, (x_group[test] - x_mean) @ weights + y_mean))
        found |= zip(group.names, np.transpose(scores), strict=True)
    return found
