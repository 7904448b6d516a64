"""Route *iterate*: conjugate gradients on ``(I - H_SS) v = E_S`` for all sets, tasks and strengths as columns.

The eigenvalues of ``I - H_SS`` lie in [1 - h_max, 1], so for n well above d ten steps or so reach rounding. H_SS is
never formed. For one strength it is applied through the raw features (each row read once for all the sets that hold it)
and a pair of triangular solves; for several through the eigenbasis, in which all strengths share two products per step.

Source: design/algorithms.md, 2.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastprobe.backend.base import Array, RowSets
from fastprobe.probes.ridge.cg import conjugate_gradients
from fastprobe.probes.ridge.hat import make_hats, relative_error
from fastprobe.probes.ridge.problem import HeldOut, RidgeProblem

__all__ = ["MAX_ITERATIONS", "TOLERANCE", "solve"]

TOLERANCE = 1e-12
"""Relative residual at which a column is finished."""
MAX_ITERATIONS = 100


def solve(problem: RidgeProblem, sets: RowSets, alphas: Sequence[float]) -> HeldOut:
    """Solve all sets by conjugate gradients; see :class:`HeldOut`."""
    return _one(problem, sets, alphas[0]) if len(alphas) == 1 else _path(problem, sets, alphas)


def _one(problem: RidgeProblem, sets: RowSets, alpha: float) -> HeldOut:
    backend, xp = problem.backend, problem.backend.xp
    lower, ok = problem.factor(alpha)
    if not ok:
        shape = (len(sets), sets.width, 1, problem.t)
        return HeldOut(xp.zeros(shape), xp.full((len(sets), 1), xp.nan))
    coefficients = backend.cho_solve(lower, problem.cross)
    target = backend.take(problem.y - backend.forward(problem.design, coefficients), sets, slice(None))
    v, iterations = conjugate_gradients(
        xp, lambda v: _apply(problem, sets, lower, v), target, tol=TOLERANCE, max_iterations=MAX_ITERATIONS
    )
    error = relative_error(xp, target - _apply(problem, sets, lower, v), target)
    return HeldOut(v[:, :, None, :], error[:, None], iterations)


def _apply(problem: RidgeProblem, sets: RowSets, lower: Array, v: Array) -> Array:
    """``(I - H_SS) v`` for every set, without forming H; v of shape (K, m, t)."""
    backend = problem.backend
    inner = backend.set_adjoint(problem.design, sets, v)
    solved = backend.cho_solve(lower, inner.reshape(-1, problem.d)).reshape(inner.shape)
    ones = v.sum(axis=1, keepdims=True) / problem.n * sets.mask[:, :, None]
    return v - ones - backend.set_forward(problem.design, sets, solved)


def _path(problem: RidgeProblem, sets: RowSets, alphas: Sequence[float]) -> HeldOut:
    backend, xp = problem.backend, problem.backend.xp
    n, t, a = problem.n, problem.t, len(alphas)
    hats = make_hats(problem, alphas)
    fitted = xp.concatenate([hat.residuals for hat in hats], axis=1)  # columns: strength, then task
    scale = xp.stack([hat.scale for hat in hats], axis=1)
    features = hats[0].features
    residuals = xp.empty((len(sets), sets.width, a, t))
    error = xp.empty((len(sets), a))
    steps: list[int] = []

    def work(chunk: slice) -> None:
        taken, mask = backend.take(features, sets, chunk), sets.mask[chunk][:, :, None]

        def apply(v: Array) -> Array:
            inner = xp.matmul(taken.swapaxes(1, 2), v)
            inner = (inner.reshape(*inner.shape[:2], a, t) * scale[:, :, None]).reshape(inner.shape)
            return v - v.sum(axis=1, keepdims=True) / n * mask - xp.matmul(taken, inner)

        target = backend.take(fitted, sets, chunk)
        v, iterations = conjugate_gradients(xp, apply, target, tol=TOLERANCE, max_iterations=MAX_ITERATIONS)
        steps.append(iterations)
        shape = (*v.shape[:2], a, t)
        rest = (target - apply(v)).reshape(shape)
        residuals[chunk] = v.reshape(shape)
        for i in range(a):
            error[chunk, i] = relative_error(xp, rest[:, :, i], target.reshape(shape)[:, :, i])

    backend.for_chunks(work, len(sets), 8 * sets.width * (features.shape[1] + 6 * a * t))
    return HeldOut(residuals, error, max(steps))
