"""Scores of held-out predictions, kept as sufficient statistics.

R2 and F1 are what Q is made of; mean squared error, accuracy, precision and recall follow from the same sums
(:mod:`fastprobe.results`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Array, Backend, RowSets
from fastprobe.results import FoldStats
from fastprobe.tasks import Kind

__all__ = ["CONSTANT", "fold_scores", "fold_statistics"]

CONSTANT = {"regression": "held-out labels are constant", "classification": "held-out labels are of one class"}
"""Why a fold has no score: its held-out labels say nothing."""


def fold_statistics(backend: Backend, sets: RowSets, y: Array, residuals: Array, kind: Kind) -> FoldStats:
    """Reduce the held-out residuals of one task to sufficient statistics per fold.

    Parameters
    ----------
    backend : Backend
    sets : RowSets
        K folds.
    y : array, shape (n,)
        Labels; -1 and +1 for classification.
    residuals : array, shape (K, m)
        ``y - prediction`` of the held-out rows.
    kind : {"regression", "classification"}

    Returns
    -------
    FoldStats
        A constant fold has a ``tss`` of exactly 0.
    """
    xp, mask = backend.xp, sets.mask
    labels = y[sets.rows]
    n = sets.sizes

    def together(*arrays: Array) -> NDArray[Any]:
        return backend.to_numpy(xp.stack(arrays))  # one copy from the device

    if kind == "regression":
        mean = xp.where(mask, labels, 0.0).sum(axis=1) / mask.sum(axis=1)
        centered = xp.where(mask, labels - mean[:, None], 0.0)
        members = xp.where(mask, labels, labels[:, :1])
        constant = members.max(axis=1) == members.min(axis=1)
        tss = xp.where(constant, 0.0, (centered * centered).sum(axis=1))
        sse = xp.where(mask, residuals * residuals, 0.0).sum(axis=1)
        mean_y, total, error = (tuple(map(float, row)) for row in together(mean, tss, sse))
        return FoldStats(tuple(map(int, n)), mean_y=mean_y, tss=total, sse=error)
    truth, guess = labels > 0, labels - residuals > 0
    cells = (truth & guess, ~truth & guess, truth & ~guess, ~truth & ~guess)
    tp, fp, fn, tn = (tuple(map(int, row)) for row in together(*((cell & mask).sum(axis=1) for cell in cells)))
    return FoldStats(tuple(map(int, n)), tp=tp, fp=fp, fn=fn, tn=tn)


def fold_scores(stats: FoldStats, kind: Kind) -> NDArray[np.float64]:
    """R2 or F1 of every fold from its statistics; NaN where the held-out labels are constant.

    R2 is ``1 - sse / tss``; F1 of the positive class is ``2 tp / (2 tp + fp + fn)``. These are scikit-learn's
    ``r2_score`` and ``f1_score`` wherever those are defined without a convention.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "regression":
            tss, sse = np.array(stats.tss), np.array(stats.sse)
            return np.where(tss > 0, 1.0 - sse / tss, np.nan)
        tp, fp, fn, tn = (np.array(cell, dtype=np.float64) for cell in (stats.tp, stats.fp, stats.fn, stats.tn))
        one_class = (tp + fn == 0) | (fp + tn == 0)
        return np.where(one_class, np.nan, 2 * tp / (2 * tp + fp + fn))
