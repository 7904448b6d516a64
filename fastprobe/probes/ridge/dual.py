"""Route *dual*: the block leave-out in the n x n kernel matrix, for n below d and for any kernel.

With the bordered inverse ``[[A, b], [b', c]] = [[K + alpha I, 1], [1', 0]]^-1`` the dual coefficients of the fit to all
rows are ``a = A y``, and the held-out residuals of the model that never saw the rows S are ``e_S = A_SS^-1 a_S``.

A depends on the kernel only as it stands about its row and column means. From ``1'A = 0`` and
``(K + alpha I) A + 1 b' = I`` follows, with ``C = I - 11'/n``,

    A = C A C        and        C (K + alpha I) C A = C,

so A inverts ``C K C + alpha I`` on the vectors that sum to zero, and is 0 on the constant ones, which is all that
determines it: K enters by ``C K C`` alone. Hence this route asks for a kernel with ``K 1 = 0``: ``Xc Xc'`` of centred
features, or any other after its means have been taken off. Then, for any s, ``A = (K + s 11'/n + alpha I)^-1 - 11' / (n
(s + alpha))``. With s of the size of K's eigenvalues nothing cancels: where leverages come close to 1 and the primal
routes lose digits by subtracting them from 1, this one does not.

Every strength inverts a matrix by its Cholesky factor. Eigenvectors that all strengths share were no gain: a product of
two n x n matrices, which each strength would still need, costs as much as an inverse, and the eigenvectors as much as
thirty.

Source: design/algorithms.md, 2; Cawley (2006) for single rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fastprobe.backend.base import Array, Backend, RowSets, relative_error
from fastprobe.probes.ridge.problem import HeldOut

__all__ = ["DualProblem", "leave_out", "scaled_inverse", "solve"]


class DualProblem(Protocol):
    """What this route needs to know of a problem."""

    @property
    def backend(self) -> Backend:
        """Where its arrays are."""

    @property
    def y(self) -> Array:
        """Labels about their means, shape (n, t)."""

    @property
    def kernel(self) -> Array:
        """K with ``K 1 = 0``, shape (n, n)."""

    @property
    def kernel_scale(self) -> float:
        """Of the size of K's eigenvalues, above 0."""


def solve(problem: DualProblem, sets: RowSets, alphas: Sequence[float]) -> HeldOut:
    """Solve all sets by Cholesky factorisations of the blocks ``alpha A_SS``; see :class:`HeldOut`."""
    backend, xp, y = problem.backend, problem.backend.xp, problem.y
    residuals = xp.zeros((len(sets), sets.width, len(alphas), y.shape[1]))
    error = xp.full((len(sets), len(alphas)), xp.nan)
    for a, alpha in enumerate(alphas):
        inverse = scaled_inverse(problem, alpha)
        if inverse is not None:
            residuals[:, :, a], error[:, a] = leave_out(backend, inverse, xp.matmul(inverse, y), sets)
        del inverse  # before the next one is made
    return HeldOut(residuals, error)


def scaled_inverse(problem: DualProblem, alpha: float) -> Array | None:
    """``alpha A``, shape (n, n): eigenvalues between 0 and 1. None where the factorisation fails."""
    backend, scale, n = problem.backend, problem.kernel_scale, len(problem.y)
    lower, ok = backend.cholesky(_system(problem, alpha))
    if not bool(ok):
        return None
    inverse = backend.cho_inverse(lower)
    inverse -= alpha / (scale + alpha) / n
    return inverse


def leave_out(backend: Backend, inverse: Array, dual: Array, sets: RowSets) -> tuple[Array, Array]:
    """Held-out residuals of every set, and the relative residual of each solve.

    Parameters
    ----------
    backend : Backend
    inverse : array, shape (n, n)
        ``alpha A``.
    dual : array, shape (n, t)
        ``alpha A y``.
    sets : RowSets

    Returns
    -------
    residuals : array, shape (K, m, t)
        Zero in padded slots.
    error : array, shape (K,)
        The largest over the columns; NaN where a block is not positive definite.
    """
    xp = backend.xp
    residuals = xp.empty((len(sets), sets.width, dual.shape[1]))
    error = xp.empty(len(sets))

    def work(chunk: slice) -> None:
        rows, mask = sets.rows[chunk], sets.mask[chunk]
        both = mask[:, :, None] & mask[:, None, :]
        block = xp.where(both, inverse[rows[:, :, None], rows[:, None, :]], xp.eye(sets.width))
        target = backend.take(dual, sets, chunk)
        lower, ok = backend.cholesky(block.copy())
        v = backend.cho_solve(lower, target.swapaxes(1, 2)).swapaxes(1, 2)
        residuals[chunk] = v
        error[chunk] = xp.where(ok, relative_error(xp, xp.matmul(block, v) - target, target), xp.nan)

    backend.for_chunks(work, len(sets), 48 * sets.width**2)
    return residuals, error


def _system(problem: DualProblem, alpha: float) -> Array:
    """``(K + s 11'/n) / alpha + I``, new memory."""
    xp, n = problem.backend.xp, len(problem.y)
    system = problem.kernel / alpha
    system += problem.kernel_scale / n / alpha
    diagonal = xp.arange(n)
    system[diagonal, diagonal] += 1.0
    return system
