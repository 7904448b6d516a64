"""R2 and F1 as torchmetrics computes them in float32, with the conventions that NeuCo-Bench inherits.

Sums are taken in float64 and rounded to float32 where torch holds a float32 sum: its own sums depend on the processor
in the last bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastprobe.results import FoldStats
from fastprobe.tasks import Kind

__all__ = ["PLAIN", "RAW", "RESIDUAL_TINY", "TOTAL_TINY", "EpochScores", "digits_lost", "epoch_scores", "statistics"]

PLAIN, RESIDUAL_TINY, TOTAL_TINY, RAW = range(4)
"""How a metric came about: as defined; R2 = 1 because the residual sum of squares is tiny; R2 = 0 because the total sum
of squares is; F1 of raw outputs, all within [0, 1] and therefore taken for probabilities."""

_TINY = np.float32(1e-4)

Singles = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class EpochScores:
    """The metric after every epoch.

    Attributes
    ----------
    values : ndarray of float64, shape (K, E)
        R2 or F1; NaN where it is undefined.
    rules : ndarray of int8, shape (K, E)
        Which convention gave the value: :data:`PLAIN`, :data:`RESIDUAL_TINY`, :data:`TOTAL_TINY` or :data:`RAW`.
    """

    values: NDArray[np.float64]
    rules: NDArray[np.int8]


def epoch_scores(outputs: Singles, labels: Singles, kind: Kind) -> EpochScores:
    """Score held-out outputs.

    Parameters
    ----------
    outputs : ndarray of float32, shape (K, E, m)
        Predictions, or logits.
    labels : ndarray of float32, shape (K, m)
    kind : {"regression", "classification"}

    Notes
    -----
    ``torchmetrics.R2Score`` is 1 if the residual sum of squares is at most 1e-4, else 0 if the total sum of squares is,
    else 1 minus their ratio; the total is ``sum y^2 - (sum y)^2 / m`` in float32. ``torchmetrics.BinaryF1Score`` takes
    outputs for logits only if one of them lies outside [0, 1]; F1 without any positive is 0.
    """
    return _r2(outputs, labels[:, None]) if kind == "regression" else _f1(outputs, labels[:, None])


def _r2(outputs: Singles, labels: Singles) -> EpochScores:
    residuals = (labels - outputs).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        rss = (residuals * residuals).sum(axis=-1).astype(np.float32)
        tss = _total(labels)
        values = np.float32(1) - rss / tss
    tss = np.broadcast_to(tss, rss.shape)
    rules = np.where(rss <= _TINY, RESIDUAL_TINY, np.where(np.abs(tss) <= _TINY, TOTAL_TINY, PLAIN))
    values = np.choose(rules, [values, np.ones_like(values), np.zeros_like(values)])
    return EpochScores(values.astype(np.float64), rules.astype(np.int8))


def _f1(outputs: Singles, labels: Singles) -> EpochScores:
    raw: NDArray[np.bool_] = np.all((outputs >= 0) & (outputs <= 1), axis=-1)
    positive = _positive(outputs, raw)
    truth = labels == 1
    tp = (positive & truth).sum(axis=-1)
    wrong = (positive != truth).sum(axis=-1)
    with np.errstate(invalid="ignore"):
        values = (2 * tp).astype(np.float32) / (2 * tp + wrong).astype(np.float32)
    values = np.where(2 * tp + wrong == 0, np.float32(0), values)
    return EpochScores(values.astype(np.float64), np.where(raw, RAW, PLAIN).astype(np.int8))


def _positive(outputs: Singles, raw: NDArray[np.bool_]) -> NDArray[np.bool_]:
    with np.errstate(over="ignore"):
        probability = np.float32(1) / (np.float32(1) + np.exp(-outputs))
    return np.where(raw[..., None], outputs, probability) > 0.5


def digits_lost(labels: Singles) -> NDArray[np.float64]:
    """Relative error of R2's total sum of squares, from ``sum y^2 - (sum y)^2 / m`` in float32; shape (K,).

    Labels far from zero cancel in it. Infinite where nothing is left.
    """
    y = labels.astype(np.float64)
    exact = ((y - y.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        error = np.abs(_total(labels) / exact - 1)
    return np.where(np.isnan(error), 0.0, error)


def _total(labels: Singles) -> Singles:
    y = labels.astype(np.float64)
    sums, squares = y.sum(axis=-1).astype(np.float32), (y * y).sum(axis=-1).astype(np.float32)
    total: Singles = squares - sums * (sums / np.float32(labels.shape[-1]))
    return total


def statistics(outputs: Singles, labels: Singles, rules: NDArray[np.int8], kind: Kind) -> FoldStats:
    """Reduce held-out outputs of one epoch per fold to the statistics of the score table.

    Parameters
    ----------
    outputs, labels : ndarray of float32, shape (K, m)
    rules : ndarray of int8, shape (K,)
    kind : {"regression", "classification"}
    """
    n = (outputs.shape[1],) * len(outputs)
    if kind == "regression":
        y = labels.astype(np.float64)
        mean = y.mean(axis=1)
        tss = ((y - mean[:, None]) ** 2).sum(axis=1)
        with np.errstate(over="ignore"):
            sse = ((y - outputs) ** 2).sum(axis=1)
        return FoldStats(n, mean_y=_floats(mean), tss=_floats(tss), sse=_floats(sse))
    truth, guess = labels == 1, _positive(outputs, rules == RAW)
    cells = (truth & guess, ~truth & guess, truth & ~guess, ~truth & ~guess)
    tp, fp, fn, tn = (tuple(map(int, cell.sum(axis=1))) for cell in cells)
    return FoldStats(n, tp=tp, fp=fp, fn=fn, tn=tn)


def _floats(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(map(float, values))
