"""Splits of any splitter as sets of rows to leave out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.compat.sklearn.errors import ParameterError

__all__ = ["Split", "checked_splits"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """One fold.

    Attributes
    ----------
    test : ndarray of int64
        Rows to predict, in the order of the splitter.
    left_out : ndarray of int64
        Rows that do not train, ascending: the test rows, and those that the splitter leaves aside.
    """

    test: Ints
    left_out: Ints

    @property
    def slots(self) -> Ints:
        """Positions of the test rows among those left out."""
        return np.searchsorted(self.left_out, self.test)


def checked_splits(where: str, splits: Iterable[tuple[Any, Any]], n: int) -> list[Split]:
    """Check the (train, test) pairs of a splitter on n rows.

    Parameters
    ----------
    where : str
        The parameter, for messages.
    splits : iterable of (train, test)
        Row numbers, or masks of n rows.
    n : int

    Raises
    ------
    ParameterError
        If there is no fold; if rows are out of range, repeated in training or shared by training and test; if a side
        is empty.
    """
    found = [_split(f"{where}, fold {k}", train, test, n) for k, (train, test) in enumerate(splits)]
    if not found:
        raise ParameterError(where, found="no folds", expected="one (train, test) or more", fix="give a splitter")
    return found


def _split(where: str, train: Any, test: Any, n: int) -> Split:
    train, test = _rows(f"{where}, train", train, n), _rows(f"{where}, test", test, n)
    trains = np.zeros(n, dtype=bool)
    trains[train] = True
    if trains.sum() != len(train):
        raise ParameterError(
            where,
            found="training rows that occur twice",
            expected="each row once",
            fix="use a splitter without repetition",
        )
    if trains[test].any():
        raise ParameterError(
            where, found=f"row {test[trains[test]][0]} in train and in test", expected="rows on one side only",
            fix="leave it out of one of them",
        )  # fmt: skip
    return Split(test, np.flatnonzero(~trains))


def _rows(where: str, rows: Any, n: int) -> Ints:
    array = np.asarray(rows)
    if array.dtype == bool and array.shape == (n,):
        array = np.flatnonzero(array)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu":
        raise ParameterError(
            where, found=f"an array of {array.dtype} of shape {array.shape}",
            expected=f"row numbers, or a mask of {n} rows",
            fix="give the rows of every fold as a splitter of scikit-learn does",
        )  # fmt: skip
    if array.min() < 0 or array.max() >= n:
        raise ParameterError(
            where, found=f"row {array.min() if array.min() < 0 else array.max()}", expected=f"rows from 0 to {n - 1}",
            fix="count the rows from 0",
        )  # fmt: skip
    return array.astype(np.int64)
