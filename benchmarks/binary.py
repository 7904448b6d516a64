"""A task of two classes as logistic regression sees it: the objective, and what hyperplanes say of held-out samples.

The objective is scikit-learn's, the sum of log losses plus ``alpha / 2`` times the sum of squared weights, with
``alpha = 1 / C`` and an unpenalised intercept. It is computed here for every contestant alike, and shares no code with
any of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.problem import Problem, Split, splits

__all__ = ["BinaryTask", "Hyperplanes", "flips", "make_binary", "relative_difference"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Hyperplanes:
    """What was fitted to the training rows of the first F folds.

    Attributes
    ----------
    weights : ndarray, shape (F, d)
    intercepts : ndarray, shape (F,)
    """

    weights: Floats
    intercepts: Floats

    def __len__(self) -> int:
        return len(self.weights)

    def first(self, count: int) -> Hyperplanes:
        """Return those of the first folds."""
        return Hyperplanes(self.weights[:count], self.intercepts[:count])


@dataclass(frozen=True, eq=False)
class BinaryTask:
    """A task of two classes.

    Attributes
    ----------
    name : str
    x : ndarray of float64, shape (n, d)
        Standardised features of its samples.
    truth : ndarray of bool, shape (n,)
        Whether a sample is of the second class.
    folds : list of (train, test)
        All folds of the protocol.
    """

    name: str
    x: Floats
    truth: NDArray[np.bool_]
    folds: list[Split]

    def gradient_norms(self, found: Hyperplanes, alpha: float) -> Floats:
        """Euclidean norms of the gradient by weights and intercept on the training rows of each fold, shape (F,)."""
        norms = []
        for (train, _), weights, intercept in zip(self.folds, found.weights, found.intercepts, strict=False):
            x = self.x[train]
            residual = _sigmoid(x @ weights + intercept) - self.truth[train]
            norms.append(np.linalg.norm([*(x.T @ residual + alpha * weights), residual.sum()]))
        return np.array(norms)

    def decisions(self, found: Hyperplanes) -> Floats:
        """Decision values of the held-out samples of each fold, shape (F, m)."""
        folds = zip(self.folds, found.weights, found.intercepts, strict=False)
        return np.stack([self.x[test] @ weights + intercept for (_, test), weights, intercept in folds])

    def f1_scores(self, decisions: Floats) -> Floats:
        """F1 of the second class of the first folds, shape (F,)."""
        from sklearn.metrics import f1_score

        folds = zip(self.folds, decisions, strict=False)
        return np.array([f1_score(self.truth[test], values > 0, zero_division=0.0) for (_, test), values in folds])


def make_binary(problem: Problem, name: str) -> BinaryTask:
    """Take a classification task out of a problem.

    Parameters
    ----------
    problem : Problem
        Prepared.
    name : str
    """
    group = next(group for group in problem.groups if name in group.names)
    truth = group.y[:, group.names.index(name)] > 0
    return BinaryTask(name, problem.features()[group.rows], truth, splits(len(group.rows), problem.n_folds))


def relative_difference(decisions: Floats, reference: Floats) -> float:
    """Largest difference of decision values, relative to the largest value of the fold (at least 1)."""
    unit = np.maximum(1.0, np.abs(reference).max(axis=1))
    return float((np.abs(decisions - reference).max(axis=1) / unit).max())


def flips(decisions: Floats, reference: Floats) -> int:
    """Count the held-out samples that are decided otherwise, over all folds."""
    return int(((decisions > 0) != (reference > 0)).sum())


def _sigmoid(z: Floats) -> Floats:
    from scipy.special import expit

    found: Floats = expit(z)
    return found
