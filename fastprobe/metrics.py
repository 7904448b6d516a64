"""Scores of held-out predictions, kept as sufficient statistics; and metrics of the values behind decisions.

R2, F1 and macro F1 are what Q is made of; mean squared error, accuracy, precision and recall follow from the same
counts (:mod:`fastprobe.rows`). All are scikit-learn's wherever those are defined without a convention.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Array, Backend, RowSets
from fastprobe.results import FoldStats
from fastprobe.tasks import Kind

__all__ = ["CONSTANT", "decision_statistics", "fold_scores", "fold_statistics", "log_losses", "probability_metrics"]

CONSTANT = {"regression": "held-out labels are constant", "classification": "held-out labels are of one class"}
"""Why a fold has no score: its held-out labels say nothing."""


def fold_statistics(backend: Backend, sets: RowSets, y: Array, residuals: Array, kind: Kind) -> FoldStats:
    """Reduce the held-out residuals of one task to sufficient statistics per fold.

    Parameters
    ----------
    backend : Backend
    sets : RowSets
        K folds.
    y : array, shape (n,) or (n, columns)
        Labels; for classification -1 and +1, in M columns for M > 2 classes.
    residuals : array, shape (K, m) or (K, m, columns)
        ``y - prediction`` of the held-out rows.
    kind : {"regression", "classification"}

    Returns
    -------
    FoldStats
        A constant fold has a ``tss`` of exactly 0.
    """
    xp, mask = backend.xp, sets.mask
    labels = y[sets.rows]
    if labels.ndim == 3 and labels.shape[2] > 1:
        return _many_classes(backend, sets, labels.argmax(axis=2), labels - residuals)
    labels, residuals = labels.reshape(mask.shape), residuals.reshape(mask.shape)
    if kind == "regression":
        mean = xp.where(mask, labels, 0.0).sum(axis=1) / mask.sum(axis=1)
        centered = xp.where(mask, labels - mean[:, None], 0.0)
        members = xp.where(mask, labels, labels[:, :1])
        constant = members.max(axis=1) == members.min(axis=1)
        tss = xp.where(constant, 0.0, (centered * centered).sum(axis=1))
        sse = xp.where(mask, residuals * residuals, 0.0).sum(axis=1)
        mean_y, total, error = _together(backend, mean, tss, sse)
        return FoldStats(tuple(sets.sizes.tolist()), mean_y=mean_y, tss=total, sse=error)
    return _two_classes(backend, sets, labels > 0, labels - residuals > 0)


def decision_statistics(backend: Backend, sets: RowSets, codes: Array, decisions: Array) -> FoldStats:
    """Reduce the held-out decision values of one classification task to sufficient statistics per fold.

    Parameters
    ----------
    backend : Backend
    sets : RowSets
        K folds.
    codes : array, shape (n,)
        Class numbers.
    decisions : array, shape (K, m, columns)
        One column for two classes: class 1 is predicted above 0. M columns for M > 2 classes: the first of the largest
        is predicted.
    """
    truth = codes[sets.rows]
    if decisions.shape[2] == 1:
        return _two_classes(backend, sets, truth > 0, decisions[:, :, 0] > 0)
    return _many_classes(backend, sets, truth.astype(backend.xp.int64), decisions)


def fold_scores(stats: FoldStats, kind: Kind) -> NDArray[np.float64]:
    """R2, F1 or macro F1 of every fold from its statistics; NaN where the held-out labels are constant.

    R2 is ``1 - sse / tss``; F1 of a class is ``2 tp / (2 tp + fp + fn)``. For two classes it is that of the positive
    class, for more the unweighted mean over the classes that occur in the truth or the predictions of the fold. These
    are scikit-learn's ``r2_score`` and ``f1_score`` (``average="macro"`` with those classes as ``labels``).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "regression":
            tss, sse = np.array(stats.tss), np.array(stats.sse)
            return np.where(tss > 0, 1.0 - sse / tss, np.nan)
        hits, members, guesses = stats.by_class
        f1 = 2 * hits / (members + guesses)  # members + guesses = 2 tp + fp + fn
        if stats.confusion:
            there = members + guesses > 0
            score = np.where(there, f1, 0.0).sum(axis=1) / there.sum(axis=1)
        else:
            score = f1[:, 1]
        return np.where((members > 0).sum(axis=1) < 2, np.nan, score)


