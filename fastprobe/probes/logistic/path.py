"""Logistic probes along a path of strengths, for many sets of training rows.

Strengths go from the largest to the smallest. At the first, the probe of all rows that train any column is found. It is
close to the probes of all folds: they start there, in the metric of its Hessian. From strength to strength every probe
then goes on as it went before. Where only some columns of a path are wanted, and on a device that solves several
strengths as fast as one, each strength begins with the probe of all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Array
from fastprobe.errors import DeviceError
from fastprobe.probes.logistic.newton import TOLERANCE, Optimum, newton
from fastprobe.probes.logistic.problem import LogisticProblem
from fastprobe.probes.logistic.whitening import Whitening

__all__ = ["Stretch", "along_path"]

_ROUGH = 0.3  # error of the probe of all rows from which the others start
_PER_PREDICTOR = 120  # bytes of all arrays with one element for each row and column
_SHARE = 0.5  # of the memory that may be filled

Place = tuple[Array, Array]
"""Weights (A, M, F, d) and intercepts (A, M, F)."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """Some columns of a path, solved.

    Attributes
    ----------
    strengths : ndarray of int64, shape (A,)
        Which strengths they have.
    columns : ndarray of int64, shape (F,)
        Which sets of training rows.
    optimum : Optimum
    """

    strengths: NDArray[np.int64]
    columns: NDArray[np.int64]
    optimum: Optimum


def along_path(
    problem: LogisticProblem,
    alphas: Sequence[float],
    training: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
) -> Iterator[Stretch]:
    """Fit probes, a few strengths at a time, from strong to weak.

    Parameters
    ----------
    problem : LogisticProblem
    alphas : sequence of float, length A
    training : ndarray of bool, shape (n, F)
        Rows that train each column; every class is among those of each.
    wanted : ndarray of bool, shape (F, A)
        Which are needed; others may be left out.

    Raises
    ------
    DeviceError
        If the memory does not hold a single column.
    """
    backend, values = problem.backend, np.asarray(alphas, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    order = order[wanted[:, order].any(axis=0)]
    at_once, of_each = _batches(problem, training.shape[1])
    chained = at_once == 1 and bool(wanted[:, order].all())
    rows, whole, trail = backend.asarray(training), _Whole(problem, training), _Trail()
    for strengths in np.split(order, range(at_once, len(order), at_once)):
        columns = np.flatnonzero(wanted[:, strengths].any(axis=1))
        penalty = backend.asarray(values[strengths])
        if training.shape[1] == 1:
            yield Stretch(strengths, columns, whole.fit(penalty, TOLERANCE))
            continue
        metric = place = None
        if not (chained and trail):
            found = whole.fit(penalty, _ROUGH)
            metric, place = whole.metric(found, penalty), (found.weights, found.intercepts)
        for i, part in enumerate(np.split(columns, range(of_each, len(columns), of_each))):
            weights, intercepts = place or trail.ahead(i, values[strengths[0]])
            optimum = newton(problem, penalty, rows, part, weights, intercepts, metric=metric)
            trail.note(i, values[strengths[0]], optimum)
            yield Stretch(strengths, part, optimum)


class _Whole:
    """The probe of all rows, followed along the path.

    Parameters
    ----------
    problem : LogisticProblem
    training : ndarray of bool, shape (n, F)
        A row that trains no column has no part in this probe either: it may be of a class that none of them knows.
    """

    def __init__(self, problem: LogisticProblem, training: NDArray[np.bool_]) -> None:
        xp, rows = problem.backend.xp, np.any(training, axis=1)[:, None]
        self._problem, self._rows = problem, problem.backend.asarray(rows)
        self._weights = xp.zeros((1, problem.outputs, 1, problem.d))
        self._intercepts = problem.backend.asarray(problem.start(rows))[None]

    def fit(self, penalty: Array, tolerance: float) -> Optimum:
        """Fit it for some strengths, from where it was at the last."""
        column = np.zeros(1, dtype=np.int64)
        optimum = newton(
            self._problem, penalty, self._rows, column, self._weights, self._intercepts, tolerance=tolerance
        )
        self._weights, self._intercepts = optimum.weights[-1:], optimum.intercepts[-1:]
        return optimum

    def metric(self, optimum: Optimum, penalty: Array) -> Whitening:
        """Give the metric of the Hessian where a fit has ended."""
        column = self._problem.backend.asarray(np.zeros(1, dtype=np.int64))
        point = self._problem.evaluate(optimum.eta, self._rows, column)
        return Whitening(self._problem, self._problem.typical(point), penalty)


class _Trail:
    """Where columns were at the last two strengths, batch by batch."""

    def __init__(self) -> None:
        self._seen: dict[int, list[tuple[float, Place]]] = {}

    def __bool__(self) -> bool:
        return bool(self._seen)

    def note(self, batch: int, alpha: float, optimum: Optimum) -> None:
        """Note where the columns of a batch are."""
        self._seen[batch] = [*self._seen.get(batch, [])[-1:], (alpha, (optimum.weights, optimum.intercepts))]

    def ahead(self, batch: int, alpha: float) -> Place:
        """Guess where they will be: further by as much as between the last two, by the logarithm of the strength."""
        *before, (last, place) = self._seen[batch]
        if not before:
            return place
        ((first, other),) = before
        share = np.log(alpha / last) / np.log(last / first)
        weights, intercepts = (now + share * (now - then) for now, then in zip(place, other, strict=True))
        return weights, intercepts


def _batches(problem: LogisticProblem, n_columns: int) -> tuple[int, int]:
    """Strengths, and columns of each, that are solved at the same time."""
    n, d, m = problem.n, problem.d, problem.outputs
    room = _SHARE * problem.backend.memory() / problem.backend.lanes
    metric = 4.0 * n * (d + 1) + 8.0 * n * d + 24.0 * d * d
    column = m * (_PER_PREDICTOR * n + 40.0 * d)
    if metric + column > room:
        raise DeviceError(
            f"memory of {problem.backend.device}",
            found=f"{room / 2**30:.1f} GiB for a logistic probe of {n} samples x {d} features and {m} outputs",
            expected=f"at least {(metric + column) / 2**30:.1f} GiB",
            fix="use a machine with more memory, fewer features, or --protocol ridge",
        )
    of_each = min(n_columns, int((room - metric) // column))
    return min(problem.backend.stack, int(room // (metric + of_each * column))), of_each
