"""Kernel ridge probes as estimators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend import Backend
from fastprobe.compat.sklearn.base import Probe
from fastprobe.compat.sklearn.crossval import CrossValidated
from fastprobe.compat.sklearn.errors import require, require_count, require_strength
from fastprobe.compat.sklearn.kernel_solver import ExactSolver, KernelMap, NystroemSolver
from fastprobe.compat.sklearn.solver import FittedProbe, Floats, standardisation
from fastprobe.compat.sklearn.storage import Saved
from fastprobe.compat.sklearn.targets import LeastSquaresClassification, Regression
from fastprobe.kernel_spec import KERNELS
from fastprobe.probes.kernel import Frame, Kernel, drawn_rows, require_memory
from fastprobe.probes.kernel.candidates import median_distance
from fastprobe.protocol import ALPHA_GRID

__all__ = ["KernelRidgeProbe", "KernelRidgeProbeCV", "KernelRidgeProbeClassifier", "KernelRidgeProbeClassifierCV"]

Gamma = float | Literal["median"]


class _KernelRidge(Probe):
    """The family: ridge in the space of a kernel."""

    kernel: str
    gamma: Gamma
    degree: int
    coef0: float
    landmarks: int | None
    seed: int

    X_fit_: NDArray[Any]
    center_: Floats
    dual_coef_: Floats
    gamma_: float
    scale_: float

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        kernel: str = "rbf",
        gamma: Gamma = "median",
        degree: int = 3,
        coef0: float = 1.0,
        landmarks: int | None = None,
        seed: int = 42,
        standardize: bool = False,
        device: str = "auto",
    ) -> None:
        self.alpha = alpha
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.landmarks = landmarks
        self.seed = seed
        self.standardize = standardize
        self.device = device

    def _check_common(self) -> None:
        super()._check_common()
        require(self.kernel in KERNELS, self._named("kernel"), self.kernel, f"one of {', '.join(KERNELS)}")
        if self.gamma != "median":
            require_strength(self._named("gamma"), self.gamma)
        require_count(self._named("degree"), self.degree, 1)
        if self.coef0 != 0:
            require_strength(self._named("coef0"), self.coef0)
        if self.landmarks is not None:
            require_count(self._named("landmarks"), self.landmarks, 1)
        require_count(self._named("seed"), self.seed, 0)

    def _solver(self, backend: Backend, X: NDArray[Any], targets: NDArray[Any]) -> ExactSolver | NystroemSolver:
        n, d = X.shape
        require_memory(type(self).__name__, n=n, d=d, landmarks=self.landmarks, available=backend.memory())
        device_x = backend.asarray(X)
        mean, scale = standardisation(backend, device_x, self.standardize)
        design = backend.design(device_x, np.arange(n))
        frame = Frame.of(self.kernel, design, mean=mean, variance=scale * scale)
        points = frame.points(backend, design)
        gamma = self.gamma
        if gamma == "median":
            gamma = 1.0 / (median_distance(backend, points, self.seed) if self.kernel == "rbf" else d)
        rows = np.arange(n) if self.landmarks is None else drawn_rows(n, self.landmarks, self.seed)
        center = frame.center if isinstance(frame.center, float) else backend.to_numpy(frame.center)
        seen = KernelMap(self._kernel(float(gamma)), np.zeros(d) + center, frame.scale, X[rows])
        if self.landmarks is None:
            return ExactSolver(backend, points, targets, seen)
        return NystroemSolver(backend, points, targets, seen, rows)

    def _kernel(self, gamma: float) -> Kernel:
        if self.kernel == "rbf":
            return Kernel("rbf", gamma)
        return Kernel("polynomial", gamma, int(self.degree), float(self.coef0))

    def _keep(self, solver: ExactSolver | NystroemSolver, fitted: FittedProbe, *, single: bool) -> None:
        seen = solver.map
        self.gamma_, self.center_, self.scale_ = seen.kernel.gamma, seen.center, seen.scale
        self.X_fit_ = seen.basis
        self.dual_coef_ = fitted.weights[0] if single else np.ascontiguousarray(fitted.weights.T)
        self.intercept_ = float(fitted.intercepts[0]) if single else fitted.intercepts

    def _outputs(self, X: NDArray[Any]) -> Floats:
        seen = KernelMap(self._kernel(self.gamma_), self.center_, self.scale_, self.X_fit_)
        backend = self._backend()
        with backend.session():
            outputs = seen.outputs(backend, X, self.dual_coef_.reshape(len(self.X_fit_), -1))
        return outputs + self.intercept_

    def _saved(self) -> Saved:
        arrays = {
            "X_fit": self.X_fit_.astype(np.float64),
            "center": self.center_,
            "dual_coef": self.dual_coef_,
            "intercept": np.asarray(self.intercept_),
        }
        return replace(super()._saved(), numbers={"gamma": self.gamma_, "scale": self.scale_}, arrays=arrays)

    def _take(self, saved: Saved) -> None:
        super()._take(saved)
        saved.only("X_fit", "center", "dual_coef", "intercept")
        intercept = saved.intercept()
        self.X_fit_ = saved.array("X_fit", None, saved.n_features)
        self.center_ = saved.array("center", saved.n_features)
        self.dual_coef_ = saved.array("dual_coef", len(self.X_fit_), *intercept.shape)
        self.intercept_ = intercept if intercept.ndim else float(intercept)
        self.gamma_, self.scale_ = saved.number("gamma"), saved.number("scale")


class _KernelRidgeCV(CrossValidated, _KernelRidge):
    """The family, with the strength chosen."""

    def __init__(
        self,
        alphas: Sequence[float] = ALPHA_GRID,
        *,
        cv: Any = None,
        kernel: str = "rbf",
        gamma: Gamma = "median",
        degree: int = 3,
        coef0: float = 1.0,
        landmarks: int | None = None,
        seed: int = 42,
        standardize: bool = False,
        device: str = "auto",
    ) -> None:
        self.alphas = alphas
        self.cv = cv
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.landmarks = landmarks
        self.seed = seed
        self.standardize = standardize
        self.device = device


class KernelRidgeProbe(Regression, _KernelRidge):
    """Kernel ridge regression with an unpenalised intercept.

    The objective is the sum of squared errors plus ``alpha |f|^2`` in the space of the kernel. It differs from
    scikit-learn's :class:`~sklearn.kernel_ridge.KernelRidge`, which has no intercept.

    Parameters
    ----------
    alpha : float
        Strength of the penalty, above 0.
    kernel : {"rbf", "polynomial"}
        ``exp(-gamma |x - z|^2)``, or ``(gamma x'z + coef0)^degree``.
    gamma : float or "median"
        ``median`` is 1 divided by the median of the squared distances between rows, of 1000 rows at most; for
        ``polynomial`` 1 / d in d dimensions.
    degree : int
        Of ``polynomial``; at least 1.
    coef0 : float
        Of ``polynomial``; not negative.
    landmarks : int or None
        Nyström features of so many rows, drawn without labels, instead of the kernel matrix of all n rows, which takes
        32 n^2 bytes.
    seed : int
        Of what is drawn: landmarks, and the rows for the median.
    standardize : bool
        Subtract one mean and divide by one standard deviation, those of all entries of the features, as the protocols
        do. Otherwise the kernel sees the features as they are.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; as in :func:`fastprobe.score`. Predictions are computed there too.

    Attributes
    ----------
    X_fit_ : ndarray, shape (r, d)
        Rows that the coefficients belong to: all, or the landmarks.
    dual_coef_ : ndarray of float64, shape (r,) or (r, t)
    intercept_ : float or ndarray of float64, shape (t,)
    gamma_ : float
    center_ : ndarray of float64, shape (d,)
    scale_ : float
        The kernel sees ``(x - center_) / scale_``; distances do not depend on `center_`.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (d,)
        Where `X` was a data frame whose columns have names.
    """


class KernelRidgeProbeClassifier(LeastSquaresClassification, _KernelRidge):
    """Kernel ridge regression on classes: 1 for a class, -1 for the others.

    Parameters and attributes are those of :class:`KernelRidgeProbe`; `dual_coef_` and `intercept_` have the shapes
    (r, 1) and (1,) for two classes, (r, M) and (M,) for more.

    Attributes
    ----------
    classes_ : ndarray, shape (M,)
    """


class KernelRidgeProbeCV(Regression, _KernelRidgeCV):
    """:class:`KernelRidgeProbe` with the strength chosen by cross-validation.

    All folds are solved with one kernel matrix: gamma (where it is ``median``), landmarks and standardisation are those
    of all rows, which they look at without labels. For gamma as a number and the kernel of all rows, each held-out
    prediction is that of a `KernelRidgeProbe` fitted on the training rows of the fold.

    Parameters
    ----------
    alphas : sequence of float, length A
        Strengths to choose from.
    cv : int, splitter, iterable of (train, test), or None
        As in scikit-learn; None is 5 folds. Training rows may not repeat.
    kernel, gamma, degree, coef0, landmarks, seed, standardize, device
        As in :class:`KernelRidgeProbe`.

    Attributes
    ----------
    alpha_, best_alpha_, alphas_, cv_losses_, cv_scores_, cv_test_, cv_predictions_
        As in :class:`RidgeProbeCV`.
    X_fit_, dual_coef_, intercept_, gamma_, center_, scale_
        Of the fit on all rows with `alpha_`.
    """

    _plain = KernelRidgeProbe


class KernelRidgeProbeClassifierCV(LeastSquaresClassification, _KernelRidgeCV):
    """:class:`KernelRidgeProbeClassifier` with the strength chosen by cross-validation.

    Parameters are those of :class:`KernelRidgeProbeCV`.

    Attributes
    ----------
    classes_, cv_decisions_, cv_predictions_
        As in :class:`RidgeProbeClassifierCV`; the others as in :class:`KernelRidgeProbeCV`.
    """

    _plain = KernelRidgeProbeClassifier
