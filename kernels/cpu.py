"""CPU kernels, compiled by Numba on first use and cached on disk. Twins: :mod:`fastprobe.kernels.reference`.

All release the GIL and work on a range of feature rows (``lo``, ``hi``), so that the backend can run them side by side
in threads. Ranges of :func:`center_rows` and :func:`set_forward` write different elements; those of :func:`set_adjoint`
and
:func:`set_hat` add to all elements of ``out``, so each range needs one of its own.

The set kernels read each feature row once for all the sets that contain it. A tile of the row is centred in a small
buffer and then used for every (set, column) pair, while the matching tile of the sets' vectors stays in the
second-level cache. Indices come by row (``start``, ``set_of``, ``slot_of``: compressed rows), because the features are
much larger than everything else and are streamed once.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = ["center_rows", "set_adjoint", "set_forward", "set_hat"]

TILE = 1024
ROWS = 128
_FAST = {"reassoc", "contract", "nsz"}  # sums may be vectorised; NaN and infinity keep their meaning

_compile: Any = numba.njit(nogil=True, cache=True, fastmath=_FAST)


@_compile
def center_rows(x, rows, mean, out, lo, hi):  # type: ignore[no-untyped-def]
    """Gather rows ``lo`` to ``hi`` and subtract the column means."""
    for i in range(lo, hi):
        source, target = x[rows[i]], out[i]
        for j in range(source.size):
            target[j] = source[j] - mean[j]


@_compile
def set_adjoint(x, mean, start, set_of, slot_of, v, out, lo, hi):  # type: ignore[no-untyped-def]
    """Add ``v[k].T @ (x[rows[k]] - mean)`` to ``out[k]``, feature rows ``lo`` to ``hi`` only."""
    d, c = x.shape[1], v.shape[2]
    buffer = np.empty(TILE)
    for block in range(lo, hi, ROWS):
        for left in range(0, d, TILE):
            right = min(d, left + TILE)
            width = right - left
            center = mean[left:right]
            for i in range(block, min(hi, block + ROWS)):
                if start[i] == start[i + 1]:
                    continue
                row = x[i, left:right]
                for j in range(width):
                    buffer[j] = row[j] - center[j]
                for e in range(start[i], start[i + 1]):
                    k = set_of[e]
                    for q in range(c):
                        weight = v[k, slot_of[e], q]
                        target = out[k, q, left:right]
                        for j in range(width):
                            target[j] += weight * buffer[j]


@_compile
def set_forward(x, mean, start, set_of, slot_of, u, out, lo, hi):  # type: ignore[no-untyped-def]
    """Add ``(x[rows[k]] - mean) @ u[k].T`` to ``out[k]``, feature rows ``lo`` to ``hi`` only."""
    d, c = x.shape[1], u.shape[1]
    buffer = np.empty(TILE)
    for block in range(lo, hi, ROWS):
        for left in range(0, d, TILE):
            right = min(d, left + TILE)
            width = right - left
            center = mean[left:right]
            for i in range(block, min(hi, block + ROWS)):
                if start[i] == start[i + 1]:
                    continue
                row = x[i, left:right]
                for j in range(width):
                    buffer[j] = row[j] - center[j]
                for e in range(start[i], start[i + 1]):
                    k = set_of[e]
                    for q in range(c):
                        vector = u[k, q, left:right]
                        total = 0.0
                        for j in range(width):
                            total += buffer[j] * vector[j]
                        out[k, slot_of[e], q] += total


@_compile
def set_hat(x, mean, start, set_of, slot_of, u, w, out, lo, hi):  # type: ignore[no-untyped-def]
    """Both at once: :func:`set_forward` subtracted from ``w``, then :func:`set_adjoint` of that ``w``."""
    d, c = x.shape[1], u.shape[1]
    buffer = np.empty(d)
    for i in range(lo, hi):
        if start[i] == start[i + 1]:
            continue
        row = x[i]
        for j in range(d):
            buffer[j] = row[j] - mean[j]
        for e in range(start[i], start[i + 1]):
            k = set_of[e]
            for q in range(c):
                vector = u[k, q]
                total = 0.0
                for j in range(d):
                    total += buffer[j] * vector[j]
                weight = w[k, slot_of[e], q] - total
                w[k, slot_of[e], q] = weight
                target = out[k, q]
                for j in range(d):
                    target[j] += weight * buffer[j]
