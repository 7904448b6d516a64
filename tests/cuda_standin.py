"""A GPU to test with where there is none: strict arrays, LAPACK in the place of the libraries, kernels run by g++.

All that :class:`~fastprobe.backend.cuda.backend.CudaBackend` does is executed: layouts and flags, the launchers, the
kernels and every operation on arrays. CuPy, the libraries and the chip are not.
"""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from scipy.linalg import blas, eigh, lapack
from strict_namespace import Namespace, StrictArray, bare

from fastprobe.backend.cuda.backend import CudaBackend
from fastprobe.backend.lanes import Lanes

__all__ = ["LapackLibraries", "StandIn", "make_backend"]


def columns(a: Any, lead: int, rows: int, count: int) -> np.ndarray:
    """The column-major matrix (rows, count) with this leading dimension that lies where the C-contiguous `a` lies."""
    memory = bare(a)
    assert memory.flags.c_contiguous
    assert memory.dtype == np.float64
    assert rows <= lead
    assert lead * count <= memory.size
    return memory.reshape(-1)[: lead * count].reshape((lead, count), order="F")[:rows]


def triangle(a: np.ndarray, uplo: str) -> np.ndarray:
    return np.triu(a) if uplo == "U" else np.tril(a)


def mirrored(a: np.ndarray, uplo: str) -> np.ndarray:
    half = triangle(a, uplo)
    return half + half.T - np.diag(np.diag(half))


class LapackLibraries:
    """:class:`fastprobe.backend.cuda.dense.Libraries` by SciPy, on the same memory, leading dimensions and flags.

    Triangles that a routine must not be asked for are poisoned with NaN; so is all of a factorisation that failed.
    """

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self.calls: list[str] = []

    def potrf(self, uplo: str, n: int, a: Any, lda: int) -> Any:
        self.calls.append("potrf")
        return self.xp.asarray(np.int32(self._potrf(uplo, n, a, lda)))

    def potrf_batched(self, uplo: str, n: int, a: Any, lda: int) -> Any:
        self.calls.append("potrf_batched")
        return self.xp.asarray(np.array([self._potrf(uplo, n, matrix, lda) for matrix in a], dtype=np.int32))

    def _potrf(self, uplo: str, n: int, a: Any, lda: int) -> int:
        matrix = columns(a, lda, n, n)
        inside = triangle(np.ones((n, n), dtype=bool), uplo)
        if np.isnan(matrix[inside]).any():
            factor, info = np.full((n, n), np.nan), 0  # the library need not see it
        else:
            factor, info = lapack.dpotrf(triangle(matrix, uplo), lower=uplo == "L")
        matrix[:] = np.where(inside, factor if info == 0 else np.nan, np.nan)
        return int(info)

    def trsm(self, side: str, uplo: str, trans: str, m: int, n: int, a: Any, lda: int, b: Any, ldb: int) -> None:
        order = m if side == "L" else n
        target = columns(b, ldb, m, n)
        target[:] = blas.dtrsm(
            1.0, triangle(columns(a, lda, order, order), uplo), target, side=side == "R", lower=uplo == "L",
            trans_a=trans == "T",
        )  # fmt: skip

    def trsm_batched(
        self, side: str, uplo: str, trans: str, m: int, n: int, a: Any, lda: int, b: Any, ldb: int
    ) -> None:
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            self.trsm(side, uplo, trans, m, n, one, lda, other, ldb)

    def syrk(
        self, uplo: str, trans: str, n: int, k: int, alpha: float, a: Any, lda: int, beta: float, c: Any, ldc: int
    ) -> None:
        factor = columns(a, lda, n, k) if trans == "N" else columns(a, lda, k, n).T
        target = columns(c, ldc, n, n)
        inside = triangle(np.ones((n, n), dtype=bool), uplo)
        target[inside] = (alpha * factor @ factor.T + beta * target)[inside]

    def gemm_batched(
        self, transa: str, transb: str, m: int, n: int, k: int, alpha: float, a: Any, lda: int, b: Any, ldb: int,
        beta: float, c: Any, ldc: int,
    ) -> None:  # fmt: skip
        assert len(a) == len(b) == len(c)
        for one, other, target in zip(a, b, c, strict=True):
            left = columns(one, lda, m, k) if transa == "N" else columns(one, lda, k, m).T
            right = columns(other, ldb, k, n) if transb == "N" else columns(other, ldb, n, k).T
            into = columns(target, ldc, m, n)
            into[:] = alpha * left @ right + beta * into

    def syevd(self, uplo: str, n: int, a: Any, lda: int) -> tuple[Any, Any]:
        matrix = columns(a, lda, n, n)
        values, matrix[:] = eigh(mirrored(matrix, uplo), driver="evd")  # divide and conquer, as syevd
        return self.xp.asarray(values), self.xp.asarray(np.int32(0))


class StandIn:
    """:class:`fastprobe.backend.cuda.backend.Device` that is none."""

    name = "cuda:0 (stand-in)"
    fast_float64 = True

    def __init__(self, xp: Namespace, *, limit: int, shared_bytes: int) -> None:
        self.xp, self.limit, self.shared_bytes = xp, limit, shared_bytes
        self._threads = ThreadPoolExecutor(1)  # kernels run on the host one at a time

    def session(self) -> AbstractContextManager[None]:
        return nullcontext()

    apart = session

    def lane_pool(self) -> AbstractContextManager[Executor]:
        return Lanes(self._threads)

    def holds(self, a: Any) -> bool:
        return isinstance(a, StrictArray)

    def take_over(self, a: Any) -> Any:
        return a

    def upload(self, a: Any) -> Any:
        return self.xp.asarray(a)

    def download(self, a: Any) -> np.ndarray:
        return a.get()

    def prefetch(self, a: Any) -> None:
        pass

    def keep(self, a: Any) -> Any:
        return self.xp.asarray(a)


def make_backend(*, limit: int = 1 << 30, shared_bytes: int = 232_448) -> CudaBackend:
    """A CUDA backend on the stand-in.

    Parameters
    ----------
    limit : int
        Bytes of its memory.
    shared_bytes : int
        Shared memory of a block: little of it sends small blocks to the libraries, too.
    """
    from cuda_host import host_launch

    def launch(source: str, kernel: str, grid: Any, block: Any, args: Any, shared: int = 0) -> None:
        host_launch(source, kernel, grid, block, tuple(map(bare, args)), shared)

    xp = Namespace()
    for name, arguments in {
        "array": "object, dtype=None, copy=True, order='K', subok=False, ndmin=0, *, blocking=False",
        "diagonal": "a, offset=0, axis1=0, axis2=1",
        "isfinite": "x",
    }.items():
        if not hasattr(xp, name):
            setattr(xp, name, xp._function(getattr(np, name), arguments))
    device = StandIn(xp, limit=limit, shared_bytes=shared_bytes)
    return CudaBackend(xp, device, LapackLibraries(xp), launch, lanes=1)