def probability_metrics(
    backend: Backend, sets: RowSets, codes: Array, decisions: Array, *, logistic: bool
) -> Mapping[str, NDArray[np.float64]]:
    """Metrics of the held-out decision values of one classification task themselves.

    Parameters
    ----------
    backend : Backend
    sets : RowSets
        K folds.
    codes : array, shape (n,)
        Class numbers.
    decisions : array, shape (K, m, columns)
        As in :func:`decision_statistics`.
    logistic : bool
        Whether sigmoid or softmax turns the decision values into probabilities.

    Returns
    -------
    mapping of str to ndarray of float64, shape (K,)
        ``roc_auc``, ``average_precision`` and, if `logistic`, ``log_loss`` in nats. scikit-learn's ``roc_auc_score``
        and ``average_precision_score``; for M > 2 classes the unweighted mean over one class against the rest, which
        ranks softmax probabilities if `logistic`, decision values otherwise. The log loss comes from the decision
        values, without rounding probabilities to 0 or 1. NaN where a metric is undefined: a class that it needs is not
        among the held-out labels (for average precision of two classes the positive one, for the log loss none), or a
        decision value is not finite.
    """
    xp, columns = backend.xp, decisions.shape[2]
    names = ("roc_auc", "average_precision", "log_loss")[: 3 if logistic else 2]
    found = xp.empty((len(names), len(sets)))

    def work(chunk: slice) -> None:
        mask, truth, values = sets.mask[chunk], codes[sets.rows[chunk]], decisions[chunk]
        finite = xp.isfinite(xp.where(mask[:, :, None], values, 0.0)).all(axis=2).all(axis=1)
        values = xp.where(mask[:, :, None] & finite[:, None, None], values, 0.0)
        positive = truth[:, :, None] == (xp.arange(columns) if columns > 1 else 1)
        if logistic:
            found[2, chunk] = xp.where(mask, log_losses(xp, values, truth), 0.0).sum(axis=1) / mask.sum(axis=1)
            values = _softmax(xp, values) if columns > 1 else values
        areas, precisions = _rank_metrics(xp, values, positive, mask)
        found[0, chunk], found[1, chunk] = areas.mean(axis=1), precisions.mean(axis=1)
        found[:, chunk] = xp.where(finite, found[:, chunk], xp.nan)

    backend.for_chunks(work, len(sets), 16 * 8 * sets.width * columns)
    return dict(zip(names, backend.to_numpy(found), strict=True))


def log_losses(xp: Any, decisions: Array, codes: Array) -> Array:
    """Log losses of decision values of which sigmoid or softmax makes probabilities, in nats.

    Parameters
    ----------
    xp : module
        Array namespace of the arrays.
    decisions : array, shape (K, m, ..., columns)
        One column for two classes, M columns for M > 2. Minus infinity for a class that a probe does not know.
    codes : array, shape (K, m)
        Class numbers.

    Returns
    -------
    array, shape (K, m, ...)
        ``log(1 + exp(-margin))`` for two classes, ``log(sum(exp(decisions))) - decisions[code]`` for more; a loss far
        below the rounding of 1 keeps its digits. Infinite for a class that the probe does not know.
    """
    columns = decisions.shape[-1]
    of_row = codes.reshape(codes.shape + (1,) * (decisions.ndim - codes.ndim))
    if columns == 1:
        margin = xp.where(of_row > 0, decisions, -decisions)[..., 0]
        return xp.maximum(-margin, 0.0) + xp.log1p(xp.exp(-xp.abs(margin)))
    # The largest term of the sum is 1 and stays out of it.
    largest = xp.arange(columns) == decisions.argmax(axis=-1)[..., None]
    below = decisions - decisions.max(axis=-1)[..., None]
    others = xp.where(largest, 0.0, xp.exp(below)).sum(axis=-1)
    return xp.log1p(others) - xp.where(of_row == xp.arange(columns), below, 0.0).sum(axis=-1)


