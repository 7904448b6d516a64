"""Route *direct*: the hat matrix of each left-out set, formed and factorised.

The residual of the model that never saw the rows S is ``e_S = (I - H_SS)^-1 E_S`` (block PRESS), where E is the
residual of the one fit on all rows and ``H = 1/n 11' + T T'`` its hat matrix, ``T = Xc L'^-1``. A set costs m^2 d for
its block of H and m^3 / 3 for the factorisation, shared by all tasks. For several strengths T is replaced by the
features in the eigenbasis, in which H is diagonal for every strength.

Source: Allen (1974) for single rows; design/algorithms.md, 2, for blocks with an unpenalised intercept.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastprobe.backend.base import RowSets
from fastprobe.probes.ridge.hat import make_hats
from fastprobe.probes.ridge.problem import HeldOut, RidgeProblem

__all__ = ["solve"]


def solve(problem: RidgeProblem, sets: RowSets, alphas: Sequence[float]) -> HeldOut:
    """Solve all sets by Cholesky factorisations of ``I - H_SS``; see :class:`HeldOut`."""
    backend, xp = problem.backend, problem.backend.xp
    residuals = xp.zeros((len(sets), sets.width, len(alphas), problem.t))
    error = xp.full((len(sets), len(alphas)), xp.nan)
    hats = make_hats(problem, alphas)
    if not hats:
        return HeldOut(residuals, error)

    def work(chunk: slice) -> None:
        for a, hat in enumerate(hats):
            v, ok, rest = backend.block_press(hat.features, hat.scale, sets, chunk, hat.residuals)
            residuals[chunk, :, a] = v
            error[chunk, a] = xp.where(ok, rest, xp.nan)

    backend.for_chunks(work, len(sets), 8 * sets.width * (2 * problem.d + 3 * sets.width))
    return HeldOut(residuals, error)
