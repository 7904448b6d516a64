"""fastprobe, through its public interface."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchmarks.problem import FoldScores
from benchmarks.workload import Workload
from fastprobe.embeddings import Submission
from fastprobe.results import TaskScore
from fastprobe.tasks import Benchmark

__all__ = ["Answer", "Replayed", "path_scores", "replay", "solve"]


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


def _by_task(rows: Iterable[TaskScore]) -> FoldScores:
    return {row.task: np.array(row.fold_scores, dtype=np.float64) for row in rows}


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
    return Answer(_by_task(scores.rows), {row.task: row.route for row in scores.rows})


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
    tables = [_by_task(scores.rows) for scores in path]
    return {name: np.stack([table[name] for table in tables]) for name in tables[0]}


@dataclass(frozen=True, eq=False)
class Replayed:
    """What protocol ``neuco`` says of a submission.

    Attributes
    ----------
    scores : FoldScores
        Shape (folds,) per task.
    q : dict of str to float
        Q-score by task; NaN where there is none.
    """

    scores: FoldScores
    q: dict[str, float]


def replay(submissions: Sequence[Submission], benchmark: Benchmark, n_folds: int) -> list[Replayed]:
    """Replay NeuCo-Bench's probe on several submissions in one call.

    Parameters
    ----------
    submissions : sequence of Submission
    benchmark : Benchmark
    n_folds : int

    Returns
    -------
    list of Replayed
        In the order of the submissions.
    """
    import fastprobe

    scores = fastprobe.score(submissions, benchmark, protocol="neuco", folds=n_folds, device="cpu")
    found = []
    for submission in submissions:
        rows = [row for row in scores.rows if row.submission == submission.name]
        found.append(Replayed(_by_task(rows), {row.task: np.nan if row.q is None else row.q for row in rows}))
    return found
