"""What an estimator asks of the engine: one fit on all rows, and the outputs of every fit that leaves rows out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Array, Backend, RowSets
from fastprobe.probes.ridge import Solution

__all__ = ["FittedProbe", "HeldOutOutputs", "Solver", "by_set", "predictions", "standardisation"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FittedProbe:
    """A probe, on the host: ``outputs = basis(x) weights' + intercepts``.

    Attributes
    ----------
    weights : ndarray of float64, shape (t, r)
        Of t outputs, for a basis of r functions: the features, or the kernel with r rows.
    intercepts : ndarray of float64, shape (t,)
    steps : int
        Steps of the solver; 0 for a direct solve.
    gradient : float
        Euclidean norm of the gradient of the objective, where a solver iterates; 0 otherwise.
    remarks : tuple of str
        What the user should know: the solver did not converge, say.
    """

    weights: Floats
    intercepts: Floats
    steps: int = 0
    gradient: float = 0.0
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class HeldOutOutputs:
    """Outputs for rows that the fit never saw.

    Attributes
    ----------
    outputs : list of ndarray of float64, length K
        For every set of rows left out, shape (A, rows, t), in the order of the set; NaN where there is no fit.
    remarks : tuple of str
    """

    outputs: list[Floats]
    remarks: tuple[str, ...] = ()


class Solver(Interface):
    """A problem on a device. Strengths are those of the estimator; the solver knows what scales the features."""

    def fit(self, alpha: float) -> FittedProbe:
        """Fit all rows."""

    def leave_out(self, left_out: Sequence[NDArray[np.int64]], alphas: Sequence[float]) -> HeldOutOutputs:
        """Leave out each set of rows (ascending), fit the rest at every strength, and predict the rows left out."""


def standardisation(backend: Backend, x: Array, standardize: bool) -> tuple[float, float]:
    """Return the global mean and scale that standardise features as the protocols do; 0 and 1 if they are not to be.

    Constant features are only centred.
    """
    if not standardize:
        return 0.0, 1.0
    mean, std = backend.moments(x, np.arange(len(x)))
    return mean, std if std > 0 else 1.0


def by_set(backend: Backend, sets: RowSets, outputs: Array, unsolved: NDArray[np.bool_]) -> list[Floats]:
    """Bring outputs (K, m, A, t) to the host and cut them to the size of every set; NaN where `unsolved` (K, A)."""
    host = np.where(unsolved[:, None, :, None], np.nan, backend.to_numpy(outputs))
    return [np.ascontiguousarray(host[k, :size].swapaxes(0, 1)) for k, size in enumerate(sets.sizes)]


def predictions(backend: Backend, labels: Array, solution: Solution) -> HeldOutOutputs:
    """Return the held-out predictions of a solved ridge problem with labels (n, t), by whatever features or kernel."""
    outputs = labels[solution.sets.rows][:, :, None, :] - solution.residuals
    failed = int(solution.failed.sum())
    remark = (
        f"{failed} of {solution.failed.size} held-out fits missed the tolerance of their solve and are NaN: "
        "take larger strengths, or leave out columns that depend on others"
    )
    return HeldOutOutputs(by_set(backend, solution.sets, outputs, solution.failed), (remark,) if failed else ())
