"""Solve a ridge problem by one route, check every solve, and solve again what missed the tolerance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Array, RowSets
from fastprobe.probes.ridge import direct, downdate, dual, iterate, mixed
from fastprobe.probes.ridge.problem import HeldOut, RidgeProblem

__all__ = ["ROUTES", "TOLERANCE", "Solution", "solve"]

ROUTES: Mapping[str, Callable[[RidgeProblem, RowSets, Sequence[float]], HeldOut]] = {
    "direct": direct.solve,
    "downdate": downdate.solve,
    "iterate": iterate.solve,
    "dual": dual.solve,
    "mixed": mixed.solve,
}

TOLERANCE = 1e-10
"""Largest relative float64 residual of an accepted solve."""


@dataclass(frozen=True, eq=False)
class Solution:
    """Held-out residuals, and how they were come by.

    Attributes
    ----------
    sets : RowSets
        The sets left out.
    residuals : array, shape (K, m, A, t)
        Set, slot, strength, task, on the device; zero in padded slots.
    error : ndarray, shape (K, A)
        Relative float64 residual of the solve; above :data:`TOLERANCE` or NaN where no route could solve the set.
    refactorised : ndarray of bool, shape (K, A)
        Where the first route missed the tolerance and another one was taken.
    route, refuge : str
        The first route, and the one that solved the refactorised sets.
    iterations : int
    """

    sets: RowSets
    residuals: Array
    error: NDArray[np.float64]
    refactorised: NDArray[np.bool_]
    route: str
    refuge: str
    iterations: int

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Sets and strengths that no route could solve, shape (K, A)."""
        return ~(self.error <= TOLERANCE)


def solve(
    problem: RidgeProblem, left_out: Sequence[NDArray[np.int64]], alphas: Sequence[float], route: str
) -> Solution:
    """Leave out each set of rows, fit the rest, and return the residuals of the rows left out.

    Parameters
    ----------
    problem : RidgeProblem
    left_out : sequence of ndarray of int64, length K
        Rows left out of each fit.
    alphas : sequence of float, length A
        Strengths, for the features as they are in the problem's design.
    route : str
        One of :data:`ROUTES`.
    """
    backend = problem.backend
    sets = backend.row_sets(left_out, problem.n)
    result = ROUTES[route](problem, sets, alphas)
    error = backend.to_numpy(result.error).copy()
    missed = ~(error <= TOLERANCE)
    refuge = _refuge(problem, route)
    if missed.any():
        some_sets, some_alphas = (
            np.flatnonzero(missed.any(axis=1)).tolist(),
            np.flatnonzero(missed.any(axis=0)).tolist(),
        )
        subset = backend.row_sets([left_out[k] for k in some_sets], problem.n)
        again = ROUTES[refuge](problem, subset, [alphas[a] for a in some_alphas])
        again_error = backend.to_numpy(again.error)
        for i, k in enumerate(some_sets):
            for j, a in enumerate(some_alphas):
                if missed[k, a]:
                    result.residuals[k, : subset.width, a] = again.residuals[i, :, j]
                    error[k, a] = again_error[i, j]
    return Solution(sets, result.residuals, error, missed, route, refuge, result.iterations)


def _refuge(problem: RidgeProblem, route: str) -> str:
    """Return the most robust other route: in the smaller of the two spaces, without a subtraction from 1."""
    first, second = ("dual", "downdate") if problem.n <= problem.d else ("downdate", "dual")
    return first if route != first else second
