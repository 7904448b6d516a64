"""The BLAS and LAPACK that SciPy brings, called in place and without holding the GIL.

SciPy's own wrappers hold the GIL during most calls, so that folds could not be factorised side by side. The same
functions are exported for Cython; here ctypes calls them. All matrices are C-contiguous float64, whose lower triangle
is the upper one in the column order of LAPACK.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cython_blas, cython_lapack

__all__ = [
    "cholesky_lower",
    "eigh_lower",
    "gram_lower",
    "inverse_lower",
    "inverse_root_lower",
    "product_lower",
    "solve_lower",
    "symmetric_product",
]

Floats = NDArray[np.float64]


def _function(module: Any, name: str, n_args: int) -> Any:
    capsule = module.__pyx_capi__[name]
    name_of, pointer_of = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address = pointer_of(capsule, name_of(capsule))
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * n_args)(address)  # CFUNCTYPE lets go of the GIL


_dsyrk = _function(cython_blas, "dsyrk", 10)
_dtrsm = _function(cython_blas, "dtrsm", 11)
_dsymm = _function(cython_blas, "dsymm", 12)
_dpotrf = _function(cython_lapack, "dpotrf", 5)
_dpotri = _function(cython_lapack, "dpotri", 5)
_dtrtri = _function(cython_lapack, "dtrtri", 6)
_dsyevd = _function(cython_lapack, "dsyevd", 11)

_UPPER, _LEFT, _TRANSPOSED, _PLAIN, _VECTORS = (ctypes.c_char_p(c) for c in (b"U", b"L", b"T", b"N", b"V"))


def _int(value: int) -> Any:
    return ctypes.byref(ctypes.c_int(value))


def _float(value: float) -> Any:
    return ctypes.byref(ctypes.c_double(value))


def _data(a: Floats) -> ctypes.c_void_p:
    if a.dtype != np.float64 or not a.flags.c_contiguous:
        raise ValueError(f"expected a C-contiguous float64 array, found {a.dtype} with strides {a.strides}")
    return ctypes.c_void_p(a.ctypes.data)


def gram_lower(a: Floats, out: Floats, *, alpha: float = 1.0) -> None:
    """Lower triangle of ``out += alpha a' a`` for a of shape (b, d) and out of shape (d, d)."""
    b, d = a.shape
    _dsyrk(_UPPER, _PLAIN, _int(d), _int(b), _float(alpha), _data(a), _int(d), _float(1.0), _data(out), _int(d))


def product_lower(a: Floats, out: Floats, *, alpha: float = 1.0) -> None:
    """Lower triangle of ``out += alpha a a'`` for a of shape (m, r) and out of shape (m, m)."""
    m, r = a.shape
    _dsyrk(_UPPER, _TRANSPOSED, _int(m), _int(r), _float(alpha), _data(a), _int(r), _float(1.0), _data(out), _int(m))


def cholesky_lower(a: Floats) -> bool:
    """Replace the lower triangle of `a` (d, d) by its Cholesky factor; False if `a` is not positive definite."""
    info = ctypes.c_int(0)
    _dpotrf(_UPPER, _int(len(a)), _data(a), _int(len(a)), ctypes.byref(info))
    return info.value == 0


def inverse_lower(lower: Floats) -> None:
    """Replace a Cholesky factor L (d, d) by the lower triangle of ``(L L')^-1``."""
    info = ctypes.c_int(0)
    _dpotri(_UPPER, _int(len(lower)), _data(lower), _int(len(lower)), ctypes.byref(info))


def inverse_root_lower(lower: Floats) -> bool:
    """Replace the lower triangle of a Cholesky factor L (d, d) by ``L^-1``; False if L is singular."""
    info = ctypes.c_int(0)
    _dtrtri(_UPPER, _PLAIN, _int(len(lower)), _data(lower), _int(len(lower)), ctypes.byref(info))
    return info.value == 0


def solve_lower(lower: Floats, rows: Floats, *, transpose: bool = False) -> None:
    """Replace every row b of `rows` (c, d) by ``L^-1 b``, or by ``L'^-1 b``."""
    c, d = rows.shape
    side = _PLAIN if transpose else _TRANSPOSED
    _dtrsm(_LEFT, _UPPER, side, _PLAIN, _int(d), _int(c), _float(1.0), _data(lower), _int(d), _data(rows), _int(d))


def symmetric_product(lower: Floats, rows: Floats, out: Floats) -> None:
    """Write ``rows S`` into `out`, both (c, d), for a symmetric S (d, d) of which the lower triangle is read."""
    c, d = rows.shape
    _dsymm(
        _LEFT, _UPPER, _int(d), _int(c), _float(1.0), _data(lower), _int(d), _data(rows), _int(d), _float(0.0),
        _data(out), _int(d),
    )  # fmt: skip


def eigh_lower(a: Floats) -> Floats:
    """Replace a symmetric matrix (d, d), of which the lower triangle is read, by its eigenvectors, as rows.

    Returns the eigenvalues (d,), in ascending order. LinAlgError if the algorithm does not converge.
    """
    d, info = len(a), ctypes.c_int(0)
    values = np.empty(d)
    work, whole = np.empty(1 + 6 * d + 2 * d * d), np.empty(3 + 5 * d, dtype=np.int32)  # what dsyevd needs for vectors
    _dsyevd(
        _VECTORS, _UPPER, _int(d), _data(a), _int(d), _data(values), _data(work), _int(work.size),
        ctypes.c_void_p(whole.ctypes.data), _int(whole.size), ctypes.byref(info),
    )  # fmt: skip
    if info.value:
        raise np.linalg.LinAlgError(f"dsyevd did not converge for a matrix of {d} rows (info {info.value})")
    return values
