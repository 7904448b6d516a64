"""A logistic problem: features of a sample group, the classes of one task, and what a fit of it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Array, Backend, Design

__all__ = ["CONVERGED", "LIMIT", "SINGLE_CLASS", "LogisticProblem", "Point", "describe"]

CONVERGED, LIMIT, SINGLE_CLASS = 0, 1, 2
"""How the fit of a column ended."""

_MESSAGES = {
    LIMIT: "Newton's method did not converge: take a larger alpha",
    SINGLE_CLASS: "training labels are of one class: take larger or stratified folds",
}


def describe(status: int) -> str | None:
    """Say what is wrong with a fit, and what to do; None if it converged."""
    return _MESSAGES.get(status)


@dataclass(frozen=True, eq=False)
class Point:
    """The losses of all columns at some linear predictors, and their derivatives.

    Attributes
    ----------
    residual : array, shape (n, A, M, F)
        Derivative of the loss of a row by its linear predictors; 0 for rows that do not train the column.
    curvature : array, shape (n, A, M, F)
        Second derivative by the predictor of a class itself; 0 for rows that do not train.
    shares : array, shape (n, A, M, F), or None
        Probabilities of the classes, where they depend on each other (more than two); 0 for rows that do not train.
    loss : array, shape (A, F)
    """

    residual: Array
    curvature: Array
    shares: Array | None
    loss: Array


class LogisticProblem:
    """Classes of the samples of one task, to be predicted from centred features.

    The objective is scikit-learn's: the sum of log losses and ``alpha / 2`` times the sum of squared weights, where
    alpha is 1 / C; intercepts are not penalised. Two classes have one output, the log odds of the second; more have one
    output for each class, of which softmax makes probabilities.

    Parameters
    ----------
    backend : Backend
    design : Design
        Raw features, shape (n, d). Strengths refer to these.
    codes : array of float64, shape (n,)
        Class numbers 0 to `n_classes` - 1.
    n_classes : int
        At least 2.
    """

    def __init__(self, backend: Backend, design: Design, codes: Array, n_classes: int) -> None:
        self.backend, self.design, self.codes, self.n_classes = backend, design, codes, n_classes
        self._labels = codes[:, None]
        self._numbers = codes.astype(backend.xp.int64)

    @property
    def n(self) -> int:
        """Samples."""
        return self.design.shape[0]

    @property
    def d(self) -> int:
        """Features."""
        return self.design.shape[1]

    @property
    def outputs(self) -> int:
        """Decision values of a sample: 1 for two classes."""
        return 1 if self.n_classes == 2 else self.n_classes

    def only(self, classes: NDArray[np.int64]) -> LogisticProblem:
        """Give the problem of some of the classes; rows of the others must not train."""
        number = np.zeros(self.n_classes)
        number[classes] = np.arange(len(classes))
        codes = self.backend.asarray(number)[self._numbers]
        return LogisticProblem(self.backend, self.design, codes, len(classes))

    def class_counts(self, training: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Training rows of every class, shape (classes, F)."""
        codes = self.backend.to_numpy(self._numbers)
        return np.stack([training[codes == c].sum(axis=0) for c in range(self.n_classes)])

    def evaluate(self, eta: Array, training: Array, fold: Array) -> Point:
        """Evaluate losses and derivatives.

        Parameters
        ----------
        eta : array, shape (n, A, M, F)
        training : array of bool, shape (n, sets)
        fold : array of int64, shape (F,)
            Set of training rows of every column.
        """
        backend, xp = self.backend, self.backend.xp
        n, a, outputs, f = eta.shape
        if outputs > 1:
            residual, shares, loss = backend.softmax_step(eta, self._numbers, training, fold)
            return Point(residual, shares * (1.0 - shares), shares, loss)
        task, columns = xp.zeros(a * f, dtype=xp.int64), xp.tile(fold, a)
        residual, curvature, loss = backend.logistic_step(eta.reshape(n, -1), self._labels, training, task, columns)
        return Point(residual.reshape(eta.shape), curvature.reshape(eta.shape), None, loss.reshape(a, f))

    def typical(self, point: Point) -> Array:
        """Row weights whose Hessian is close to those of all columns of a strength, shape (n, A).

        The mean over columns and, for more than two classes, over the directions in which they can differ: the trace
        of ``diag(p) - p p'`` in M - 1 dimensions.
        """
        over_columns = point.curvature.mean(axis=3)
        return over_columns.sum(axis=2) / max(1, self.outputs - 1)

    def decisions(self, weights: Array, intercepts: Array) -> Array:
        """Linear predictors of all samples, centred features: shape (n, A, M, F)."""
        flat = self.backend.forward(self.design, weights.reshape(-1, self.d))
        return flat.reshape(self.n, *intercepts.shape) + intercepts

    def gradient(self, point: Point, weights: Array, penalty: Array) -> tuple[Array, Array]:
        """Gradient of the objective by weights and intercepts, shapes (A, M, F, d) and (A, M, F)."""
        by_weights = self.backend.adjoint(self.design, point.residual.reshape(self.n, -1)).reshape(weights.shape)
        return by_weights + penalty[:, None, None, None] * weights, point.residual.sum(axis=0)

    def start(self, training: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Give the intercepts of the best fit without features, shape (M, F)."""
        counts = self.class_counts(training)
        logs: NDArray[Any] = np.log(np.maximum(counts, 0.5))
        return logs[1:] - logs[:1] if self.outputs == 1 else logs - logs.mean(axis=0)
