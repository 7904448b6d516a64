"""What reading costs and nothing else: rows in the order of the draws, and memory from one end to the other."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.workload import Workload

__all__ = ["read", "rows_in_order", "rows_of_draws"]

Rows = NDArray[np.int32]


def rows_of_draws(workload: Workload, n_folds: int) -> list[Rows]:
    """Return the rows that protocol neuco trains on, one array for every fold of every task.

    Parameters
    ----------
    workload : Workload
    n_folds : int
        K.

    Returns
    -------
    list of ndarray of int32, shape (E n_train,)
        All epochs in their order; tasks and folds in theirs.
    """
    from fastprobe.probes.neuco import make_draws
    from fastprobe.protocol import Protocol

    submission, tasks = workload.submission, workload.benchmark.tasks
    row_of = {name: row for row, name in enumerate(submission.ids.tolist())}
    protocol = Protocol.named("neuco").with_options(folds=n_folds)
    draws = make_draws([(task.name, len(task.y)) for task in tasks], protocol, submission.x.shape[1])
    found: list[Rows] = []
    for task in tasks:
        rows = np.array([row_of[sample] for sample in task.ids.tolist()], dtype=np.int32)
        for part in draws[task.name].chunks():
            found += [rows[order.ravel()] for order in draws[task.name].order(part)]
    return found


def rows_in_order(available: int, wanted: int, pieces: int) -> list[Rows]:
    """Return the rows of a matrix from the first to the last, over and over, until so many are read.

    Parameters
    ----------
    available, wanted : int
        Rows that there are, and rows to read.
    pieces : int
        Into which each pass is cut, for so many threads.
    """
    once = np.arange(available, dtype=np.int32)
    return np.array_split(once, pieces) * (wanted // available) + np.array_split(once[: wanted % available], pieces)


def read(x: NDArray[np.float32], pieces: Sequence[Rows], threads: int) -> float:
    """Add up rows.

    Parameters
    ----------
    x : ndarray of float32, shape (n, d)
        C-contiguous.
    pieces : sequence of ndarray of int32
        Rows of `x`; a piece is read by one thread.
    threads : int

    Returns
    -------
    float
        Sum of all values, in float32: nobody needs it, but the compiler must not know.
    """
    add_up = _add_up()
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda rows: float(add_up(x, rows)), pieces))


@cache
def _add_up() -> Any:
    import numba

    @numba.njit(nogil=True, fastmath=True)
    def add_up(x, rows):  # type: ignore[no-untyped-def]
        total = np.float32(0)
        for i in rows:
            row = x[i]
            for j in range(row.size):
                total += row[j]
        return total

    return add_up
