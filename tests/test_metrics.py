"""Scores from sufficient statistics equal scikit-learn's, and folds that say nothing have none."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, mean_squared_error, r2_score

from fastprobe.backend import get_backend
from fastprobe.metrics import fold_scores, fold_statistics
from fastprobe.qscore import q_score

BACKEND = get_backend("cpu")


def draw(seed: int, folds: int = 5, n: int = 60):
    rng = np.random.default_rng(seed)
    rows = [np.sort(rng.permutation(n)[: rng.integers(2, n)]) for _ in range(folds)]
    return rng, rows, BACKEND.row_sets(rows, n)


@given(seed=st.integers(0, 10_000), offset=st.sampled_from([0.0, 1e3, -1e6]))
@settings(max_examples=50, deadline=None)
def test_regression(seed: int, offset: float) -> None:
    rng, rows, sets = draw(seed)
    y = rng.standard_normal(60) + offset
    residuals = rng.standard_normal(sets.mask.shape) * sets.mask
    stats = fold_statistics(BACKEND, sets, y, residuals, "regression")
    scores = fold_scores(stats, "regression")
    for k, held in enumerate(rows):
        predicted = y[held] - residuals[k, : len(held)]
        # y - prediction is rounded at the size of y, twice
        tolerance = 1e-13 * (1 + abs(offset)) * (1 + abs(scores[k]))
        assert abs(scores[k] - r2_score(y[held], predicted)) < tolerance
        assert (
            abs(stats.sse[k] / stats.n[k] - mean_squared_error(y[held], predicted))
            < 1e-13 * (1 + abs(offset)) * stats.sse[k]
        )


@given(seed=st.integers(0, 10_000), share=st.floats(0.05, 0.95))
@settings(max_examples=50, deadline=None)
def test_classification(seed: int, share: float) -> None:
    rng, rows, sets = draw(seed)
    y = np.where(rng.random(60) < share, 1.0, -1.0)
    residuals = rng.standard_normal(sets.mask.shape) * 1.5 * sets.mask
    stats = fold_statistics(BACKEND, sets, y, residuals, "classification")
    scores = fold_scores(stats, "classification")
    for k, held in enumerate(rows):
        predicted = y[held] - residuals[k, : len(held)] > 0
        truth = y[held] > 0
        assert (stats.tp[k] + stats.tn[k]) / stats.n[k] == accuracy_score(truth, predicted)
        if len(np.unique(truth)) == 1:
            assert np.isnan(scores[k])
        else:
            assert scores[k] == f1_score(truth, predicted)


def test_constant_held_out_labels_have_no_score() -> None:
    _, rows, sets = draw(0)
    y = np.full(60, 0.1)  # 0.1 is not a binary fraction: the mean of equal labels need not equal them
    residuals = np.ones(sets.mask.shape) * sets.mask
    stats = fold_statistics(BACKEND, sets, y, residuals, "regression")
    assert stats.tss == (0.0,) * len(rows)
    assert np.isnan(fold_scores(stats, "regression")).all()


def test_q_is_that_of_the_definition() -> None:
    scores = [0.5, 0.7, 0.6]
    q = q_score(scores)
    assert abs(q.mean - np.mean(scores)) < 1e-15
    assert abs(q.std - np.std(scores)) < 1e-15
    assert abs(q.q - 100 * 0.02 * np.mean(scores) / (np.std(scores) + 0.02)) < 1e-12


def test_q_leaves_out_failed_folds_up_to_a_share() -> None:
    """The challenge: up to 3 of 10 probes may fail."""
    three = q_score([0.5] * 7 + [None, float("nan"), None])
    assert (three.n_failed, three.q, three.reason) == (3, 100 * 0.02 * 0.5 / 0.02, None)
    four = q_score([0.5] * 6 + [None] * 4)
    assert four.q is None
    assert four.mean == 0.5
    assert four.reason == "4 of 10 folds failed, more than 30%"
    none = q_score([None] * 10)
    assert (none.mean, none.std, none.q, none.reason) == (None, None, None, "all 10 folds failed")
