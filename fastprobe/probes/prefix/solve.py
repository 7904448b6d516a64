"""Fit all cells, score every number of leading features, check every fit, and fit again what missed the tolerance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Array, Backend, RowSets
from fastprobe.probes.prefix.cells import Cells
from fastprobe.probes.prefix.factors import Factored, Factorise, by_cholesky, by_components, by_qr, by_singular_values
from fastprobe.probes.prefix.leverage import Whitened, keeps, leave_out, pays, whiten
from fastprobe.probes.prefix.problem import Moments, PrefixProblem
from fastprobe.probes.prefix.scan import Predictions
from fastprobe.probes.ridge.solve import TOLERANCE

__all__ = ["Curves", "solve"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Reduce = Callable[[Predictions, slice], Floats]
"""Makes of the predictions of some parts an array (q, tasks, S) of the host."""


@dataclass(frozen=True, eq=False)
class Curves:
    """What was made of every part, strength, task and size, and how the fits went.

    Attributes
    ----------
    values : ndarray of float64, shape (P, A, tasks, S)
    error : ndarray of float64, shape (C, A)
        Relative float64 residual of the fit on all features; above the tolerance or NaN where no way led to one.
    refactorised : ndarray of bool, shape (C, A)
        Which fits missed the tolerance at first and were made again from the rows themselves.
    """

    values: Floats
    error: Floats
    refactorised: NDArray[np.bool_]

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Fits that could not be made, shape (C, A)."""
        return ~(self.error <= TOLERANCE)


def solve(
    problem: PrefixProblem, cells: Cells, alphas: Sequence[float], reduce: Reduce, shape: tuple[int, int], *,
    components: bool = False,
) -> Curves:  # fmt: skip
    """Fit every cell at every strength, and reduce the predictions of every number of leading features.

    Parameters
    ----------
    problem : PrefixProblem
    cells : Cells
    alphas : sequence of float, length A
        Strengths, for the features as they are in the design times the problem's scale.
    reduce : callable
        Called with the predictions of some parts and which parts they are; see :mod:`fastprobe.probes.prefix.scan`.
    shape : (int, int)
        Tasks and sizes that it makes values of.
    components : bool
        Leading principal components of the rows that train, instead of leading features.
    """
    if not len(cells.trained):
        none = np.empty((0, len(alphas)))
        return Curves(np.empty((*none.shape, *shape)), none, none.astype(bool))
    run = _Run(problem, cells, alphas, reduce, shape, components)
    rates, kept = problem.backend.rates, keeps(problem.design)
    if not (components or run.adds) and pays(problem.n, problem.d, run.widest, len(cells.trained), rates, kept=kept):
        run.by_leverage()
    else:
        run.by_factorising()
    missed = run.missed
    if missed.any():
        run.again(missed)
    return Curves(run.values, run.error, missed)


