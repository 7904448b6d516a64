"""The kernel and the strength of every fold and task: all are tried, and the best is kept.

A trial is a kernel with a strength. The best for a fold and a task is the one with the least mean squared error over
the validation rows of that fold (:mod:`fastprobe.probes.inner`), summed over the columns of the task; of equal ones the
one with the largest strength, and then the first kernel. A trial whose solve failed for a fold is taken for it only if
all failed. Nothing is chosen where there is one trial only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Array, Backend, RowSets
from fastprobe.probes.inner import InnerPlan
from fastprobe.probes.kernel.exact import KernelFit
from fastprobe.probes.kernel.functions import Kernel, Points
from fastprobe.probes.kernel.nystroem import Landmarks
from fastprobe.probes.kernel.problem import KernelProblem
from fastprobe.probes.kernel.validation import Validation
from fastprobe.probes.ridge import RidgeProblem, solve
from fastprobe.probes.ridge.select import select
from fastprobe.probes.ridge.solve import TOLERANCE

__all__ = ["Best", "Search", "Trial"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Trial:
    """What a kernel and a strength give.

    Attributes
    ----------
    kernel, alpha : int
        Which of the kernels, and of the strengths.
    loss : ndarray, shape (K, columns), or None
        Mean squared validation error; None if nothing validates.
    residuals : array, shape (K, m, columns)
        Held-out residuals, zero in padded slots.
    error : ndarray, shape (K,)
        Relative residual of every fold's solve.
    refactorised : ndarray of bool, shape (K,)
        Where a route missed the tolerance and another one was taken.
    iterations : int
        Of an iterative route.
    """

    kernel: int
    alpha: int
    loss: NDArray[np.float64] | None
    residuals: Array
    error: NDArray[np.float64]
    refactorised: NDArray[np.bool_]
    iterations: int = 0


@dataclass(frozen=True, eq=False)
class Search:
    """Kernels and strengths to try on the points and labels of a sample group.

    Attributes
    ----------
    backend : Backend
    points : Points
        n of them.
    y : array, shape (n, columns)
    kernels : sequence of Kernel
    alphas : sequence of float
        Ascending.
    """

    backend: Backend
    points: Points
    y: Array
    kernels: Sequence[Kernel]
    alphas: Sequence[float]

    def exact(self, sets: RowSets, inner: InnerPlan | None) -> Iterator[Trial]:
        """Try all with the kernel matrix of all rows, of which there is one at a time.

        Parameters
        ----------
        sets : RowSets
            The K folds.
        inner : InnerPlan or None
            None to choose nothing.
        """
        validation = None if inner is None else Validation(self.backend, inner, len(self.points), len(sets))
        for k, kernel in enumerate(self.kernels):
            problem = KernelProblem(self.backend, kernel, self.points, self.y)
            for a, alpha in enumerate(self.alphas):
                yield _exact_trial(problem, k, a, alpha, sets, validation)
            del problem  # before the next one is made

    def nystroem(
        self, rows: Ints, held_out: Sequence[Ints], route: str, inner: InnerPlan | None, inner_route: str
    ) -> Iterator[Trial]:
        """Try all with Nyström features, by the routes of ridge.

        Parameters
        ----------
        rows : ndarray of int64
            Which points are landmarks.
        held_out : sequence of ndarray of int64, length K
        route : str
            Of the folds.
        inner : InnerPlan or None
            None to choose nothing.
        inner_route : str
            Of the inner validation.
        """
        for k, kernel in enumerate(self.kernels):
            landmarks = Landmarks.of(self.backend, kernel, self.points, rows)
            features = landmarks.features(self.backend, self.points)
            design = self.backend.design(features, np.arange(len(features)))
            problem = RidgeProblem(self.backend, design, self.y)
            loss = None
            if inner is not None:
                loss = select(problem, inner, len(held_out), self.alphas, inner_route).mse
            found = solve(problem, held_out, self.alphas, route)
            for a in range(len(self.alphas)):
                yield Trial(
                    k,
                    a,
                    None if loss is None else loss[:, a],
                    found.residuals[:, :, a],
                    found.error[:, a],
                    found.refactorised[:, a],
                    found.iterations,
                )


class Best:
    """The best trial for every fold and task.

    Parameters
    ----------
    backend : Backend
    folds : int
        K.
    columns : sequence of slice
        Columns of each of the T tasks.

    Attributes
    ----------
    kernel, alpha : ndarray of int64, shape (K, T)
        Which kernel and strength.
    loss : ndarray, shape (K, T)
        Validation error; infinite where all trials failed.
    error : ndarray, shape (K, T)
        Relative residual of the solve.
    refactorised : ndarray of bool, shape (K, T)
    residuals : array, shape (K, m, columns)
        Held-out residuals.
    iterations : int
        The most that a trial took.
    """

    residuals: Array

    def __init__(self, backend: Backend, folds: int, columns: Sequence[slice]) -> None:
        self._backend, self._columns = backend, columns
        shape = folds, len(columns)
        self.kernel, self.alpha = np.full(shape, -1), np.full(shape, -1)
        self.loss, self.error = np.full(shape, np.inf), np.full(shape, np.nan)
        self.refactorised = np.zeros(shape, dtype=bool)
        self.iterations = 0

    def offer(self, trial: Trial) -> None:
        """Take a trial where it is better than those before it."""
        self.iterations = max(self.iterations, trial.iterations)
        loss = np.zeros(self.loss.shape)
        if trial.loss is not None:
            loss = np.stack([trial.loss[:, of_task].sum(axis=1) for of_task in self._columns], axis=1)
        loss[~(trial.error <= TOLERANCE)] = np.inf
        better = (loss < self.loss) | ((loss == self.loss) & (trial.alpha > self.alpha))
        self.kernel[better], self.alpha[better], self.loss[better] = trial.kernel, trial.alpha, loss[better]
        self.error = np.where(better, trial.error[:, None], self.error)
        self.refactorised = np.where(better, trial.refactorised[:, None], self.refactorised)
        if better.all():
            self.residuals = trial.residuals
        elif better.any():
            widths = [of_task.stop - of_task.start for of_task in self._columns]
            taken = self._backend.asarray(np.repeat(better, widths, axis=1))[:, None, :]
            self.residuals = self._backend.xp.where(taken, trial.residuals, self.residuals)


def _exact_trial(
    problem: KernelProblem, k: int, a: int, alpha: float, sets: RowSets, validation: Validation | None
) -> Trial:
    fit = KernelFit(problem, alpha)
    loss = None
    if validation is not None:
        loss = validation.mean_squares(*fit.leave_out(validation.sets, check=False))
    return Trial(k, a, loss, *fit.leave_out(sets), np.zeros(len(sets), dtype=bool))
