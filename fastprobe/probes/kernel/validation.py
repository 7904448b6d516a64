"""Validation of kernels and strengths inside the training rows of every fold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Array, Backend
from fastprobe.probes.inner import InnerPlan
from fastprobe.probes.ridge.solve import TOLERANCE

__all__ = ["Validation"]


class Validation:
    """The sets of an inner plan on a device, and the errors of what is predicted for them.

    Parameters
    ----------
    backend : Backend
    plan : InnerPlan
    n, folds : int
        Samples, and outer folds K.

    Attributes
    ----------
    sets : RowSets
        P sets to leave out.
    """

    def __init__(self, backend: Backend, plan: InnerPlan, n: int, folds: int) -> None:
        self._backend, self._folds = backend, folds
        self.sets = backend.row_sets(plan.left_out, n)
        served: list[list[tuple[int, NDArray[np.int64]]]] = [[] for _ in plan.left_out]
        for fold, p, rows in plan.validate:
            served[p].append((fold, rows))
        most = max(map(len, served))
        self._fold_of = np.zeros((len(served), most), dtype=np.int64)
        validates = np.zeros((len(served), most, self.sets.width))
        for p, (left_out, folds_of) in enumerate(zip(plan.left_out, served, strict=True)):
            for i, (fold, rows) in enumerate(folds_of):
                self._fold_of[p, i] = fold
                validates[p, i, np.searchsorted(left_out, rows)] = 1.0
        members = validates.sum(axis=2)[:, :, None]
        self._serves = members > 0
        self._count = self._by_fold(members)
        self._validates = backend.asarray(validates)

    def mean_squares(self, residuals: Array, error: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean squared error of the validation rows of every fold, shape (K, t); infinite where a solve failed.

        Parameters
        ----------
        residuals : array, shape (P, m, t)
            Of :attr:`sets`.
        error : ndarray, shape (P,)
            Relative residual of every set.
        """
        failed = ~(error <= TOLERANCE)
        squares = self._backend.to_numpy(self._backend.xp.matmul(self._validates, residuals * residuals))
        squares = np.where(failed[:, None, None], np.inf, squares)
        return self._by_fold(np.where(self._serves, squares, 0.0)) / self._count

    def _by_fold(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add up values (P, q, t) of what every set serves, shape (K, t)."""
        total = np.zeros((self._folds, values.shape[2]))
        np.add.at(total, self._fold_of, values)
        return total
