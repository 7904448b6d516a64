"""A metric in which the Hessian of every column is close to the identity.

For some row weights D (those of the fit on all rows, or the mean over folds) and ``X1 = [Xc, 1]`` the matrix
``G = X1' D X1 + alpha diag(1, ..., 1, 0)`` has the Cholesky factor L. In coordinates ``z = L' w`` the Hessian of a
column with row weights D_k is ``I - T' (D - D_k) T``, ``T = X1 L'^-1``: for held-out rows D_k is zero, and for all
others the difference is small. Products with T are done in float32: what they give is a direction, whose error the next
step corrects. With more than two classes all have the same metric. It keeps directions whose sum over the classes is
zero among themselves; in the others a softmax has no curvature, and conjugate gradients would not get on.
"""

from __future__ import annotations

from functools import cached_property

from fastprobe.backend.base import Array
from fastprobe.probes.logistic.problem import LogisticProblem

__all__ = ["Whitening"]

_FLOORS = (0.0, 1e-13, 1e-11, 1e-9, 1e-6, 1.0)
"""Least penalty relative to the largest diagonal element: the first with which the factorisation succeeds. A larger
penalty than that of the objective makes shorter steps, and the same end."""


class Whitening:
    """Cholesky factors of ``X1' D X1 + alpha I`` for stacked problems, bordered by the intercept.

    Parameters
    ----------
    problem : LogisticProblem
    weights : array, shape (n, A)
        Row weights D.
    penalty : array, shape (A,)
        Strengths.
    """

    def __init__(self, problem: LogisticProblem, weights: Array, penalty: Array) -> None:
        backend, xp = problem.backend, problem.backend.xp
        self._problem = problem
        self.weights = weights
        diagonal = xp.arange(problem.d)
        gram = backend.weighted_gram(problem.design, weights)
        level = gram[:, diagonal, diagonal].max(axis=1)
        for floor in _FLOORS:
            penalised = gram.copy()
            penalised[:, diagonal, diagonal] += xp.maximum(penalty, floor * level)[:, None]
            lower, ok = backend.cholesky(penalised)
            if bool(ok.all()):
                break
        self._lower = lower
        self._border = backend.solve_triangular(lower, backend.adjoint(problem.design, weights)[:, None, :])[:, 0]
        total = weights.sum(axis=0)
        self._corner = xp.sqrt(xp.maximum(total - (self._border * self._border).sum(axis=1), 1e-12 * total + 1e-300))

    def whitened(self, by_weights: Array, by_intercepts: Array) -> Array:
        """``L^-1 g`` for gradients of shapes (A, M, F, d) and (A, M, F): shape (A, M, F, d + 1)."""
        xp, (a, m, f, d) = self._problem.backend.xp, by_weights.shape
        inner = self._problem.backend.solve_triangular(self._lower, by_weights.reshape(a, m * f, d))
        last = by_intercepts.reshape(a, m * f) - xp.matmul(inner, self._border[:, :, None])[:, :, 0]
        whole = xp.concatenate([inner, (last / self._corner[:, None])[:, :, None]], axis=2)
        return whole.reshape(a, m, f, d + 1)

    def unwhitened(self, z: Array) -> tuple[Array, Array]:
        """``L'^-1 z`` for z of shape (A, M, F, d + 1): weights (A, M, F, d) and intercepts (A, M, F)."""
        a, m, f, r = z.shape
        flat = z.reshape(a, m * f, r)
        last = flat[:, :, -1] / self._corner[:, None]
        inner = flat[:, :, :-1] - last[:, :, None] * self._border[:, None, :]
        solved = self._problem.backend.solve_triangular(self._lower, inner, transpose=True)
        return solved.reshape(a, m, f, r - 1), last.reshape(a, m, f)

    @cached_property
    def features(self) -> Array:
        """``T = [Xc, 1] L'^-1`` in float32, shape (A, n, d + 1)."""
        backend, xp, problem = self._problem.backend, self._problem.backend.xp, self._problem
        out = xp.empty((len(self._lower), problem.n, problem.d + 1), dtype=xp.float32)
        for target, lower, border, corner in zip(out, self._lower, self._border, self._corner, strict=True):
            whitened = backend.whiten(problem.design, lower)
            target[:, :-1] = whitened
            target[:, -1] = (1.0 - xp.matmul(whitened, border)) / corner
        return out
