"""Route *iterate*: conjugate gradients on ``(I - H_SS) v = E_S`` for all sets, tasks and strengths as columns.

The eigenvalues of ``I - H_SS`` lie in [1 - h_max, 1], so for n well above d ten steps or so reach rounding. H_SS is
never formed. For one strength it is applied through the raw features (each row read once for all the sets that hold it)
and a pair of triangular solves; for several through the eigenbasis, in which all strengths share two products per step.

Source: design/algorithms.md, 2.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastprobe.backend.base import Array, RowSets, relative_error
from fastprobe.probes.ridge.cg import conjugate_gradients
from fastprobe.probes.ridge.hat import make_hats
from fastprobe.probes.ridge.problem import HeldOut, RidgeProblem

__all__ = ["MAX_ITERATIONS", "TOLERANCE", "solve"]

TOLERANCE = 1e-11
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
    design = problem.design
    target = backend.take(problem.residuals(alpha), sets, slice(None))

    def apply(v: Array, companion: Array, _: Array | None = None) -> tuple[Array, Array]:
        """``(I - H_SS) v`` by ``G^-1 X_S'v`` from the companion ``X_S'v``."""
        solved = backend.cho_solve(lower, companion.reshape(-1, problem.d)).reshape(companion.shape)
        return backend.set_hat(design, sets, solved, v, problem.n)

    v, iterations = conjugate_gradients(
        xp, apply, target, backend.set_adjoint(design, sets, target), tol=TOLERANCE, max_iterations=MAX_ITERATIONS
    )
    image, _ = apply(v, backend.set_adjoint(design, sets, v))  # anew: the recurrences drift
    return HeldOut(v[:, :, None, :], relative_error(xp, target - image, target)[:, None], iterations)


def _path(problem: RidgeProblem, sets: RowSets, alphas: Sequence[float]) -> HeldOut:
    backend, xp = problem.backend, problem.backend.xp
    n, t, a = problem.n, problem.t, len(alphas)
    hats = make_hats(problem, alphas)
    fitted = xp.concatenate([hat.residuals for hat in hats], axis=1)  # columns: strength, then task
    scale = xp.repeat(xp.stack([hat.scale for hat in hats], axis=1), t, axis=1)
    features = hats[0].features
    residuals = xp.empty((len(sets), sets.width, a, t))
    error = xp.empty((len(sets), a))
    steps: list[int] = []

    def work(chunk: slice) -> None:
        taken, mask = backend.take(features, sets, chunk), sets.mask[chunk][:, :, None]

        def apply(v: Array, companion: Array, live: Array) -> tuple[Array, Array]:
            inner = xp.matmul(taken.swapaxes(1, 2), v) * scale[:, live]
            return v - v.sum(axis=1, keepdims=True) / n * mask - xp.matmul(taken, inner), companion

        target = backend.take(fitted, sets, chunk)
        none = xp.zeros((*target.shape[::2], 0))
        v, iterations = conjugate_gradients(xp, apply, target, none, tol=TOLERANCE, max_iterations=MAX_ITERATIONS)
        steps.append(iterations)
        shape = (*v.shape[:2], a, t)
        rest = (target - apply(v, none, xp.arange(a * t))[0]).reshape(shape)
        residuals[chunk] = v.reshape(shape)
        for i in range(a):
            error[chunk, i] = relative_error(xp, rest[:, :, i], target.reshape(shape)[:, :, i])

    backend.for_chunks(work, len(sets), 8 * sets.width * (features.shape[1] + 6 * a * t))
    return HeldOut(residuals, error, max(steps))
