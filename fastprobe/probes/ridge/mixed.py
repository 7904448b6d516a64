"""Route *mixed*: float32 where the work is, float64 where the answer is decided.

For devices that are slow in float64. The coefficients of every set and task solve the normal equations of the training
rows, ``(Xr'Xr + alpha I) w = Xr'yr`` about the means of those rows. Their residual is computed in float64, by one pair
of products with the features for all sets and tasks as columns: ``Xc' r - alpha w``, r being the residuals of the
training rows and zero in others. A correction is solved for in float32, by conjugate gradients on ``I - T_S' C T_S``,
T being the features whitened by a float32 factor of ``Xc'Xc + alpha I`` and ``C = I + 11'/n_R`` moving the centre from
all rows to the training rows; its spectrum is that of route *iterate*. Corrections are repeated (iterative refinement)
and end at what float64 allows.

A float32 factor serves up to a condition of about a million. Beyond that corrections gain too little, and the factor is
computed in float64, once for all sets, with a line of log: rounded to float32 it serves up to the square of that.

Source: Martin, Peters and Wilkinson (1966) for the refinement; design/algorithms.md, 2, for what sets share.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastprobe.backend.base import Array, RowSets, relative_error
from fastprobe.probes.ridge.cg import conjugate_gradients
from fastprobe.probes.ridge.problem import HeldOut, RidgeProblem

__all__ = ["GOAL", "solve"]

_log = logging.getLogger(__name__)

GOAL = 1e-11
"""Residual, whitened and relative to that of zero coefficients, at which the corrections end."""
MAX_ITERATIONS = 100
_COARSE = 1e-6  # relative residual of a float32 correction; of the last, what leads to a tenth of the goal
_AIM = 0.1
_SLOW = 0.1  # a correction that leaves more of the residual than this is the last
_ROUNDING = 1e-9  # whitened residual below which float64 may be what ends the gain, for the factors that serve at all
_ACCEPTED = 1e-10  # relative residual of the normal equations
_BATCH_BYTES = 2**26  # float64 residuals of all samples by the models of the sets of a batch
_BLOCK = 256  # rows per piece of work
_PANEL = 64  # columns per step of an inversion


@dataclass(frozen=True, eq=False)
class _Scaled:
    """Centred features in float32, every column divided by its extent, so that no square overflows."""

    features: Array  # float32, (n, d)
    extent: Array  # float64, (d,)
    gram: Array  # float32, (d, d)


@dataclass(frozen=True, eq=False)
class _Whitening:
    """``W = root diag(scale)`` with ``W (Xc'Xc + alpha I) W' = I`` up to the rounding of float32."""

    features: Array  # Xc W', float32, (n, d)
    root: Array  # float32, (d, d)
    scale: Array  # float64, (d,)


@dataclass(frozen=True, eq=False)
class _Refined:
    held: Array  # residuals of held-out rows, (k, m, t)
    error: Array  # relative residual of the normal equations, (k,)
    reached: float  # whitened residual, the largest
    iterations: int

    @property
    def serves(self) -> bool:
        return self.reached <= _ROUNDING and float(self.error.max()) <= _ACCEPTED


def solve(problem: RidgeProblem, sets: RowSets, alphas: Sequence[float]) -> HeldOut:
    """Solve all sets by float32 corrections of float64 residuals; see :class:`HeldOut`."""
    xp = problem.backend.xp
    residuals = xp.zeros((len(sets), sets.width, len(alphas), problem.t))
    error = xp.full((len(sets), len(alphas)), xp.nan)
    iterations, size = 0, max(1, _BATCH_BYTES // (8 * problem.n * problem.t))
    batches = [slice(first, min(len(sets), first + size)) for first in range(0, len(sets), size)]
    scaled = _scale(problem)
    for a, alpha in enumerate(alphas):
        whitening, wide = _whiten_single(problem, scaled, alpha), False
        for batch in batches:
            refined = _refine(problem, sets, batch, alpha, whitening) if whitening else None
            if not wide and not (refined and refined.serves):
                _log.warning(
                    "route mixed: %s; factorising %d features in float64",
                    "no Cholesky factor in float32" if refined is None else "corrections by a float32 factor stall",
                    problem.d,
                )
                whitening, wide = _whiten_double(problem, scaled, alpha), True
                refined = _refine(problem, sets, batch, alpha, whitening) if whitening else None
            if refined and refined.serves:
                residuals[batch, :, a], error[batch, a] = refined.held, refined.error
                iterations = max(iterations, refined.iterations)
    return HeldOut(residuals, error, iterations)


def _refine(problem: RidgeProblem, sets: RowSets, batch: slice, alpha: float, whitening: _Whitening) -> _Refined:
    """Correct the coefficients of the sets of a batch, beginning with zero, for as long as it gains enough."""
    backend, xp, design = problem.backend, problem.backend.xp, problem.design
    n, d, t = problem.n, problem.d, problem.t
    rows, mask = sets.rows[batch], sets.mask[batch]
    count = len(sets.sizes[batch])
    every = xp.arange(count)
    train = xp.ones((n + 1, count))  # padded slots write to the last row
    train[xp.where(mask, rows, n), every[:, None]] = 0.0
    train = train[:n, :, None]
    n_train = train.sum(axis=0)
    weights = xp.zeros((count, t, d))
    rest = problem.y[:, None, :] + xp.zeros((count, 1))  # of all samples, by the model of every set

    def residual() -> tuple[Array, Array, Array]:
        """Centre `rest` about the training rows; the residual of the normal equations, its direction and length."""
        nonlocal rest
        rest -= (rest * train).sum(axis=0) / n_train
        gradient = backend.adjoint(design, (rest * train).reshape(n, -1)).reshape(weights.shape) - alpha * weights
        return gradient, *_whitened(xp, whitening, gradient)

    start, direction, first = residual()
    gradient, length, reached, iterations = start, first, 1.0, 0
    while reached > GOAL:
        tol = max(_COARSE, _AIM * GOAL / reached)
        solved, steps = _correct(problem, sets, batch, whitening, direction, n_train, tol)
        iterations += steps
        step = length * _turned(xp, solved.swapaxes(1, 2), whitening.root) * whitening.scale
        weights += step
        rest -= backend.forward(design, step.reshape(-1, d)).reshape(rest.shape)
        gradient, direction, length = residual()
        before, reached = reached, float((length / xp.where(first > 0, first, 1.0)).max())
        if not reached <= _SLOW * before:  # nor is NaN
            break
    held = xp.where(mask[:, :, None], rest[rows, every[:, None]], 0.0)
    error = relative_error(xp, gradient.swapaxes(1, 2), start.swapaxes(1, 2))
    return _Refined(held, error, reached, iterations)


def _whitened(xp: Any, whitening: _Whitening, gradient: Array) -> tuple[Array, Array]:
    """Directions of unit length ``W g`` in float32, shape (k, d, t), and the lengths in float64, shape (k, t, 1)."""
    scaled = gradient * whitening.scale
    size = xp.sqrt((scaled * scaled).sum(axis=2, keepdims=True))
    unit = (scaled / xp.where(size > 0, size, 1.0)).astype(xp.float32)
    turned = _turned(xp, unit, whitening.root.T)
    length = xp.sqrt((turned * turned).sum(axis=2, keepdims=True))
    return (turned / xp.where(length > 0, length, 1.0)).swapaxes(1, 2), size * length


def _turned(xp: Any, rows: Array, basis: Array) -> Array:
    """``rows basis`` as one product, for rows of shape (k, t, d)."""
    return xp.matmul(rows.reshape(-1, rows.shape[2]), basis).reshape(rows.shape)


def _correct(
    problem: RidgeProblem,
    sets: RowSets,
    batch: slice,
    whitening: _Whitening,
    target: Array,
    n_train: Array,
    tol: float,
) -> tuple[Array, int]:
    """Solve ``(I - T_S' C T_S) z = target`` in float32 for the sets of a batch; shape (k, d, t), and iterations."""
    backend, xp = problem.backend, problem.backend.xp
    sizes = n_train.astype(xp.float32)[:, :, None]
    out, steps = xp.empty_like(target), [0]

    def work(part: slice) -> None:
        held = backend.take(whitening.features, sets, slice(batch.start + part.start, batch.start + part.stop))
        size, none = sizes[part], xp.zeros((len(held), target.shape[2], 0), dtype=xp.float32)

        def apply(z: Array, nothing: Array, _: Array) -> tuple[Array, Array]:
            fitted = xp.matmul(held, z)
            fitted += fitted.sum(axis=1, keepdims=True) / size  # in padded slots, too, where `held` is zero
            return z - xp.matmul(held.swapaxes(1, 2), fitted), nothing

        out[part], taken = conjugate_gradients(xp, apply, target[part], none, tol=tol, max_iterations=MAX_ITERATIONS)
        steps.append(taken)

    backend.for_chunks(work, len(target), 8 * sets.width * problem.d + 4 * (sets.width + 6 * problem.d) * problem.t)
    return out, max(steps)


def _scale(problem: RidgeProblem) -> _Scaled:
    xp, design = problem.backend.xp, problem.design
    high, low = (bound.astype(xp.float64) for bound in (design.x.max(axis=0), design.x.min(axis=0)))
    extent = xp.maximum(high - design.mean, design.mean - low)
    extent = xp.where(extent > 0, extent, 1.0)
    features = _by_rows(problem, lambda part: (design.x[part] - design.mean) / extent, 16)
    return _Scaled(features, extent, xp.matmul(features.T, features))


def _whiten_single(problem: RidgeProblem, scaled: _Scaled, alpha: float) -> _Whitening | None:
    """Whiten by a factor computed in float32; None if there is none."""
    xp = problem.backend.xp
    scale, diagonal = _unit_diagonal(problem, scaled, alpha), xp.arange(problem.d)
    narrow = (scale * scaled.extent).astype(xp.float32)
    penalised = scaled.gram * narrow[:, None] * narrow
    penalised[diagonal, diagonal] = 1.0
    lower, ok = problem.backend.cholesky(penalised)
    # Rows of the factor are as long as the diagonal is high; not so in the remains of a factorisation that broke down.
    lengths = (xp.tril(lower) * xp.tril(lower)).sum(axis=1)
    if not bool(ok & (xp.abs(lengths - 1.0) < 1e-3).all()):
        return None
    return _whitening(problem, scaled, scale, lower)


def _whiten_double(problem: RidgeProblem, scaled: _Scaled, alpha: float) -> _Whitening | None:
    """Whiten by the float64 factor, rounded to float32; None if there is none."""
    lower, ok = problem.factor(alpha)
    if not ok:
        return None
    scale = _unit_diagonal(problem, scaled, alpha)
    return _whitening(problem, scaled, scale, (lower * scale[:, None]).astype(problem.backend.xp.float32))


def _unit_diagonal(problem: RidgeProblem, scaled: _Scaled, alpha: float) -> Array:
    """Give the scale that makes the diagonal of ``Xc'Xc + alpha I`` one."""
    xp, diagonal = problem.backend.xp, problem.backend.xp.arange(problem.d)
    squares = scaled.gram[diagonal, diagonal].astype(xp.float64) * scaled.extent * scaled.extent
    return 1.0 / xp.sqrt(squares + alpha)


def _whitening(problem: RidgeProblem, scaled: _Scaled, scale: Array, lower: Array) -> _Whitening:
    xp = problem.backend.xp
    root = _inverse(xp, lower)
    basis = (scale * scaled.extent).astype(xp.float32)[:, None] * root.T
    return _Whitening(_by_rows(problem, lambda part: xp.matmul(scaled.features[part], basis), 8), root, scale)


def _inverse(xp: Any, lower: Array) -> Array:
    """Invert a lower triangular matrix, of which the lower triangle is read, by products."""
    d, out = len(lower), xp.zeros_like(lower)
    count = -(-d // _PANEL)
    padded, panels = xp.eye(count * _PANEL, dtype=lower.dtype), xp.arange(count)
    padded[:d, :d] = lower
    blocks = padded.reshape(count, _PANEL, count, _PANEL)[panels, :, panels]
    inverses = xp.linalg.inv(xp.tril(blocks))
    for i in range(count):
        panel, before = slice(i * _PANEL, min(d, (i + 1) * _PANEL)), slice(0, i * _PANEL)
        inverse = inverses[i, : panel.stop - panel.start, : panel.stop - panel.start]
        out[panel, panel] = inverse
        if i:
            out[panel, before] = xp.matmul(inverse, -xp.matmul(lower[panel, before], out[before, before]))
    return out


def _by_rows(problem: RidgeProblem, work: Callable[[slice], Array], bytes_each: int) -> Array:
    """Fill a float32 array (n, d) block by block of the rows."""
    backend, n, d = problem.backend, problem.n, problem.d
    out = backend.xp.empty((n, d), dtype=backend.xp.float32)

    def fill(blocks: slice) -> None:
        part = slice(blocks.start * _BLOCK, min(n, blocks.stop * _BLOCK))
        out[part] = work(part)

    backend.for_chunks(fill, -(-n // _BLOCK), bytes_each * _BLOCK * d)
    return out
