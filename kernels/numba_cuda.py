"""Kernels that are simple enough for Numba CUDA, for arrays of any library with the CUDA array interface.

Where Numba is there and CuPy is not, scores are still reduced on the device. Twins:
:mod:`fastprobe.kernels.reference`. Numba's simulator runs them in the tests.
"""

from __future__ import annotations

from typing import Any

import numba.cuda
from numba import float64

__all__ = ["fold_metrics"]

cuda: Any = numba.cuda  # its annotations take barriers for functions of the compiler

_THREADS = 32  # a power of two
_SUMS, _ROWS = 6, 8  # rows of a block's shared memory: six sums, then two maxima


@cuda.jit
def _fold_metrics(y, rows, sizes, residuals, out):  # type: ignore[no-untyped-def]
    """One block per fold and column; out: (7, K, c)."""
    cells = cuda.shared.array((_ROWS, _THREADS), float64)
    fold, column, thread = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
    size, task = sizes[fold], column % y.shape[1]

    total, sse, tp, fp, fn, tn = 0.0, 0.0, 0, 0, 0, 0
    least, largest = float("inf"), -float("inf")
    for slot in range(thread, size, _THREADS):
        label, residual = y[rows[fold, slot], task], residuals[fold, slot, column]
        truth, guess = label > 0, label - residual > 0
        total += label
        sse += residual * residual
        least, largest = min(least, label), max(largest, label)
        tp += truth and guess
        fp += not truth and guess
        fn += truth and not guess
        tn += not truth and not guess
    cells[0, thread], cells[1, thread] = total, sse
    cells[2, thread], cells[3, thread], cells[4, thread], cells[5, thread] = tp, fp, fn, tn
    cells[6, thread], cells[7, thread] = -least, largest
    step = _THREADS // 2
    while step:
        cuda.syncthreads()
        if thread < step:
            for row in range(_SUMS):
                cells[row, thread] += cells[row, thread + step]
            for row in range(_SUMS, _ROWS):
                cells[row, thread] = max(cells[row, thread], cells[row, thread + step])
        step //= 2
    cuda.syncthreads()
    mean = cells[0, 0] / size if size else float("nan")
    constant = -cells[6, 0] >= cells[7, 0]
    if thread == 0:
        out[0, fold, column] = mean
        for row in range(1, _SUMS):
            out[row + 1, fold, column] = cells[row, 0]
    cuda.syncthreads()

    squares = 0.0  # a second pass: sum y^2 - n mean^2 would cancel
    for slot in range(thread, size, _THREADS):
        centered = y[rows[fold, slot], task] - mean
        squares += centered * centered
    cells[0, thread] = squares
    step = _THREADS // 2
    while step:
        cuda.syncthreads()
        if thread < step:
            cells[0, thread] += cells[0, thread + step]
        step //= 2
    if thread == 0:
        out[1, fold, column] = 0.0 if constant else cells[0, 0]


def fold_metrics(y: Any, rows: Any, sizes: Any, residuals: Any, out: Any, stream: Any = 0) -> None:
    """Reduce held-out residuals of all folds and columns: the twin.

    Parameters
    ----------
    y, rows, sizes, residuals, out : device arrays
        As in the twin.
    stream : Numba stream, optional
        For arrays that come out of work on a CuPy stream: ``numba.cuda.external_stream(stream.ptr)``.
    """
    count, _, columns = residuals.shape
    if count and columns:
        _fold_metrics[(count, columns), _THREADS, stream](y, rows, sizes, residuals, out)
