"""Logistic probes as estimators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit, log_softmax, softmax

from fastprobe.backend import Backend
from fastprobe.compat.sklearn.linear import Linear, LinearCV
from fastprobe.compat.sklearn.solver import FittedProbe, Floats, HeldOutOutputs, by_set, standardisation
from fastprobe.compat.sklearn.targets import Classification
from fastprobe.probes.logistic import SINGLE_CLASS, LogisticProblem, describe, fit, solve

__all__ = ["LogisticProbe", "LogisticProbeCV", "LogisticSolver"]


class LogisticSolver:
    """Logistic regression on a device; see :class:`fastprobe.compat.sklearn.solver.Solver`.

    Parameters
    ----------
    backend : Backend
    x : ndarray, shape (n, d)
    codes : ndarray of float64, shape (n,)
        Class numbers, from 0.
    standardize : bool
        Whether strengths are for features divided by their global standard deviation.
    """

    def __init__(self, backend: Backend, x: NDArray[Any], codes: Floats, *, standardize: bool) -> None:
        device_x = backend.asarray(x)
        design = backend.design(device_x, np.arange(len(x)))
        self._problem = LogisticProblem(backend, design, backend.asarray(codes), int(codes.max()) + 1)
        self._variance = standardisation(backend, device_x, standardize)[1] ** 2

    def fit(self, alpha: float) -> FittedProbe:
        """Fit all rows by Newton's method."""
        found, backend = fit(self._problem, [alpha * self._variance]), self._problem.backend
        return FittedProbe(
            backend.to_numpy(found.weights)[0, 0],
            backend.to_numpy(found.intercepts)[0, 0],
            steps=int(found.steps[0, 0]),
            gradient=float(found.gradient[0, 0]),
            remarks=_remarks(found.status, "fits"),
        )

    def leave_out(self, left_out: Sequence[NDArray[np.int64]], alphas: Sequence[float]) -> HeldOutOutputs:
        """Predict the rows left out: all sets and strengths are columns of one Newton iteration."""
        problem = self._problem
        solution = solve(problem, left_out, [alpha * self._variance for alpha in alphas])
        unsolved = solution.status == SINGLE_CLASS
        outputs = by_set(problem.backend, solution.sets, solution.decisions, unsolved)
        return HeldOutOutputs(outputs, _remarks(solution.status, "held-out fits"))


def _remarks(status: NDArray[np.int8], what: str) -> tuple[str, ...]:
    """Say how many fits went wrong in which way."""
    kinds, counts = np.unique(status, return_counts=True)
    messages = ((count, describe(int(kind))) for kind, count in zip(kinds, counts, strict=True))
    return tuple(f"{count} of {status.size} {what}: {message}" for count, message in messages if message)


