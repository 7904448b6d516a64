"""Leave-out by refits: logistic probes that never saw some rows, and what they say of those."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Array, RowSets
from fastprobe.probes.logistic.newton import ACCEPTED
from fastprobe.probes.logistic.path import Stretch, along_path
from fastprobe.probes.logistic.problem import CONVERGED, LIMIT, SINGLE_CLASS, LogisticProblem

__all__ = ["Fit", "Solution", "fit", "solve"]


@dataclass(frozen=True, eq=False)
class _Ends:
    """How the columns of a path ended.

    Attributes
    ----------
    status : ndarray of int8, shape (F, A)
        CONVERGED, LIMIT, or SINGLE_CLASS, which is not fitted.
    gradient : ndarray, shape (F, A)
        Euclidean norm of the gradient of the objective, by the weights of the features as they are and the intercepts
        of centred features; NaN without a fit.
    error : ndarray, shape (F, A)
        Estimated error of the decision values, relative to the largest (at least 1); NaN without a fit.
    steps : ndarray of int64, shape (F, A)
        Newton steps.
    alone : ndarray of bool, shape (F, A)
        Which float32 directions did not bring to the optimum, so that they were gone on with alone, in float64.
    """

    status: NDArray[np.int8]
    gradient: NDArray[np.float64]
    error: NDArray[np.float64]
    steps: NDArray[np.int64]
    alone: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Fit(_Ends):
    """Fitted probes for F sets of training rows, A strengths and M outputs (one for two classes); see also `_Ends`.

    Attributes
    ----------
    weights : array, shape (F, A, M, d)
    intercepts : array, shape (F, A, M)
        A decision value is ``x w + intercept``, for features as they are. The intercept of a class that is not among
        the training rows is minus infinity.
    iterations : int
        Conjugate gradient iterations of all batches.
    """

    weights: Array
    intercepts: Array
    iterations: int


@dataclass(frozen=True, eq=False)
class Solution(_Ends):
    """Held-out decision values; see also `_Ends`, with the K sets left out for columns.

    Attributes
    ----------
    sets : RowSets
        The sets left out.
    decisions : array, shape (K, m, A, M)
        Set, slot, strength, output; zero in padded slots. For two classes M is 1: the log odds of class 1. For more,
        softmax makes probabilities of them; minus infinity for a class that is not among the training rows.
    iterations : int
    """

    sets: RowSets
    decisions: Array
    iterations: int


def fit(problem: LogisticProblem, alphas: Sequence[float], training: NDArray[np.bool_] | None = None) -> Fit:
    """Fit probes to sets of rows.

    Parameters
    ----------
    problem : LogisticProblem
    alphas : sequence of float, length A
        Strengths, for the features as they are in the problem's design.
    training : ndarray of bool, shape (n, F), optional
        Rows of each set; by default one set of all rows.
    """
    backend, xp = problem.backend, problem.backend.xp
    if training is None:
        training = np.ones((problem.n, 1), dtype=bool)
    shape = training.shape[1], len(alphas)
    ends, iterations = _unfitted(shape), 0
    weights = xp.zeros((*shape, problem.outputs, problem.d))
    intercepts = xp.zeros((*shape, problem.outputs))
    for classes, stretch in _solved(problem, alphas, training, np.ones(shape, dtype=bool), ends):
        optimum = stretch.optimum
        which = backend.asarray(stretch.columns)[:, None], backend.asarray(stretch.strengths)
        by_column = xp.moveaxis(optimum.weights, 2, 0)
        offset = xp.matmul(by_column, problem.design.mean)
        weights[which] = _outputs(xp, by_column, classes, problem.outputs, axis=2, absent=0.0)
        intercepts[which] = _outputs(
            xp, xp.moveaxis(optimum.intercepts, 2, 0) - offset, classes, problem.outputs, axis=2, absent=-np.inf
        )
        iterations += optimum.iterations
    return Fit(ends.status, ends.gradient, ends.error, ends.steps, ends.alone, weights, intercepts, iterations)


def solve(
    problem: LogisticProblem,
    left_out: Sequence[NDArray[np.int64]],
    alphas: Sequence[float],
    wanted: NDArray[np.bool_] | None = None,
    training: NDArray[np.bool_] | None = None,
) -> Solution:
    """Leave out each set of rows, fit the rest or a part of it, and return the decision values of the rows left out.

    Parameters
    ----------
    problem : LogisticProblem
    left_out : sequence of ndarray of int64, length K
    alphas : sequence of float, length A
        Strengths, for the features as they are in the problem's design.
    wanted : ndarray of bool, shape (K, A), optional
        Which are needed; of the others nothing is said (zero decision values, NaN).
    training : ndarray of bool, shape (n, K), optional
        Rows that train for each set; by default all that are not left out.

    Raises
    ------
    ValueError
        If `training` is of another shape, or a row that is left out trains.
    """
    backend, xp = problem.backend, problem.backend.xp
    sets = backend.row_sets(left_out, problem.n)
    training = _training(problem.n, left_out, training)
    shape = len(left_out), len(alphas)
    ends, iterations = _unfitted(shape), 0
    decisions = xp.zeros((shape[0], sets.width, shape[1], problem.outputs))
    if wanted is None:
        wanted = np.ones(shape, dtype=bool)
    for classes, stretch in _solved(problem, alphas, training, wanted, ends):
        columns, strengths = backend.asarray(stretch.columns), backend.asarray(stretch.strengths)
        by_column = xp.moveaxis(stretch.optimum.eta, 3, 0)
        held = by_column[xp.arange(len(columns))[:, None], sets.rows[columns]]
        held = _outputs(xp, held, classes, problem.outputs, axis=3, absent=-np.inf)
        held = xp.where(sets.mask[columns][:, :, None, None], held, 0.0)
        decisions[columns[:, None, None], xp.arange(sets.width)[:, None], strengths] = held
        iterations += stretch.optimum.iterations
    return Solution(ends.status, ends.gradient, ends.error, ends.steps, ends.alone, sets, decisions, iterations)


def _training(n: int, left_out: Sequence[NDArray[np.int64]], wanted: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Give the rows that train for each set left out, shape (n, K): those that are wanted, or all others."""
    rest = np.ones((n, len(left_out)), dtype=bool)
    for k, rows in enumerate(left_out):
        rest[rows, k] = False
    if wanted is None:
        return rest
    if wanted.shape != rest.shape:
        raise ValueError(f"training rows of shape {wanted.shape}, not {rest.shape}: samples x sets left out")
    if (both := (wanted & ~rest).any(axis=0)).any():
        raise ValueError(f"set {both.argmax()} trains on rows that it leaves out")
    return wanted


