"""Triangular solves by matrix products, for a whole stack of factors at once.

NumPy has no triangular solve, and array namespaces do not agree on one. Block substitution needs none: the diagonal
blocks are inverted, which costs little, and all else is products. What that loses against substitution is a residual
that grows with the condition of the diagonal blocks; those of a Cholesky factor have at most the square root of the
condition of the matrix.
"""

from __future__ import annotations

from typing import Any

from fastprobe.backend.base import Array

__all__ = ["solve_lower"]

_PANEL = 64  # columns per step


def solve_lower(xp: Any, lower: Array, rows: Array, *, transpose: bool = False) -> Array:
    """Solve ``L z = b``, or ``L' z = b``, for every row b.

    Parameters
    ----------
    xp : namespace
    lower : array, shape (..., d, d)
        Of which the lower triangle is read.
    rows : array, shape (..., c, d)
        Same leading axes.
    transpose : bool

    Returns
    -------
    array of float64, shape (..., c, d)
    """
    d = lower.shape[-1]
    out = xp.empty(rows.shape)
    panels = [slice(lo, min(d, lo + _PANEL)) for lo in range(0, d, _PANEL)]
    for p in reversed(panels) if transpose else panels:
        inverse = xp.linalg.inv(xp.tril(lower[..., p, p]))
        block = rows[..., p]
        if transpose and p.stop < d:
            block = block - xp.matmul(out[..., p.stop :], lower[..., p.stop :, p])
        elif not transpose and p.start:
            block = block - xp.matmul(out[..., : p.start], lower[..., p, : p.start].swapaxes(-1, -2))
        out[..., p] = xp.matmul(block, inverse if transpose else inverse.swapaxes(-1, -2))
    return out
