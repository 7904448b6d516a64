"""scikit-learn: ``LogisticRegression`` refitted from scratch for every fold."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.binary import BinaryTask, Hyperplanes
from benchmarks.problem import FoldScores, inner_splits

__all__ = ["SOLVERS", "exact", "nested_fold_scores", "refit", "tightened"]

SOLVERS = ("lbfgs", "newton-cholesky")
"""Solvers that are measured: the default, and the fastest for so many samples and features."""

_TOLERANCES = (1e-4, 1e-6, 1e-8, 1e-10, 1e-12)
_MOST_ITERATIONS = 100_000
_NEAR = 2.0  # times the least norm, which a tighter tolerance is not worth its time for


def refit(task: BinaryTask, c: float, solver: str, tol: float, measured: int) -> Hyperplanes:
    """Fit the training rows of every fold in float64.

    Parameters
    ----------
    task : BinaryTask
    c : float
        C, the inverse of the strength.
    solver : str
    tol : float
    measured : int
        Fit only the first folds.
    """
    models = [_fitted(task, train, c, solver, tol) for train, _ in task.folds[:measured]]
    return Hyperplanes(np.concatenate([m.coef_ for m in models]), np.concatenate([m.intercept_ for m in models]))


def tightened(task: BinaryTask, c: float, solver: str, goals: NDArray[np.float64]) -> float:
    """Find the loosest ``tol`` at which the gradients of the first folds are small enough.

    Parameters
    ----------
    task : BinaryTask
    c : float
    solver : str
    goals : ndarray, shape (F,)
        Norms of the gradient that are to be reached.

    Returns
    -------
    float
        Where the goals are out of reach of all, because rounding ends the line search before: the loosest tol whose
        largest norm is at most twice the least.
    """
    largest: dict[float, float] = {}
    for tol in _TOLERANCES:
        norms = task.gradient_norms(refit(task, c, solver, tol, len(goals)), 1 / c)
        if (norms <= goals).all():
            return tol
        largest[tol] = float(norms.max())
    near = _NEAR * min(largest.values())
    return next(tol for tol, norm in largest.items() if norm <= near)


def exact(task: BinaryTask, c: float, measured: int) -> Hyperplanes:
    """Fit as exactly as scikit-learn can, whatever that takes; parameters as of :func:`refit`."""
    return refit(task, c, SOLVERS[-1], _TOLERANCES[-1], measured)


def nested_fold_scores(task: BinaryTask, measured: int, tol: float = 1e-8) -> FoldScores:
    """Choose the strength of every fold by refits inside its training rows, the faster of the solvers.

    The least mean log loss over all of :func:`benchmarks.problem.inner_splits` decides, of equal ones the largest
    strength.

    Parameters
    ----------
    task : BinaryTask
    measured : int
        Solve only the first folds.
    tol : float

    Returns
    -------
    FoldScores
        F1, shape (measured,).
    """
    from fastprobe.protocol import ALPHA_GRID

    solver, found = SOLVERS[-1], []
    for k, (train, _) in enumerate(task.folds[:measured]):
        loss = np.zeros(len(ALPHA_GRID))
        for inner, validation in inner_splits(task.folds, k):
            sign = np.where(task.truth[validation], 1.0, -1.0)
            for i, alpha in enumerate(ALPHA_GRID):
                model = _fitted(task, inner, 1 / alpha, solver, tol)
                loss[i] += np.logaddexp(0.0, -sign * model.decision_function(task.x[validation])).sum()
        best = len(loss) - 1 - np.argmin(loss[::-1])
        model = _fitted(task, train, 1 / ALPHA_GRID[best], solver, tol)
        found.append(Hyperplanes(model.coef_, model.intercept_))
    planes = Hyperplanes(np.concatenate([f.weights for f in found]), np.concatenate([f.intercepts for f in found]))
    return {task.name: task.f1_scores(task.decisions(planes))}


def _fitted(task: BinaryTask, rows: NDArray[np.intp], c: float, solver: str, tol: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the tolerance is out of reach is seen in the norm of the gradient
        model = LogisticRegression(C=c, solver=solver, tol=tol, max_iter=_MOST_ITERATIONS)
        return model.fit(task.x[rows], task.truth[rows])
