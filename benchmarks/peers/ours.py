"""fastprobe, through its public interface."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.binary import BinaryTask, Hyperplanes
from benchmarks.problem import FoldScores, Problem, score_fold
from benchmarks.workload import Workload
from fastprobe.embeddings import Submission
from fastprobe.protocol import Protocol
from fastprobe.results import TaskScore
from fastprobe.tasks import Benchmark

__all__ = ["Answer", "Replayed", "hyperplanes", "kernel_path_scores", "path_scores", "replay", "solve"]


def _by_task(rows: Iterable[TaskScore]) -> FoldScores:
    return {row.task: np.array(row.fold_scores, dtype=np.float64) for row in rows}


@dataclass(frozen=True, eq=False)
class Answer:
    """Scores and how they came about.

    Attributes
    ----------
    scores : FoldScores
        Shape (folds,) per task; NaN where a fold failed.
    records : dict of str to TaskScore
        Everything that the score table says, by task.
    """

    scores: FoldScores
    records: dict[str, TaskScore]

    @property
    def routes(self) -> dict[str, str]:
        """Route of every task."""
        return {name: record.route for name, record in self.records.items()}


def solve(
    workload: Workload,
    alpha: float | Literal["auto"] | None,
    n_folds: int,
    route: str | None = None,
    *,
    protocol: str | Protocol = "ridge",
) -> Answer:
    """Score one submission.

    Parameters
    ----------
    workload : Workload
    alpha : float, "auto" or None
        None for that of the protocol.
    n_folds : int
    route : str or None
        Forced route; by default the cost model chooses for each group.
    protocol : str or Protocol

    Returns
    -------
    Answer
    """
    import fastprobe

    scores = fastprobe.score(
        [workload.submission],
        workload.benchmark,
        protocol=protocol,
        alpha=alpha,
        folds=n_folds,
        device="cpu",
        route=route,
    )
    return Answer(_by_task(scores.rows), {row.task: row for row in scores.rows})


def path_scores(workload: Workload, alphas: Sequence[float], n_folds: int, protocol: str = "ridge") -> FoldScores:
    """Score one submission at several strengths in one call.

    Parameters
    ----------
    workload : Workload
    alphas : sequence of float, length A
    n_folds : int
    protocol : str

    Returns
    -------
    FoldScores
        Shape (A, folds) per task.
    """
    from fastprobe.engine import score_path

    path = score_path(
        [workload.submission], workload.benchmark, alphas=list(alphas), protocol=protocol, folds=n_folds, device="cpu"
    )
    tables = [_by_task(scores.rows) for scores in path]
    return {name: np.stack([table[name] for table in tables]) for name in tables[0]}


def hyperplanes(task: BinaryTask, alpha: float) -> Hyperplanes:
    """Fit logistic probes to the training rows of all folds at once, and return what the score table does not hold.

    Parameters
    ----------
    task : BinaryTask
    alpha : float

    Returns
    -------
    Hyperplanes
        Of all folds.
    """
    from fastprobe.backend import get_backend
    from fastprobe.probes.logistic import LogisticProblem, fit

    training = np.zeros((len(task.x), len(task.folds)), dtype=bool)
    for k, (train, _) in enumerate(task.folds):
        training[train, k] = True
    backend = get_backend("cpu")
    with backend.session():
        design = backend.design(backend.asarray(task.x), np.arange(len(task.x)))
        codes = backend.asarray(task.truth.astype(np.float64))
        found = fit(LogisticProblem(backend, design, codes, 2), [alpha], training)
        return Hyperplanes(backend.to_numpy(found.weights)[:, 0, 0], backend.to_numpy(found.intercepts)[:, 0, 0])


def kernel_path_scores(problem: Problem, alphas: Sequence[float], landmarks: int | None = None) -> FoldScores:
    """Score kernel ridge (rbf, gamma by the median distance) at several strengths in one call of the estimator.

    Parameters
    ----------
    problem : Problem
        Prepared.
    alphas : sequence of float, length A
    landmarks : int or None
        Of Nyström features.

    Returns
    -------
    FoldScores
        Shape (A, folds) per task.
    """
    from sklearn.model_selection import ShuffleSplit

    from fastprobe.compat.sklearn import KernelRidgeProbeCV

    cv = ShuffleSplit(n_splits=problem.n_folds, test_size=0.1, random_state=42)
    x = problem.features()
    found: dict[str, NDArray[np.float64]] = {}
    for group in problem.groups:
        probe = KernelRidgeProbeCV(alphas, cv=cv, landmarks=landmarks, device="cpu").fit(x[group.rows], group.y)
        folds = zip(probe.cv_test_, probe.cv_predictions_, strict=True)
        scores = [[score_fold(group, test, one) for one in predictions] for test, predictions in folds]
        found |= zip(group.names, np.transpose(scores), strict=True)
    return found


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
