"""torch: kernel ridge with an intercept, refitted for every fold and strength, batched over folds, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.peers.kernel_refits import median_gamma
from benchmarks.problem import FoldScores, Problem, score_fold, splits

__all__ = ["fold_scores"]


def fold_scores(problem: Problem, alphas: Sequence[float], device: str, *, chunk_bytes: int) -> FoldScores:
    """Solve ``(K + alpha I) a + b = y, 1'a = 0`` by a Cholesky factorisation of every fold at every strength.

    Parameters
    ----------
    problem : Problem
        Prepared. The kernel is ``exp(-gamma |x - z|^2)``, gamma by the median distance.
    alphas : sequence of float, length A
    device : str
    chunk_bytes : int
        For the matrices of the folds that are solved at once.

    Returns
    -------
    FoldScores
        R2, shape (A, folds) per task.
    """
    torch = import_module("torch")
    found: dict[str, Any] = {}
    for group in problem.groups:
        rows = problem.features()[group.rows]
        kernel, y = _kernel(torch, rows, device), torch.as_tensor(group.y, device=device)
        folds = splits(len(rows), problem.n_folds)
        size = max(1, chunk_bytes // (3 * 8 * len(folds[0][0]) ** 2))
        scores = np.empty((len(group.names), len(alphas), len(folds)))
        for first in range(0, len(folds), size):
            chunk = folds[first : first + size]
            train, test = (torch.as_tensor(np.stack([f[side] for f in chunk]), device=device) for side in (0, 1))
            among, across = kernel[train[:, :, None], train[:, None]], kernel[test[:, :, None], train[:, None]]
            right = torch.cat([torch.ones_like(y[train][:, :, :1]), y[train]], dim=2)
            for a, alpha in enumerate(alphas):
                shifted = among.clone()
                shifted.diagonal(dim1=1, dim2=2).add_(alpha)
                solved = torch.cholesky_solve(right, torch.linalg.cholesky(shifted))
                ones, dual = solved[:, :, :1], solved[:, :, 1:]
                intercept = dual.sum(dim=1, keepdim=True) / ones.sum(dim=1, keepdim=True)
                held = (across @ (dual - ones * intercept) + intercept).cpu().numpy()
                for k, (_, rows_out) in enumerate(chunk):
                    scores[:, a, first + k] = score_fold(group, rows_out, held[k])
        found |= zip(group.names, scores, strict=True)
    return found


def _kernel(torch: Any, rows: Any, device: str) -> Any:
    x, gamma = torch.as_tensor(rows, device=device), median_gamma(rows)
    squares = (x * x).sum(dim=1)
    distances = (squares[:, None] + squares - 2.0 * (x @ x.T)).clamp_(min=0.0)
    return torch.exp(-gamma * distances)
