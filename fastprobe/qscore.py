"""The Q-score: good *and* stable.

Source: NeuCo-Bench (CVPR 2025 EarthVision data challenge); there written ``mean / (0.02 + std) * 2``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["QScore", "QScores", "q_score", "q_scores"]


@dataclass(frozen=True)
class QScore:
    """Summary of the fold scores of one task.

    Attributes
    ----------
    mean, std : float or None
        Mean and standard deviation (ddof 0) over the folds that have a score; None if none has.
    q : float or None
        ``100 * eps * mean / (std + eps)``; None if too many folds failed.
    n_failed : int
        Folds without a score.
    reason : str or None
        Why there is no Q.
    """

    mean: float | None
    std: float | None
    q: float | None
    n_failed: int
    reason: str | None = None


def q_score(fold_scores: Sequence[float | None], *, eps: float = 0.02, max_failed: float = 0.3) -> QScore:
    """Summarise fold scores.

    Parameters
    ----------
    fold_scores : sequence of float or None, length K
        R2 or F1 of every fold; None or NaN marks a fold without a score.
    eps : float
        Stability constant of the Q-score.
    max_failed : float
        Largest share of failed folds for which Q is still given. The challenge left out up to 3 of 10 probes.

    Returns
    -------
    QScore

    Notes
    -----
    ``Q = 100 eps mean_k(s_k) / (std_k(s_k) + eps)`` with ``eps = 0.02`` and ddof 0.
    """
    valid = [float(s) for s in fold_scores if s is not None and not math.isnan(s)]
    n_failed = len(fold_scores) - len(valid)
    if not valid:
        return QScore(None, None, None, n_failed, f"all {n_failed} folds failed")
    mean = math.fsum(valid) / len(valid)
    std = math.sqrt(math.fsum((s - mean) ** 2 for s in valid) / len(valid))
    if n_failed > max_failed * len(fold_scores):
        reason = f"{n_failed} of {len(fold_scores)} folds failed, more than {max_failed:.0%}"
        return QScore(mean, std, None, n_failed, reason)
    return QScore(mean, std, 100.0 * eps * mean / (std + eps), n_failed)


@dataclass(frozen=True, eq=False)
class QScores:
    """Summaries of many rows of fold scores, as :class:`QScore` has them; NaN where that has None.

    Attributes
    ----------
    mean, std, q : ndarray of float64, shape (R,)
    n_failed : ndarray of int64, shape (R,)
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    q: NDArray[np.float64]
    n_failed: NDArray[np.int64]


def q_scores(fold_scores: NDArray[np.float64], *, eps: float = 0.02, max_failed: float = 0.3) -> QScores:
    """Summarise many rows of fold scores at once; see :func:`q_score`.

    Parameters
    ----------
    fold_scores : ndarray, shape (R, K)
        NaN marks a fold without a score.
    eps, max_failed : float
    """
    import numpy as np

    there = ~np.isnan(fold_scores)
    count = there.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(there, fold_scores, 0.0).sum(axis=1) / count
        std = np.sqrt((np.where(there, fold_scores - mean[:, None], 0.0) ** 2).sum(axis=1) / count)
    n_failed = fold_scores.shape[1] - count
    q = np.where(n_failed > max_failed * fold_scores.shape[1], np.nan, 100.0 * eps * mean / (std + eps))
    return QScores(mean, std, q, n_failed)
