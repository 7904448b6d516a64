"""The estimators and scikit-learn: its own checks, and the tools that estimators are put together with."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastprobe.compat.sklearn as estimators
from fastprobe.compat.sklearn import KernelRidgeProbeClassifierCV, KernelRidgeProbeCV, LogisticProbeCV
from fastprobe.errors import InputError

CLASSES = [getattr(estimators, name) for name in estimators.__all__ if name != "load"]
SLOW = (LogisticProbeCV, KernelRidgeProbeCV, KernelRidgeProbeClassifierCV)
"""Their checks fit many small problems; the plain forms and the CV forms of ridge go through the same code."""

RNG = np.random.default_rng(5)
X = RNG.standard_normal((60, 5))
NUMBERS = X @ RNG.standard_normal(5) + 0.1 * RNG.standard_normal(60)
LETTERS = np.array(["a", "b", "c"])[np.digitize(NUMBERS, [-1.0, 1.0])]


def labels(estimator: BaseEstimator) -> np.ndarray:
    return LETTERS if is_classifier(estimator) else NUMBERS


def small(make: type) -> BaseEstimator:
    """An estimator that tries few strengths on few folds."""
    return make(alphas=(0.1, 10.0), cv=3) if "alphas" in make().get_params() else make()


@parametrize_with_checks([small(make) for make in CLASSES if make not in SLOW])
def test_checks_of_scikit_learn(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([make() for make in CLASSES if "alphas" in make().get_params()])
def test_checks_of_scikit_learn_with_all_defaults(
    estimator: BaseEstimator, check: Callable[[BaseEstimator], None]
) -> None:
    check(estimator)


@pytest.mark.parametrize("make", CLASSES, ids=lambda make: make.__name__)
def test_every_estimator_is_of_one_kind_and_takes_what_it_is_given(make: type) -> None:
    estimator = small(make).set_params(device="cpu", standardize=True)
    assert is_classifier(estimator) != is_regressor(estimator)
    assert clone(estimator).get_params() == estimator.get_params()
    fitted = estimator.fit(X, labels(estimator))
    assert fitted is estimator
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.predict(X))


@pytest.mark.parametrize("make", CLASSES, ids=lambda make: make.__name__)
def test_pipelines_and_searches(make: type) -> None:
    estimator = small(make).set_params(device="cpu")
    pipeline = make_pipeline(StandardScaler(), estimator).set_output(transform="pandas")
    y = labels(estimator)
    step = pipeline.steps[-1][0]
    grid = {f"{step}__alphas": [(1.0,), (100.0,)]} if hasattr(estimator, "alphas") else {f"{step}__alpha": [1.0, 100.0]}
    search = GridSearchCV(pipeline, grid, cv=KFold(3), error_score="raise").fit(X, y)
    assert search.best_score_ > 0.6
    assert list(search.best_estimator_[-1].feature_names_in_) == [f"x{i}" for i in range(5)]
    held_out = cross_val_predict(search.best_estimator_, X, y, cv=KFold(3))
    assert held_out.shape == y.shape


WRONG = {
    "alpha": (0.0, -1.0, "auto", None, np.nan, np.inf, True),
    "alphas": ((), 1.0, (1.0, 1.0), (1.0, 0.0), ("1",), ([1.0],)),
    "standardize": (1, None),
    "device": (None, 0),
}


@pytest.mark.parametrize(
    ("make", "parameter", "value"),
    [(make, name, value) for make in CLASSES for name in WRONG if name in make().get_params() for value in WRONG[name]],
)
def test_wrong_parameters_are_named(make: type, parameter: str, value: object) -> None:
    estimator = make(**{parameter: value})
    with pytest.raises(ValueError, match=rf"^{make.__name__}, parameter {parameter}: found") as caught:
        estimator.fit(X, labels(estimator))
    assert isinstance(caught.value, InputError)


def test_unknown_devices_are_refused() -> None:
    with pytest.raises(InputError, match="'tpu'"):
        estimators.RidgeProbe(device="tpu").fit(X, NUMBERS)


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="only one class, 'a'"):
        estimators.RidgeProbeClassifier().fit(X, np.full(60, "a"))


def test_the_package_says_that_scikit_learn_is_missing(tmp_path: Path) -> None:
    """Found first, an empty stand-in hides the scikit-learn that is installed."""
    (tmp_path / "sklearn").mkdir()
    (tmp_path / "sklearn" / "__init__.py").touch()
    root = Path(__file__).resolve().parents[1]
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(root)!r}]; import fastprobe.compat.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "MissingPackageError: fastprobe.compat.sklearn: found no usable scikit-learn" in done.stderr
    assert "pip install 'scikit-learn>=1.6'" in done.stderr


def test_nothing_else_imports_scikit_learn() -> None:
    root = Path(__file__).resolve().parents[1] / "fastprobe"
    own = root / "compat" / "sklearn"
    starts = ("import sklearn", "from sklearn")
    users = [
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if own not in path.parents
        and any(line.lstrip().startswith(starts) for line in path.read_text("utf-8").splitlines())
    ]
    assert users == []
