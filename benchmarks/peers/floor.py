"""The floor: one float64 Gram matrix of all rows (SYRK), which any exact route has to pay for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["gram"]


def gram(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``x.T @ x`` (one triangle), by BLAS SYRK.

    Parameters
    ----------
    x : ndarray of float64, shape (n, d)
        C-contiguous; its transpose is what Fortran sees, so nothing is copied.

    Returns
    -------
    ndarray of float64, shape (d, d)
    """
    from scipy.linalg.blas import dsyrk

    return dsyrk(1.0, x.T)
