"""Kernel ridge for the estimators: the kernel matrix of all rows, or Nyström features of some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Backend
from fastprobe.compat.sklearn.errors import ParameterError
from fastprobe.compat.sklearn.ridge import RidgeSolver
from fastprobe.compat.sklearn.solver import FittedProbe, Floats, HeldOutOutputs, predictions
from fastprobe.probes.kernel import Frame, Kernel, KernelFit, KernelProblem, Landmarks, Points, solve
from fastprobe.probes.kernel.functions import by_rows
from fastprobe.probes.ridge.solve import TOLERANCE

__all__ = ["ExactSolver", "KernelMap", "NystroemSolver"]


@dataclass(frozen=True, eq=False)
class KernelMap:
    """From features to the values of the kernel with some rows, the basis of a probe.

    Attributes
    ----------
    kernel : Kernel
    center : ndarray of float64, shape (d,)
    scale : float
        The kernel sees ``(x - center) / scale``.
    basis : ndarray of float32 or float64, shape (r, d)
    """

    kernel: Kernel
    center: Floats
    scale: float
    basis: NDArray[Any]

    def points(self, backend: Backend, x: NDArray[Any]) -> Points:
        """Bring features to the device, as the points that the kernel sees."""
        design = backend.design(backend.asarray(x), np.arange(len(x)))
        return Frame(backend.asarray(self.center), self.scale).points(backend, design)

    def outputs(self, backend: Backend, x: NDArray[Any], weights: Floats) -> Floats:
        """Outputs (n, t) without intercepts, for weights of shape (r, t); block by block of rows."""
        xp, weights = backend.xp, backend.asarray(weights)
        points, basis = self.points(backend, x), self.points(backend, self.basis)
        out = xp.empty((len(x), weights.shape[1]))

        def work(rows: slice) -> None:
            out[rows] = xp.matmul(self.kernel(xp, points[rows], basis), weights)

        by_rows(backend, work, len(x), 3 * len(basis))
        host: Floats = backend.to_numpy(out)
        return host


class ExactSolver:
    """Kernel ridge by the block leave-out in the dual; see :class:`fastprobe.compat.sklearn.solver.Solver`.

    Parameters
    ----------
    backend : Backend
    points : Points
    y : ndarray of float64, shape (n, t)
    seen : KernelMap
        Its basis are the features of all points.
    """

    def __init__(self, backend: Backend, points: Points, y: Floats, seen: KernelMap) -> None:
        self._backend, self._labels, self.map = backend, backend.asarray(y), seen
        self._problem = KernelProblem(backend, seen.kernel, points, self._labels)

    def fit(self, alpha: float) -> FittedProbe:
        """Solve the bordered system of all rows."""
        fitted, error = KernelFit(self._problem, alpha), np.nan
        if fitted.ok:
            error = fitted.error
        if not error <= TOLERANCE:
            raise ParameterError(
                "parameter alpha",
                found=f"{alpha!r}, at which the kernel matrix cannot be solved (relative residual {error:.1e})",
                expected=f"an alpha with a relative residual of at most {TOLERANCE:.0e}",
                fix="take a larger alpha, or a kernel with smaller values",
            )
        to_numpy = self._backend.to_numpy
        return FittedProbe(to_numpy(fitted.coefficients).T, to_numpy(fitted.intercept))

    def leave_out(self, left_out: Sequence[NDArray[np.int64]], alphas: Sequence[float]) -> HeldOutOutputs:
        """Predict the rows left out."""
        return predictions(self._backend, self._labels, solve(self._problem, left_out, alphas))


class NystroemSolver:
    """Ridge on Nyström features; see :class:`fastprobe.compat.sklearn.solver.Solver`.

    Parameters
    ----------
    backend : Backend
    points : Points
    y : ndarray of float64, shape (n, t)
    seen : KernelMap
        Its basis are the features of the landmarks.
    landmarks : ndarray of int64
        Which points are landmarks.
    """

    def __init__(
        self, backend: Backend, points: Points, y: Floats, seen: KernelMap, landmarks: NDArray[np.int64]
    ) -> None:
        self._backend, self.map = backend, seen
        self._landmarks = Landmarks.of(backend, seen.kernel, points, landmarks)
        features = self._landmarks.features(backend, points)
        self._ridge = RidgeSolver(backend, features, backend.asarray(y))

    def fit(self, alpha: float) -> FittedProbe:
        """Fit all rows."""
        fitted = self._ridge.fit(alpha)
        root = self._backend.to_numpy(self._landmarks.root)
        return FittedProbe(fitted.weights @ root.T, fitted.intercepts)

    def leave_out(self, left_out: Sequence[NDArray[np.int64]], alphas: Sequence[float]) -> HeldOutOutputs:
        """Predict the rows left out. Landmarks are drawn from all rows and stay, also where they are left out."""
        return self._ridge.leave_out(left_out, alphas)
