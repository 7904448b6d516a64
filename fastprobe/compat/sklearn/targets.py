"""What a probe predicts: numbers, or classes. Each says how labels enter the solver and how its outputs leave it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d, validate_data

from fastprobe.compat.sklearn.base import FLOATS, Probe
from fastprobe.compat.sklearn.errors import ParameterError
from fastprobe.compat.sklearn.solver import Floats
from fastprobe.compat.sklearn.storage import Saved, pack_classes

__all__ = ["Classification", "LeastSquaresClassification", "Regression"]


class Regression(MultiOutputMixin, RegressorMixin, Probe):
    """Predicts one number or several for each sample; score is R2."""

    cv_predictions_: list[Floats]

    def predict(self, X: ArrayLike) -> Floats:
        """Predict numbers.

        Parameters
        ----------
        X : array-like, shape (n, d)

        Returns
        -------
        ndarray of float64, shape (n,) or (n, t)
            As the `y` of :meth:`fit`.
        """
        return self._shaped(self._outputs(self._predictable(X)))

    def _check_data(self, X: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
        checked: tuple[NDArray[Any], NDArray[Any]] = validate_data(
            self, X, y, dtype=FLOATS, y_numeric=True, multi_output=True, ensure_min_samples=2
        )
        return checked

    def _encode(self, y: NDArray[Any]) -> Floats:
        return y.astype(np.float64).reshape(len(y), -1)

    def _is_single(self, y: NDArray[Any]) -> bool:
        return y.ndim == 1

    def _shaped(self, outputs: Floats) -> Floats:
        """Drop the last axis where the labels had none."""
        return outputs[..., 0] if np.ndim(self.intercept_) == 0 else outputs

    def _expose(self, outputs: list[Floats]) -> None:
        self.cv_predictions_ = [self._shaped(fold) for fold in outputs]

    def _losses(self, targets: NDArray[Any], outputs: Floats) -> Floats:
        return _squared_errors(targets, outputs)

    def _scores(self, y: NDArray[Any], outputs: Floats) -> Floats:
        """R2 of held-out rows at every strength, the mean over outputs; NaN where labels are constant."""
        truth = self._encode(y)
        sse = ((truth - outputs) ** 2).sum(axis=1)
        tss = np.where(np.ptp(truth, axis=0) > 0, ((truth - truth.mean(axis=0)) ** 2).sum(axis=0), np.nan)
        return (1.0 - sse / tss).mean(axis=1)

    def _take(self, saved: Saved) -> None:
        super()._take(saved)
        saved.expect(saved.classes is None, "classes", "none in a regression")


class Classification(ClassifierMixin, Probe):
    """Predicts one of two or more classes; score is the accuracy."""

    classes_: NDArray[Any]
    cv_decisions_: list[Floats]
    cv_predictions_: list[NDArray[Any]]

    def decision_function(self, X: ArrayLike) -> Floats:
        """Return decision values.

        Parameters
        ----------
        X : array-like, shape (n, d)

        Returns
        -------
        ndarray of float64, shape (n,) or (n, M)
            For two classes one value, above 0 for ``classes_[1]``; otherwise one for each class, of which the largest
            decides.
        """
        return _decisions(self._outputs(self._predictable(X)))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict classes.

        Parameters
        ----------
        X : array-like, shape (n, d)

        Returns
        -------
        ndarray, shape (n,)
            Members of `classes_`.
        """
        return self._decide(self._outputs(self._predictable(X)))

    def _check_data(self, X: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
        checked, labels = validate_data(self, X, y, dtype=FLOATS, ensure_min_samples=2)
        check_classification_targets(labels)
        return checked, column_or_1d(labels, warn=True)

    def _encode(self, y: NDArray[Any]) -> NDArray[Any]:
        """Class numbers 0 .. M-1, float64, shape (n,)."""
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ParameterError(
                f"{type(self).__name__}, y",
                found=f"only one class, {self.classes_.tolist()[0]!r}",
                expected="two or more classes",
                fix="add samples of another class",
            )
        return codes.astype(np.float64)

    def _decide(self, outputs: Floats) -> NDArray[Any]:
        """Classes for outputs of shape (..., 1) or (..., M)."""
        codes = (outputs[..., 0] > 0).astype(np.int64) if outputs.shape[-1] == 1 else outputs.argmax(axis=-1)
        return self.classes_[codes]

    def _expose(self, outputs: list[Floats]) -> None:
        self.cv_decisions_ = [_decisions(fold) for fold in outputs]
        self.cv_predictions_ = [self._decide(fold) for fold in outputs]

    def _scores(self, y: NDArray[Any], outputs: Floats) -> Floats:
        """Accuracy on held-out rows at every strength; NaN where there is no fit."""
        right = (self._decide(outputs) == y).mean(axis=1)
        return np.where(np.isnan(outputs).any(axis=(1, 2)), np.nan, right)

    def _saved(self) -> Saved:
        return replace(super()._saved(), classes=pack_classes(self.classes_))

    def _take(self, saved: Saved) -> None:
        super()._take(saved)
        self.classes_ = saved.class_values()
        outputs = 1 if len(self.classes_) == 2 else len(self.classes_)
        fits = np.shape(self.intercept_) == (outputs,)
        saved.expect(fits, f"intercepts of shape {np.shape(self.intercept_)}", f"({outputs},) for these classes")


class LeastSquaresClassification(Classification):
    """Classes as numbers to be fitted by least squares: 1 for a class, -1 for the others."""

    def _encode(self, y: NDArray[Any]) -> Floats:
        codes = super()._encode(y)
        first = 1 if len(self.classes_) == 2 else 0  # of two classes, the column of the second says all
        return np.where(codes[:, None] == np.arange(first, len(self.classes_)), 1.0, -1.0)

    def _losses(self, targets: NDArray[Any], outputs: Floats) -> Floats:
        return _squared_errors(targets, outputs)


def _decisions(outputs: Floats) -> Floats:
    return outputs[..., 0] if outputs.shape[-1] == 1 else outputs


def _squared_errors(targets: Floats, outputs: Floats) -> Floats:
    errors: Floats = ((targets - outputs) ** 2).sum(axis=-1)
    return errors
