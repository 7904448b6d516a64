"""Logistic regression refitted: Newton's method with the whole Hessian and a line search, one fit after another.

Minimised is the sum of the log losses of the training rows plus ``alpha / 2 |w|^2``; intercepts are not penalised. Two
classes have one output, the log odds of the second; M > 2 classes have one each, and softmax. A class that is not among
the training rows has no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax, softmax

from fastprobe.audit.refit import Candidate, Predictions

__all__ = ["PROMISED_DECISION", "Logistic", "fit"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PROMISED_DECISION = 1e-6
"""Error of a decision value, relative to the largest (at least 1), above which a fold has no score."""

_STILL = 1e-10  # a step that moves no decision value by more, relative to the largest (at least 1), was the last
_STEPS = 200
_HALVES = 40
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Logistic:
    """Logistic regression on the samples of a task; see :class:`fastprobe.audit.refit.Probe`.

    Attributes
    ----------
    x : ndarray of float64, shape (n, d)
        Standardised features.
    codes : ndarray of int64, shape (n,)
        Class numbers.
    classes : int
        M.
    candidates : sequence of Candidate
    """

    x: Floats
    codes: Ints
    classes: int
    candidates: Sequence[Candidate]

    def predict(self, train: Ints, rows: Ints, which: Sequence[int]) -> Predictions:
        """Fit the training rows and return decision values of others; NaN if these rows are of one class."""
        outputs = 1 if self.classes == 2 else self.classes
        values = np.full((len(which), len(rows), outputs), np.nan)
        errors = np.zeros(len(which))
        known, codes = np.unique(self.codes[train], return_inverse=True)
        if len(known) < 2:
            return Predictions(values, errors)
        center = self.x[train].mean(axis=0)
        features, held_out = _with_ones(self.x[train] - center), _with_ones(self.x[rows] - center)
        weights = np.zeros((features.shape[1], 1 if len(known) == 2 else len(known)))
        # From strong to weak: each begins where the last one ended.
        for i in sorted(range(len(which)), key=lambda i: -self.candidates[which[i]].alpha):
            weights = fit(features, codes, weights, self.candidates[which[i]].alpha)
            values[i] = self._placed(held_out @ weights, known)
            errors[i] = PROMISED_DECISION * max(1.0, np.abs(features @ weights).max())
        return Predictions(values, errors)

    def losses(self, predictions: Predictions, rows: Ints) -> tuple[Floats, Floats]:
        """Log losses; rows of a class that did not train tell nothing and are passed over."""
        values, codes = predictions.values, self.codes[rows]
        if self.classes == 2:
            losses = -log_expit(np.where(codes == 1, values[:, :, 0], -values[:, :, 0]))
        else:
            losses = -log_softmax(values, axis=2)[:, np.arange(len(rows)), codes]
        losses = np.where(np.isfinite(losses), losses, np.nan)
        return losses, np.broadcast_to(2.0 * predictions.error[:, None], losses.shape)

    def _placed(self, found: Floats, known: Ints) -> Floats:
        """Give the outputs of the classes that trained their places; the log odds of two of many stand half by half."""
        if len(known) == self.classes:
            return found
        if len(known) == 2:
            found = np.column_stack([-0.5 * found, 0.5 * found])
        placed = np.full((len(found), self.classes), -np.inf)
        placed[:, known] = found
        return placed


def fit(features: Floats, codes: Ints, start: Floats, alpha: float) -> Floats:
    """Minimise the objective.

    Parameters
    ----------
    features : ndarray, shape (n, d + 1)
        The last column is of ones.
    codes : ndarray of int64, shape (n,)
        Class numbers, all of which occur.
    start : ndarray, shape (d + 1, outputs)
    alpha : float

    Returns
    -------
    ndarray, shape (d + 1, outputs)
    """
    weights = start
    value = _objective(features, codes, weights, alpha)
    for _ in range(_STEPS):
        eta = features @ weights
        gradient = features.T @ _residuals(eta, codes) + alpha * _penalised(weights)
        step = np.linalg.solve(_hessian(features, eta, alpha), -gradient.T.ravel()).reshape(weights.shape[::-1]).T
        slope, length = float((gradient * step).sum()), 1.0
        for _ in range(_HALVES):
            there = _objective(features, codes, weights + length * step, alpha)
            if there <= value + 1e-4 * length * slope + 100 * _EPS * abs(value):  # sums are rounded
                break
            length /= 2
        weights, value = weights + length * step, there
        if np.abs(features @ (length * step)).max() <= _STILL * max(1.0, np.abs(eta).max()):
            break
    return weights


def _objective(features: Floats, codes: Ints, weights: Floats, alpha: float) -> float:
    eta = features @ weights
    if eta.shape[1] == 1:
        losses = -log_expit(np.where(codes == 1, eta[:, 0], -eta[:, 0]))
    else:
        losses = -log_softmax(eta, axis=1)[np.arange(len(codes)), codes]
    return float(losses.sum() + 0.5 * alpha * (weights[:-1] ** 2).sum())


def _residuals(eta: Floats, codes: Ints) -> Floats:
    """Probabilities less the truth, shape (n, outputs)."""
    if eta.shape[1] == 1:
        return expit(eta) - (codes == 1)[:, None]
    return softmax(eta, axis=1) - (codes[:, None] == np.arange(eta.shape[1]))


def _hessian(features: Floats, eta: Floats, alpha: float) -> Floats:
    """Second derivatives, output by output; shape (outputs * (d + 1), outputs * (d + 1))."""
    outputs, width = eta.shape[1], features.shape[1]
    p = expit(eta) if outputs == 1 else softmax(eta, axis=1)
    ridge = alpha * np.diag(np.append(np.ones(width - 1), 0.0))
    blocks = np.empty((outputs, width, outputs, width))
    for i in range(outputs):
        for j in range(outputs):
            curvature = p[:, i] * ((i == j) - p[:, j])
            blocks[i, :, j] = features.T @ (curvature[:, None] * features) + (i == j) * ridge
            if outputs > 1:  # softmax does not see what all intercepts have in common: this keeps it as it is
                blocks[i, -1, j, -1] += 1.0
    return blocks.reshape(outputs * width, outputs * width)


def _penalised(weights: Floats) -> Floats:
    without_intercepts = weights.copy()
    without_intercepts[-1] = 0.0
    return without_intercepts


def _with_ones(x: Floats) -> Floats:
    return np.column_stack([x, np.ones(len(x))])
