"""AdamW for the linear probes of many folds in lockstep, by the operations of an array namespace."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastprobe.backend.base import Array

__all__ = ["predict_linear", "train_linear"]

_BETA1, _BETA2, _DECAY, _EPS = 0.9, 0.999, 0.01, np.float32(1e-8)  # of torch's AdamW


def train_linear(
    xp: Any,
    x: Array,
    rows: Array,
    y: Array,
    order: Array,
    weights: Array,
    fitted: Array | None,
    *,
    batch_size: int,
    learning_rate: float,
    logistic: bool,
) -> None:
    """Train k folds at once; :func:`fastprobe.kernels.reference.train_linear` does one.

    Parameters
    ----------
    xp : namespace
    x : array of float32, shape (n, d)
    rows, y : arrays of int64 and float32, shape (s,)
    order : array of int32, shape (k, E, m)
    weights : array of float32, shape (k, E + 1, d + 1)
        The first of each fold is the initial one; the others are written.
    fitted : array of float32, shape (k, E, m), or None
        Receives the output of every sample at the time of its step.
    batch_size, learning_rate, logistic
        As for one fold.
    """
    d = x.shape[1]
    w = weights[:, 0].copy()
    g, m, v = xp.empty_like(w), xp.zeros_like(w), xp.zeros_like(w)
    new1, old2, new2 = np.float32(1 - _BETA1), np.float32(_BETA2), np.float32(1 - _BETA2)
    shrink, step = np.float32(1 - learning_rate * _DECAY), 0
    for epoch in range(order.shape[1]):
        for start in range(0, order.shape[2], batch_size):
            batch = order[:, epoch, start : start + batch_size]
            features = x[rows[batch]]
            output = xp.matmul(features, w[:, :d, None])[:, :, 0] + w[:, d:]
            if fitted is not None:
                fitted[:, epoch, start : start + batch_size] = output
            slope = _slope(xp, output, y[batch], logistic) * np.float32(1 / batch.shape[1])
            g[:, :d] = xp.matmul(slope[:, None, :], features)[:, 0]
            g[:, d:] = slope.sum(axis=1, keepdims=True)
            step += 1
            m += new1 * (g - m)
            v *= old2
            v += new2 * g * g
            w *= shrink
            root = np.float32(math.sqrt(1 - _BETA2**step))
            w -= np.float32(learning_rate / (1 - _BETA1**step)) * m / (xp.sqrt(v) / root + _EPS)
        weights[:, epoch + 1] = w


def _slope(xp: Any, output: Array, labels: Array, logistic: bool) -> Array:
    if not logistic:
        return np.float32(2) * (output - labels)
    small = xp.exp(-xp.abs(output))  # never overflows
    return xp.where(output >= 0, np.float32(1), small) / (np.float32(1) + small) - labels


def predict_linear(xp: Any, x: Array, rows: Array, weights: Array) -> Array:
    """Outputs ``x[rows[k]] w + bias`` of every weight vector, (k, E, m), for rows (k, m), weights (k, E, d + 1)."""
    d = x.shape[1]
    return xp.matmul(weights[:, :, :d], x[rows].swapaxes(1, 2)) + weights[:, :, d:]