def _together(backend: Backend, *arrays: Array) -> list[tuple[Any, ...]]:
    """Bring arrays of shape (K,) to the host in one copy."""
    return [tuple(row.tolist()) for row in backend.to_numpy(backend.xp.stack(arrays))]


def _two_classes(backend: Backend, sets: RowSets, truth: Array, guess: Array) -> FoldStats:
    """Count the four cells of two classes, for masks of the positive ones of shape (K, m)."""
    cells = (truth & guess, ~truth & guess, truth & ~guess, ~truth & ~guess)
    tp, fp, fn, tn = _together(backend, *((cell & sets.mask).sum(axis=1) for cell in cells))
    return FoldStats(tuple(sets.sizes.tolist()), tp=tp, fp=fp, fn=fn, tn=tn)


def _many_classes(backend: Backend, sets: RowSets, truth: Array, decisions: Array) -> FoldStats:
    """Count the cells of M classes, for class numbers (K, m) and decision values (K, m, M)."""
    xp, classes = backend.xp, decisions.shape[2]
    cells = backend.to_numpy(xp.where(sets.mask, truth * classes + decisions.argmax(axis=2), -1))
    counts = [np.bincount(row[row >= 0], minlength=classes * classes).tolist() for row in cells]
    return FoldStats(tuple(sets.sizes.tolist()), confusion=tuple(map(tuple, counts)))


def _softmax(xp: Any, values: Array) -> Array:
    """Probabilities of the decision values of M classes, both (k, m, M)."""
    weights = xp.exp(values - values.max(axis=2)[:, :, None])
    return weights / weights.sum(axis=2)[:, :, None]


def _rank_metrics(xp: Any, values: Array, positive: Array, mask: Array) -> tuple[Array, Array]:
    """Area under the ROC curve and average precision of every set and column, each (k, columns); equal values are one.

    The area is the share of pairs of a positive and a negative row with the higher value at the positive one, equal
    values counting by half. The average precision is the mean over positive rows of the share of positives among the
    rows with at least as high a value.
    """
    k, m, columns = values.shape
    shape = k * columns, m
    mask = xp.repeat(mask, columns, axis=0)
    key = xp.where(mask, -values.swapaxes(1, 2).reshape(shape), xp.inf)  # the highest value first, padding last
    order = xp.argsort(key, axis=1)
    row = xp.arange(k * columns)[:, None]
    key, member = key[row, order], mask[row, order]
    hit = positive.swapaxes(1, 2).reshape(shape)[row, order] & member
    begins = xp.ones(shape, dtype=xp.bool_)
    begins[:, 1:] = key[:, 1:] != key[:, :-1]
    tie = xp.cumsum(begins.reshape(-1))  # the number of its run of equal values: no run crosses rows
    first, last = xp.searchsorted(tie, tie), xp.searchsorted(tie, tie, side="right") - 1
    hits = xp.cumsum(hit, axis=1)
    through = hits.reshape(-1)[last].reshape(shape)
    before = (hits - hit).reshape(-1)[first].reshape(shape)
    ranked = last.reshape(shape) - row * m + 1
    n_hits = hits[:, -1]
    pairs = n_hits * (member.sum(axis=1) - n_hits)
    won = xp.where(member & ~hit, through + before, 0).sum(axis=1)
    precision = xp.where(hit, through / ranked, 0.0).sum(axis=1)
    area = xp.where(pairs > 0, won / (2.0 * xp.maximum(pairs, 1)), xp.nan)
    average = xp.where(n_hits > 0, precision / xp.maximum(n_hits, 1), xp.nan)
    return area.reshape((k, columns)), average.reshape((k, columns))
