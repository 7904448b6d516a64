"""Route *iterate*: conjugate gradients on ``(I - H_SS) v = E_S`` for all sets, tasks and strengths as columns.

The eigenvalues of ``I - H_SS`` lie in [1 - h_max, 1], so for n well above d ten steps or so reach rounding. H_SS is
never formed. For one strength it is applied through the raw features (each row read once for all the sets that hold it)
and a pair of triangular solves; for several through the eigenbasis, in which all strengths share two products per step.
Those products are done in float32, which costs half, within float64 corrections of the residual (iterative refinement).

Source: design/algorithms.md, 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from fastprobe.backend.base import Array, RowSets, relative_error
from fastprobe.probes.ridge.cg import conjugate_gradients
from fastprobe.probes.ridge.hat import make_hats
from fastprobe.probes.ridge.problem import HeldOut, RidgeProblem

__all__ = ["MAX_ITERATIONS", "TOLERANCE", "solve"]

TOLERANCE = 1e-11
"""Relative residual at which a column is finished."""
MAX_ITERATIONS = 100
_COARSE = 3e-6  # relative residual that conjugate gradients in float32 reach with certainty
_STALLED = 1e-2  # a float32 correction that leaves more of the residual than this was not worth it


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
    # Features are scaled for the smallest strength: rows of length below 1, and factors of at most 1 for the others.
    largest = xp.stack([hat.scale for hat in hats]).max(axis=0)
    features = hats[0].features * xp.sqrt(largest)
    scale = xp.repeat(xp.stack([hat.scale / largest for hat in hats], axis=1), t, axis=1)
    residuals = xp.empty((len(sets), sets.width, a, t))
    error = xp.empty((len(sets), a))
    steps: list[int] = []

    def work(chunk: slice) -> None:
        taken, mask = backend.take(features, sets, chunk), sets.mask[chunk]
        target = backend.take(fitted, sets, chunk)
        operators = {dtype: _operator(xp, n, taken, mask, scale, dtype) for dtype in (xp.float32, xp.float64)}
        v, rest, iterations = _refine(xp, operators, target)
        steps.append(iterations)
        shape = (*v.shape[:2], a, t)
        residuals[chunk] = v.reshape(shape)
        for i in range(a):
            error[chunk, i] = relative_error(xp, rest.reshape(shape)[:, :, i], target.reshape(shape)[:, :, i])

    bytes_each = 20 * sets.width * features.shape[1] + (72 * sets.width + 16 * features.shape[1]) * a * t
    backend.for_chunks(work, len(sets), bytes_each)
    return HeldOut(residuals, error, max(steps))


def _operator(xp: Any, n: int, taken: Array, mask: Array, scale: Array, dtype: Any) -> Callable[..., Array]:
    """``I - H_SS`` of a chunk for all columns (or those that are `live`), in one precision."""
    taken, scale = taken.astype(dtype, copy=False), scale.astype(dtype, copy=False)
    mask = mask[:, :, None].astype(dtype)

    def apply(v: Array, live: Array | slice = slice(None)) -> Array:
        inner = xp.matmul(taken.swapaxes(1, 2), v) * scale[:, live]
        return v - v.sum(axis=1, keepdims=True) / dtype(n) * mask - xp.matmul(taken, inner)

    return apply


def _without_companion(operator: Callable[..., Array], v: Array, none: Array, live: Array) -> tuple[Array, Array]:
    return operator(v, live), none


def _refine(xp: Any, operators: Mapping[Any, Callable[..., Array]], target: Array) -> tuple[Array, Array, int]:
    """Iterate in float32 on float64 residuals; go on in float64 where that does not get on.

    Returns the solution, its float64 residual, and the number of iterations.
    """
    none = xp.zeros((*target.shape[::2], 0))
    size = xp.sqrt((target * target).sum(axis=1, keepdims=True))
    v, rest, reached, iterations, dtype = xp.zeros_like(target), target, 1.0, 0, xp.float32
    while reached > TOLERANCE and iterations < MAX_ITERATIONS:
        length = xp.sqrt((rest * rest).sum(axis=1, keepdims=True))
        unit = rest / xp.where(length > 0, length, 1.0)
        correction, steps = conjugate_gradients(
            xp,
            partial(_without_companion, operators[dtype]),
            unit.astype(dtype),
            none.astype(dtype),
            tol=max(_COARSE if dtype is xp.float32 else 0.0, TOLERANCE / reached / 2),
            max_iterations=MAX_ITERATIONS - iterations,
        )
        v = v + length * correction
        iterations += max(steps, 1)
        rest = target - operators[xp.float64](v)
        left = xp.sqrt((rest * rest).sum(axis=1, keepdims=True))
        before, reached = reached, float((left / xp.where(size > 0, size, 1.0)).max())
        if reached > _STALLED * before:
            dtype = xp.float64
    return v, rest, iterations
