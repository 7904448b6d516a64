"""The Numba CUDA kernels against their twins, in Numba's simulator.

Not collected with the other tests: Numba decides on import whether to simulate, so that this runs in a process of its
own, which test_cuda_kernels_ridge.py starts with NUMBA_ENABLE_CUDASIM=1.
"""

from __future__ import annotations

import numpy as np

from fastprobe.kernels import numba_cuda, reference


def test_fold_metrics() -> None:
    rng = np.random.default_rng(0)
    y = np.stack([rng.standard_normal(90) + 1e3, np.full(90, 0.1), np.sign(rng.standard_normal(90))], axis=1)
    rows, sizes = rng.integers(0, 90, (3, 70)), np.array([70, 1, 0])
    residuals = rng.standard_normal((3, 70, 3))
    wanted, found = np.empty((7, 3, 3)), np.full((7, 3, 3), 7.0)
    reference.fold_metrics(y, rows, sizes, residuals, wanted)
    numba_cuda.fold_metrics(y, rows, sizes, residuals, found)
    rounding = 70 * np.finfo(np.float64).eps
    assert np.allclose(found[:3], wanted[:3], rtol=8 * rounding, atol=0, equal_nan=True)
    assert np.array_equal(found[1] == 0, wanted[1] == 0)
    assert np.array_equal(found[3:], wanted[3:])
