"""Kernel ridge estimators against refits by scikit-learn and SciPy (tests/kernel_refits.py, with its tolerance)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_refits import refit_scipy, refit_sklearn, tolerance, values
from sklearn.base import clone
from sklearn.model_selection import KFold, ShuffleSplit, TimeSeriesSplit

from fastprobe.compat.sklearn import (
    KernelRidgeProbe,
    KernelRidgeProbeClassifier,
    KernelRidgeProbeClassifierCV,
    KernelRidgeProbeCV,
    RidgeProbe,
)
from fastprobe.probes.kernel import Kernel

ALPHAS = (0.01, 1.0, 100.0)
KERNELS: dict[str, dict[str, Any]] = {
    "rbf": {"kernel": "rbf", "gamma": 0.05},
    "quadratic": {"kernel": "polynomial", "gamma": 0.2, "degree": 2},
    "cubic": {"kernel": "polynomial", "gamma": 0.2, "degree": 3, "coef0": 0.5},
}
RNG = np.random.default_rng(2)
X = RNG.standard_normal((80, 5)) + 1.0
NEW = RNG.standard_normal((30, 5)) + 1.0
Y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 4.0
CLASSES = np.array(["low", "mid", "top"])[np.digitize(Y, np.quantile(Y, [0.3, 0.6]))]


def of(parameters: dict[str, Any]) -> Kernel:
    if parameters["kernel"] == "rbf":
        return Kernel("rbf", parameters["gamma"])
    return Kernel("polynomial", parameters["gamma"], parameters["degree"], parameters.get("coef0", 1.0))


def refit(parameters: dict[str, Any], train: np.ndarray, y: np.ndarray, new: np.ndarray, alpha: float) -> np.ndarray:
    """Predictions for new rows by the two oracles, which must agree."""
    rows = np.concatenate([train, new])
    matrix = values(of(parameters), rows, rows)
    held_out, labels = np.arange(len(train), len(rows)), np.concatenate([y, np.zeros((len(new), y.shape[1]))])
    theirs, slow = (-refit(matrix, labels, held_out, alpha) for refit in (refit_sklearn, refit_scipy))
    np.testing.assert_allclose(theirs, slow, rtol=0, atol=close(parameters, rows, alpha) * np.ptp(y))
    return theirs


def close(parameters: dict[str, Any], rows: np.ndarray, alpha: float) -> float:
    return tolerance(values(of(parameters), rows, rows), alpha)


@pytest.mark.parametrize("parameters", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_fits_are_those_of_the_oracles(parameters: dict[str, Any], alpha: float) -> None:
    many = np.stack([Y, Y**2], axis=1)
    bound = close(parameters, np.concatenate([X, NEW]), alpha) * np.ptp(many)
    fitted = KernelRidgeProbe(alpha, **parameters, device="cpu").fit(X, many)
    np.testing.assert_allclose(fitted.predict(NEW), refit(parameters, X, many, NEW, alpha), rtol=0, atol=bound)
    single = KernelRidgeProbe(alpha, **parameters, device="cpu").fit(X, Y)
    assert single.dual_coef_.shape == (80,)
    np.testing.assert_allclose(single.predict(NEW), fitted.predict(NEW)[:, 0], rtol=0, atol=bound)


@pytest.mark.parametrize(
    ("name", "cv"),
    [
        ("rbf", KFold(3, shuffle=True, random_state=0)),
        ("quadratic", ShuffleSplit(2, random_state=0)),
        ("cubic", TimeSeriesSplit(2)),
    ],
)
def test_held_out_predictions_are_those_of_refits(name: str, cv: Any) -> None:
    parameters = KERNELS[name]
    fitted = KernelRidgeProbeCV(ALPHAS, cv=cv, **parameters, device="cpu").fit(X, Y)
    for k, (train, test) in enumerate(cv.split(X)):
        for a, alpha in enumerate(ALPHAS):
            bound = close(parameters, X, alpha) * np.ptp(Y)
            theirs = refit(parameters, X[train], Y[train][:, None], X[test], alpha)[:, 0]
            ours = KernelRidgeProbe(alpha, **parameters, device="cpu").fit(X[train], Y[train])
            np.testing.assert_allclose(fitted.cv_predictions_[k][a], theirs, rtol=0, atol=bound)
            np.testing.assert_allclose(fitted.cv_predictions_[k][a], ours.predict(X[test]), rtol=0, atol=bound)
            assert fitted.cv_scores_[k, a] == pytest.approx(ours.score(X[test], Y[test]), abs=1e-8)
    again = KernelRidgeProbe(fitted.alpha_, **parameters, device="cpu").fit(X, Y)
    np.testing.assert_array_equal(fitted.predict(NEW), again.predict(NEW))


@pytest.mark.parametrize("labels", [CLASSES, CLASSES == "top"], ids=["three", "two"])
def test_held_out_decisions_are_those_of_refits(labels: np.ndarray) -> None:
    parameters, cv = KERNELS["rbf"], KFold(3)
    fitted = KernelRidgeProbeClassifierCV(ALPHAS, cv=cv, **parameters, device="cpu").fit(X, labels)
    for k, (train, test) in enumerate(cv.split(X)):
        for a, alpha in enumerate(ALPHAS):
            refitted = KernelRidgeProbeClassifier(alpha, **parameters, device="cpu").fit(X[train], labels[train])
            bound = close(parameters, X, alpha)
            np.testing.assert_allclose(
                fitted.cv_decisions_[k][a], refitted.decision_function(X[test]), rtol=0, atol=bound
            )
            assert fitted.cv_scores_[k, a] == refitted.score(X[test], labels[test])


def test_median_is_that_of_squared_distances() -> None:
    differences = X[:, None] - X[None]
    pairs = (differences**2).sum(axis=2)[np.triu_indices(len(X), 1)]
    assert KernelRidgeProbe().fit(X, Y).gamma_ == pytest.approx(1 / np.median(pairs), rel=1e-12)
    assert KernelRidgeProbe(kernel="polynomial").fit(X, Y).gamma_ == 1 / 5


@pytest.mark.parametrize("parameters", KERNELS.values(), ids=KERNELS)
def test_one_mean_and_one_standard_deviation(parameters: dict[str, Any]) -> None:
    scaled, new = (X - X.mean()) / X.std(), (NEW - X.mean()) / X.std()
    ours = KernelRidgeProbe(**parameters, standardize=True).fit(X, Y).predict(NEW)
    bound = close(parameters, np.concatenate([scaled, new]), 1.0) * np.ptp(Y)
    np.testing.assert_allclose(ours, KernelRidgeProbe(**parameters).fit(scaled, Y).predict(new), rtol=0, atol=bound)


@pytest.mark.parametrize("parameters", KERNELS.values(), ids=KERNELS)
def test_all_rows_as_landmarks_are_the_kernel(parameters: dict[str, Any]) -> None:
    """Directions below 1e-12 of the largest eigenvalue are left out: with alpha 1 they say less than rounding."""
    options: dict[str, Any] = {**parameters, "device": "cpu"}
    exact, all_rows = KernelRidgeProbe(**options).fit(X, Y), KernelRidgeProbe(**options, landmarks=80).fit(X, Y)
    matrix = values(of(parameters), X, X)
    bound = (tolerance(matrix, 1.0) + len(X) * 1e-12 * np.linalg.norm(matrix, 2)) * np.ptp(Y)
    np.testing.assert_allclose(all_rows.predict(NEW), exact.predict(NEW), rtol=0, atol=bound)


def test_landmarks_are_features_for_ridge() -> None:
    """The naive way: the features by scikit-learn's kernel and an eigendecomposition, ridge on them."""
    parameters, cv = KERNELS["rbf"], KFold(4)
    options: dict[str, Any] = {**parameters, "landmarks": 12, "seed": 3, "device": "cpu"}
    fitted = KernelRidgeProbeCV(ALPHAS, cv=cv, **options).fit(X, Y)
    marks = fitted.X_fit_
    assert marks.shape == (12, 5)
    assert all((mark == X).all(axis=1).any() for mark in marks)
    root = np.linalg.inv(np.linalg.cholesky(values(of(parameters), marks, marks))).T
    features, new = values(of(parameters), X, marks) @ root, values(of(parameters), NEW, marks) @ root
    for k, (train, test) in enumerate(cv.split(X)):
        for a, alpha in enumerate(ALPHAS):
            expected = RidgeProbe(alpha).fit(features[train], Y[train]).predict(features[test])
            np.testing.assert_allclose(fitted.cv_predictions_[k][a], expected, rtol=0, atol=1e-8)
    expected = RidgeProbe(fitted.alpha_).fit(features, Y).predict(new)
    np.testing.assert_allclose(fitted.predict(NEW), expected, rtol=0, atol=1e-8)
    assert fitted.score(X, Y) > 0.5


def test_predictions_keep_nothing_of_the_training_array() -> None:
    x = X.copy()
    fitted = KernelRidgeProbe().fit(x, Y)
    expected = fitted.predict(NEW)
    x[:] = 0.0
    np.testing.assert_array_equal(fitted.predict(NEW), expected)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("kernel", "linear"), ("gamma", 0.0), ("gamma", "mean"), ("gamma", None), ("degree", 0), ("degree", 1.5),
     ("coef0", -1.0), ("coef0", "1"), ("landmarks", 0), ("landmarks", 2.0), ("seed", -1), ("seed", None)],
)  # fmt: skip
@pytest.mark.parametrize("make", [KernelRidgeProbe, KernelRidgeProbeCV], ids=lambda make: make.__name__)
def test_wrong_parameters_are_named(make: type, parameter: str, value: object) -> None:
    estimator = clone(make()).set_params(**{parameter: value})
    with pytest.raises(ValueError, match=f"{make.__name__}, parameter {parameter}: found"):
        estimator.fit(X, Y)