class _Logistic(Classification, Linear):
    """The family: linear probes by logistic loss."""

    n_iter_: int
    gradient_norm_: float

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : array-like, shape (n, d)

        Returns
        -------
        ndarray of float64, shape (n, M)
            Sigmoid or softmax of the decision values, columns as in `classes_`.
        """
        return _probabilities(self._outputs(self._predictable(X)))

    def predict_log_proba(self, X: ArrayLike) -> Floats:
        """Predict the logarithms of the probabilities, exact also where these underflow.

        Parameters
        ----------
        X : array-like, shape (n, d)

        Returns
        -------
        ndarray of float64, shape (n, M)
        """
        return _log_probabilities(self._outputs(self._predictable(X)))

    def _solver(self, backend: Backend, X: NDArray[Any], targets: NDArray[Any]) -> LogisticSolver:
        return LogisticSolver(backend, X, targets, standardize=self.standardize)

    def _keep(self, solver: Any, fitted: FittedProbe, *, single: bool) -> None:
        super()._keep(solver, fitted, single=single)
        self.n_iter_, self.gradient_norm_ = fitted.steps, fitted.gradient

    def _losses(self, targets: NDArray[Any], outputs: Floats) -> Floats:
        logs = _log_probabilities(outputs)
        return -np.take_along_axis(logs, targets.astype(np.int64)[None, :, None], axis=2)[:, :, 0]


def _probabilities(outputs: Floats) -> Floats:
    """Probabilities (..., M) for outputs (..., 1) or (..., M)."""
    if outputs.shape[-1] > 1:
        shares: Floats = softmax(outputs, axis=-1)
        return shares
    return np.concatenate([expit(-outputs), expit(outputs)], axis=-1)


def _log_probabilities(outputs: Floats) -> Floats:
    """Logarithms of the probabilities (..., M) for outputs (..., 1) or (..., M)."""
    if outputs.shape[-1] > 1:
        logs: Floats = log_softmax(outputs, axis=-1)
        return logs
    return np.concatenate([log_expit(-outputs), log_expit(outputs)], axis=-1)


class LogisticProbe(_Logistic):
    """Logistic regression with an unpenalised intercept: binary, or multinomial for more than two classes.

    The objective is that of scikit-learn's :class:`~sklearn.linear_model.LogisticRegression` with ``C = 1 / alpha``:
    the sum of log losses plus ``alpha / 2 |w|^2``. It converges for every positive strength, also where the classes
    can be separated.

    Parameters
    ----------
    alpha : float
        Strength of the penalty, above 0.
    standardize : bool
        Penalise as if the features were divided by one standard deviation, that of all their entries, as the protocols
        do. Otherwise features count as they are.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; as in :func:`fastprobe.score`.

    Attributes
    ----------
    classes_ : ndarray, shape (M,)
    coef_ : ndarray of float64, shape (1, d) for two classes, otherwise (M, d)
        For the features as they are.
    intercept_ : ndarray of float64, shape (1,) or (M,)
    n_iter_ : int
        Newton steps.
    gradient_norm_ : float
        Euclidean norm of the gradient of the objective where the solver stopped.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (d,)
        Where `X` was a data frame whose columns have names.
    """


class LogisticProbeCV(LinearCV, _Logistic):
    """:class:`LogisticProbe` with the strength chosen by cross-validation.

    All folds at all strengths are solved together; each held-out decision value is that of a `LogisticProbe` fitted on
    the training rows of the fold. With `standardize`, the standard deviation is that of all rows.

    Parameters
    ----------
    alphas : sequence of float, length A
        Strengths to choose from.
    cv : int, splitter, iterable of (train, test), or None
        As in scikit-learn; a number, or None for 5, is stratified. Training rows may not repeat.
    standardize, device
        As in :class:`LogisticProbe`.

    Attributes
    ----------
    alpha_, best_alpha_ : float
        The strength with the least mean log loss over all held-out rows (of classes that their fold trains on), as the
        protocols choose; of equal ones the largest.
    alphas_ : ndarray of float64, shape (A,)
    cv_losses_ : ndarray of float64, shape (K, A)
        Mean log loss of every fold and strength; infinite where the fold does not train on a class that it holds out.
    cv_scores_ : ndarray of float64, shape (K, A)
        Accuracy of every fold and strength; NaN where the training rows are of one class.
    cv_test_ : list of ndarray of int64, length K
        Rows that each fold holds out, in the order of the splitter.
    cv_decisions_ : list of ndarray of float64, length K
        ``cv_decisions_[k][a]`` is what the ``decision_function`` of a probe of strength ``alphas_[a]``, fitted on the
        training rows of fold k, gives for the rows ``cv_test_[k]``: shape (rows,) for two classes, (rows, M) for more;
        NaN where there is no fit.
    cv_probabilities_ : list of ndarray of float64, length K
        The same for ``predict_proba``, shape (A, rows, M).
    cv_predictions_ : list of ndarray, length K
        The classes, shape (A, rows); of no meaning where decisions are NaN.
    classes_, coef_, intercept_, n_iter_, gradient_norm_
        Of the fit on all rows with `alpha_`.
    """

    _plain = LogisticProbe

    cv_probabilities_: list[Floats]

    def _expose(self, outputs: list[Floats]) -> None:
        super()._expose(outputs)
        self.cv_probabilities_ = [_probabilities(fold) for fold in outputs]
