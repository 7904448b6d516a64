"""cuBLAS and cuSOLVER through CuPy's low-level bindings.

CuPy's own ``cholesky`` and ``solve_triangular`` do not return the ``info`` of a factorisation and copy what they are
given. The signatures are those of ``cupy_backends/cuda/libs/cusolver.pyx`` and ``cublas.pyx`` of CuPy 14.2; every call
runs on the current stream, with the handle that CuPy keeps for each thread and device.
"""

from __future__ import annotations

from collections.abc import Mapping

import cupy as cp
import numpy as np
from cupy.cuda import device
from cupy_backends.cuda.libs import cublas, cusolver

from fastprobe.backend.base import Array

__all__ = ["CudaLibraries"]

_FILL: Mapping[str, int] = {"L": cublas.CUBLAS_FILL_MODE_LOWER, "U": cublas.CUBLAS_FILL_MODE_UPPER}
_TRANS: Mapping[str, int] = {"N": cublas.CUBLAS_OP_N, "T": cublas.CUBLAS_OP_T}
_SIDE: Mapping[str, int] = {"L": cublas.CUBLAS_SIDE_LEFT, "R": cublas.CUBLAS_SIDE_RIGHT}
_DIAGONAL: int = cublas.CUBLAS_DIAG_NON_UNIT


class CudaLibraries:
    """The routines; see :class:`fastprobe.backend.cuda.dense.Libraries`."""

    def potrf(self, uplo: str, n: int, a: Array, lda: int) -> Array:
        handle, info = device.get_cusolver_handle(), cp.empty((), dtype=np.int32)
        size = cusolver.dpotrf_bufferSize(handle, _FILL[uplo], n, a.data.ptr, lda)
        work = cp.empty(size)
        cusolver.dpotrf(handle, _FILL[uplo], n, a.data.ptr, lda, work.data.ptr, size, info.data.ptr)
        return info

    def potrf_batched(self, uplo: str, n: int, a: Array, lda: int) -> Array:
        info, pointers = cp.empty(len(a), dtype=np.int32), _pointers(a)
        cusolver.dpotrfBatched(
            device.get_cusolver_handle(), _FILL[uplo], n, pointers.data.ptr, lda, info.data.ptr, len(a)
        )
        return info

    def trsm(self, side: str, uplo: str, trans: str, m: int, n: int, a: Array, lda: int, b: Array, ldb: int) -> None:
        flags, one = (_SIDE[side], _FILL[uplo], _TRANS[trans], _DIAGONAL), np.ones(())
        handle = device.get_cublas_handle()
        cublas.dtrsm(handle, *flags, m, n, one.ctypes.data, a.data.ptr, lda, b.data.ptr, ldb)

    def trsm_batched(
        self, side: str, uplo: str, trans: str, m: int, n: int, a: Array, lda: int, b: Array, ldb: int
    ) -> None:
        flags, one = (_SIDE[side], _FILL[uplo], _TRANS[trans], _DIAGONAL), np.ones(())
        handle, of_a, of_b = device.get_cublas_handle(), _pointers(a), _pointers(b)
        cublas.dtrsmBatched(
            handle, *flags, m, n, one.ctypes.data, of_a.data.ptr, lda, of_b.data.ptr, ldb, len(a)
        )  # fmt: skip

    def syrk(
        self, uplo: str, trans: str, n: int, k: int, alpha: float, a: Array, lda: int, beta: float, c: Array, ldc: int
    ) -> None:
        scales = np.array([alpha, beta])
        of_alpha, of_beta = scales[:1].ctypes.data, scales[1:].ctypes.data
        handle = device.get_cublas_handle()
        cublas.dsyrk(
            handle, _FILL[uplo], _TRANS[trans], n, k, of_alpha, a.data.ptr, lda, of_beta, c.data.ptr, ldc
        )  # fmt: skip

    def gemm_batched(
        self, transa: str, transb: str, m: int, n: int, k: int, alpha: float, a: Array, lda: int, b: Array, ldb: int,
        beta: float, c: Array, ldc: int,
    ) -> None:  # fmt: skip
        scales = np.array([alpha, beta])
        of_alpha, of_beta = scales[:1].ctypes.data, scales[1:].ctypes.data
        cublas.dgemmStridedBatched(
            device.get_cublas_handle(), _TRANS[transa], _TRANS[transb], m, n, k,
            of_alpha, a.data.ptr, lda, a[0].size, b.data.ptr, ldb, b[0].size, of_beta, c.data.ptr, ldc, c[0].size,
            len(c),
        )  # fmt: skip

    def syevd(self, uplo: str, n: int, a: Array, lda: int) -> tuple[Array, Array]:
        handle, mode = device.get_cusolver_handle(), cusolver.CUSOLVER_EIG_MODE_VECTOR
        values, info = cp.empty(n), cp.empty((), dtype=np.int32)
        size = cusolver.dsyevd_bufferSize(handle, mode, _FILL[uplo], n, a.data.ptr, lda, values.data.ptr)
        work = cp.empty(size)
        cusolver.dsyevd(
            handle, mode, _FILL[uplo], n, a.data.ptr, lda, values.data.ptr, work.data.ptr, size, info.data.ptr
        )
        return values, info


def _pointers(stack: Array) -> Array:
    """Addresses of the matrices of a C-contiguous stack, on the device."""
    start, step = stack.data.ptr, stack[0].nbytes
    return cp.arange(start, start + step * len(stack), step, dtype=np.uintp)
