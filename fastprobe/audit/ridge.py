"""Ridge refitted: the singular value decomposition of the centred training rows.

With ``X = U S V'`` the weights of ``|y - X w|^2 + alpha |w|^2`` are ``V diag(s / (s^2 + alpha)) U' y``; the intercept
follows from the means and is not penalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastprobe.audit.refit import Candidate, Predictions, rounding, squared_losses

__all__ = ["Ridge"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ridge:
    """Ridge on the samples of a task; see :class:`fastprobe.audit.refit.Probe`.

    Attributes
    ----------
    x : ndarray of float64, shape (n, d)
        Standardised features.
    y : ndarray of float64, shape (n, columns)
    candidates : sequence of Candidate
    """

    x: Floats
    y: Floats
    candidates: Sequence[Candidate]

    def predict(self, train: Ints, rows: Ints, which: Sequence[int]) -> Predictions:
        """Fit the training rows and predict others."""
        center, level = self.x[train].mean(axis=0), self.y[train].mean(axis=0)
        u, s, vt = np.linalg.svd(self.x[train] - center, full_matrices=False)
        projected, held_out = u.T @ (self.y[train] - level), (self.x[rows] - center) @ vt.T
        values, errors = [], []
        for candidate in (self.candidates[i] for i in which):
            shrunk = (s / (s**2 + candidate.alpha))[:, None] * projected
            values.append(held_out @ shrunk + level)
            errors.append(rounding(float(s.max()) ** 2, candidate.alpha, self.y))
        return Predictions(np.stack(values), np.array(errors))

    def losses(self, predictions: Predictions, rows: Ints) -> tuple[Floats, Floats]:
        """Squared errors."""
        return squared_losses(predictions, self.y[rows])
