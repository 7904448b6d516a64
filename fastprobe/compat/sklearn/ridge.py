"""Ridge probes as estimators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend import Backend
from fastprobe.compat.sklearn.errors import ParameterError
from fastprobe.compat.sklearn.linear import Linear, LinearCV
from fastprobe.compat.sklearn.solver import FittedProbe, HeldOutOutputs, predictions, standardisation
from fastprobe.compat.sklearn.targets import LeastSquaresClassification, Regression
from fastprobe.planner import Shape, choose_route
from fastprobe.probes.ridge import RidgeProblem, solve

__all__ = ["RidgeProbe", "RidgeProbeCV", "RidgeProbeClassifier", "RidgeProbeClassifierCV", "RidgeSolver"]


class RidgeSolver:
    """Ridge regression on a device; see :class:`fastprobe.compat.sklearn.solver.Solver`.

    Parameters
    ----------
    backend : Backend
    x : array, shape (n, d)
        On the host or on the device, as `y`.
    y : array of float64, shape (n, t)
    standardize : bool
        Whether strengths are for features divided by their global standard deviation.
    """

    def __init__(self, backend: Backend, x: Any, y: Any, *, standardize: bool = False) -> None:
        device_x = backend.asarray(x)
        self._problem = RidgeProblem(backend, backend.design(device_x, np.arange(len(x))), backend.asarray(y))
        self._variance = standardisation(backend, device_x, standardize)[1] ** 2

    def fit(self, alpha: float) -> FittedProbe:
        """Solve the normal equations in the smaller of the two spaces."""
        problem, backend = self._problem, self._problem.backend
        if problem.d <= problem.n:
            lower, ok = problem.factor(alpha * self._variance)
            weights = backend.cho_solve(lower, problem.cross) if ok else None
        else:
            penalised = problem.kernel + alpha * self._variance * backend.xp.eye(problem.n)
            lower, ok = backend.cholesky(penalised)
            weights = backend.adjoint(problem.design, backend.cho_solve(lower, problem.y.T).T) if bool(ok) else None
        if weights is None:
            raise ParameterError(
                "parameter alpha",
                found=f"{alpha!r}, which is lost in the rounding of these features",
                expected="an alpha with which the normal equations can be solved in float64",
                fix="take a larger alpha, or leave out columns that depend on others",
            )
        intercepts = problem.labels.mean(axis=0) - backend.xp.matmul(weights, problem.design.mean)
        return FittedProbe(backend.to_numpy(weights), backend.to_numpy(intercepts))

    def leave_out(self, left_out: Sequence[NDArray[np.int64]], alphas: Sequence[float]) -> HeldOutOutputs:
        """Predict the rows left out by the block leave-out, along the route that the planner chooses."""
        problem, backend = self._problem, self._problem.backend
        shape = Shape(problem.n, problem.d, problem.t, len(left_out), max(map(len, left_out)), len(alphas))
        plan = choose_route(shape, memory=backend.memory(), rates=backend.rates)
        solution = solve(problem, left_out, [alpha * self._variance for alpha in alphas], plan.route)
        return predictions(backend, problem.labels, solution)


class _Ridge(Linear):
    """The family: linear probes by least squares."""

    def _solver(self, backend: Backend, X: NDArray[Any], targets: NDArray[Any]) -> RidgeSolver:
        return RidgeSolver(backend, X, targets, standardize=self.standardize)


class RidgeProbe(Regression, _Ridge):
    """Ridge regression with an unpenalised intercept.

    The objective is that of scikit-learn's :class:`~sklearn.linear_model.Ridge`: the sum of squared errors plus
    ``alpha |w|^2``.

    Parameters
    ----------
    alpha : float
        Strength of the penalty, above 0. The default is scikit-learn's; the protocol ``ridge`` takes 100, for
        standardised features.
    standardize : bool
        Penalise as if the features were divided by one standard deviation, that of all their entries, as the protocols
        do. Otherwise features count as they are.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; as in :func:`fastprobe.score`.

    Attributes
    ----------
    coef_ : ndarray of float64, shape (d,) or (t, d)
        For the features as they are.
    intercept_ : float or ndarray of float64, shape (t,)
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (d,)
        Where `X` was a data frame whose columns have names.
    """


class RidgeProbeClassifier(LeastSquaresClassification, _Ridge):
    """Ridge regression on classes, 1 for a class and -1 for the others: scikit-learn's ``RidgeClassifier``.

    Parameters and attributes are those of :class:`RidgeProbe`; `coef_` and `intercept_` have the shapes (1, d) and (1,)
    for two classes, (M, d) and (M,) for more.

    Attributes
    ----------
    classes_ : ndarray, shape (M,)
    """


class RidgeProbeCV(Regression, LinearCV, _Ridge):
    """:class:`RidgeProbe` with the strength chosen by cross-validation.

    All folds at all strengths are solved together; each held-out prediction is that of a `RidgeProbe` fitted on the
    training rows of the fold. With `standardize`, the standard deviation is that of all rows.

    Parameters
    ----------
    alphas : sequence of float, length A
        Strengths to choose from.
    cv : int, splitter, iterable of (train, test), or None
        As in scikit-learn; None is 5 folds. Training rows may not repeat.
    standardize, device
        As in :class:`RidgeProbe`.

    Attributes
    ----------
    alpha_, best_alpha_ : float
        The strength with the least mean squared error over all held-out rows, as the protocols choose; of equal ones
        the largest. Several outputs share it.
    alphas_ : ndarray of float64, shape (A,)
    cv_losses_ : ndarray of float64, shape (K, A)
        Squared error of every fold and strength, the sum over outputs and the mean over rows.
    cv_scores_ : ndarray of float64, shape (K, A)
        R2 of every fold and strength; NaN where it is undefined.
    cv_test_ : list of ndarray of int64, length K
        Rows that each fold holds out, in the order of the splitter.
    cv_predictions_ : list of ndarray of float64, length K
        ``cv_predictions_[k][a]`` is what a probe of strength ``alphas_[a]``, fitted on the training rows of fold k,
        predicts for the rows ``cv_test_[k]``; NaN where it could not be solved.
    coef_, intercept_
        Of the fit on all rows with `alpha_`.
    """

    _plain = RidgeProbe


class RidgeProbeClassifierCV(LeastSquaresClassification, LinearCV, _Ridge):
    """:class:`RidgeProbeClassifier` with the strength chosen by cross-validation.

    Parameters and attributes are those of :class:`RidgeProbeCV`: squared errors are those on -1 and 1, the score is the
    accuracy. There are further:

    Attributes
    ----------
    classes_ : ndarray, shape (M,)
    cv_decisions_ : list of ndarray of float64, length K
        ``cv_decisions_[k][a]`` is the ``decision_function`` of the held-out rows, shape (rows,) for two classes and
        (rows, M) for more; NaN where there is no fit.
    cv_predictions_ : list of ndarray, length K
        The classes that these decide for, shape (A, rows); of no meaning where decisions are NaN.
    """

    _plain = RidgeProbeClassifier
