"""Ridge estimators against scikit-learn's Ridge and RidgeClassifier, and held-out predictions against refits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import Problem
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import Ridge, RidgeClassifier, RidgeClassifierCV, RidgeCV
from sklearn.model_selection import GridSearchCV, KFold, LeaveOneOut, ShuffleSplit, StratifiedKFold, TimeSeriesSplit

from fastprobe.compat.sklearn import RidgeProbe, RidgeProbeClassifier, RidgeProbeClassifierCV, RidgeProbeCV
from fastprobe.errors import InputError

ALPHAS = (0.1, 10.0, 1000.0)
SHAPES = {"tall": (90, 6), "wide": (40, 70), "one-feature": (50, 1)}
SPLITTERS = {
    "number": 3,
    "default": None,
    "random": ShuffleSplit(4, test_size=0.2, random_state=1),
    "some-aside": ShuffleSplit(3, test_size=0.2, train_size=0.5, random_state=1),
    "in-time": TimeSeriesSplit(3),
}


def draw(shape: str, outputs: int | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    n, d = SHAPES[shape]
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) + 3.0
    size = (n,) if outputs is None else (n, outputs)
    y = np.tanh(x @ rng.standard_normal((d, *size[1:]))) + 0.3 * rng.standard_normal(size)
    return x, 5.0 + y


def classes_of(y: np.ndarray, count: int) -> np.ndarray:
    """Classes that are strings, of about the same size."""
    names = np.array(["lake", "meadow", "road", "wood"])
    return names[np.searchsorted(np.quantile(y, np.arange(1, count) / count), y)]


def splits_of(
    cv: Any, x: np.ndarray, y: np.ndarray, *, classifier: bool = False
) -> list[tuple[np.ndarray, np.ndarray]]:
    if cv is None or isinstance(cv, int):
        cv = (StratifiedKFold if classifier else KFold)(cv or 5)
    return [(np.asarray(train), np.asarray(test)) for train, test in cv.split(x, y)]


def tolerance(x: np.ndarray, left_out: list[np.ndarray], alpha: float) -> float:
    """What tests/problems.py derives for a route that iterates, which bounds the others too."""
    return Problem("", x, np.zeros((len(x), 1)), left_out, alpha).tolerance_of("iterate")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("outputs", [None, 1, 3])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_fits_are_those_of_scikit_learn(shape: str, outputs: int | None, alpha: float) -> None:
    x, y = draw(shape, outputs)
    ours, theirs = RidgeProbe(alpha, device="cpu").fit(x, y), Ridge(alpha, solver="svd").fit(x, y)
    close = {"rtol": 0, "atol": tolerance(x, [np.array([0])], alpha)}
    assert ours.coef_.shape == (*y.shape[1:], x.shape[1])
    assert np.shape(ours.intercept_) == y.shape[1:]
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x).reshape(y.shape), **close)
    assert ours.score(x, y) == pytest.approx(theirs.score(x, y), abs=close["atol"])


@pytest.mark.parametrize("count", [2, 4])
def test_classifiers_are_those_of_scikit_learn(count: int) -> None:
    x, y = draw("tall")
    labels = classes_of(y, count)
    ours, theirs = (
        RidgeProbeClassifier(10.0, device="cpu").fit(x, labels),
        RidgeClassifier(10.0, solver="svd").fit(x, labels),
    )
    close = {"rtol": 0, "atol": tolerance(x, [np.array([0])], 10.0)}
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    assert ours.coef_.shape == (1 if count == 2 else count, x.shape[1])
    np.testing.assert_allclose(ours.coef_, np.atleast_2d(theirs.coef_), **close)
    np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(x), **close)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))


def test_one_standard_deviation_scales_the_strength() -> None:
    x, y = draw("tall")
    scaled = (x - x.mean()) / x.std()
    ours, theirs = RidgeProbe(2.0, standardize=True).fit(x, y), Ridge(2.0, solver="svd").fit(scaled, y)
    np.testing.assert_allclose(
        ours.predict(x), theirs.predict(scaled), rtol=0, atol=tolerance(scaled, [np.array([0])], 2.0)
    )
    constant = np.full((20, 3), 7.0)
    np.testing.assert_allclose(RidgeProbe(standardize=True).fit(constant, y[:20]).predict(constant), y[:20].mean())


def test_single_precision_is_read_and_not_computed_in() -> None:
    x, y = draw("tall")
    x = x.astype(np.float32)
    ours, theirs = RidgeProbe(0.1).fit(x, y), Ridge(0.1, solver="svd").fit(x.astype(np.float64), y)
    assert ours.predict(x).dtype == np.float64
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=0, atol=tolerance(x, [np.array([0])], 0.1))


@pytest.mark.parametrize("shape", ["tall", "wide"])
@pytest.mark.parametrize("cv", SPLITTERS.values(), ids=SPLITTERS)
def test_held_out_predictions_are_those_of_refits(shape: str, cv: Any) -> None:
    x, y = draw(shape)
    fitted = RidgeProbeCV(ALPHAS, cv=cv, device="cpu").fit(x, y)
    splits = splits_of(cv, x, y)
    assert [test.tolist() for test in fitted.cv_test_] == [test.tolist() for _, test in splits]
    assert fitted.cv_scores_.shape == (len(splits), len(ALPHAS))
    for k, (train, test) in enumerate(splits):
        left_out = [np.setdiff1d(np.arange(len(x)), train)]
        assert fitted.cv_predictions_[k].shape == (len(ALPHAS), len(test))
        for a, alpha in enumerate(ALPHAS):
            close = {"rtol": 0, "atol": tolerance(x, left_out, alpha)}
            theirs = Ridge(alpha, solver="svd").fit(x[train], y[train])
            refitted = RidgeProbe(alpha, device="cpu").fit(x[train], y[train])
            np.testing.assert_allclose(fitted.cv_predictions_[k][a], theirs.predict(x[test]), **close)
            np.testing.assert_allclose(fitted.cv_predictions_[k][a], refitted.predict(x[test]), **close)
            assert fitted.cv_scores_[k, a] == pytest.approx(theirs.score(x[test], y[test]), rel=1e-9, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(12, 60), d=st.integers(1, 40), outputs=st.sampled_from([None, 1, 2]), folds=st.integers(2, 6),
    exponent=st.integers(-1, 4), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_held_out_predictions_of_any_problem(
    n: int, d: int, outputs: int | None, folds: int, exponent: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, alpha = rng.standard_normal((n, d)), 10.0**exponent
    y = rng.uniform(-1, 1, (n,) if outputs is None else (n, outputs))
    cv = KFold(folds, shuffle=True, random_state=seed)
    fitted = RidgeProbeCV((alpha, 10 * alpha), cv=cv, device="cpu").fit(x, y)
    for k, (train, test) in enumerate(cv.split(x)):
        expected = Ridge(alpha, solver="svd").fit(x[train], y[train]).predict(x[test])
        close = {"rtol": 0, "atol": tolerance(x, [test], alpha)}
        np.testing.assert_allclose(fitted.cv_predictions_[k][0], expected.reshape(y[test].shape), **close)


@pytest.mark.parametrize("count", [2, 4])
def test_held_out_decisions_are_those_of_refits(count: int) -> None:
    x, y = draw("tall")
    labels = classes_of(y, count)
    fitted = RidgeProbeClassifierCV(ALPHAS, cv=4, device="cpu").fit(x, labels)
    for k, (train, test) in enumerate(splits_of(4, x, labels, classifier=True)):
        for a, alpha in enumerate(ALPHAS):
            theirs = RidgeClassifier(alpha, solver="svd").fit(x[train], labels[train])
            close = {"rtol": 0, "atol": tolerance(x, [test], alpha)}
            np.testing.assert_allclose(fitted.cv_decisions_[k][a], theirs.decision_function(x[test]), **close)
            np.testing.assert_array_equal(fitted.cv_predictions_[k][a], theirs.predict(x[test]))
            assert fitted.cv_scores_[k, a] == theirs.score(x[test], labels[test])


def test_choice_is_that_of_a_grid_search() -> None:
    x, y = draw("wide", 3)
    fitted = RidgeProbeCV(ALPHAS, cv=4, device="cpu").fit(x, y)
    search = GridSearchCV(RidgeProbe(device="cpu"), {"alpha": ALPHAS}, cv=4, scoring="neg_mean_squared_error").fit(x, y)
    by_fold = -np.array([search.cv_results_[f"split{k}_test_score"] for k in range(4)])
    np.testing.assert_allclose(fitted.cv_losses_, y.shape[1] * by_fold, rtol=1e-9)
    assert fitted.alpha_ == fitted.best_alpha_ == search.best_params_["alpha"]
    np.testing.assert_array_equal(fitted.coef_, search.best_estimator_.coef_)
    assert fitted.score(x, y) == search.best_estimator_.score(x, y)


@pytest.mark.parametrize("count", [None, 2, 3])
def test_leaving_out_single_rows_is_that_of_scikit_learn(count: int | None) -> None:
    """The twin has a formula of its own for it."""
    x, y = draw("tall")
    labels = y if count is None else classes_of(y, count)
    ours, twin = (RidgeProbeCV, RidgeCV) if count is None else (RidgeProbeClassifierCV, RidgeClassifierCV)
    fitted = ours(ALPHAS, cv=LeaveOneOut(), device="cpu").fit(x, labels)
    theirs = twin(ALPHAS, store_cv_results=True).fit(x, labels)
    by_row = theirs.cv_results_.reshape(len(x), -1, len(ALPHAS)).sum(axis=1)
    np.testing.assert_allclose(fitted.cv_losses_, by_row, rtol=1e-8, atol=1e-10)
    assert fitted.alpha_ == theirs.alpha_


def test_of_equal_strengths_the_largest_is_taken() -> None:
    x = np.ones((20, 1))  # constant features: all strengths predict the mean
    fitted = RidgeProbeCV((1.0, 5.0, 2.0), cv=4, device="cpu").fit(x, np.arange(20.0))
    assert len(set(fitted.cv_losses_.sum(axis=0))) == 1
    assert fitted.alpha_ == 5.0


def test_masks_and_pairs_are_splitters() -> None:
    x, y = draw("tall")
    test = np.arange(len(x)) % 3 == 0
    pairs = RidgeProbeCV(ALPHAS, cv=[(np.flatnonzero(~test), np.flatnonzero(test)[::-1])], device="cpu").fit(x, y)
    masks = RidgeProbeCV(ALPHAS, cv=[(~test, test)], device="cpu").fit(x, y)
    np.testing.assert_array_equal(pairs.cv_test_[0][::-1], masks.cv_test_[0])
    np.testing.assert_array_equal(pairs.cv_predictions_[0][:, ::-1], masks.cv_predictions_[0])


def test_folds_with_constant_labels_have_no_score() -> None:
    x, y = draw("tall")
    y[:30] = 1.0
    fitted = RidgeProbeCV(ALPHAS, cv=KFold(3), device="cpu").fit(x, y)
    assert np.isnan(fitted.cv_scores_[0]).all()
    assert np.isfinite(fitted.cv_scores_[1:]).all()


@pytest.mark.parametrize(
    ("cv", "found"),
    [
        ([], "no folds"),
        ([(np.array([0, 0, 1]), np.array([2]))], "training rows that occur twice"),
        ([(np.array([0, 1]), np.array([1, 2]))], "row 1 in train and in test"),
        ([(np.array([0, 1]), np.array([90]))], "row 90"),
        ([(np.array([-1, 1]), np.array([3]))], "row -1"),
        ([(np.array([0.5, 1]), np.array([3]))], "an array of float64 of shape (2,)"),
        ([(np.arange(5), np.array([], dtype=int))], "an array of int64 of shape (0,)"),
    ],
)
def test_wrong_splits_are_named(cv: Any, found: str) -> None:
    x, y = draw("tall")
    with pytest.raises(ValueError, match="RidgeProbeCV, parameter cv") as caught:
        RidgeProbeCV(ALPHAS, cv=cv, device="cpu").fit(x, y)
    assert isinstance(caught.value, InputError)
    assert found in caught.value.found


@pytest.mark.parametrize("rows", [40, 6], ids=["tall", "wide"])
def test_a_strength_below_rounding_is_refused(rows: int) -> None:
    x = np.random.default_rng(0).standard_normal((rows, 4)) @ np.ones((4, 8)) * 1e8
    with pytest.raises(InputError, match="take a larger alpha"):
        RidgeProbe(1e-12).fit(x, x[:, 0])


def test_fits_leave_the_parameters_as_they_are() -> None:
    x, y = draw("tall")
    estimator: BaseEstimator = RidgeProbeCV(np.logspace(-1, 2, 4), cv=ShuffleSplit(3, random_state=0))
    assert clone(estimator).fit(x, y).get_params()["alphas"] is not estimator.alphas
    np.testing.assert_array_equal(clone(estimator).fit(x, y).alphas_, np.logspace(-1, 2, 4))
