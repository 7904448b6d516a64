"""NumPy twins of the kernels: the same names, signatures and results, slow and obvious.

The tests hold every kernel, on every device, to its twin here. Shapes: ``n`` rows, ``d`` features, ``K`` row sets of at
most ``m`` rows, ``c`` columns per set. A pair (row, slot) of set ``k`` says that row ``rows[k, slot]`` of the features
is entry ``slot`` of that set; sets are padded with slots beyond ``sizes[k]``, which are ignored and never written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["center_rows", "set_adjoint", "set_forward", "set_hat"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def center_rows(x: NDArray[Any], rows: Ints, mean: Floats, out: Floats) -> None:
    """Gather rows and subtract the column means: ``out[i] = x[rows[i]] - mean``.

    Parameters
    ----------
    x : ndarray of a real dtype, shape (n, d)
    rows : ndarray of int64, shape (r,)
    mean : ndarray of float64, shape (d,)
    out : ndarray of float64, shape (r, d)
    """
    out[:] = x[rows].astype(np.float64) - mean


def set_adjoint(x: NDArray[Any], mean: Floats, rows: Ints, sizes: Ints, v: Floats, out: Floats) -> None:
    """Add the centred features of each set, weighted by `v`: ``out[k] += v[k].T @ (x[rows[k]] - mean)``.

    Parameters
    ----------
    x : ndarray of a real dtype, shape (n, d)
    mean : ndarray of float64, shape (d,)
    rows : ndarray of int64, shape (K, m)
    sizes : ndarray of int64, shape (K,)
    v : ndarray of float64, shape (K, m, c)
    out : ndarray of float64, shape (K, c, d)
    """
    for k, size in enumerate(sizes):
        out[k] += v[k, :size].T @ (x[rows[k, :size]].astype(np.float64) - mean)


def set_forward(x: NDArray[Any], mean: Floats, rows: Ints, sizes: Ints, u: Floats, out: Floats) -> None:
    """Apply the centred features of each set: ``out[k] += (x[rows[k]] - mean) @ u[k].T``.

    Parameters
    ----------
    x : ndarray of a real dtype, shape (n, d)
    mean : ndarray of float64, shape (d,)
    rows : ndarray of int64, shape (K, m)
    sizes : ndarray of int64, shape (K,)
    u : ndarray of float64, shape (K, c, d)
    out : ndarray of float64, shape (K, m, c)
    """
    for k, size in enumerate(sizes):
        out[k, :size] += (x[rows[k, :size]].astype(np.float64) - mean) @ u[k].T


def set_hat(x: NDArray[Any], mean: Floats, rows: Ints, sizes: Ints, u: Floats, w: Floats, out: Floats) -> None:
    """Both at once: ``w[k] -= (x[rows[k]] - mean) @ u[k].T``, then ``out[k] += w[k].T @ (x[rows[k]] - mean)``.

    Parameters
    ----------
    x : ndarray of a real dtype, shape (n, d)
    mean : ndarray of float64, shape (d,)
    rows : ndarray of int64, shape (K, m)
    sizes : ndarray of int64, shape (K,)
    u : ndarray of float64, shape (K, c, d)
    w : ndarray of float64, shape (K, m, c)
    out : ndarray of float64, shape (K, c, d)
    """
    set_forward(x, mean, rows, sizes, -u, w)
    set_adjoint(x, mean, rows, sizes, w, out)
