"""Probes that are linear in the features: their fitted attributes, outputs and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.compat.sklearn.base import Probe
from fastprobe.compat.sklearn.crossval import CrossValidated
from fastprobe.compat.sklearn.solver import FittedProbe, Floats
from fastprobe.compat.sklearn.storage import Saved
from fastprobe.protocol import ALPHA_GRID

__all__ = ["Linear", "LinearCV"]


class Linear(Probe):
    """A linear probe: ``X coef_' + intercept_``."""

    coef_: Floats

    def __init__(self, alpha: float = 1.0, *, standardize: bool = False, device: str = "auto") -> None:
        self.alpha = alpha
        self.standardize = standardize
        self.device = device

    def _keep(self, solver: Any, fitted: FittedProbe, *, single: bool) -> None:
        self.coef_ = fitted.weights[0] if single else fitted.weights
        self.intercept_ = float(fitted.intercepts[0]) if single else fitted.intercepts

    def _outputs(self, X: NDArray[Any]) -> Floats:
        outputs: Floats = X @ np.atleast_2d(self.coef_).T + self.intercept_
        return outputs

    def _saved(self) -> Saved:
        return replace(super()._saved(), arrays={"coef": self.coef_, "intercept": np.asarray(self.intercept_)})

    def _take(self, saved: Saved) -> None:
        super()._take(saved)
        saved.only("coef", "intercept")
        intercept = saved.intercept()
        self.coef_ = saved.array("coef", *intercept.shape, saved.n_features)
        self.intercept_ = intercept if intercept.ndim else float(intercept)


class LinearCV(CrossValidated, Linear):
    """A linear probe that chooses its strength."""

    def __init__(
        self, alphas: Sequence[float] = ALPHA_GRID, *, cv: Any = None, standardize: bool = False, device: str = "auto"
    ) -> None:
        self.alphas = alphas
        self.cv = cv
        self.standardize = standardize
        self.device = device