def _unfitted(shape: tuple[int, int]) -> _Ends:
    nothing = np.full(shape, np.nan)
    return _Ends(
        status=np.full(shape, SINGLE_CLASS, dtype=np.int8),
        gradient=nothing,
        error=nothing.copy(),
        steps=np.zeros(shape, dtype=np.int64),
        alone=np.zeros(shape, dtype=bool),
    )


def _solved(
    problem: LogisticProblem,
    alphas: Sequence[float],
    training: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
    ends: _Ends,
) -> Iterator[tuple[NDArray[np.int64], Stretch]]:
    """Solve the columns, those with the same classes together; give their classes, and note how they ended.

    A class that is not among the training rows of a column has no part in its probe, as in scikit-learn.
    """
    present = problem.class_counts(training) > 0
    for known in np.unique(present, axis=1).T:
        classes, columns = np.flatnonzero(known), np.flatnonzero((present == known[:, None]).all(axis=0))
        if len(classes) < 2:
            continue
        some = problem if len(classes) == problem.n_classes else problem.only(classes)
        for stretch in along_path(some, alphas, training[:, columns], wanted[columns]):
            found = stretch.optimum
            stretch = Stretch(stretch.strengths, columns[stretch.columns], found)
            where = np.ix_(stretch.columns, stretch.strengths)
            ends.status[where] = np.where(found.error.T <= ACCEPTED, CONVERGED, LIMIT)
            ends.gradient[where], ends.error[where], ends.steps[where] = found.gradient.T, found.error.T, found.steps.T
            ends.alone[where] = found.alone.T
            yield classes, stretch


def _outputs(xp: Any, found: Array, classes: NDArray[np.int64], outputs: int, *, axis: int, absent: float) -> Array:
    """Give the outputs of a probe of some of the classes their places among those of all."""
    if found.shape[axis] == outputs:
        return found
    if found.shape[axis] == 1:  # the log odds of one class against another, as decision values of both
        found = xp.concatenate([-0.5 * found, 0.5 * found], axis=axis)
    place = {int(c): i for i, c in enumerate(classes)}
    nothing = xp.full_like(xp.take(found, xp.asarray([0]), axis=axis), absent)
    each = [xp.take(found, xp.asarray([place[c]]), axis=axis) if c in place else nothing for c in range(outputs)]
    return xp.concatenate(each, axis=axis)
