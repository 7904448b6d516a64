"""torch: logistic regression by Newton's method, batched over folds, one strength after another, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.binary import BinaryTask
from benchmarks.problem import FoldScores

__all__ = ["fold_scores"]

Tensor = Any

_STEPS, _HALVINGS = 60, 30
_SMALL = 1e-7  # norm of the gradient


def fold_scores(task: BinaryTask, alphas: Sequence[float], device: str, *, chunk_bytes: int) -> FoldScores:
    """Refit every fold at every strength; a strength starts where the one before it ended.

    Parameters
    ----------
    task : BinaryTask
    alphas : sequence of float, length A
        From the largest, for the sake of the starts; answers are in the order given.
    device : str
    chunk_bytes : int
        For the weighted features of the folds that are solved at once.

    Returns
    -------
    FoldScores
        F1, shape (A, folds).
    """
    torch = import_module("torch")
    ones = np.ones((len(task.x), 1))
    x = torch.as_tensor(np.hstack([task.x, ones]), device=device)
    truth = torch.as_tensor(task.truth.astype(np.float64), device=device)
    size = max(1, chunk_bytes // (2 * 8 * x.shape[0] * x.shape[1]))
    scores = np.empty((len(alphas), len(task.folds)))
    for first in range(0, len(task.folds), size):
        folds = task.folds[first : first + size]
        training = torch.zeros((len(folds), len(x)), dtype=torch.float64, device=device)
        for k, (train, _) in enumerate(folds):
            training[k, torch.as_tensor(train, device=device)] = 1.0
        weights = torch.zeros((len(folds), x.shape[1]), dtype=torch.float64, device=device)
        for a in np.argsort(alphas)[::-1]:
            weights = _newton(torch, x, truth, training, float(alphas[a]), weights)
            held_out = torch.as_tensor(np.stack([test for _, test in folds]), device=device)
            scores[a, first : first + size] = _f1((x @ weights.T).T.gather(1, held_out) > 0, truth[held_out] > 0)
    return {task.name: scores}


def _newton(torch: Any, x: Tensor, truth: Tensor, training: Tensor, alpha: float, weights: Tensor) -> Tensor:
    """Minimise the objectives of all folds, of which the last weight, the intercept, is no part of the penalty."""
    penalty = torch.full((x.shape[1],), alpha, dtype=torch.float64, device=x.device)
    penalty[-1] = 0.0

    def objective(w: Tensor) -> Tensor:
        z = w @ x.T
        loss = torch.nn.functional.softplus(z) - truth * z
        return (training * loss).sum(dim=1) + 0.5 * (penalty * w * w).sum(dim=1)

    value = objective(weights)
    for _ in range(_STEPS):
        p = torch.sigmoid(weights @ x.T)
        gradient = (training * (p - truth)) @ x + penalty * weights
        if float(gradient.norm(dim=1).max()) <= _SMALL:
            break
        scaled = x * (training * p * (1.0 - p))[:, :, None]
        hessian = x.T @ scaled
        hessian.diagonal(dim1=1, dim2=2).add_(penalty)
        step = torch.cholesky_solve(gradient[:, :, None], torch.linalg.cholesky(hessian))[:, :, 0]
        length = torch.ones_like(value)
        for _ in range(_HALVINGS):
            new = objective(weights - length[:, None] * step)
            worse = new > value + 1e-12 * value.abs()
            if not bool(worse.any()):
                break
            length = torch.where(worse, 0.5 * length, length)
        weights, value = weights - length[:, None] * step, new
    return weights


def _f1(guess: Tensor, real: Tensor) -> Any:
    found = 2.0 * (guess & real).sum(dim=1).double() / (guess.sum(dim=1) + real.sum(dim=1)).clamp(min=1)
    return found.cpu().numpy()
