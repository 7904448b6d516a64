"""Inner validation: rows that choose a strength for a fold, taken from the rows that train it.

The validation blocks of fold k are the held-out rows of its neighbours among the folds, k-1, k+1, k-2, k+2, ... in ring
order, less its own held-out rows. So the blocks obey whatever the folds obey (groups, strata), and leaving out the rows
of two folds together serves both of them: ``inner_folds / 2`` solves per fold. Where two folds together would leave
less than half of the rows to train on (few or large folds, a fixed split) each fold's training rows are cut into
`inner_folds` blocks of their own instead.

What is chosen is what has the least loss over the validation rows, predicted by models that saw neither those rows nor
the held-out rows of the fold; of equal strengths the largest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

__all__ = ["InnerPlan", "last_least", "plan_inner", "plan_within"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class InnerPlan:
    """Inner validation of all folds.

    Attributes
    ----------
    left_out : list of ndarray of int64, length P
        Rows that neither train nor choose: the held-out rows of a fold and one of its validation blocks.
    validate : list of (fold, set, rows)
        Rows (ascending, a subset of ``left_out[set]``) whose predictions validate the fold.
    """

    left_out: list[Ints]
    validate: list[tuple[int, int, Ints]]


def plan_inner(held_out: Sequence[Ints], n: int, inner_folds: int, seed: int, groups: Ints | None = None) -> InnerPlan:
    """Plan the inner validation of every fold.

    Parameters
    ----------
    held_out : sequence of ndarray of int64, length K
    n : int
        Samples.
    inner_folds : int
        Validation blocks per fold; fewer if there are not as many other folds.
    seed : int
        Of the blocks that are cut from training rows, where neighbours cannot serve.
    groups : ndarray of int64, shape (n,), optional
        Codes of samples that must not be separated by blocks cut from training rows.
    """
    pairs = _ring(len(held_out), inner_folds)
    unions = [np.union1d(held_out[i], held_out[j]) for i, j in pairs]
    validate = [
        (fold, p, np.setdiff1d(held_out[other], held_out[fold]))
        for p, pair in enumerate(pairs)
        for fold, other in (pair, pair[::-1])
    ]
    validated = {fold for fold, _, rows in validate if len(rows)}
    if len(validated) == len(held_out) and max(map(len, unions)) <= n / 2:
        return InnerPlan(unions, validate)
    trained = [np.setdiff1d(np.arange(n), held) for held in held_out]
    return plan_within(trained, n, inner_folds, seed, groups)


def plan_within(trained: Sequence[Ints], n: int, inner_folds: int, seed: int, groups: Ints | None = None) -> InnerPlan:
    """Cut the training rows of every fold into validation blocks of their own; parameters as in :func:`plan_inner`.

    Parameters
    ----------
    trained : sequence of ndarray of int64, length K
        Rows that train each fold, ascending; all others are left out.
    """
    left_out: list[Ints] = []
    validate: list[tuple[int, int, Ints]] = []
    for fold, train in enumerate(trained):
        rest = np.setdiff1d(np.arange(n), train)
        for block in _blocks(train, inner_folds, seed, groups):
            validate.append((fold, len(left_out), block))
            left_out.append(np.union1d(rest, block))
    return InnerPlan(left_out, validate)


def last_least(loss: NDArray[np.float64]) -> Ints:
    """Index along axis 1 of the least loss, the last of equals: with ascending strengths, the largest of equal ones.

    Parameters
    ----------
    loss : ndarray, shape (K, A, ...)
        Fold, strength, and whatever is chosen apart.

    Returns
    -------
    ndarray of int64, shape (K, ...)
    """
    return loss.shape[1] - 1 - np.argmin(loss[:, ::-1], axis=1)


def _ring(folds: int, inner_folds: int) -> list[tuple[int, int]]:
    """Pairs of neighbouring folds at distances 1 to ``inner_folds / 2``, each once."""
    reach = min(-(-inner_folds // 2), folds // 2)
    neighbours = ((k, (k + step) % folds) for step in range(1, reach + 1) for k in range(folds))
    return sorted({(min(pair), max(pair)) for pair in neighbours})


def _blocks(train: Ints, count: int, seed: int, groups: Ints | None) -> list[Ints]:
    units, member = np.unique(train if groups is None else groups[train], return_inverse=True)
    count = min(count, len(units))
    shuffled = RandomState(seed).permutation(len(units))
    return [np.sort(train[np.isin(member, part)]) for part in np.array_split(shuffled, count)]
