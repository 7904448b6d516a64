"""fastprobe, through its public interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchmarks.problem import FoldScores
from benchmarks.workload import Workload

__all__ = ["Answer", "path_scores", "solve"]


def _score(workload: Workload, alpha: float | Literal["auto"], n_folds: int, route: str | None) -> Any:
    import fastprobe

    return fastprobe.score(
        [workload.submission],
        workload.benchmark,
        protocol="ridge",
        alpha=alpha,
        folds=n_folds,
        device="cpu",
        route=route,
    )


def _by_task(scores: Any) -> FoldScores:
    return {row.task: np.array(row.fold_scores, dtype=np.float64) for row in scores.rows}


@dataclass(frozen=True, eq=False)
class Answer:
    """Scores and how they came about.

    Attributes
    ----------
    scores : FoldScores
        Shape (folds,) per task; NaN where a fold failed.
    routes : dict of str to str
        Route of every task.
    """

    scores: FoldScores
    routes: dict[str, str]


def solve(workload: Workload, alpha: float | Literal["auto"], n_folds: int, route: str | None = None) -> Answer:
    """Score one submission.

    Parameters
    ----------
    workload : Workload
    alpha : float or "auto"
    n_folds : int
    route : str or None
        Forced route; by default the cost model chooses for each group.

    Returns
    -------
    Answer
    """
    scores = _score(workload, alpha, n_folds, route)
    return Answer(_by_task(scores), {row.task: row.route for row in scores.rows})


def path_scores(workload: Workload, alphas: Sequence[float], n_folds: int) -> FoldScores:
    """Score one submission at several strengths in one call.

    Parameters
    ----------
    workload : Workload
    alphas : sequence of float, length A
    n_folds : int

    Returns
    -------
    FoldScores
        Shape (A, folds) per task.
    """
    from fastprobe.engine import score_path

    path = score_path(
        [workload.submission], workload.benchmark, alphas=list(alphas), protocol="ridge", folds=n_folds, device="cpu"
    )
    tables = [_by_task(scores) for scores in path]
    return {name: np.stack([table[name] for table in tables]) for name in tables[0]}
