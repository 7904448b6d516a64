"""torch: every fold refitted by the normal equations in float64, batched over folds."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.problem import FoldScores, Group, Problem, splits

__all__ = ["Refits"]

Tensor = Any


@dataclass(frozen=True, eq=False)
class _Folds:
    """A group on the device."""

    group: Group
    rows: Tensor  # (n,)
    y: Tensor  # (n, t)
    train: Tensor  # (K, n - m)
    test: Tensor  # (K, m)


class Refits:
    """Refits of one problem; folds and labels are on the device before the clock starts, in this peer's favour.

    Parameters
    ----------
    problem : Problem
    alpha : float
    device : str
        ``cuda``, ``cuda:N`` or ``cpu``.
    chunk_bytes : int
        For the training rows of the folds that are solved at once.
    """

    def __init__(self, problem: Problem, alpha: float, device: str, *, chunk_bytes: int) -> None:
        self._torch = torch = import_module("torch")
        self._alpha, self._device, self._chunk_bytes = alpha, device, chunk_bytes
        self._groups = []
        for group in problem.groups:
            folds = splits(len(group.rows), problem.n_folds)
            train, test = (np.stack([fold[side] for fold in folds]) for side in (0, 1))
            arrays = (torch.as_tensor(a, device=device) for a in (group.rows, group.y, train, test))
            self._groups.append(_Folds(group, *arrays))

    def tensor(self, x: Any) -> Tensor:
        """Bring features to the device."""
        return self._torch.as_tensor(x, device=self._device)

    def fold_scores(self, x: Tensor) -> FoldScores:
        """Standardise, refit every fold and score it.

        Parameters
        ----------
        x : tensor of float32, shape (n, d)
            On the device.

        Returns
        -------
        FoldScores
            Shape (folds,) per task; on the host, so that the work is finished.
        """
        x64 = x.double()
        x64 = (x64 - x64.mean()) / x64.std(correction=0)
        found: dict[str, Any] = {}
        for folds in self._groups:
            scores = self._score(x64[folds.rows], folds).cpu().numpy()
            found |= zip(folds.group.names, scores.T, strict=True)
        return found

    def _score(self, x: Tensor, folds: _Folds) -> Tensor:
        count, n_train = folds.train.shape
        size = max(1, self._chunk_bytes // (2 * 8 * n_train * x.shape[1]))
        parts = [
            self._refit(x, folds.y, folds.train[k : k + size], folds.test[k : k + size]) for k in range(0, count, size)
        ]
        prediction, truth = self._torch.cat(parts), folds.y[folds.test]
        rest = ((truth - prediction) ** 2).sum(dim=1)
        total = ((truth - truth.mean(dim=1, keepdim=True)) ** 2).sum(dim=1)
        scores = 1 - rest / total
        for j, is_class in enumerate(folds.group.is_class):
            if is_class:
                real, guess = truth[:, :, j] > 0, prediction[:, :, j] > 0
                hits = 2 * (real & guess).sum(dim=1).double()
                scores[:, j] = self._torch.nan_to_num(hits / (real.sum(dim=1) + guess.sum(dim=1)))
        return scores

    def _refit(self, x: Tensor, y: Tensor, train: Tensor, test: Tensor) -> Tensor:
        """Predictions of the held-out rows, (k, m, t)."""
        torch = self._torch
        features, labels = x[train], y[train]
        x_mean, y_mean = features.mean(dim=1, keepdim=True), labels.mean(dim=1, keepdim=True)
        features -= x_mean
        gram = features.mT @ features
        gram.diagonal(dim1=1, dim2=2).add_(self._alpha)
        weights = torch.cholesky_solve(features.mT @ (labels - y_mean), torch.linalg.cholesky(gram))
        return (x[test] - x_mean) @ weights + y_mean
