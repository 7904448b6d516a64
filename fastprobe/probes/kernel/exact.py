"""Kernel ridge with the kernel matrix of all rows: one inverse for every strength serves every set of rows.

The block leave-out of :mod:`fastprobe.probes.ridge.dual`, and a check of what it does not see itself: that the
coefficients of every set's model solve its equations. Of the labels in which those of a set S are replaced by the
predictions for S, the model that never saw S is the fit to all rows, with coefficients ``w = A (y - e_S)`` that are 0
in S. So there is one number b for which ``(K + alpha I) w + b = y - e_S`` in all rows, and by how much that is missed
says how far other labels, of which the solution would be exact, are from the given ones. It costs two products with n x
n matrices for all sets together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Array, RowSets, relative_error
from fastprobe.probes.kernel.functions import by_rows
from fastprobe.probes.kernel.problem import KernelProblem
from fastprobe.probes.ridge.dual import leave_out, scaled_inverse
from fastprobe.probes.ridge.solve import Solution

__all__ = ["KernelFit", "solve"]


class KernelFit:
    """The fit to all rows for one strength, from which any set of rows can be left out.

    Parameters
    ----------
    problem : KernelProblem
    alpha : float

    Attributes
    ----------
    ok : bool
        Whether the matrix could be factorised.
    """

    def __init__(self, problem: KernelProblem, alpha: float) -> None:
        self._problem, self._alpha = problem, alpha
        self._inverse = scaled_inverse(problem, alpha)
        self.ok = self._inverse is not None
        if self.ok:
            self._dual = self._apply(self._inverse, problem.y)

    @property
    def coefficients(self) -> Array:
        """Dual coefficients a, shape (n, t): the prediction for z is ``k(z, X) a + b``."""
        return self._dual / self._alpha

    @property
    def intercept(self) -> Array:
        """The intercept b, shape (t,), of kernel values as they are, not about their means."""
        return self._problem.label_means - self._problem.backend.xp.matmul(self._problem.means, self.coefficients)

    @property
    def error(self) -> float:
        """Relative residual of the fit to all rows, the largest over the columns; NaN if it failed."""
        if not self.ok:
            return float("nan")
        return float(self._misfit(self._problem.y[:, None, :])[0])

    def leave_out(self, sets: RowSets, *, check: bool = True) -> tuple[Array, NDArray[np.float64]]:
        """Leave out each set of rows, and return the residuals of the models that never saw them.

        Parameters
        ----------
        sets : RowSets
            K sets.
        check : bool
            Check the equations of every model; without it only the m x m systems that lead from the fit to them.

        Returns
        -------
        residuals : array, shape (K, m, t)
            Zero in padded slots.
        error : ndarray, shape (K,)
            Relative residual, the largest over the columns; NaN where a factorisation failed.
        """
        problem, backend, xp = self._problem, self._problem.backend, self._problem.backend.xp
        if self._inverse is None:
            return xp.zeros((len(sets), sets.width, problem.t)), np.full(len(sets), np.nan)
        residuals, error = leave_out(backend, self._inverse, self._dual, sets)
        if check:
            error = xp.maximum(error, self._misfit(problem.y[:, None, :] - self._spread(sets, residuals)))
        return residuals, backend.to_numpy(error)

    def _misfit(self, labels: Array) -> Array:
        """Relative residual of the fits to other labels (n, K, t), shape (K,)."""
        xp = self._problem.backend.xp
        target = labels.reshape(len(labels), -1)
        scaled = self._apply(self._inverse, target)
        rest = target - scaled - self._apply(self._problem.kernel, scaled) / self._alpha
        rest, target = (about.swapaxes(0, 1)[:, :, None] for about in (rest - rest.mean(axis=0), target))
        return relative_error(xp, rest, target).reshape(labels.shape[1:]).max(axis=1)

    def _apply(self, matrix: Array, columns: Array) -> Array:
        backend = self._problem.backend
        out = backend.xp.empty(columns.shape)

        def work(rows: slice) -> None:
            out[rows] = backend.xp.matmul(matrix[rows], columns)

        by_rows(backend, work, len(matrix), columns.shape[1])
        return out

    def _spread(self, sets: RowSets, v: Array) -> Array:
        """Spread vectors (K, m, t) of the sets over all rows, zero where a row is in no set; shape (n, K, t)."""
        xp, n = self._problem.backend.xp, self._problem.n
        out = xp.zeros((n + 1, len(sets), v.shape[2]))
        out[xp.where(sets.mask, sets.rows, n), xp.arange(len(sets))[:, None]] = v  # padded slots: the row below
        return out[:n]


def solve(problem: KernelProblem, left_out: Sequence[NDArray[np.int64]], alphas: Sequence[float]) -> Solution:
    """Leave out each set of rows, fit the rest, and return the residuals of the rows left out, for every strength.

    Parameters
    ----------
    problem : KernelProblem
    left_out : sequence of ndarray of int64, length K
        Rows left out of each fit.
    alphas : sequence of float, length A

    Returns
    -------
    Solution
        Residuals of shape (K, m, A, t); what misses the tolerance has failed, there is no other route.
    """
    backend, xp = problem.backend, problem.backend.xp
    sets = backend.row_sets(left_out, problem.n)
    residuals = xp.empty((len(sets), sets.width, len(alphas), problem.t))
    error = np.empty((len(sets), len(alphas)))
    for a, alpha in enumerate(alphas):
        residuals[:, :, a], error[:, a] = KernelFit(problem, alpha).leave_out(sets)
    return Solution(sets, residuals, error, np.zeros(error.shape, dtype=bool), "dual", "dual", 0)
