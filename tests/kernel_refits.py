"""Kernel ridge the slow, obvious way: every fold from scratch, by scikit-learn and by SciPy."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from problems import EPS

from fastprobe.backend.base import Backend
from fastprobe.probes.kernel import Frame, Kernel, KernelProblem, Points

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def values(kernel: Kernel, x: Floats, z: Floats) -> Floats:
    """The kernel by scikit-learn's functions."""
    from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel

    if kernel.kernel == "rbf":
        return rbf_kernel(x, z, gamma=kernel.gamma)
    return polynomial_kernel(x, z, degree=kernel.degree, gamma=kernel.gamma, coef0=kernel.coef0)


def refit_sklearn(matrix: Floats, y: Floats, held_out: Ints, alpha: float) -> Floats:
    """Held-out residuals of ``KernelRidge`` on the kernel about the means of the training rows."""
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.preprocessing import KernelCenterer

    train = np.setdiff1d(np.arange(len(y)), held_out)
    centerer, mean = KernelCenterer(), y[train].mean(axis=0)
    among = centerer.fit_transform(matrix[np.ix_(train, train)])
    model = KernelRidge(alpha=alpha, kernel="precomputed").fit(among, y[train] - mean)
    return y[held_out] - model.predict(centerer.transform(matrix[np.ix_(held_out, train)])) - mean


def refit_scipy(matrix: Floats, y: Floats, held_out: Ints, alpha: float) -> Floats:
    """Held-out residuals of ``[[K / alpha + I, s], [s', 0]] [alpha a, b / s] = [y, 0]``, s of the size of the rest."""
    train = np.setdiff1d(np.arange(len(y)), held_out)
    among = matrix[np.ix_(train, train)] / alpha + np.eye(len(train))
    s = np.full((len(train), 1), among.diagonal().mean())
    bordered = np.block([[among, s], [s.T, np.zeros((1, 1))]])
    found = scipy.linalg.solve(bordered, np.vstack([y[train], np.zeros((1, y.shape[1]))]), assume_a="sym")
    return y[held_out] - matrix[np.ix_(held_out, train)] @ found[:-1] / alpha - found[-1] * s[0]


def tolerance(matrix: Floats, alpha: float) -> float:
    """Bound on the error of a held-out residual relative to the labels: condition number times rounding.

    The condition number is that of ``K + alpha I``: the means of K are taken off, but not the roundings of its values,
    which are of their size. A hundred is for sums over rows.
    """
    return 100 * EPS * (1 + np.linalg.norm(matrix, 2) / alpha)


def problem_of(backend: Backend, kernel: Kernel, x: Floats, y: Floats) -> tuple[KernelProblem, Points]:
    """The problem of features as they are, not standardised; and their points."""
    design = backend.design(backend.asarray(x), np.arange(len(x)))
    points = Frame.of(kernel.kernel, design).points(backend, design)
    return KernelProblem(backend, kernel, points, backend.asarray(y)), points
