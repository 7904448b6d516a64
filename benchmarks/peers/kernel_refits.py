"""Kernel ridge with an intercept, refitted for every fold and strength: scikit-learn's way and SciPy's.

Kernel matrices and Nyström features of all rows are made before the clock, in favour of these contestants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from benchmarks.problem import FoldScores, Group, Problem, Split, score_fold, splits

__all__ = ["Lifted", "by_scipy", "by_sklearn", "by_sklearn_nystroem", "make_kernels", "make_nystroem", "median_gamma"]

Floats = NDArray[np.float64]
_SAMPLE, _SEED = 1000, 42


@dataclass(frozen=True, eq=False)
class Lifted:
    """A problem with a matrix for each group: the kernel of its rows (n, n), or features (n, r)."""

    problem: Problem
    matrices: tuple[Floats, ...]


def median_gamma(x: Floats) -> float:
    """One divided by the median squared distance between rows, of 1000 drawn rows at most."""
    from scipy.spatial.distance import pdist

    return 1.0 / float(np.median(pdist(x[_drawn(len(x), _SAMPLE)], "sqeuclidean")))


def make_kernels(problem: Problem) -> Lifted:
    """Compute the kernel ``exp(-gamma |x - z|^2)`` of the rows of every group, gamma by the median distance."""
    from sklearn.metrics.pairwise import rbf_kernel

    x = problem.features()
    rows = (x[group.rows] for group in problem.groups)
    return Lifted(problem, tuple(rbf_kernel(part, gamma=median_gamma(part)) for part in rows))


def make_nystroem(problem: Problem, landmarks: int) -> Lifted:
    """Compute scikit-learn's Nyström features of the rows of every group, for landmarks that are drawn here."""
    from sklearn.kernel_approximation import Nystroem

    x, found = problem.features(), []
    for group in problem.groups:
        part = x[group.rows]
        marks = part[_drawn(len(part), landmarks)]
        # All of the rows that it is fitted to are its landmarks; in which order turns the features and no prediction.
        model = Nystroem(kernel="rbf", gamma=median_gamma(part), n_components=len(marks), random_state=_SEED)
        found.append(model.fit(marks).transform(part))
    return Lifted(problem, tuple(found))


def by_sklearn(lifted: Lifted, alphas: Sequence[float], measured: int) -> FoldScores:
    """``KernelRidge`` on the kernel about the means of the training rows, which leaves the intercept unpenalised.

    Parameters
    ----------
    lifted : Lifted
        Kernels.
    alphas : sequence of float, length A
    measured : int
        Solve only the first folds.

    Returns
    -------
    FoldScores
        Shape (A, folds) per task.
    """
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.preprocessing import KernelCenterer

    def solve(kernel: Floats, y: Floats, split: Split) -> Iterator[Floats]:
        train, test = split
        centerer, mean = KernelCenterer(), y[train].mean(axis=0)
        among = centerer.fit_transform(kernel[np.ix_(train, train)])
        across = centerer.transform(kernel[np.ix_(test, train)])
        for alpha in alphas:
            model = KernelRidge(alpha=alpha, kernel="precomputed").fit(among, y[train] - mean)
            yield model.predict(across) + mean

    return _scores(lifted, measured, solve)


def by_scipy(lifted: Lifted, alphas: Sequence[float], measured: int) -> FoldScores:
    """A Cholesky solve of ``(K + alpha I) a + b = y, 1'a = 0``; parameters as of :func:`by_sklearn`."""
    from scipy.linalg import cho_factor, cho_solve

    def solve(kernel: Floats, y: Floats, split: Split) -> Iterator[Floats]:
        train, test = split
        among, across = kernel[np.ix_(train, train)], kernel[np.ix_(test, train)]
        right = np.column_stack([np.ones(len(train)), y[train]])
        for alpha in alphas:
            shifted = among.copy()
            shifted.flat[:: len(train) + 1] += alpha
            factor = cho_factor(shifted, overwrite_a=True, lower=True, check_finite=False)
            ones, dual = np.split(cho_solve(factor, right, check_finite=False), [1], axis=1)
            intercept = dual.sum(axis=0) / ones.sum()
            yield across @ (dual - ones * intercept) + intercept

    return _scores(lifted, measured, solve)


def by_sklearn_nystroem(lifted: Lifted, alphas: Sequence[float], measured: int) -> FoldScores:
    """``Ridge`` on Nyström features; parameters as of :func:`by_sklearn`."""
    from sklearn.linear_model import Ridge

    def solve(features: Floats, y: Floats, split: Split) -> Iterator[Floats]:
        train, test = split
        for alpha in alphas:
            yield Ridge(alpha=alpha).fit(features[train], y[train]).predict(features[test])

    return _scores(lifted, measured, solve)


def _scores(lifted: Lifted, measured: int, solve: Callable[[Floats, Floats, Split], Iterator[Floats]]) -> FoldScores:
    found: dict[str, Floats] = {}
    for group, matrix in zip(lifted.problem.groups, lifted.matrices, strict=True):
        folds = splits(len(group.rows), lifted.problem.n_folds, measured)
        scores = [[_score(group, fold, held) for held in solve(matrix, group.y, fold)] for fold in folds]
        found |= zip(group.names, np.transpose(scores), strict=True)
    return found


def _score(group: Group, split: Split, predictions: Floats) -> Floats:
    return score_fold(group, split[1], predictions.reshape(len(split[1]), -1))


def _drawn(n: int, count: int) -> NDArray[np.intp]:
    return np.sort(RandomState(_SEED).permutation(n)[:count])
