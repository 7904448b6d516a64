"""A sample of embedding sizes, and what a time at each of them says of all sizes together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SizeSample"]


@dataclass(frozen=True, eq=False)
class SizeSample:
    """Some of the sizes 1 to d, both ends among them.

    Attributes
    ----------
    sizes : ndarray of int64, shape (S,)
        Ascending.
    weights : ndarray of float64, shape (S,)
        How many of all sizes each stands for; they add up to d.
    """

    sizes: NDArray[np.int64]
    weights: NDArray[np.float64]

    @classmethod
    def spread(cls, d: int, count: int) -> SizeSample:
        """Take about so many sizes, evenly spread over 1 to d.

        The weights are those of the trapezoidal rule: between two sizes of the sample, a time goes along a straight
        line. With 8 sizes, the sum of times that grow with the square of the size comes out 1 % too large, with the
        cube 2 % (for many dimensions: 1 / (2 * 7**2) and 1 / 7**2).
        """
        sizes = np.unique(np.round(np.linspace(1, d, count)).astype(np.int64))
        hats = [np.interp(np.arange(1, d + 1), sizes, hat) for hat in np.eye(len(sizes))]
        return cls(sizes, np.sum(hats, axis=1))

    @property
    def d(self) -> int:
        """The largest size."""
        return int(self.sizes[-1])

    @property
    def share(self) -> float:
        """All sizes over those of the sample."""
        return self.d / len(self.sizes)

    def total(self, seconds: Sequence[float]) -> float:
        """Return the time of all sizes, from the times at those of the sample."""
        return float(self.weights @ np.asarray(seconds))
