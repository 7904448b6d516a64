"""What all probes have in common as estimators: the way from X and y to a solver on a device, and saving."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from fastprobe.backend import Backend, get_backend
from fastprobe.compat.sklearn.errors import require, require_strength
from fastprobe.compat.sklearn.solver import FittedProbe, Floats, Solver
from fastprobe.compat.sklearn.storage import Saved, read_probe, write_probe

__all__ = ["FLOATS", "Probe"]

FLOATS = (np.float64, np.float32)
"""Features of these types are kept as they are, others become float64. Whatever is computed is float64."""


class Probe(BaseEstimator, ABC):
    """A probe as an estimator.

    What is predicted (numbers or classes) is the business of :mod:`fastprobe.compat.sklearn.targets`, the solver and
    the fitted attributes are that of a family: ridge, logistic, kernel ridge. A CV form replaces :meth:`_learn`.
    """

    alpha: float
    standardize: bool
    device: str

    intercept_: Any
    n_features_in_: int

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the probe.

        Parameters
        ----------
        X : array-like of numbers, shape (n, d)
            Features; float32 stays float32 in memory, all results are float64.
        y : array-like, shape (n,), or (n, t) for regression
            Numbers to predict, or the classes of the samples.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data or a parameter are wrong.
        """
        self._check_parameters()
        X, y = self._check_data(X, y)
        targets = self._encode(y)
        backend = self._backend()
        with backend.session():
            self._learn(self._solver(backend, X, targets), X, y, targets)
        return self

    def save(self, path: str | Path) -> None:
        """Write the fitted probe to one ``.npz`` file, atomically and without pickle.

        Written are the parameters (except the device), the classes, the names of the features and the fitted arrays. A
        CV form is saved as the plain probe that it refitted, with the strength that it chose.

        Parameters
        ----------
        path : path
            The file, with any name.

        Raises
        ------
        NotFittedError
            If the probe is not fitted.
        InputError
            If the classes are neither numbers nor strings.
        """
        check_is_fitted(self)
        write_probe(path, self._saved())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a probe of this class that :meth:`save` wrote; see :func:`fastprobe.compat.sklearn.load`."""
        saved = read_probe(path)
        saved.expect(saved.kind == cls.__name__, f"a {saved.kind}", f"a {cls.__name__}")
        return cls._restored(saved)

    @abstractmethod
    def _check_data(self, X: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
        """Validate what :meth:`fit` got."""

    @abstractmethod
    def _encode(self, y: NDArray[Any]) -> NDArray[Any]:
        """Turn validated labels into what the solver is given."""

    @abstractmethod
    def _solver(self, backend: Backend, X: NDArray[Any], targets: NDArray[Any]) -> Solver:
        """Set the problem up on a device."""

    @abstractmethod
    def _keep(self, solver: Any, fitted: FittedProbe, *, single: bool) -> None:
        """Set the fitted attributes; a `single` output loses its axis."""

    @abstractmethod
    def _outputs(self, X: NDArray[Any]) -> Floats:
        """Outputs of the fitted probe, shape (n, t)."""

    @abstractmethod
    def _expose(self, outputs: list[Floats]) -> None:
        """Set what the CV form shows of the held-out outputs, shape (A, rows, t) for every fold."""

    @abstractmethod
    def _losses(self, targets: NDArray[Any], outputs: Floats) -> Floats:
        """Loss of every row of a fold at every strength, shape (A, rows), for outputs (A, rows, t)."""

    @abstractmethod
    def _scores(self, y: NDArray[Any], outputs: Floats) -> Floats:
        """Score held-out outputs (A, rows, t) of a fold at every strength; NaN where that is undefined."""

    def _saved(self) -> Saved:
        """Return what a file holds; each class adds what it knows."""
        form, parameters = self._plain_form()
        names = getattr(self, "feature_names_in_", None)
        return Saved(
            kind=form.__name__,
            parameters={name: value for name, value in parameters.items() if name != "device"},
            n_features=self.n_features_in_,
            feature_names=None if names is None else names.tolist(),
        )

    def _take(self, saved: Saved) -> None:
        """Check what a file holds, and set the fitted attributes; each class takes what it added."""
        self.n_features_in_ = saved.n_features
        if saved.feature_names is not None:
            self.feature_names_in_ = np.array(saved.feature_names, dtype=object)

    def _plain_form(self) -> tuple[type[Probe], dict[str, Any]]:
        """Return the class that a file names, and the parameters of its constructor."""
        return type(self), self.get_params(deep=False)

    def _backend(self) -> Backend:
        return get_backend(self.device)

    def _learn(self, solver: Solver, X: NDArray[Any], y: NDArray[Any], targets: NDArray[Any]) -> None:
        self._refit(solver, self.alpha, y)

    def _refit(self, solver: Solver, alpha: float, y: NDArray[Any]) -> None:
        fitted = solver.fit(alpha)
        self._remark(fitted.remarks)
        self._keep(solver, fitted, single=self._is_single(y))

    def _is_single(self, y: NDArray[Any]) -> bool:
        """Whether the fitted attributes have no axis of outputs."""
        return False

    def _check_parameters(self) -> None:
        require_strength(self._named("alpha"), self.alpha)
        self._check_common()

    def _check_common(self) -> None:
        """Check the parameters that the CV form has too."""
        require(isinstance(self.standardize, bool), self._named("standardize"), self.standardize, "True or False")
        require(isinstance(self.device, str), self._named("device"), self.device, "auto, cpu, cuda or cuda:N")

    def _named(self, parameter: str) -> str:
        return f"{type(self).__name__}, parameter {parameter}"

    def _remark(self, remarks: tuple[str, ...]) -> None:
        for remark in remarks:
            warnings.warn(f"{type(self).__name__}: {remark}", ConvergenceWarning, stacklevel=4)

    def _predictable(self, X: ArrayLike) -> NDArray[Any]:
        """Validate features to predict for."""
        check_is_fitted(self)
        checked: NDArray[Any] = validate_data(self, X, dtype=FLOATS, reset=False)
        return checked

    @classmethod
    def _restored(cls, saved: Saved) -> Self:
        known = set(cls._get_param_names()) - {"device"}
        saved.expect(
            set(saved.parameters) == known,
            f"the parameters {', '.join(sorted(saved.parameters)) or 'none'}",
            ", ".join(sorted(known)),
        )
        probe = cls(**saved.parameters)
        saved.check(probe._check_parameters)
        probe._take(saved)
        return probe
