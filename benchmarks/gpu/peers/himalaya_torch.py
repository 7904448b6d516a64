"""himalaya on its torch backends: ``Ridge`` refitted for every fold, in float64."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.problem import FoldScores, Problem, score_fold, splits

__all__ = ["fold_scores"]


def fold_scores(problem: Problem, alpha: float, device: str, measured: int | None = None) -> FoldScores:
    """Refit every fold by a singular value decomposition.

    Parameters
    ----------
    problem : Problem
        Prepared: a time that is scaled up holds no standardising.
    alpha : float
    device : str
        ``cpu`` for the backend ``torch``; otherwise ``torch_cuda``.
    measured : int or None
        Solve only the first folds.

    Returns
    -------
    FoldScores
        Shape (folds,) per task.
    """
    torch = import_module("torch")
    set_backend, ridge = import_module("himalaya.backend").set_backend, import_module("himalaya.ridge").Ridge
    set_backend("torch" if device == "cpu" else "torch_cuda")
    x = torch.as_tensor(problem.features(), device=device)
    found: dict[str, NDArray[np.float64]] = {}
    for group in problem.groups:
        features, labels = (torch.as_tensor(a, device=device) for a in (x[group.rows], group.y))
        scores = []
        for train, test in splits(len(labels), problem.n_folds, measured):
            model: Any = ridge(alpha=alpha, fit_intercept=True, solver_params={"warn": False})
            model.fit(features[train], labels[train])
            scores.append(score_fold(group, test, model.predict(features[test]).cpu().numpy()))
        found |= zip(group.names, np.transpose(scores), strict=True)
    return found
