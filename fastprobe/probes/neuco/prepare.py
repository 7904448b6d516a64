"""What NeuCo-Bench does to embeddings and labels before it trains, to the last bit of float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scaling", "normalized", "standardized"]

_BLOCK = 64
"""Rows that are transposed at once: six times as fast as all of them."""


@dataclass(frozen=True)
class Scaling:
    """The numbers that standardised an embedding: ``(x - mean) / std``."""

    mean: np.float32
    std: np.float32


def standardized(
    x: NDArray[Any], *, embedding_dim: int | None = None, standardize: bool = True
) -> tuple[NDArray[np.float32], Scaling]:
    """Pad embeddings with zeros, and standardise them by one mean and one standard deviation.

    NeuCo-Bench takes both over a float32 array that pandas keeps column by column. NumPy adds in the order of memory,
    so that order is kept here: with a large mean, another one would be seen in the scores.

    Parameters
    ----------
    x : ndarray of a real dtype, shape (n, d)
        The rows that have a label in any task, in the order of the submission.
    embedding_dim : int or None
        Dimensions D after padding, at least d.
    standardize : bool
        Only pad if False.

    Returns
    -------
    x : ndarray of float32, shape (n, D)
        C-contiguous.
    scaling : Scaling
    """
    n, d = x.shape
    columns = np.zeros((embedding_dim or d, n), dtype=np.float32)
    for start in range(0, n, _BLOCK):
        columns[:d, start : start + _BLOCK] = x[start : start + _BLOCK].T
    scaling = Scaling(np.float32(0), np.float32(1))
    if standardize:
        std = columns.std()
        scaling = Scaling(columns.mean(), std if std != 0 else np.float32(1))
        columns -= scaling.mean
        columns /= scaling.std
    return np.ascontiguousarray(columns.T), scaling


def normalized(y: NDArray[np.float64]) -> NDArray[np.float32]:
    """Map the labels of a task to 0 .. 1 by their least and greatest value.

    Constant labels become NaN: NeuCo-Bench divides 0 by 0 there.

    Parameters
    ----------
    y : ndarray of float64, shape (n,)

    Returns
    -------
    ndarray of float32, shape (n,)
    """
    low, high = y.min(), y.max()
    with np.errstate(invalid="ignore"):
        return ((y - low) / (high - low)).astype(np.float32)
