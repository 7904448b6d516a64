"""Scores from sufficient statistics equal scikit-learn's, and folds that say nothing have none."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    mean_squared_error,
    precision_score,
    r2_score,
    recall_score,
    roc_auc_score,
)
from strict_namespace import Namespace

from fastprobe.backend import get_backend
from fastprobe.backend.array import ArrayBackend
from fastprobe.metrics import decision_statistics, fold_scores, fold_statistics, probability_metrics
from fastprobe.qscore import q_score

BACKEND = get_backend("cpu")
ROUNDED = 1e-13
"""Bound on the difference of two sums of at most 100 numbers from 0 to 1, in another order: 100 eps = 2e-14."""


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


# Decisions


def draw_decisions(seed: int, classes: int, grid: float = 0.0, n: int = 60):
    """Class numbers and decision values that know something about them; on a grid, so that there are ties."""
    rng, rows, sets = draw(seed, n=n)
    codes = rng.integers(classes, size=n).astype(np.float64)
    columns = classes if classes > 2 else 1
    decisions = 2 * rng.standard_normal((*sets.mask.shape, columns))
    decisions += np.where(codes[sets.rows][:, :, None] == (np.arange(columns) if columns > 1 else 1), 1.0, 0.0)
    if grid:
        decisions = np.round(decisions / grid) * grid
    decisions[~sets.mask] = 7.0  # padding says nothing
    return rows, sets, codes, decisions


@given(seed=st.integers(0, 10_000), classes=st.integers(3, 7), grid=st.sampled_from([0.0, 1.0]))
@settings(max_examples=15, deadline=None)
def test_decisions_between_many_classes(seed: int, classes: int, grid: float) -> None:
    rows, sets, codes, decisions = draw_decisions(seed, classes, grid)
    stats = decision_statistics(BACKEND, sets, codes, decisions)
    scores = fold_scores(stats, "classification")
    for k, held in enumerate(rows):
        truth, guess = codes[held], decisions[k, : len(held)].argmax(axis=1)
        assert stats.n[k] == len(held)
        assert list(stats.confusion[k]) == confusion_matrix(truth, guess, labels=range(classes)).ravel().tolist()
        assert stats.accuracy[k] == accuracy_score(truth, guess)
        macro = {"average": "macro", "zero_division": 0}
        assert stats.precision[k] == pytest.approx(precision_score(truth, guess, **macro), abs=ROUNDED)
        assert stats.recall[k] == pytest.approx(recall_score(truth, guess, **macro), abs=ROUNDED)
        if len(np.unique(truth)) == 1:
            assert np.isnan(scores[k])
            continue
        assert scores[k] == pytest.approx(f1_score(truth, guess, **macro), abs=ROUNDED)
        if set(guess) <= set(truth):  # scikit-learn warns of others, and leaves them out as well
            assert stats.balanced_accuracy[k] == pytest.approx(balanced_accuracy_score(truth, guess), abs=ROUNDED)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_decisions_between_two_classes_are_those_of_the_residuals(seed: int) -> None:
    rows, sets, codes, decisions = draw_decisions(seed, 2)
    stats = decision_statistics(BACKEND, sets, codes, decisions)
    signs = 2 * codes - 1
    residuals = np.where(sets.mask, signs[sets.rows] - decisions[:, :, 0], 0.0)
    assert stats == fold_statistics(BACKEND, sets, signs, residuals, "classification")
    for k, held in enumerate(rows):
        truth, guess = codes[held] > 0, decisions[k, : len(held), 0] > 0
        if len(set(truth)) == 2:
            assert stats.balanced_accuracy[k] == pytest.approx(balanced_accuracy_score(truth, guess), abs=ROUNDED)


@given(seed=st.integers(0, 10_000), classes=st.integers(3, 7))
@settings(max_examples=15, deadline=None)
def test_residuals_of_many_classes_are_decisions(seed: int, classes: int) -> None:
    _, sets, codes, decisions = draw_decisions(seed, classes)
    y = np.where(codes[:, None] == np.arange(classes), 1.0, -1.0)
    residuals = y[sets.rows] - decisions
    found = fold_statistics(BACKEND, sets, y, residuals, "classification")
    assert found == decision_statistics(BACKEND, sets, codes, y[sets.rows] - residuals)


def test_of_equal_decisions_the_first_class_is_taken() -> None:
    sets = BACKEND.row_sets([np.array([0, 1, 2])], 3)
    stats = decision_statistics(BACKEND, sets, np.array([0.0, 1.0, 2.0]), np.zeros((1, 3, 3)))
    assert stats.confusion == ((1, 0, 0, 1, 0, 0, 1, 0, 0),)
    assert fold_scores(stats, "classification") == pytest.approx([0.5 / 3])  # F1 of class 0 is 2 / (2 + 2 + 0)


# Metrics of decision values


def one_of_two(truth: NDArray, values: NDArray) -> tuple[float, float]:
    """Area and average precision of one class, by their definitions, pair by pair."""
    above = [np.mean([1.0 if p > q else 0.5 if p == q else 0.0 for q in values[~truth]]) for p in values[truth]]
    return float(np.mean(above)), float(np.mean([truth[values >= p].mean() for p in values[truth]]))


@given(seed=st.integers(0, 10_000), grid=st.sampled_from([0.0, 0.25, 2.0]), scale=st.sampled_from([1.0, 1e-300, 1e300]))
@settings(max_examples=25, deadline=None)
def test_ranks_of_two_classes(seed: int, grid: float, scale: float) -> None:
    rows, sets, codes, decisions = draw_decisions(seed, 2, grid)
    found = probability_metrics(BACKEND, sets, codes, scale * decisions, logistic=False)
    assert set(found) == {"roc_auc", "average_precision"}
    for k, held in enumerate(rows):
        truth, values = codes[held] > 0, scale * decisions[k, : len(held), 0]
        if truth.all() or not truth.any():
            assert np.isnan(found["roc_auc"][k])
            assert np.isnan(found["average_precision"][k]) == (not truth.any())
            continue
        area, precision = one_of_two(truth, values)
        assert found["roc_auc"][k] == pytest.approx(area, abs=ROUNDED)
        assert found["roc_auc"][k] == pytest.approx(roc_auc_score(truth, values), abs=ROUNDED)
        assert found["average_precision"][k] == pytest.approx(precision, abs=ROUNDED)
        assert found["average_precision"][k] == pytest.approx(average_precision_score(truth, values), abs=ROUNDED)


@given(seed=st.integers(0, 10_000), classes=st.integers(3, 5), grid=st.sampled_from([0.0, 1.0]), logistic=st.booleans())
@settings(max_examples=20, deadline=None)
def test_ranks_of_many_classes(seed: int, classes: int, grid: float, logistic: bool) -> None:
    """One class against the rest, by probabilities if there are any; of a class that is absent, nothing."""
    rows, sets, codes, decisions = draw_decisions(seed, classes, grid)
    found = probability_metrics(BACKEND, sets, codes, decisions, logistic=logistic)
    for k, held in enumerate(rows):
        truth, values = codes[held], decisions[k, : len(held)]
        if set(truth) != set(range(classes)):
            assert np.isnan([found["roc_auc"][k], found["average_precision"][k]]).all()
            continue
        values = softmax(values, axis=1) if logistic else values
        each = np.array([one_of_two(truth == c, values[:, c]) for c in range(classes)])
        assert found["roc_auc"][k] == pytest.approx(each[:, 0].mean(), abs=ROUNDED)
        assert found["average_precision"][k] == pytest.approx(each[:, 1].mean(), abs=ROUNDED)
        indicator = truth[:, None] == np.arange(classes)
        assert found["average_precision"][k] == pytest.approx(average_precision_score(indicator, values), abs=ROUNDED)
        theirs = roc_auc_score(truth, values, multi_class="ovr") if logistic else roc_auc_score(indicator, values)
        assert found["roc_auc"][k] == pytest.approx(theirs, abs=ROUNDED)


@given(seed=st.integers(0, 10_000), classes=st.integers(2, 5), scale=st.sampled_from([0.1, 1.0, 3.0]))
@settings(max_examples=20, deadline=None)
def test_log_loss(seed: int, classes: int, scale: float) -> None:
    rows, sets, codes, decisions = draw_decisions(seed, classes)
    decisions *= scale
    found = probability_metrics(BACKEND, sets, codes, decisions, logistic=True)["log_loss"]
    for k, held in enumerate(rows):
        values = decisions[k, : len(held)]
        shares = softmax(values, axis=1) if classes > 2 else np.hstack([expit(-values), expit(values)])
        # scikit-learn takes the logarithm of rounded probabilities, which it holds to be eps at least
        assume(shares.min() > 1e-15)
        theirs = log_loss(codes[held], shares, labels=range(classes))
        assert found[k] == pytest.approx(theirs, rel=ROUNDED, abs=ROUNDED)


@given(
    values=st.lists(
        st.lists(st.sampled_from([0.0, 1e-9, -0.5, 3.0, 36.0, 40.0, -700.0, 800.0, 1e5, -1e5]), min_size=4, max_size=4),
        min_size=2,
        max_size=5,
    ),
    classes=st.sampled_from([2, 3, 4]),
)
@settings(max_examples=40, deadline=None)
def test_log_loss_of_large_values_is_exact(values: list[list[float]], classes: int) -> None:
    """Against 60 decimal digits, to which a loss of 1e-40000 is as good as any."""
    n, columns = len(values), classes if classes > 2 else 1
    decisions = np.array(values)[None, :, :columns]
    codes = (np.arange(n) % classes).astype(np.float64)
    sets = BACKEND.row_sets([np.arange(n)], n)
    found = probability_metrics(BACKEND, sets, codes, decisions, logistic=True)["log_loss"][0]
    with localcontext(prec=60):
        total = Decimal(0)
        for row, code in zip(decisions[0].tolist(), codes.astype(int).tolist(), strict=True):
            logits = [Decimal(v) for v in (row if columns > 1 else [0.0, *row])]
            rest = sum((v - logits[code]).exp() for c, v in enumerate(logits) if c != code)
            total += (1 + rest).ln() if rest > Decimal("1e-30") else rest  # log(1 + r) = r to 30 digits
        exact = float(total / n)
    assert found == pytest.approx(exact, rel=1e-14, abs=1e-300)


def test_a_fold_with_a_value_that_is_not_finite_has_no_metrics() -> None:
    rows = [np.arange(4), np.arange(3)]
    sets = BACKEND.row_sets(rows, 4)
    codes = np.array([0.0, 1.0, 0.0, 1.0])
    decisions = np.array([[-1.0, 1.0, np.nan, 2.0], [-1.0, 1.0, -2.0, np.inf]])[:, :, None]
    found = probability_metrics(BACKEND, sets, codes, decisions, logistic=True)
    for values in found.values():
        assert np.isnan(values).tolist() == [True, False]  # what stands in padded slots does not count
    assert found["roc_auc"][1] == 1.0


@given(seed=st.integers(0, 999), classes=st.integers(2, 4), logistic=st.booleans(), grid=st.sampled_from([0.0, 1.0]))
@settings(max_examples=20, deadline=None)
def test_decisions_on_a_device_equal_those_on_the_cpu(seed: int, classes: int, logistic: bool, grid: float) -> None:
    """Also in batches of one fold, and with one wait for the device."""
    rows, sets, codes, decisions = draw_decisions(seed, classes, grid)
    for budget in (300_000, 1):
        device = ArrayBackend(Namespace(), device="strict", budget=budget)
        there = device.row_sets(rows, len(codes)), device.asarray(codes), device.asarray(decisions)
        assert decision_statistics(device, *there) == decision_statistics(BACKEND, sets, codes, decisions)
        assert device.xp.syncs.total() == 1
        found = probability_metrics(device, *there, logistic=logistic)
        assert device.xp.syncs.total() == 2
        wanted = probability_metrics(BACKEND, sets, codes, decisions, logistic=logistic)
        assert found.keys() == wanted.keys()
        for name, values in wanted.items():
            np.testing.assert_allclose(found[name], values, rtol=ROUNDED, atol=0)


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
