"""All sets at once: a matrix with a row for every sample, and a column for every set and column of it.

Products with the features of each set read a row as often as sets hold it. With the sets' vectors spread over all
samples, zero where a sample is not in the set, they become one product with all features, which are read once: more
arithmetic, less memory traffic, which is what a GPU waits for.
"""

from __future__ import annotations

from typing import Any

from fastprobe.backend.base import Array, RowSets

__all__ = ["collect", "pays", "spread"]

_FLOPS_PER_BYTE = 16  # in float64, of the GPUs that this is for: 50e12 flops and 3e12 bytes a second


def pays(sets: RowSets, n: int, columns: int) -> bool:
    """Whether products of n samples with all sets cost less than moving the rows of each: 4 flops against 24 bytes."""
    return 4 * n * columns <= 24 * sets.width * _FLOPS_PER_BYTE


def spread(xp: Any, sets: RowSets, v: Array, n: int) -> Array:
    """Spread vectors (K, m, c) of the sets over all samples; shape (n, K, c), zero where a sample is in no set."""
    out = xp.zeros((n + 1, len(sets), v.shape[2]))
    out[_places(xp, sets, n)] = v  # padded slots go to the row below, where it does not matter which comes last
    return out[:n]


def collect(xp: Any, sets: RowSets, w: Array) -> Array:
    """Take from rows of all samples (n, K, c) those of each set; shape (K, m, c), zero in padded slots."""
    return xp.where(sets.mask[:, :, None], w[_places(xp, sets, 0)], 0.0)


def _places(xp: Any, sets: RowSets, padding: int) -> tuple[Array, Array]:
    return xp.where(sets.mask, sets.rows, padding), xp.arange(len(sets))[:, None]
