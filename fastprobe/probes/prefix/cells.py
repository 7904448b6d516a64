"""Which rows train a probe, and which rows it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cells", "complements", "nested_subsets"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Cells:
    """C fits of some rows each, and P parts of the rows that they predict.

    Attributes
    ----------
    trained : sequence of ndarray of int64, length C
        Rows that train each fit, about equally many.
    tested : sequence of ndarray of int64, length C
        Rows that each of them predicts, none of which trains it.
    cell : ndarray of int64, shape (P,)
        Whose rows a part is of, ascending: parts are scored apart.
    start, stop : ndarray of int64, shape (P,)
        Which of the rows it predicts are in a part.
    """

    trained: Sequence[Ints]
    tested: Sequence[Ints]
    cell: Ints
    start: Ints
    stop: Ints

    @classmethod
    def whole(cls, trained: Sequence[Ints], tested: Sequence[Ints]) -> Cells:
        """Make cells whose predicted rows are one part each."""
        sizes = np.array([len(rows) for rows in tested], dtype=np.int64)
        return cls(trained, tested, np.arange(len(tested)), np.zeros_like(sizes), sizes)

    def rows(self, part: int) -> Ints:
        """Rows of a part."""
        return self.tested[self.cell[part]][self.start[part] : self.stop[part]]

    def parts_of(self, cells: slice) -> slice:
        """Which parts are of some consecutive cells."""
        lo, hi = np.searchsorted(self.cell, [cells.start, cells.stop])
        return slice(int(lo), int(hi))


def complements(sets: Sequence[Ints], n: int) -> list[Ints]:
    """Rows that are not in each set, ascending."""
    return [np.delete(np.arange(n), rows) for rows in sets]


def nested_subsets(trained: Sequence[Ints], fraction: float, seed: int) -> list[Ints]:
    """Draw a share of the training rows of every fold, ascending; the draws of a smaller share are among them.

    Parameters
    ----------
    trained : sequence of ndarray of int64, length K
        Training rows of every fold, ascending.
    fraction : float
        Share, above 0 and up to 1. Of N rows ``ceil(fraction N)`` are drawn, at least 2 (1 if there is only one).
    seed : int
        Fold k draws by ``numpy.random.default_rng([seed, k])``: the first rows of one permutation for every share.
    """
    if fraction == 1.0:
        return list(trained)
    drawn = []
    for k, rows in enumerate(trained):
        count = min(len(rows), max(2, _ceil(fraction * len(rows))))
        drawn.append(np.sort(np.random.default_rng([seed, k]).permutation(rows)[:count]))
    return drawn


def _ceil(value: float) -> int:
    """Round up, but not what is above a whole number by rounding only: 0.1 of 30 rows are 3."""
    return int(np.ceil(value - 1e-9))
