"""Newton's method for all columns (strength, fold) of a logistic problem at once.

The direction of a column solves its Newton system by conjugate gradients in the metric of
:mod:`fastprobe.probes.logistic.whitening`, where a few iterations suffice; the products of all columns with the
features are two matrix products. Weights, linear predictors and gradients are float64; directions are found in float32.
A line search by slopes, which can be told at the optimum of a convex function where its values cannot, makes every
column converge, separable ones too. Columns that are finished leave the batch. With one that stops short of the
optimum, or whose curvatures lie too far apart for float32, the method goes on alone, in float64 and in a metric of its
own.

Source: design/algorithms.md, 4; Nocedal and Wright (2006), chapters 3 and 7; Hager and Zhang (2005) for the slopes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Array
from fastprobe.probes.logistic.alone import direction_alone
from fastprobe.probes.logistic.problem import LogisticProblem, Point
from fastprobe.probes.logistic.whitening import Whitening
from fastprobe.probes.ridge.cg import conjugate_gradients

__all__ = ["ACCEPTED", "TOLERANCE", "Optimum", "newton"]

TOLERANCE = 1e-8
"""Estimated error of the decision values of a column, relative to the largest (at least 1), at which it is finished."""
ACCEPTED = 1e-6
"""Largest error of a column that counts as converged if rounding stops it before it reaches the tolerance."""
MAX_STEPS = 100
_SUSPICIOUS = 1e-4  # eigenvalue of a system; with smaller ones, a gradient does not tell the error
_INNER = 400  # conjugate gradient iterations of a step
_REFRESH = 40  # iterations from which a new metric costs less than another step in the old one
_LOOSEST, _TIGHTEST = 0.1, 1e-5  # relative residuals of directions
_SLOPE = 0.5  # a step is accepted if the slope at its end, upwards, is at most so much of that at its beginning
_ROUNDING = 1e-6  # of a product in float32, relative
_NOISE = 1e-12  # relative rounding of the objective
_HALVINGS = 40


@dataclass(frozen=True, eq=False)
class Optimum:
    """Where Newton's method ended, for A strengths, M outputs and F columns.

    Attributes
    ----------
    weights : array, shape (A, M, F, d)
        For centred features.
    intercepts : array, shape (A, M, F)
    eta : array, shape (n, A, M, F)
        Linear predictors of all rows.
    gradient, error : ndarray, shape (A, F)
        Norm of the gradient; estimated error of the decision values.
    steps : ndarray of int64, shape (A, F)
    alone : ndarray of bool, shape (A, F)
        Which were gone on with alone, in float64.
    iterations : int
    """

    weights: Array
    intercepts: Array
    eta: Array
    gradient: NDArray[np.float64]
    error: NDArray[np.float64]
    steps: NDArray[np.int64]
    alone: NDArray[np.bool_]
    iterations: int


@dataclass(frozen=True, eq=False)
class _Columns:
    """Where the columns are that are left, and the gradients there.

    Attributes
    ----------
    place : ndarray of int64, shape (F,)
        Where they stand among all columns.
    fold : array of int64, shape (F,)
        Their sets of training rows.
    weights, intercepts, eta : array, shapes (A, M, F, d), (A, M, F), (n, A, M, F)
    point : Point
    by_weights, by_intercepts : array, shapes (A, M, F, d), (A, M, F)
        Gradient of the objective.
    """

    place: NDArray[np.int64]
    fold: Array
    weights: Array
    intercepts: Array
    eta: Array
    point: Point
    by_weights: Array
    by_intercepts: Array

    def take(self, which: Array, place: NDArray[np.int64]) -> _Columns:
        """Take some of the columns."""
        point = self.point
        shares = None if point.shares is None else point.shares[..., which]
        some = Point(point.residual[..., which], point.curvature[..., which], shares, point.loss[:, which])
        return _Columns(
            place,
            self.fold[which],
            self.weights[:, :, which],
            self.intercepts[..., which],
            self.eta[..., which],
            some,
            self.by_weights[:, :, which],
            self.by_intercepts[..., which],
        )


def newton(
    problem: LogisticProblem,
    penalty: Array,
    training: Array,
    fold: NDArray[np.int64],
    weights: Array,
    intercepts: Array,
    *,
    metric: Whitening | None = None,
    tolerance: float = TOLERANCE,
) -> Optimum:
    """Minimise the objectives of all columns.

    Parameters
    ----------
    problem : LogisticProblem
    penalty : array, shape (A,)
        Strengths.
    training : array of bool, shape (n, sets)
    fold : ndarray of int64, shape (F,)
        Set of training rows of every column.
    weights, intercepts : array, shapes (A, M, F, d) and (A, M, F)
        Where to start; those of one strength or one column serve all.
    metric : Whitening, optional
        Of the first step, where one that fits is at hand.
    tolerance : float
        Error of the decision values at which a column is finished.
    """
    return _Newton(problem, penalty, training, len(fold), tolerance).run(
        problem.backend.asarray(fold), weights, intercepts, metric
    )


class _Newton:
    """One call of :func:`newton`: what it has found so far, by column."""

    def __init__(
        self,
        problem: LogisticProblem,
        penalty: Array,
        training: Array,
        columns: int,
        tolerance: float,
        *,
        alone: bool = False,
    ) -> None:
        xp, a, m = problem.backend.xp, len(penalty), problem.outputs
        self.alone = alone
        self.problem, self.penalty, self.training, self.tolerance = problem, penalty, training, tolerance
        self.weights = xp.empty((a, m, columns, problem.d))
        self.intercepts = xp.empty((a, m, columns))
        self.eta = xp.empty((problem.n, a, m, columns))
        self.gradient = np.full((a, columns), np.nan)
        self.error = np.full((a, columns), np.inf)
        self.steps = np.zeros((a, columns), dtype=np.int64)
        self.stopped = np.zeros((a, columns), dtype=bool)
        self.least = np.ones((a, columns), dtype=np.float32)
        self.iterations = 0

    def run(self, fold: Array, weights: Array, intercepts: Array, metric: Whitening | None) -> Optimum:
        """Step until all columns have stopped."""
        spread = self.problem.backend.xp.zeros(self.intercepts.shape)
        weights, intercepts = weights + spread[..., None], intercepts + spread
        eta = self.problem.decisions(weights, intercepts)
        point = self.problem.evaluate(eta, self.training, fold)
        columns = self._at(np.arange(len(fold)), fold, weights, intercepts, eta, point)
        # Nothing but the whole is trained: the metric of the point itself is the Hessian, and no iteration is needed.
        exact = self.problem.outputs == 1 and len(fold) == 1
        change, taken = np.ones(self.error.shape), 0
        while True:
            columns = self._release(columns)
            if not len(columns.place):
                break
            if metric is None or exact or (taken > _REFRESH and not self.alone):
                metric = Whitening(self.problem, self.problem.typical(columns.point), self.penalty)
            active = ~self.stopped[:, columns.place]
            forcing = np.clip(change[:, columns.place] ** 2, _TIGHTEST, _LOOSEST)
            by_weights, by_intercepts, missed, taken = self._direction(columns, metric, active, forcing, exact)
            columns, change[:, columns.place] = self._search(columns, by_weights, by_intercepts, active, missed)
        lost = np.zeros(self.error.shape, dtype=bool)
        if not self.alone and self.tolerance <= ACCEPTED:
            lost = (self.error > ACCEPTED) | (self.least < _SUSPICIOUS)
            for a, f in np.argwhere(lost).tolist():
                self._go_on_alone(fold, slice(a, a + 1), slice(f, f + 1))
        return Optimum(
            self.weights, self.intercepts, self.eta, self.gradient, self.error, self.steps, lost, self.iterations
        )

    def _go_on_alone(self, fold: Array, a: slice, f: slice) -> None:
        """Go on with one strength of one column from where it stopped."""
        one = _Newton(self.problem, self.penalty[a], self.training, 1, self.tolerance, alone=True)
        found = one.run(fold[f], self.weights[a, :, f], self.intercepts[a, :, f], None)
        self.weights[a, :, f], self.intercepts[a, :, f] = found.weights, found.intercepts
        self.eta[:, a, :, f] = found.eta
        self.gradient[a, f], self.error[a, f] = found.gradient, found.error
        self.steps[a, f] += found.steps
        self.iterations += found.iterations

    def _at(
        self, place: NDArray[np.int64], fold: Array, weights: Array, intercepts: Array, eta: Array, point: Point
    ) -> _Columns:
        by_weights, by_intercepts = self.problem.gradient(point, weights, self.penalty)
        return _Columns(place, fold, weights, intercepts, eta, point, by_weights, by_intercepts)

    def _release(self, columns: _Columns) -> _Columns:
        """Store the columns that have stopped for every strength, and give those that are left."""
        backend, xp = self.problem.backend, self.problem.backend.xp
        done = self.stopped[:, columns.place].all(axis=0)
        if not done.any():
            return columns
        which, target = backend.asarray(np.flatnonzero(done)), backend.asarray(columns.place[done])
        gone = columns.take(which, columns.place[done])
        self.weights[:, :, target], self.intercepts[..., target] = gone.weights, gone.intercepts
        self.eta[..., target] = gone.eta
        squares = _squares(gone.by_weights, gone.by_intercepts)
        self.gradient[:, gone.place] = backend.to_numpy(xp.sqrt(squares))
        return columns.take(backend.asarray(np.flatnonzero(~done)), columns.place[~done])

    def _direction(
        self, columns: _Columns, metric: Whitening, active: NDArray[np.bool_], forcing: NDArray[np.float64], exact: bool
    ) -> tuple[Array, Array, Array | float, int]:
        """Newton directions of the active columns, 0 for others; how much of each may be missing; the iterations."""
        backend, xp = self.problem.backend, self.problem.backend.xp
        if self.alone and not exact:
            by_weights, by_intercepts, taken = direction_alone(
                self.problem, columns.point, columns.by_weights, columns.by_intercepts, self.penalty
            )
            self.iterations += taken
            return *_without_common(by_weights, by_intercepts), 0.0, taken
        target = metric.whitened(columns.by_weights, columns.by_intercepts)
        target *= backend.asarray(np.where(active, -1.0, 0.0))[:, None, :, None]
        if exact:
            return *metric.unwhitened(target), 0.0, 0
        a, m, f, r = target.shape
        length = xp.sqrt((target * target).sum(axis=(1, 3), keepdims=True))
        unit = (target / xp.where(length > 0, length, 1.0)).astype(xp.float32)
        point = columns.point
        second = point.curvature if point.shares is None else point.shares
        rest = _by_strength(xp, metric.weights[..., None, None] - second)
        shares = None if point.shares is None else _by_strength(xp, point.shares)
        kept: list[Array] = [None, rest, shares]
        least = xp.ones((a, f), dtype=xp.float32)  # eigenvalue of the system, as far as the iterations meet it

        def apply(v: Array, none: Array, live: Array) -> tuple[Array, Array]:
            if kept[0] is not live:  # some columns have left
                kept[:] = [
                    live,
                    xp.take(rest, live, axis=-1),
                    None if shares is None else xp.take(shares, live, axis=-1),
                ]
            product = backend.curvature_product(metric.features, kept[1], kept[2], v.reshape(a, r, m, -1))
            image, square = v - product.reshape(v.shape), (v * v).sum(axis=1)
            quotient = xp.where(square > 0, (v * image).sum(axis=1) / xp.where(square > 0, square, 1.0), 1.0)
            least[:, live] = xp.minimum(least[:, live], quotient)
            # Without curvature a column is finished; one that is all rounding would lead it anywhere.
            return xp.where(quotient > _ROUNDING, 1.0, 0.0)[:, None].astype(xp.float32) * image, none

        residual = backend.asarray(forcing.astype(np.float32))
        z, taken = conjugate_gradients(
            xp,
            apply,
            xp.ascontiguousarray(xp.moveaxis(unit, 3, 1)).reshape(a, r * m, f),
            xp.zeros((a, f, 0), dtype=xp.float32),
            tol=residual,
            max_iterations=_INNER,
        )
        self.iterations += taken
        self.least[:, columns.place] = np.minimum(self.least[:, columns.place], backend.to_numpy(least))
        by_weights, by_intercepts = metric.unwhitened(length * xp.moveaxis(z.reshape(a, r, m, f), 1, 3))
        return *_without_common(by_weights, by_intercepts), residual / xp.maximum(least, residual), taken

    def _search(
        self,
        columns: _Columns,
        by_weights: Array,
        by_intercepts: Array,
        active: NDArray[np.bool_],
        missed: Array | float,
    ) -> tuple[_Columns, NDArray[np.float64]]:
        """Go along the directions as far as it is of use; the new place, and the relative change on the way."""
        problem, xp, to_numpy = self.problem, self.problem.backend.xp, self.problem.backend.to_numpy
        w, eta, half = columns.weights, columns.eta, 0.5 * self.penalty[:, None]
        along = problem.decisions(by_weights, by_intercepts)
        ww, ws, ss = (
            2.0 * half * (u * v).sum(axis=(1, 3)) for u, v in ((w, w), (w, by_weights), (by_weights, by_weights))
        )
        start = (columns.by_weights * by_weights).sum(axis=(1, 3)) + (columns.by_intercepts * by_intercepts).sum(axis=1)
        value = columns.point.loss + 0.5 * ww
        t = xp.ones_like(value)
        for _ in range(_HALVINGS):
            trial = eta + t[:, None] * along
            point = problem.evaluate(trial, self.training, columns.fold)
            slope = (point.residual * along).sum(axis=(0, 2)) + ws + t * ss
            here = point.loss + 0.5 * (ww + t * (2.0 * ws + t * ss))
            good = (slope <= -_SLOPE * start) & (here <= value + _NOISE * xp.abs(value))
            if bool(good.all()):
                break
            downhill = xp.where(start < 0, -start, 1.0)
            shorter = xp.clip(downhill / xp.maximum(slope - start, downhill), 0.1, 0.5)
            t = xp.where(good, t, t * xp.where(start < 0, shorter, 0.5))
        reach = xp.abs(along).max(axis=(0, 2))
        size = reach / xp.maximum(xp.abs(eta).max(axis=(0, 2)), 1.0)
        # A whole step leaves what its direction missed, and what the Hessian changed on the way: that of a row, by no
        # more than the difference between its classes did, relatively, and half of that on average.
        left = size * xp.minimum(missed + (0.5 if problem.outputs == 1 else 1.0) * reach, 1.0)
        # No direction, though there is a gradient: rounding took the curvature for negative. Nothing is known then.
        stuck = (start == 0) & (_squares(columns.by_weights, columns.by_intercepts) > 0)
        t = xp.where(good & ~stuck, t, 0.0)
        change, error, length = to_numpy(xp.stack([size, xp.where(t < 1.0, xp.where(stuck, 1.0, size), left), t]))
        t = t[:, None]
        eta = eta + t * along
        moved = self._at(
            columns.place,
            columns.fold,
            w + t[..., None] * by_weights,
            columns.intercepts + t * by_intercepts,
            eta,
            point if bool(good.all()) else problem.evaluate(eta, self.training, columns.fold),
        )
        place = columns.place
        self.error[:, place] = np.where(active, error, self.error[:, place])
        self.steps[:, place] += active
        self.stopped[:, place] |= (
            (self.error[:, place] <= self.tolerance) | (length == 0.0) | (self.steps[:, place] >= MAX_STEPS)
        )
        return moved, length * change


def _squares(by_weights: Array, by_intercepts: Array) -> Array:
    """Squared norms of the columns, shape (A, F)."""
    return (by_weights * by_weights).sum(axis=(1, 3)) + (by_intercepts * by_intercepts).sum(axis=1)


def _without_common(by_weights: Array, by_intercepts: Array) -> tuple[Array, Array]:
    """Take out what all classes have in common: nothing is gained by it, and rounding would go on adding to it."""
    if by_weights.shape[1] == 1:
        return by_weights, by_intercepts
    return by_weights - by_weights.mean(axis=1, keepdims=True), by_intercepts - by_intercepts.mean(
        axis=1, keepdims=True
    )


def _by_strength(xp: Any, a: Array) -> Array:
    """From (n, A, M, F) to float32 of shape (A, n, M, F), for products with the features in the metric of each."""
    return xp.ascontiguousarray(xp.moveaxis(a, 0, 1).astype(xp.float32))
