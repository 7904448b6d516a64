"""The hat matrix of the fit on all rows, in factored form: ``H = 1/n 11' + F diag(scale) F'``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastprobe.backend.base import Array
from fastprobe.probes.ridge.problem import RidgeProblem

__all__ = ["Hat", "make_hats", "relative_error"]


@dataclass(frozen=True, eq=False)
class Hat:
    """Hat matrix and residuals of the ridge fit on all rows, for one strength.

    Attributes
    ----------
    xp : namespace
    n : int
        Samples.
    features : array, shape (n, r)
    scale : array, shape (r,), or None
        None stands for ones.
    residuals : array, shape (n, t)
        ``E = (I - H) y`` for centred labels.
    """

    xp: Any
    n: int
    features: Array
    scale: Array | None
    residuals: Array

    def apply(self, features: Array, v: Array) -> Array:
        """``(I - H_SS) v`` for features F_S of shape (k, m, r) and v of shape (k, m, c), zero in padded slots."""
        xp = self.xp
        inner = xp.matmul(features.swapaxes(1, 2), v)
        if self.scale is not None:
            inner *= self.scale[:, None]
        return v - v.sum(axis=1, keepdims=True) / self.n - xp.matmul(features, inner)

    def error(self, features: Array, mask: Array, v: Array, target: Array) -> Array:
        """Relative residual of ``(I - H_SS) v = target``, the largest over tasks; shape (k,)."""
        rest = (self.apply(features, v) - target) * mask[:, :, None]
        return relative_error(self.xp, rest, target)


def make_hats(problem: RidgeProblem, alphas: Sequence[float]) -> list[Hat]:
    """Factor the hat matrix for every strength; the empty list if the Cholesky factorisation fails.

    A single strength takes the Cholesky factor (features T, whitened). Several share one eigendecomposition, and the
    same features array.
    """
    backend, xp, y = problem.backend, problem.backend.xp, problem.y
    if len(alphas) == 1:
        lower, ok = problem.factor(alphas[0])
        if not ok:
            return []
        features = backend.whiten(problem.design, lower)
        return [Hat(xp, problem.n, features, None, y - xp.matmul(features, xp.matmul(features.T, y)))]
    features, values = problem.spectrum.features, problem.spectrum.values
    inner = xp.matmul(features.T, y)
    scales = [1.0 / (values + alpha) for alpha in alphas]
    return [Hat(xp, problem.n, features, s, y - xp.matmul(features, s[:, None] * inner)) for s in scales]


def relative_error(xp: Any, rest: Array, target: Array) -> Array:
    """``|rest| / |target|`` per set, the largest over tasks, for arrays of shape (k, m, t); 0 where both vanish."""
    size = xp.sqrt((rest * rest).sum(axis=1))
    scale = xp.sqrt((target * target).sum(axis=1))
    return xp.where(size == 0, 0.0, size / xp.where(scale > 0, scale, xp.finfo(xp.float64).tiny)).max(axis=1)
