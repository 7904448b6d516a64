"""Route *dual*: the block leave-out in the n x n kernel matrix, for n below d (or any kernel).

With ``K = Xc Xc'`` and the bordered inverse ``[[A, b], [b', c]] = [[K + alpha I, 1], [1', 0]]^-1`` the dual
coefficients are ``a = A y`` and the held-out residuals ``e_S = A_SS^-1 a_S``. Features are centred, so ``K 1 = 0`` and,
for any s, ``A = (K + s 11'/n + alpha I)^-1 - 11' / (n (s + alpha))``. With s of the size of K's eigenvalues nothing
cancels: where leverages come close to 1 and the primal routes lose digits by subtracting them from 1, this one does
not. One strength inverts a matrix; several share its eigenvectors.

Source: design/algorithms.md, 2; Cawley (2006) for single rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastprobe.backend.base import Array, RowSets, relative_error
from fastprobe.probes.ridge.problem import HeldOut, RidgeProblem

__all__ = ["solve"]


def solve(problem: RidgeProblem, sets: RowSets, alphas: Sequence[float]) -> HeldOut:
    """Solve all sets by Cholesky factorisations of the blocks ``alpha A_SS``; see :class:`HeldOut`."""
    backend, xp = problem.backend, problem.backend.xp
    residuals = xp.zeros((len(sets), sets.width, len(alphas), problem.t))
    error = xp.full((len(sets), len(alphas)), xp.nan)
    for a, inverse in enumerate(_scaled_inverses(problem, alphas)):
        if inverse is None:
            continue
        dual = xp.matmul(inverse, problem.y)

        def work(chunk: slice, a: int = a, inverse: Array = inverse, dual: Array = dual) -> None:
            rows, mask = sets.rows[chunk], sets.mask[chunk]
            both = mask[:, :, None] & mask[:, None, :]
            block = xp.where(both, inverse[rows[:, :, None], rows[:, None, :]], xp.eye(sets.width))
            target = backend.take(dual, sets, chunk)
            lower, ok = backend.cholesky(block.copy())
            v = backend.cho_solve(lower, target.swapaxes(1, 2)).swapaxes(1, 2)
            residuals[chunk, :, a] = v
            error[chunk, a] = xp.where(ok, relative_error(xp, xp.matmul(block, v) - target, target), xp.nan)

        backend.for_chunks(work, len(sets), 48 * sets.width**2)
    return HeldOut(residuals, error)


def _scaled_inverses(problem: RidgeProblem, alphas: Sequence[float]) -> Iterator[Array | None]:
    """``alpha A`` for every strength, shape (n, n): eigenvalues between 0 and 1. None where a factorisation fails."""
    backend, xp, n, scale = problem.backend, problem.backend.xp, problem.n, problem.kernel_scale
    if len(alphas) == 1:
        (alpha,) = alphas
        lower, ok = backend.cholesky((problem.kernel + scale / n) / alpha + xp.eye(n))
        yield backend.cho_inverse(lower) - alpha / (scale + alpha) / n if bool(ok) else None
        return
    spectrum = problem.kernel_spectrum
    for alpha in alphas:
        shrunk = spectrum.features * (alpha / (spectrum.values + alpha))
        yield xp.matmul(shrunk, spectrum.features.T) - alpha / (scale + alpha) / n
