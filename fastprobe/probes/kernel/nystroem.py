"""Nyström features: a kernel seen from some of the points, the landmarks, so that the routes of ridge can solve it.

With landmarks Z the features ``phi = K(X, Z) K(Z, Z)^(-1/2)`` have the inner products ``K(X, Z) K(Z, Z)^+ K(Z, X)``,
the best that the functions ``k(., z)`` of the landmarks can do; with all points as landmarks they are those of the
kernel. The root is that of the eigenvectors, of which those with eigenvalues below 1e-12 of the largest are dropped;
any other root would turn the features, which changes no prediction of ridge.

Source: Williams and Seeger (2001).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Array, Backend
from fastprobe.probes.kernel.functions import Kernel, Points, by_rows
from fastprobe.probes.kernel.problem import require_finite

__all__ = ["Landmarks"]

_LEAST = 1e-12  # of the largest eigenvalue: what is less is rounding


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Landmarks of a kernel.

    Attributes
    ----------
    kernel : Kernel
    points : Points
        m landmarks Z.
    root : array, shape (m, r)
        ``R R' = K(Z, Z)^+``, r no more than m. Ridge weights w on the features are the weights ``R w`` of the functions
        ``k(., z)``.
    """

    kernel: Kernel
    points: Points
    root: Array

    @classmethod
    def of(cls, backend: Backend, kernel: Kernel, points: Points, rows: NDArray[np.int64]) -> Landmarks:
        """Take some of the points as landmarks.

        Raises
        ------
        InputError
            If values of the kernel between points are too large for float64.
        """
        require_finite(backend, kernel, points)
        marks = points[backend.asarray(rows)]
        values, vectors = backend.eigh(kernel(backend.xp, marks, marks))
        known = backend.to_numpy(values)
        first = int(np.searchsorted(known, _LEAST * known[-1], side="right"))
        return cls(kernel, marks, vectors[:, first:] / backend.xp.sqrt(values[first:]))

    def features(self, backend: Backend, points: Points) -> Array:
        """Return the features of n points, shape (n, r)."""
        xp = backend.xp
        out = xp.empty((len(points), self.root.shape[1]))

        def work(rows: slice) -> None:
            out[rows] = xp.matmul(self.kernel(xp, points[rows], self.points), self.root)

        by_rows(backend, work, len(points), 3 * len(self.points) + self.root.shape[1])
        return out
