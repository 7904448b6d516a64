"""The hat matrix of the fit on all rows, in factored form: ``H = 1/n 11' + F diag(scale) F'``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastprobe.backend.base import Array
from fastprobe.probes.ridge.problem import RidgeProblem

__all__ = ["Hat", "make_hats"]


@dataclass(frozen=True, eq=False)
class Hat:
    """Hat matrix and residuals of the ridge fit on all rows, for one strength.

    Attributes
    ----------
    features : array, shape (n, r)
    scale : array, shape (r,), or None
        None stands for ones.
    residuals : array, shape (n, t)
        ``E = (I - H) y`` for centred labels.
    """

    features: Array
    scale: Array | None
    residuals: Array


def make_hats(problem: RidgeProblem, alphas: Sequence[float]) -> list[Hat]:
    """Factor the hat matrix for every strength; the empty list if the Cholesky factorisation fails.

    A single strength takes the Cholesky factor (features T, whitened). Several share one eigendecomposition, and the
    same features array.
    """
    backend, xp, y = problem.backend, problem.backend.xp, problem.y
    if len(alphas) == 1:
        (alpha,) = alphas
        lower, ok = problem.factor(alpha)
        if not ok:
            return []
        return [Hat(backend.whiten(problem.design, lower), None, problem.residuals(alpha))]
    features, values = problem.spectrum.features, problem.spectrum.values
    scales = 1.0 / (values + xp.asarray(alphas)[:, None])
    inner = scales[:, :, None] * xp.matmul(features.T, y)  # (A, r, t): one product with all strengths as columns
    fitted = xp.matmul(features, inner.swapaxes(0, 1).reshape(len(values), -1)).reshape(len(y), len(alphas), -1)
    return [Hat(features, scale, y - fitted[:, a]) for a, scale in enumerate(scales)]
