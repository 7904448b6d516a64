"""Choosing the strength of every size inside the training rows of every fold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastprobe.probes.inner import InnerPlan
from fastprobe.probes.prefix.cells import Cells, complements
from fastprobe.probes.prefix.solve import Curves

__all__ = ["inner_cells", "mean_losses"]

Ints = NDArray[np.int64]


def inner_cells(plan: InnerPlan, n: int) -> tuple[Cells, Ints]:
    """Make the cells of an inner validation.

    Parameters
    ----------
    plan : InnerPlan
    n : int
        Samples.

    Returns
    -------
    Cells
    ndarray of int64, shape (P,)
        The fold that each part validates.
    """
    leaves_some = [len(left_out) < n for left_out in plan.left_out]  # all are of one group that must not be separated
    validate = sorted((v for v in plan.validate if len(v[2]) and leaves_some[v[1]]), key=lambda entry: entry[1])
    folds = np.array([fold for fold, _, _ in validate], dtype=np.int64)
    used, cell = np.unique([p for _, p, _ in validate], return_inverse=True)
    rows = [part for _, _, part in validate]
    tested, start = [], np.zeros(len(validate), dtype=np.int64)
    for c in range(len(used)):
        parts = np.flatnonzero(cell == c)
        start[parts] = np.cumsum([0, *(len(rows[p]) for p in parts[:-1])])
        tested.append(np.concatenate([rows[p] for p in parts]))
    stop = start + np.array([len(part) for part in rows], dtype=np.int64)
    return Cells(complements([plan.left_out[p] for p in used], n), tested, cell, start, stop), folds


def mean_losses(curves: Curves, cells: Cells, fold_of: Ints, folds: int) -> NDArray[np.float64]:
    """Mean loss over the validation rows of every fold, shape (folds, A, tasks, S).

    Infinite where a fit failed, and for a fold that has no validation rows, as some rows must be left to train.

    Parameters
    ----------
    curves : Curves
        Mean loss of every part.
    cells : Cells
    fold_of : ndarray of int64, shape (P,)
    folds : int
    """
    total = np.zeros((folds, *curves.values.shape[1:]))
    count = np.zeros(folds)
    for part, fold in enumerate(fold_of.tolist()):
        size = int(cells.stop[part] - cells.start[part])
        failed = curves.failed[cells.cell[part]][:, None, None]
        total[fold] += np.where(failed, np.inf, size * curves.values[part])
        count[fold] += size
    total[count == 0] = np.inf
    return total / np.maximum(count, 1)[:, None, None, None]
