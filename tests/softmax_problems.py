"""Linear predictors of multinomial probes of all sizes, and how near to the twin a kernel must be."""

from __future__ import annotations

import numpy as np

__all__ = ["assert_softmax_alike", "draw_softmax"]

EPS = float(np.finfo(np.float64).eps)


def draw_softmax(
    rng: np.random.Generator, n: int, problems: int, classes: int, columns: int, folds: int
) -> tuple[tuple[np.ndarray, ...], list[np.ndarray]]:
    """Arguments of ``softmax_step``, and what it is to write: NaN."""
    eta = rng.standard_normal((n, problems, classes, columns)) * 10.0 ** rng.integers(-3, 4, columns)
    eta.flat[rng.integers(0, eta.size, 6)] = [0.0, 1e-300, -1e5, 1e5, -708.5, 707.9]
    eta[rng.integers(0, n)] = 2.5  # ties
    codes, training = rng.integers(0, classes, n), rng.random((n, folds)) < 0.8
    fold = rng.integers(0, folds, columns)
    written = [np.full(shape, np.nan) for shape in (eta.shape, eta.shape, (problems, columns))]
    return (eta, codes, training, fold), written


def assert_softmax_alike(problem: tuple[np.ndarray, ...], found: list, wanted: list) -> None:
    """Up to a few roundings of numbers of size 1, and of the terms of a loss."""
    eta, _, training, fold = problem
    n, _, classes, _ = eta.shape
    held_out = ~training[:, None, None, fold] & np.ones(eta.shape, dtype=bool)
    for mine, twin in zip(found[:2], wanted[:2], strict=True):
        assert np.abs(mine - twin).max() <= (4 + classes) * EPS
        assert (mine[held_out] == 0).all()
    terms = (2 * np.abs(eta).max(axis=2) + 1 + np.log(classes)).sum(axis=0)
    assert (np.abs(found[2] - wanted[2]) <= (n + classes + 4) * EPS * terms).all()
