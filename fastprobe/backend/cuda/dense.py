"""Factorisations, solves and products by the routines of cuBLAS and cuSOLVER.

Those keep matrices column by column. A C-contiguous matrix is therefore its own transpose to them, and its lower
triangle the upper one; a stack of rows b (c, d) is a matrix (d, c) whose columns are to be solved for. With
``U = L'`` for the factor that ``potrf`` leaves in the upper triangle, ``A = U'U = L L'``, and ``L z = b`` for every row
is ``U' Z = B`` from the left. Nothing is ever transposed in memory.

Sizes, leading dimensions and flags are decided here, above an interface that says no more than the libraries do, so
that the tests can put LAPACK in their place.
"""

from __future__ import annotations

from typing import Any, Protocol

from fastprobe.backend.base import Array

__all__ = ["Dense", "Libraries"]

_PER_MATRIX = 65_536  # entries per matrix of a stack from which one matrix after another is faster; CuPy's own limit


class Libraries(Protocol):
    """Routines of BLAS and LAPACK in float64, on column-major matrices that lie in C-contiguous arrays.

    A stack is an array (k, ...) of k matrices. All are asynchronous, and overwrite what they solve or factorise.
    ``uplo`` is U or L, ``trans`` N or T, ``side`` L or R; diagonals are not units.
    """

    def potrf(self, uplo: str, n: int, a: Array, lda: int) -> Array:
        """Cholesky factorisation; returns ``info`` (int32, shape ()): 0, or the order of the minor that failed."""

    def potrf_batched(self, uplo: str, n: int, a: Array, lda: int) -> Array:
        """Cholesky factorisations of a stack; returns ``info`` (int32, shape (k,))."""

    def trsm(self, side: str, uplo: str, trans: str, m: int, n: int, a: Array, lda: int, b: Array, ldb: int) -> None:
        """Solve ``op(A) X = B`` or ``X op(A) = B`` for B of shape (m, n)."""

    def trsm_batched(
        self, side: str, uplo: str, trans: str, m: int, n: int, a: Array, lda: int, b: Array, ldb: int
    ) -> None:
        """Solve the same for the matrices of two stacks."""

    def syrk(
        self, uplo: str, trans: str, n: int, k: int, alpha: float, a: Array, lda: int, beta: float, c: Array, ldc: int
    ) -> None:
        """One triangle of ``C = alpha op(A) op(A)' + beta C``, for ``op(A)`` of shape (n, k)."""

    def gemm_batched(
        self, transa: str, transb: str, m: int, n: int, k: int, alpha: float, a: Array, lda: int, b: Array, ldb: int,
        beta: float, c: Array, ldc: int,
    ) -> None:  # fmt: skip
        """``C = alpha op(A) op(B) + beta C`` for three stacks; ``op(A)`` of shape (m, k), ``op(B)`` of shape (k, n)."""

    def syevd(self, uplo: str, n: int, a: Array, lda: int) -> tuple[Array, Array]:
        """Eigenvalues (n,) and ``info``; eigenvectors replace `a`, as columns."""


class Dense:
    """What a backend needs of dense linear algebra, on C-contiguous float64 arrays.

    Parameters
    ----------
    xp : namespace
    libraries : Libraries
    """

    def __init__(self, xp: Any, libraries: Libraries) -> None:
        self._xp, self._libraries = xp, libraries

    def cholesky(self, a: Array) -> tuple[Array, Array]:
        """Replace symmetric matrices (..., d, d), of which the lower triangle is read, by their lower factors.

        Returns them, and a mask (...) of those that succeeded. What stands in the lower triangle of the others, and in
        all upper triangles, means nothing.
        """
        xp, d = self._xp, a.shape[-1]
        stack = xp.ascontiguousarray(a).reshape(-1, d, d)
        if len(stack) == 1 or len(stack) * _PER_MATRIX < d * d:
            info = xp.stack([self._libraries.potrf("U", d, matrix, d) for matrix in stack])
        else:
            info = self._libraries.potrf_batched("U", d, stack, d)
        # A NaN is no failure to every version of the routines; wherever it stood, it has reached a diagonal by the end.
        finite = xp.isfinite(xp.diagonal(stack, axis1=1, axis2=2)).all(axis=1)
        return stack.reshape(a.shape), ((info == 0) & finite).reshape(a.shape[:-2])

    def solve_lower(self, lower: Array, rows: Array, *, transpose: bool = False) -> None:
        """Replace every row b by ``L^-1 b`` or ``L'^-1 b``: factors (..., d, d), contiguous rows (..., c, d)."""
        c, d = rows.shape[-2:]
        trans = "N" if transpose else "T"
        if not rows.size:
            return
        lower = self._xp.ascontiguousarray(lower).reshape(-1, d, d)
        if len(lower) == 1:
            self._libraries.trsm("L", "U", trans, d, c, lower[0], d, rows, d)
        else:
            self._libraries.trsm_batched("L", "U", trans, d, c, lower, d, rows.reshape(-1, c, d), d)

    def add_gram(self, rows: Array, out: Array) -> None:
        """Add the lower triangle of ``rows' rows`` to `out` (d, d), for contiguous rows (b, d)."""
        b, d = rows.shape
        self._libraries.syrk("U", "N", d, b, 1.0, rows, d, 1.0, out, d)

    def update_gram(self, rows: Array, out: Array, sign: float) -> None:
        """Add ``sign rows' rows`` to each matrix of a stack: contiguous rows (k, m, d), out (k, d, d).

        Both triangles are written: a product of stacks does twice the work of ``syrk``, but all matrices at once.
        """
        m, d = rows.shape[-2:]
        self._libraries.gemm_batched("N", "T", d, d, m, sign, rows, d, rows, d, 1.0, out, d)

    def subtract_outer(self, rows: Array, out: Array) -> None:
        """Subtract ``rows rows'`` from each matrix of a stack: contiguous rows (k, m, r), out (k, m, m)."""
        m, r = rows.shape[-2:]
        self._libraries.gemm_batched("T", "N", m, m, r, -1.0, rows, r, rows, r, 1.0, out, m)

    def eigh(self, a: Array) -> tuple[Array, Array, Array]:
        """Ascending eigenvalues and eigenvectors (as columns) of a symmetric matrix (d, d), and ``info``.

        The lower triangle is read; `a` is not changed.
        """
        d = len(a)
        vectors = self._xp.array(a, dtype=self._xp.float64, order="C")
        values, info = self._libraries.syevd("U", d, vectors, d)
        return values, vectors.T, info
