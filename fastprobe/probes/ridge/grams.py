"""Gram matrices of a group from those of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastprobe.backend.base import Array, Backend, Design

__all__ = ["GramPart", "merge"]


@dataclass(frozen=True, eq=False)
class GramPart:
    """Centred Gram matrix of some rows.

    Attributes
    ----------
    n : int
    mean : array, shape (d,)
        Column means of those rows.
    gram : array, shape (d, d)
        About those means, lower triangle.
    """

    n: int
    mean: Array
    gram: Array


def merge(backend: Backend, design: Design, parts: Sequence[GramPart], rest: Design | None) -> Array:
    """Gram matrix about the means of a design whose rows are those of the parts and of `rest`.

    ``sum_p G_p + n_p (mean_p - mean)(mean_p - mean)'`` (Chan, Golub and LeVeque 1979), shape (d, d), lower triangle.
    """
    if rest is not None:
        parts = [*parts, GramPart(rest.shape[0], rest.mean, backend.gram(rest))]
    total = backend.xp.zeros((design.shape[1], design.shape[1]))
    for part in parts:
        shift = part.mean - design.mean
        total += part.gram
        total += (part.n * shift)[:, None] * shift
    return total
