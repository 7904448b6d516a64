"""A ridge problem whose features are ordered: what the fits on different rows share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Array, Backend, Design
from fastprobe.errors import InputError

__all__ = ["Moments", "PrefixProblem", "require_memory"]

Ints = NDArray[np.int64]

_ROUNDING = 16 * float(np.finfo(np.float64).eps)
"""What rounding makes of a product of labels and features that is 0, relative to their sizes, at most."""


@dataclass(frozen=True, eq=False)
class Moments:
    """What ridge needs to know of the rows that train some fits.

    Attributes
    ----------
    gram : array, shape (k, d, d)
        About the means of the training rows, lower triangles.
    cross : array, shape (k, t, d)
        ``y'X`` about those means.
    x_mean, y_mean : arrays, shapes (k, 1, d) and (k, t)
        Of the training rows; of the features less the means of the design.
    """

    gram: Array
    cross: Array
    x_mean: Array
    y_mean: Array


class PrefixProblem:
    """Features of a sample group in a given order, and labels.

    Parameters
    ----------
    backend : Backend
    design : Design
        Raw features, shape (n, d). Strengths refer to these, times `scale`.
    y : array, shape (n, t)
        Label columns.
    scale : ndarray of float64, shape (d,), optional
        Factors of the features; ones by default. A factor of 0 is that of a constant feature, for which any will do.
    gram_source : callable, optional
        Returns the Gram matrix of all rows, (d, d), about their means, where that can be had for less than the product:
        of the features as they are in the design, lower triangle.

    Attributes
    ----------
    backend, design, y
        As given.
    scale : array, shape (d,), or None
    y_mean, y_centered : arrays, shapes (t,) and (n, t)
        Means of the labels, and the labels less those.
    """

    def __init__(
        self,
        backend: Backend,
        design: Design,
        y: Array,
        scale: NDArray[np.float64] | None = None,
        gram_source: Callable[[], Array] | None = None,
    ) -> None:
        self.backend, self.design, self.y = backend, design, y
        self._gram_source = gram_source or (lambda: backend.gram(design))
        self.scale = None if scale is None else backend.asarray(np.where(scale == 0.0, 1.0, scale))
        self.y_mean = y.mean(axis=0)
        self.y_centered = y - self.y_mean

    @property
    def n(self) -> int:
        """Samples."""
        return self.design.shape[0]

    @property
    def d(self) -> int:
        """Features."""
        return self.design.shape[1]

    @property
    def t(self) -> int:
        """Label columns."""
        return self.y.shape[1]

    @cached_property
    def total(self) -> tuple[Array, Array]:
        """``Xc'Xc`` (d, d), lower triangle, and ``y'Xc`` (t, d) of all rows."""
        gram, cross = self._gram_source(), self.backend.adjoint(self.design, self.y_centered)
        if self.scale is None:
            return gram, cross
        return gram * (self.scale[:, None] * self.scale), cross * self.scale

    def take(self, rows: list[Ints], chunk: slice) -> tuple[Array, Array, Array]:
        """Features and labels of the sets of rows of a chunk, less the means of all rows; and the mask of their rows.

        Shapes (k, m, d), (k, m, t) and (k, m); padded with zeros.
        """
        sets = self.backend.row_sets(rows[chunk], self.n)
        whole = slice(0, len(sets))
        features = self.backend.take_centered(self.design, sets, whole)
        if self.scale is not None:
            features *= self.scale
        return features, self.backend.take(self.y_centered, sets, whole), sets.mask

    def labels(self, y_centered: Array) -> Array:
        """Turn labels less their means into labels."""
        return y_centered + self.y_mean

    def adds(self, trained: list[Ints]) -> bool:
        """Whether the moments of these rows are sums over them, rather than those of all rows less the others."""
        return 2 * max(map(len, trained)) < self.n

    def moments(self, trained: list[Ints], others: list[Ints], chunk: slice) -> Moments:
        """Moments of the training rows of the fits of a chunk.

        Parameters
        ----------
        trained, others : list of ndarray of int64
            Rows that train, and rows that do not. The fewer of them are looked at: see :meth:`adds`.
        chunk : slice
        """
        backend, xp, add = self.backend, self.backend.xp, self.adds(trained)
        x, y, _ = self.take(trained if add else others, chunk)
        sign = 1.0 if add else -1.0
        sizes = backend.asarray(np.array([float(len(rows)) for rows in trained[chunk]]))[:, None, None]
        x_sum, y_sum = sign * x.sum(axis=1, keepdims=True), sign * y.sum(axis=1, keepdims=True)
        cross = sign * xp.matmul(y.swapaxes(1, 2), x) - y_sum.swapaxes(1, 2) * (x_sum / sizes)
        gram = xp.zeros((len(x), self.d, self.d))
        if not add:
            gram += self.total[0]
            cross += self.total[1]
        backend.update_gram(gram, x, sign)
        backend.update_gram(gram, x_sum / xp.sqrt(sizes), -1.0)
        squares = (x * x).sum(axis=(1, 2))[:, None] if add else xp.trace(self.total[0])
        rounding = _ROUNDING**2 * squares * (self.y_centered * self.y_centered).sum(axis=0)
        cross *= ((cross * cross).sum(axis=2) > rounding)[:, :, None]  # labels that are constant, such as a rare class
        return Moments(gram, cross, x_sum / sizes, (y_sum / sizes)[:, 0] + self.y_mean)


def require_memory(where: str, n: int, d: int, available: float) -> None:
    """Raise InputError if the matrices of one fit would not fit into the memory.

    Parameters
    ----------
    where : str
        Name of the problem for the message.
    n, d : int
        Samples and features.
    available : float
        Bytes, beside the features.
    """
    needed = 8.0 * d * (4 * d + n)
    if needed <= available:
        return
    fitting = int(((n / 4) ** 2 + available / 8.0) ** 0.5 / 2 - n / 8)
    raise InputError(
        where,
        found=f"{d} features, whose fits take {needed / 2**30:.1f} GiB",
        expected=f"at most {available / 2**30:.1f} GiB beside the features",
        fix=f"give sizes up to {fitting}" if fitting > 0 else "use a machine with more memory",
    )
