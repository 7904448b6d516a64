"""Scores by their definitions: R2, F1, macro F1 and Q, and how far they may move when predictions do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cells", "f1", "q_of", "q_shift", "r2", "r2_shift", "reachable"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Cells = tuple[int, ...]
"""Counts of a confusion matrix of M classes, row by row: true class x predicted class."""

_MOST = 20_000  # confusion matrices that are tried


def r2(y: Floats, predicted: Floats) -> float | None:
    """R2 of held-out predictions; None if all labels are equal."""
    if y.min() == y.max():
        return None
    return float(1.0 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def r2_shift(y: Floats, predicted: Floats, error: float) -> float:
    """By how much R2 moves at most if no prediction is off by more than `error`.

    ``sum (e + d)^2 - sum e^2 <= 2 error sum |e| + m error^2``, divided by the total sum of squares.
    """
    off = 2.0 * error * np.abs(y - predicted).sum() + len(y) * error**2
    return float(off / ((y - y.mean()) ** 2).sum())


def f1(cells: Cells) -> float | None:
    """F1 of the second of two classes, or the mean of F1 over three or more that occur; None for labels of one class.

    F1 of a class is ``2 tp / (2 tp + fp + fn)``, and ``2 tp + fp + fn`` is its members and its predictions together.
    """
    classes = math.isqrt(len(cells))
    table = np.array(cells).reshape(classes, classes)
    members, guesses = table.sum(axis=1), table.sum(axis=0)
    if (members > 0).sum() < 2:
        return None
    by_class = [2.0 * table[c, c] / (members[c] + guesses[c]) for c in range(classes) if members[c] + guesses[c]]
    return float(by_class[1] if classes == 2 else sum(by_class) / len(by_class))


def reachable(truth: Ints, decisions: Floats, error: float, classes: int) -> list[Cells]:
    """Confusion matrices that may be right if no decision value is off by more than `error`.

    Parameters
    ----------
    truth : ndarray of int64, shape (m,)
        Class numbers.
    decisions : ndarray, shape (m, 1) or (m, M)
        One column for two classes, of which the second is predicted above 0; else the first of the largest is.
    error : float
    classes : int
        M.

    Returns
    -------
    list of tuple of int
        First the one of the decision values as they are; no other if there are too many.
    """
    at_face, sure = np.zeros((2, classes, classes), dtype=np.int64)
    open_rows = []
    for label, values in zip(truth.tolist(), decisions, strict=True):
        best, others = _guesses(values, error)
        at_face[label, best] += 1
        if others == {best}:
            sure[label, best] += 1
        else:
            open_rows.append((label, others))
    first, found = tuple(at_face.ravel().tolist()), {tuple(sure.ravel().tolist())}
    for label, others in open_rows:
        found = {_plus_one(cells, label * classes + guess) for cells in found for guess in others}
        if len(found) > _MOST:
            return [first]
    return [first, *sorted(found - {first})]


def _guesses(values: Floats, error: float) -> tuple[int, set[int]]:
    """The class that is predicted, and all that might be."""
    if len(values) == 1:
        value = float(values[0])
        return int(value > 0), {int(value > 0), int(value > error), int(value > -error)}
    close = np.flatnonzero(values >= values.max() - 2.0 * error)
    return int(values.argmax()), set(close.tolist())


def _plus_one(cells: Cells, place: int) -> Cells:
    return (*cells[:place], cells[place] + 1, *cells[place + 1 :])


def q_of(scores: Sequence[float | None], *, eps: float, max_failed: float) -> float | None:
    """Q of fold scores: ``100 eps mean / (std + eps)``, ddof 0; None if none or too many have no score."""
    there = [*_there(scores)]
    if not there or len(scores) - len(there) > max_failed * len(scores):
        return None
    mean, std = _moments(there)
    return 100.0 * eps * mean / (std + eps)


def q_shift(scores: Sequence[float | None], error: float, *, eps: float) -> float:
    """By how much Q moves at most if no fold score is off by more than `error`.

    Neither the mean nor the standard deviation then moves by more than `error`, and the derivatives of Q by these are
    ``100 eps / (std + eps)`` and ``100 eps mean / (std + eps)^2``; the denominators are taken where they are least.
    """
    mean, std = _moments([*_there(scores)])
    least = max(std - error, 0.0) + eps
    return 100.0 * eps * error * (1.0 / least + (abs(mean) + error) / least**2)


def _there(scores: Sequence[float | None]) -> Iterator[float]:
    return (s for s in scores if s is not None)


def _moments(values: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
