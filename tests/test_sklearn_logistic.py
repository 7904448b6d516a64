"""Logistic estimators against scikit-learn's LogisticRegression and against the gradient of the objective.

The engine stops where it estimates decision values to be within 1e-6 of the optimum, relative to the largest of them
and at least 1 (``ACCEPTED``); scikit-learn's Newton solver stops at a gradient of 1e-10 per sample, which is closer.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold, TimeSeriesSplit

from fastprobe.compat.sklearn import LogisticProbe, LogisticProbeCV
from fastprobe.probes.logistic.newton import ACCEPTED

ALPHAS = (0.01, 1.0, 100.0)
RNG = np.random.default_rng(7)
X = RNG.standard_normal((120, 6)) + 2.0
NEW = RNG.standard_normal((30, 6)) + 2.0
SIGNAL = X @ RNG.standard_normal(6) + 2.0 * RNG.standard_normal(120)
LABELS = {
    "two": np.where(np.median(SIGNAL) < SIGNAL, "yes", "no"),
    "three": np.array([10, 20, 30])[np.digitize(SIGNAL, np.quantile(SIGNAL, [0.3, 0.6]))],
}


def refit(alpha: float, x: np.ndarray, y: np.ndarray) -> LogisticRegression:
    return LogisticRegression(C=1 / alpha, solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(x, y)


def assert_close(decisions: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(decisions, expected, rtol=0, atol=ACCEPTED * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_fits_are_those_of_scikit_learn(labels: np.ndarray, alpha: float) -> None:
    ours, theirs = LogisticProbe(alpha, device="cpu").fit(X, labels), refit(alpha, X, labels)
    assert ours.classes_.tolist() == theirs.classes_.tolist()
    assert ours.coef_.shape == theirs.coef_.shape
    assert ours.intercept_.shape == theirs.intercept_.shape
    decisions, expected = ours.decision_function(NEW), theirs.decision_function(NEW)
    if expected.ndim == 2:  # intercepts are known but for a constant; scikit-learn's and ours sum to other ones
        decisions, expected = (values - values.mean(axis=1, keepdims=True) for values in (decisions, expected))
    assert_close(decisions, expected)
    np.testing.assert_allclose(ours.predict_proba(NEW), theirs.predict_proba(NEW), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(ours.predict(NEW), theirs.predict(NEW))
    assert ours.n_iter_ >= 1


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_gradient_of_the_objective_vanishes(labels: np.ndarray, alpha: float) -> None:
    """Computed naively from the probabilities, it is as small as the probe says, but for rounding of the sums."""
    fitted = LogisticProbe(alpha, device="cpu").fit(X, labels)
    residual = fitted.predict_proba(X) - (labels[:, None] == fitted.classes_)
    residual = residual[:, -len(fitted.coef_) :]  # of two classes, that of the second
    by_weights, by_intercept = residual.T @ X + alpha * fitted.coef_, residual.sum(axis=0)
    norm = np.sqrt((by_weights**2).sum() + (by_intercept**2).sum())
    length = np.sqrt((X**2).sum() * len(fitted.classes_))
    assert norm <= 10 * fitted.gradient_norm_ + 1e-12 * length
    assert fitted.gradient_norm_ < 1e-5 * length


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_probabilities_are_exact_for_large_decisions(labels: np.ndarray) -> None:
    fitted = LogisticProbe(device="cpu").fit(X, labels)
    far = NEW * 1e4
    assert (fitted.predict_proba(far).sum(axis=1) == pytest.approx(1.0)) is True
    logs = fitted.predict_log_proba(far)
    assert np.isfinite(logs).all()
    assert logs.min() < -1000  # whose exponential is 0
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(NEW)), fitted.predict_proba(NEW), rtol=1e-12)


def test_separable_classes_have_a_fit() -> None:
    x = np.linspace(-1, 1, 30)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = LogisticProbe(1e-4, device="cpu").fit(x, x[:, 0] > 0)
    assert fitted.score(x, x[:, 0] > 0) == 1.0


def test_one_standard_deviation_scales_the_strength() -> None:
    scaled, new = (X - X.mean()) / X.std(), (NEW - X.mean()) / X.std()
    ours = LogisticProbe(0.5, standardize=True, device="cpu").fit(X, LABELS["two"])
    assert_close(ours.decision_function(NEW), refit(0.5, scaled, LABELS["two"]).decision_function(new))


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("cv", [StratifiedKFold(3, shuffle=True, random_state=0), TimeSeriesSplit(2)], ids=repr)
def test_held_out_decisions_are_those_of_refits(labels: np.ndarray, cv: Any) -> None:
    fitted = LogisticProbeCV(ALPHAS, cv=cv, device="cpu").fit(X, labels)
    for k, (train, test) in enumerate(cv.split(X, labels)):
        assert fitted.cv_probabilities_[k].shape == (len(ALPHAS), len(test), len(fitted.classes_))
        for a, alpha in enumerate(ALPHAS):
            ours = LogisticProbe(alpha, device="cpu").fit(X[train], labels[train])
            theirs = refit(alpha, X[train], labels[train])
            assert_close(fitted.cv_decisions_[k][a], ours.decision_function(X[test]))
            np.testing.assert_allclose(fitted.cv_probabilities_[k][a], theirs.predict_proba(X[test]), rtol=0, atol=1e-5)
            np.testing.assert_array_equal(fitted.cv_predictions_[k][a], theirs.predict(X[test]))
            assert fitted.cv_scores_[k, a] == theirs.score(X[test], labels[test])
            assert log_loss(labels[test], fitted.cv_probabilities_[k][a]) == pytest.approx(
                log_loss(labels[test], theirs.predict_proba(X[test])), rel=1e-5
            )


def test_choice_is_that_of_a_grid_search() -> None:
    y = LABELS["three"]
    fitted = LogisticProbeCV(ALPHAS, cv=3, device="cpu").fit(X, y)
    search = GridSearchCV(LogisticProbe(device="cpu"), {"alpha": ALPHAS}, cv=3, scoring="neg_log_loss").fit(X, y)
    by_fold = -np.array([search.cv_results_[f"split{k}_test_score"] for k in range(3)])
    np.testing.assert_allclose(fitted.cv_losses_, by_fold, rtol=1e-5)
    assert fitted.alpha_ == fitted.best_alpha_ == search.best_params_["alpha"]
    assert_close(fitted.decision_function(NEW), search.best_estimator_.decision_function(NEW))


def test_folds_that_train_on_one_class_are_nan_and_said() -> None:
    labels = np.where(np.arange(120) < 40, "a", "b")
    splits = [*StratifiedKFold(2).split(X, labels), (np.arange(40), np.arange(40, 120))]
    with pytest.warns(ConvergenceWarning, match=r"LogisticProbeCV: 3 of 9 held-out fits: .*one class"):
        fitted = LogisticProbeCV(ALPHAS, cv=splits, device="cpu").fit(X, labels)
    assert np.isnan(fitted.cv_decisions_[2]).all()
    assert np.isnan(fitted.cv_probabilities_[2]).all()
    assert np.isnan(fitted.cv_scores_[2]).all()
    assert fitted.alpha_ == ALPHAS[int(np.argmin(fitted.cv_losses_[:2].mean(axis=0)))]


def test_classes_that_a_fold_does_not_train_on_have_probability_zero() -> None:
    labels = LABELS["three"]
    train, test = np.flatnonzero(labels != 20)[::2], np.flatnonzero(labels == 20)
    both = np.concatenate([test, np.flatnonzero(labels != 20)[1::2]])
    fitted = LogisticProbeCV(ALPHAS, cv=[(train, both)], device="cpu").fit(X, labels)
    theirs = refit(1.0, X[train], labels[train]).predict_proba(X[both])
    assert np.isinf(fitted.cv_losses_).all()
    known = [log_loss(labels[both[len(test) :]], p[len(test) :][:, [0, 2]]) for p in fitted.cv_probabilities_[0]]
    assert fitted.alpha_ == ALPHAS[int(np.argmin(known))]
    np.testing.assert_array_equal(fitted.cv_probabilities_[0][:, :, 1], 0.0)
    np.testing.assert_allclose(fitted.cv_probabilities_[0][1][:, [0, 2]], theirs, rtol=0, atol=1e-5)
