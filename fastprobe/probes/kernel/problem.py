"""One kernel ridge problem: the kernel matrix of a sample group about its means, and the labels."""

from __future__ import annotations

import math

from fastprobe.backend.base import Array, Backend
from fastprobe.errors import InputError
from fastprobe.probes.kernel.functions import Kernel, Points, by_rows

__all__ = ["KernelProblem", "require_finite"]


_LARGEST = 280  # decimal exponent of a value: squares are not taken of them, but sums over all rows


class KernelProblem:
    """Ridge in the space of a kernel, with an unpenalised intercept, for the dual route.

    Parameters
    ----------
    backend : Backend
    kernel : Kernel
    points : Points
        n of them.
    y : array, shape (n, t)
        Labels of t columns.

    Attributes
    ----------
    y : array, shape (n, t)
        Labels about their means.
    label_means : array, shape (t,)
    kernel : array, shape (n, n)
        About its row and column means: rows and columns sum to zero.
    means : array, shape (n,)
        The row means that were taken off.
    kernel_scale : float
        Mean eigenvalue of the kernel; 1 if all points are the same.

    Raises
    ------
    InputError
        If values of the kernel are too large for float64.
    """

    def __init__(self, backend: Backend, kernel: Kernel, points: Points, y: Array) -> None:
        require_finite(backend, kernel, points)
        self.backend = backend
        self.label_means = y.mean(axis=0)
        self.y = y - self.label_means
        self.kernel = _matrix(backend, kernel, points)
        self.means = self.kernel.mean(axis=1)
        _take_off_means(backend, self.kernel, self.means)
        scale = float(backend.xp.trace(self.kernel)) / len(points)
        self.kernel_scale = scale if scale > 0 else 1.0

    @property
    def n(self) -> int:
        """Samples."""
        return len(self.y)

    @property
    def t(self) -> int:
        """Columns of labels."""
        return int(self.y.shape[1])


def require_finite(backend: Backend, kernel: Kernel, points: Points) -> None:
    """Refuse a kernel that float64 does not hold on some points.

    Raises
    ------
    InputError
        If a value, at the points of the greatest length, would be too large.
    """
    base = 4.0 * kernel.gamma * float(points.squares.max()) + kernel.coef0
    if base > 1 and not kernel.degree * math.log10(base) < _LARGEST:
        raise InputError(
            "[kernel]",
            found=f"values too large for float64 of the kernel {kernel}",
            expected=f"values below 1e{_LARGEST} on this embedding",
            fix="lower gamma, degree or coef0",
        )


def _matrix(backend: Backend, kernel: Kernel, points: Points) -> Array:
    """Values between all points, (n, n), written block by block: each up to the diagonal, and then across it."""
    xp, n = backend.xp, len(points)
    out = xp.empty((n, n))

    def work(rows: slice) -> None:
        block = kernel(xp, points[rows], points[: rows.stop])
        out[rows, : rows.stop] = block
        out[: rows.start, rows] = block[:, : rows.start].T

    by_rows(backend, work, n, 3 * n)
    if kernel.kernel == "rbf":
        diagonal = xp.arange(n)
        out[diagonal, diagonal] = 1.0
    return out


def _take_off_means(backend: Backend, matrix: Array, means: Array) -> None:
    """Replace a symmetric matrix M by ``C M C``, ``C = I - 11'/n``, in place."""
    of_columns = means - means.mean()

    def work(rows: slice) -> None:
        matrix[rows] -= means[rows][:, None]
        matrix[rows] -= of_columns

    by_rows(backend, work, len(matrix), 1)
