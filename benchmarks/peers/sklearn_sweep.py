"""scikit-learn: ``Ridge`` refitted from scratch for every fold and embedding size.

Tasks with the same samples are fitted together. Every size is standardised by the scale of the whole embedding, as in
a sweep of fastprobe.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import sklearn_ridge
from benchmarks.problem import FoldScores, Problem, score_fold, splits

__all__ = ["Refits", "nested_fold_scores", "refit"]

Floats = NDArray[np.float64]

_SEED = 42  # of the folds, and of the draws of some of their training rows


@dataclass(frozen=True, eq=False)
class Refits:
    """Refits at S sizes.

    Attributes
    ----------
    scores : FoldScores
        Shape (S, folds) per task.
    seconds : ndarray, shape (S,)
        What fitting, predicting and scoring took at each size, all folds together.
    """

    scores: FoldScores
    seconds: Floats


def refit(
    problem: Problem, alpha: float, sizes: Sequence[int], measured: int, *, fraction: float = 1.0,
    components: bool = False,
) -> Refits:  # fmt: skip
    """Refit the first folds at some sizes, by Cholesky in float64.

    Parameters
    ----------
    problem : Problem
        Prepared.
    alpha : float
    sizes : sequence of int, length S
        Numbers of leading dimensions.
    measured : int
        Folds.
    fraction : float
        Share of the training rows that are used: in fold k, the first of
        ``numpy.random.default_rng([42, k]).permutation`` of them.
    components : bool
        Turn the embedding to the principal components of the training rows first, which is not in the time.
    """
    from sklearn.linear_model import Ridge

    x, found, seconds = problem.features(), dict[str, Floats](), np.zeros(len(sizes))
    for group in problem.groups:
        x_group, y = x[group.rows], group.y
        scores = np.empty((len(sizes), measured, len(group.names)))
        for k, (train, test) in enumerate(splits(len(x_group), problem.n_folds, measured)):
            rows = _drawn(train, fraction, k)
            features = _turned(x_group, rows) if components else x_group
            for s, size in enumerate(sizes):
                start = time.perf_counter()
                model = Ridge(alpha=alpha, solver="cholesky").fit(features[rows, :size], y[rows])
                prediction = model.predict(features[test, :size]).reshape(len(test), -1)
                scores[s, k] = score_fold(group, test, prediction)
                seconds[s] += time.perf_counter() - start
        found |= zip(group.names, np.moveaxis(scores, 2, 0), strict=True)
    return Refits(found, seconds)


def nested_fold_scores(problem: Problem, sizes: Sequence[int], measured: int) -> FoldScores:
    """Choose the strength of every size by :func:`benchmarks.peers.sklearn_ridge.nested_fold_scores`.

    Parameters
    ----------
    problem : Problem
        Prepared.
    sizes : sequence of int, length S
    measured : int
        Folds.

    Returns
    -------
    FoldScores
        Shape (S, measured) per task.
    """
    x = problem.features()
    by_size = [
        sklearn_ridge.nested_fold_scores(replace(problem, standardised=np.ascontiguousarray(x[:, :size])), measured)
        for size in sizes
    ]
    return {name: np.stack([scores[name] for scores in by_size]) for name in by_size[0]}


def _drawn(train: NDArray[np.intp], fraction: float, k: int) -> NDArray[np.intp]:
    rows = np.sort(train)
    if fraction == 1.0:
        return rows
    return np.random.default_rng([_SEED, k]).permutation(rows)[: max(2, ceil(fraction * len(rows) - 1e-9))]


def _turned(x: Floats, rows: NDArray[np.intp]) -> Floats:
    """All principal components of some rows, the largest first, as features of all rows."""
    from sklearn.decomposition import PCA

    among = PCA(svd_solver="full").fit(x[rows])
    return np.asarray(among.transform(x))
