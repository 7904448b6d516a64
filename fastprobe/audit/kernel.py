"""Kernel ridge refitted: dense solves with the kernel matrix of the training rows, and ridge on Nyström features.

The function ``f`` and the intercept ``b`` that minimise ``sum (y_i - f(x_i) - b)^2 + alpha |f|^2`` have coefficients
``a`` with ``(P K P + alpha I) a = P y``, P taking off means, and ``b`` is the mean of ``y - K a``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from fastprobe.audit.refit import Candidate, Predictions, rounding, squared_losses
from fastprobe.audit.ridge import Ridge
from fastprobe.kernel_spec import KernelSpec

__all__ = ["Function", "Kernel", "functions"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SAMPLE = 1000  # rows of which the median distance is taken
_ZERO = 1e-12  # of the largest squared length about the mean: a distance of no more is none
_LEAST = 1e-12  # of the largest eigenvalue among landmarks: what is less is dropped
_DROPPED = 1e-11  # what may then differ, relative to the largest eigenvalue


@dataclass(frozen=True)
class Function:
    """A kernel: ``exp(-gamma |x - z|^2)`` if `degree` is 0, else ``(gamma x'z + coef0)^degree``."""

    gamma: float
    degree: int = 0
    coef0: float = 0.0

    def __str__(self) -> str:
        if not self.degree:
            return f"rbf gamma={self.gamma:.6g}"
        return f"polynomial degree={self.degree} gamma={self.gamma:.6g} coef0={self.coef0:.6g}"

    def __call__(self, x: Floats, z: Floats) -> Floats:
        """Values between all rows of two sets."""
        if self.degree:
            return (self.gamma * (x @ z.T) + self.coef0) ** self.degree
        return np.exp(-self.gamma * _distances(x, z))


def functions(spec: KernelSpec, x: Floats) -> list[Function]:
    """Every combination of the parameters that a specification names, for standardised features of a task."""
    gammas, degrees = np.atleast_1d(spec.gamma).tolist(), np.atleast_1d(spec.degree).tolist()
    if spec.kernel == "rbf":
        if spec.gamma == "median":
            gammas = [multiple / _median_distance(x, spec.seed) for multiple in (0.25, 1.0, 4.0)]
        return [Function(gamma) for gamma in gammas]
    if spec.gamma == "median":
        gammas = [1.0 / x.shape[1]]
    return [Function(gamma, degree, spec.coef0) for degree in degrees for gamma in gammas]


@dataclass(frozen=True, eq=False)
class Kernel:
    """Kernel ridge on the samples of a task; see :class:`fastprobe.audit.refit.Probe`.

    Attributes
    ----------
    spec : KernelSpec
    x : ndarray of float64, shape (n, d)
        Standardised features.
    y : ndarray of float64, shape (n, columns)
    alphas : sequence of float
    """

    spec: KernelSpec
    x: Floats
    y: Floats
    alphas: Sequence[float]

    @cached_property
    def candidates(self) -> Sequence[Candidate]:
        """Every kernel with every strength."""
        return [Candidate(alpha, str(function)) for function in self._functions for alpha in self.alphas]

    def predict(self, train: Ints, rows: Ints, which: Sequence[int]) -> Predictions:
        """Fit the training rows and predict others."""
        values, errors = [], []
        for number, function in enumerate(self._functions):
            strengths = [i - number * len(self.alphas) for i in which]
            strengths = [a for a in strengths if 0 <= a < len(self.alphas)]
            if strengths:
                solve = self._exact if self.spec.landmarks is None else self._nystroem
                found = solve(number, function, train, rows, [self.alphas[a] for a in strengths])
                values.append(found.values)
                errors.append(found.error)
        return Predictions(np.concatenate(values), np.concatenate(errors))

    def losses(self, predictions: Predictions, rows: Ints) -> tuple[Floats, Floats]:
        """Squared errors."""
        return squared_losses(predictions, self.y[rows])

    @cached_property
    def _functions(self) -> list[Function]:
        return functions(self.spec, self.x)

    @cached_property
    def _matrices(self) -> list[Floats]:
        """Of every kernel the matrix of all rows."""
        return [function(self.x, self.x) for function in self._functions]

    @cached_property
    def _features(self) -> list[Floats]:
        """Of every kernel the Nyström features of all rows: ``k(X, Z) k(Z, Z)^(-1/2)``."""
        assert self.spec.landmarks is not None
        marks = self.x[_drawn(len(self.x), self.spec.landmarks, self.spec.seed)]
        features = []
        for function in self._functions:
            values, vectors = np.linalg.eigh(function(marks, marks))
            kept = values > _LEAST * values[-1]
            features.append(function(self.x, marks) @ (vectors[:, kept] / np.sqrt(values[kept])))
        return features

    def _exact(self, number: int, function: Function, train: Ints, rows: Ints, alphas: Sequence[float]) -> Predictions:
        matrix, y = self._matrices[number], self.y[train]
        among, towards = matrix[np.ix_(train, train)], matrix[np.ix_(rows, train)]
        centered = among - among.mean(axis=0) - among.mean(axis=1)[:, None] + among.mean()
        values, errors = [], []
        for alpha in alphas:
            dual = np.linalg.solve(centered + alpha * np.eye(len(train)), y - y.mean(axis=0))
            values.append(towards @ dual + (y - among @ dual).mean(axis=0))
            errors.append(rounding(float(np.abs(among).sum(axis=1).max()), alpha, self.y))
        return Predictions(np.stack(values), np.array(errors))

    def _nystroem(
        self, number: int, function: Function, train: Ints, rows: Ints, alphas: Sequence[float]
    ) -> Predictions:
        features = self._features[number]
        ridge = Ridge(features, self.y, [Candidate(alpha) for alpha in alphas])
        found = ridge.predict(train, rows, range(len(alphas)))
        largest = float((features[train] ** 2).sum())
        dropped = np.array([_DROPPED * largest / alpha for alpha in alphas]) * np.abs(self.y).max()
        return Predictions(found.values, found.error + dropped)


def _distances(x: Floats, z: Floats) -> Floats:
    """Squared distances between all rows of two sets, row by row."""
    return np.array([((z - row) ** 2).sum(axis=1) for row in x])


def _drawn(n: int, count: int, seed: int) -> Ints:
    return np.sort(RandomState(seed).permutation(n)[:count])


def _median_distance(x: Floats, seed: int) -> float:
    """Median of the squared distances above 0 between rows of a sample; 1 if there are none."""
    sample = x[_drawn(len(x), _SAMPLE, seed)]
    between = _distances(sample, sample)[np.triu_indices(len(sample), 1)]
    apart = between[between > _ZERO * ((sample - x.mean(axis=0)) ** 2).sum(axis=1).max()]
    return float(np.median(apart)) if len(apart) else 1.0
