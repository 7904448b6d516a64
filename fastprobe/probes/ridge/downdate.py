"""Route *downdate*: the Gram matrix of the training rows, by subtraction, factorised per fold.

``G_k = Xc'Xc - X_S'X_S - s s' / n_R`` where s sums the centred held-out rows and n_R counts the training rows; the last
term moves the centre from the mean of all rows to that of the training rows. A set costs m d^2 and, per strength, d^3 /
3. It is the route that needs least of the data (no leverage is subtracted from 1), and the refuge of folds that another
route could not solve.

Source: design/algorithms.md, 2.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastprobe.backend.base import RowSets, relative_error
from fastprobe.probes.ridge.problem import HeldOut, RidgeProblem

__all__ = ["solve"]


def solve(problem: RidgeProblem, sets: RowSets, alphas: Sequence[float]) -> HeldOut:
    """Solve all sets by Cholesky factorisations of the training rows' Gram matrices; see :class:`HeldOut`."""
    backend, xp = problem.backend, problem.backend.xp
    n, d = problem.n, problem.d
    residuals = xp.zeros((len(sets), sets.width, len(alphas), problem.t))
    error = xp.full((len(sets), len(alphas)), xp.nan)
    diagonal = xp.arange(d)
    full, total = xp.tril(problem.gram) + xp.tril(problem.gram, -1).T, problem.cross  # known before threads want them
    sizes = backend.asarray(sets.sizes)

    def work(chunk: slice) -> None:
        held, labels = backend.take_centered(problem.design, sets, chunk), backend.take(problem.y, sets, chunk)
        n_train = (n - sizes[chunk])[:, None, None]
        x_sum, y_sum = held.sum(axis=1, keepdims=True), labels.sum(axis=1, keepdims=True)
        gram = full - xp.matmul(held.swapaxes(1, 2), held)
        gram -= x_sum.swapaxes(1, 2) * (x_sum / n_train)
        cross = total - xp.matmul(labels.swapaxes(1, 2), held) - y_sum.swapaxes(1, 2) * (x_sum / n_train)
        mask = sets.mask[chunk][:, :, None]
        held = (held + x_sum / n_train) * mask  # now about the mean of the training rows
        labels = (labels + y_sum / n_train) * mask
        shift = 0.0
        for a, alpha in enumerate(alphas):
            gram[:, diagonal, diagonal] += alpha - shift
            shift = alpha
            lower, ok = backend.cholesky(gram.copy())
            weights = backend.cho_solve(lower, cross)
            residuals[chunk, :, a] = labels - xp.matmul(held, weights.swapaxes(1, 2))
            rest = xp.matmul(weights, gram) - cross
            error[chunk, a] = xp.where(ok, relative_error(xp, rest.swapaxes(1, 2), cross.swapaxes(1, 2)), xp.nan)

    backend.for_chunks(work, len(sets), 8 * d * (4 * d + 3 * sets.width))
    return HeldOut(residuals, error)
