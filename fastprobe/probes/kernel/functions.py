"""Kernels: what is computed of two sets of points, by the formulas of ``sklearn.metrics.pairwise``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastprobe.backend.base import Array, Backend, Design

__all__ = ["Frame", "Kernel", "Points", "by_rows", "squared_distances"]

_ROWS = 256  # of a block that a thread of the CPU works on, small enough for its cache


@dataclass(frozen=True, eq=False)
class Points:
    """Points on a device.

    Attributes
    ----------
    rows : array of float64, shape (n, d)
    squares : array of float64, shape (n,)
        Squared lengths.
    """

    rows: Array
    squares: Array

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice | Array) -> Points:
        return Points(self.rows[rows], self.squares[rows])


@dataclass(frozen=True, eq=False)
class Frame:
    """How features become points: ``(x - center) / scale``.

    Attributes
    ----------
    center : array, shape (d,), or float
    scale : float
    """

    center: Array | float
    scale: float

    @classmethod
    def of(cls, kernel: str, design: Design, *, mean: float = 0.0, variance: float = 1.0) -> Frame:
        """Return the frame in which a kernel sees features that are standardised by one mean and one variance.

        Distances know no mean. The kernel ``rbf`` therefore takes off the means of the columns instead, about which the
        least is lost to rounding.
        """
        return cls(design.mean if kernel == "rbf" else mean, variance**0.5)

    def points(self, backend: Backend, design: Design) -> Points:
        """Return the features of a design as points."""
        rows = backend.centered(design)
        rows += design.mean - self.center
        rows /= self.scale
        return Points(rows, (rows * rows).sum(axis=1))


@dataclass(frozen=True)
class Kernel:
    """A kernel with its parameters.

    Attributes
    ----------
    kernel : {"rbf", "polynomial"}
        ``exp(-gamma |x - z|^2)``, or ``(gamma x'z + coef0)^degree``.
    gamma : float
    degree : int
    coef0 : float
    """

    kernel: str
    gamma: float
    degree: int = 1
    coef0: float = 0.0

    def __str__(self) -> str:
        """Text for the records."""
        if self.kernel == "rbf":
            return f"rbf gamma={self.gamma:.6g}"
        return f"polynomial degree={self.degree} gamma={self.gamma:.6g} coef0={self.coef0:.6g}"

    def __call__(self, xp: Any, left: Points, right: Points) -> Array:
        """Return the values between all points, shape (left, right)."""
        if self.kernel == "rbf":
            block = squared_distances(xp, left, right)
            block *= -self.gamma
            return xp.exp(block)
        base = xp.matmul(left.rows, right.rows.T)
        base *= self.gamma
        base += self.coef0
        if self.degree == 1:
            return base
        power = base * base
        for _ in range(2, self.degree):  # a general power takes ten times as long as a product
            power *= base
        return power


def squared_distances(xp: Any, left: Points, right: Points) -> Array:
    """Squared distances between all points, shape (left, right), none below 0."""
    block = xp.matmul(left.rows, right.rows.T)
    block *= -2.0
    block += left.squares[:, None]
    block += right.squares
    return xp.maximum(block, 0.0)


def by_rows(backend: Backend, work: Callable[[slice], None], n: int, columns: int) -> None:
    """Cut n rows into the blocks that the device does at once, and work on each.

    `columns` counts the float64 values that the work keeps for each row, its temporaries included. The work only writes
    what belongs to its rows.
    """

    def blocks(chunk: slice) -> None:
        work(slice(chunk.start * _ROWS, min(n, chunk.stop * _ROWS)))

    backend.for_chunks(blocks, -(-n // _ROWS), 8 * columns * _ROWS)
