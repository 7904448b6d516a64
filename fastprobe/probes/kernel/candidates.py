"""The kernels that a specification stands for, of the points of a sample group."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from fastprobe.backend.base import Backend
from fastprobe.kernel_spec import KernelSpec
from fastprobe.probes.kernel.functions import Kernel, Points, squared_distances

__all__ = ["candidates", "drawn_rows", "median_distance"]

_MULTIPLES = (0.25, 1.0, 4.0)
_SAMPLE = 1000
_ZERO = 1e-12  # of the largest distance: what rounding leaves of a distance that is 0


def candidates(spec: KernelSpec, backend: Backend, points: Points) -> tuple[Kernel, ...]:
    """Return every combination of the parameters that a specification names.

    Parameters
    ----------
    spec : KernelSpec
    backend : Backend
    points : Points
        Of the sample group; they decide ``gamma = "median"``.
    """
    gammas = _listed(spec.gamma)
    if spec.kernel == "rbf":
        if spec.gamma == "median":
            median = median_distance(backend, points, spec.seed)
            gammas = tuple(multiple / median for multiple in _MULTIPLES)
        return tuple(Kernel("rbf", gamma) for gamma in gammas)
    if spec.gamma == "median":
        gammas = (1.0 / points.rows.shape[1],)
    return tuple(Kernel("polynomial", gamma, degree, spec.coef0) for degree in _listed(spec.degree) for gamma in gammas)


def median_distance(backend: Backend, points: Points, seed: int) -> float:
    """Median of the squared distances between points of a seeded sample, 1000 at most.

    Only distances above 0 count, so that many copies of one point do not make the median 0. It is 1 if there are none:
    all kernels of points that are all the same are the same constant.
    """
    rows = drawn_rows(len(points), _SAMPLE, seed)
    sample = points[backend.asarray(rows)]
    distances = backend.to_numpy(squared_distances(backend.xp, sample, sample))
    pairs = distances[np.triu_indices(len(rows), 1)]
    apart = pairs[pairs > _ZERO * float(sample.squares.max())]
    return float(np.median(apart)) if len(apart) else 1.0


def drawn_rows(n: int, count: int, seed: int) -> NDArray[np.int64]:
    """Draw rows without repetition, ascending; all of them if there are no more than `count`."""
    return np.sort(RandomState(seed).permutation(n)[:count])


def _listed(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