class _Run:
    """The fits of all cells under way.

    Attributes
    ----------
    values, error
        As :class:`Curves` has them.
    adds : bool
        Whether moments are sums over training rows, rather than those of all rows less the others.
    widest : int
        Rows that are looked at for a fit, at most.
    """

    def __init__(
        self, problem: PrefixProblem, cells: Cells, alphas: Sequence[float], reduce: Reduce, shape: tuple[int, int],
        components: bool,
    ) -> None:  # fmt: skip
        self._problem, self._cells, self._alphas, self._reduce = problem, cells, alphas, reduce
        self._components = components
        self._trained = list(cells.trained)
        self._others = [
            _others(problem.n, trained, tested) for trained, tested in zip(cells.trained, cells.tested, strict=True)
        ]
        self.adds = problem.adds(self._trained)
        self.widest = max(map(len, self._trained if self.adds else self._others))
        self.values = np.full((len(cells.cell), len(alphas), *shape), np.nan)
        self.error = np.full((len(self._trained), len(alphas)), np.nan)
        if not self.adds:
            problem.total  # noqa: B018  # known before threads want it

    @property
    def missed(self) -> NDArray[np.bool_]:
        """Fits that missed the tolerance, shape (C, A)."""
        return ~(self.error <= TOLERANCE)

    def by_leverage(self) -> None:
        """Fit all cells from the fit on all rows."""
        problem, backend = self._problem, self._problem.backend
        sets = backend.row_sets(self._others, problem.n)
        for a, alpha in enumerate(self._alphas):
            fitted = whiten(problem, alpha)
            if fitted is None:
                continue
            work = partial(self._leave_out, sets, fitted, a)
            backend.for_chunks(work, len(sets), 8 * self.widest * (4 * problem.d + 3 * self.widest))

    def _leave_out(self, sets: RowSets, fitted: Whitened, a: int, chunk: slice) -> None:
        factored, mean = leave_out(self._problem, fitted, sets, chunk)
        labels = self._problem.backend.take(self._problem.y, sets, chunk)
        self._keep(_Parts(self._problem.backend, self._cells, chunk, labels), factored, mean, chunk, a)

    def by_factorising(self) -> None:
        """Fit all cells from moments of their own."""
        problem = self._problem
        factorise: Factorise = by_components if self._components else by_cholesky

        def work(chunk: slice) -> None:
            moments, rows, parts = self._moments(chunk)
            for a, factored in enumerate(factorise(problem.backend, moments, rows, self._alphas)):
                self._keep(parts, factored, moments.y_mean, chunk, a)

        tested = max(map(len, self._cells.tested))
        bytes_each = 8 * problem.d * ((5 if self._components else 3) * problem.d + 2 * self.widest + 4 * tested)
        problem.backend.for_chunks(work, len(self._trained), bytes_each)

    def again(self, missed: NDArray[np.bool_]) -> None:
        """Fit what missed the tolerance again, cell by cell: from moments, then from the rows themselves."""
        for cell in np.flatnonzero(missed.any(axis=1)).tolist():
            chunk = slice(cell, cell + 1)
            moments, rows, parts = self._moments(chunk)
            if not self._components:
                self._refit(partial(by_cholesky, self._problem.backend, moments, rows), moments, parts, cell)
            if self.missed[cell].any():
                training = self._problem.take(self._trained, chunk)[0] - moments.x_mean
                robust = by_singular_values if self._components else by_qr
                made = partial(robust, self._problem.backend, moments, rows, training=training)
                self._refit(made, moments, parts, cell)

    def _refit(self, factorise: Callable[..., Iterator[Factored]], moments: Moments, parts: _Parts, cell: int) -> None:
        wanted = np.flatnonzero(self.missed[cell]).tolist()
        for a, factored in zip(wanted, factorise(alphas=[self._alphas[a] for a in wanted]), strict=True):
            self._keep(parts, factored, moments.y_mean, slice(cell, cell + 1), a)

    def _moments(self, chunk: slice) -> tuple[Moments, Array, _Parts]:
        """Moments of some cells, and the rows that they predict about the means of those that train."""
        problem = self._problem
        moments = problem.moments(self._trained, self._others, chunk)
        features, labels, mask = problem.take(list(self._cells.tested), chunk)
        rows = (features - moments.x_mean) * mask[:, :, None]
        return moments, rows, _Parts(problem.backend, self._cells, chunk, labels + problem.y_mean)

    def _keep(self, parts: _Parts, factored: Factored, mean: Array, chunk: slice, a: int) -> None:
        self.error[chunk, a] = self._problem.backend.to_numpy(factored.error)
        self.values[parts.which, a] = self._reduce(parts.predictions(factored, mean), parts.which)


def _others(n: int, trained: Ints, tested: Ints) -> Ints:
    """Rows that do not train a fit, those that it predicts first."""
    rest = np.ones(n, dtype=bool)
    rest[trained] = False
    rest[tested] = False
    return np.concatenate([tested, np.flatnonzero(rest)])


class _Parts:
    """The parts of the cells of a chunk: from stacks of cells to stacks of parts.

    Parameters
    ----------
    backend : Backend
    cells : Cells
    chunk : slice
    labels : array, shape (k, rows, t)
        Of the rows of every cell, those that are predicted first.
    """

    def __init__(self, backend: Backend, cells: Cells, chunk: slice, labels: Array) -> None:
        self.which = cells.parts_of(chunk)
        start = cells.start[self.which]
        self._sizes = (cells.stop - cells.start)[self.which]
        self._width = int(self._sizes.max())
        cell = cells.cell[self.which] - chunk.start
        self._pick: tuple[Array, Array] | None = None
        if len(cell) < len(labels) or len(np.unique(cell)) < len(cell) or start.any():
            slot = np.arange(self._width)
            slots = np.where(slot < self._sizes[:, None], start[:, None] + slot, 0)
            self._pick = backend.asarray(cell), backend.asarray(slots)
        self._xp = backend.xp
        self._labels = self._taken(labels)

    def predictions(self, factored: Factored, mean: Array) -> Predictions:
        """Take the factored rows apart."""
        z = factored.z
        if self._pick is not None:
            z, mean = z[self._pick[0]], mean[self._pick[0]]
        return Predictions(self._taken(factored.features), z, mean, self._labels, self._sizes)

    def _taken(self, rows: Array) -> Array:
        if self._pick is not None:
            return rows[self._pick[0][:, None], self._pick[1]]
        return self._xp.ascontiguousarray(rows[:, : self._width])
