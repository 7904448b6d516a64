"""What every peer is given: embeddings, tasks by shared samples, folds; and how every peer is scored.

This module owes nothing to fastprobe's own folds, standardisation and metrics, so that agreement means something.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from benchmarks.workload import Workload
from fastprobe.tasks import Benchmark

__all__ = [
    "IMPORTS",
    "FoldScores",
    "Group",
    "Problem",
    "Split",
    "inner_splits",
    "largest_difference",
    "make_problem",
    "q_score",
    "restrict",
    "score_fold",
    "splits",
    "standardise",
]

IMPORTS = ("sklearn.metrics", "sklearn.model_selection")
"""What splitting and scoring import, so that a race can import it before the clock."""

FoldScores = Mapping[str, NDArray[np.float64]]
"""Scores by task, shape (folds,) or (strengths, folds)."""

Split = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True, eq=False)
class Group:
    """Tasks that share the same samples.

    Attributes
    ----------
    rows : ndarray of int, shape (n,)
        Rows of the embedding.
    names : tuple of str, length t
    is_class : tuple of bool, length t
    y : ndarray of float64, shape (n, t)
        Labels; -1 and +1 for classification.
    """

    rows: NDArray[np.intp]
    names: tuple[str, ...]
    is_class: tuple[bool, ...]
    y: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """A workload as arrays.

    Attributes
    ----------
    x : ndarray of float32, shape (n, d)
        Embeddings of all labelled samples, not standardised: each contestant pays for that itself.
    groups : tuple of Group
    n_folds : int
        Folds of the full protocol.
    standardised : ndarray of float64, shape (n, d), or None
        See :meth:`prepared`.
    """

    x: NDArray[np.float32]
    groups: tuple[Group, ...]
    n_folds: int
    standardised: NDArray[np.float64] | None = None

    def features(self) -> NDArray[np.float64]:
        """Return the standardised embeddings, computed by whoever asks unless they are there already."""
        return standardise(self.x) if self.standardised is None else self.standardised

    def prepared(self) -> Problem:
        """Return the problem with its embeddings standardised, for contestants whose time is scaled up.

        They do this once however many folds they solve, so it must not be multiplied with the folds.
        """
        return replace(self, standardised=standardise(self.x))


def make_problem(workload: Workload, n_folds: int) -> Problem:
    """Find the tasks that share samples and turn labels into columns.

    Parameters
    ----------
    workload : Workload
    n_folds : int

    Returns
    -------
    Problem
    """
    row_of = {name: row for row, name in enumerate(workload.submission.ids.tolist())}
    by_samples: dict[tuple[str, ...], list[int]] = {}
    for index, task in enumerate(workload.benchmark.tasks):
        by_samples.setdefault(tuple(task.ids.tolist()), []).append(index)
    groups = []
    for ids, members in by_samples.items():
        tasks = [workload.benchmark.tasks[i] for i in members]
        is_class = tuple(task.kind == "classification" for task in tasks)
        columns = [2.0 * task.y - 1.0 if flag else task.y for task, flag in zip(tasks, is_class, strict=True)]
        rows = np.array([row_of[i] for i in ids])
        groups.append(Group(rows, tuple(task.name for task in tasks), is_class, np.column_stack(columns)))
    return Problem(workload.submission.x, tuple(groups), n_folds)


def restrict(workload: Workload, names: Iterable[str]) -> Workload:
    """Return the workload with some of its tasks; all labelled samples still standardise the embedding."""
    wanted = set(names)
    tasks = tuple(task for task in workload.benchmark.tasks if task.name in wanted)
    return replace(workload, benchmark=Benchmark(tasks=tasks, labelled_ids=workload.benchmark.labelled_ids))


def standardise(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Subtract the one mean of all values and divide by their one standard deviation (ddof 0), in float64."""
    x64 = x.astype(np.float64)
    x64 -= x64.mean()
    x64 /= x64.std()
    return x64


def splits(n: int, n_folds: int, measured: int | None = None) -> list[Split]:
    """Return scikit-learn's ShuffleSplit folds (10 % held out, seed 42), or the first few of them.

    Parameters
    ----------
    n : int
        Samples.
    n_folds : int
        Folds of the protocol.
    measured : int or None
        How many folds to return; all by default. The first of many folds are the folds of a shorter run.

    Returns
    -------
    list of (train, test)
    """
    from sklearn.model_selection import ShuffleSplit

    folds = ShuffleSplit(n_splits=n_folds, test_size=0.1, random_state=42).split(np.empty((n, 1)))
    return list(islice(folds, measured))


def inner_splits(folds: Sequence[Split], k: int, reach: int = 2) -> Iterator[Split]:
    """Give the splits inside the training rows of fold k that choose its strength.

    Parameters
    ----------
    folds : sequence of (train, test)
        All of them.
    k : int
    reach : int
        Validation blocks are the held-out rows of folds k-1 and k+1, ..., k-reach and k+reach in ring order, less those
        of fold k itself.

    Yields
    ------
    (inner, validation)
    """
    train, test = folds[k]
    for step in (s for distance in range(1, reach + 1) for s in (-distance, distance)):
        neighbour = folds[(k + step) % len(folds)][1]
        yield np.setdiff1d(train, neighbour), np.setdiff1d(neighbour, test)


def q_score(scores: NDArray[np.float64], eps: float = 0.02) -> float:
    """Return Q of some fold scores: ``100 eps mean / (std + eps)``, ddof 0."""
    return float(100 * eps * scores.mean() / (scores.std() + eps))


def score_fold(group: Group, test: NDArray[np.intp], prediction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score the held-out predictions of one fold: R2, or F1 of a prediction above 0.

    Parameters
    ----------
    group : Group
    test : ndarray of int, shape (m,)
        Held-out samples, counted within the group.
    prediction : ndarray, shape (m, t)

    Returns
    -------
    ndarray of float64, shape (t,)
    """
    from sklearn.metrics import f1_score, r2_score

    truth = group.y[test]
    scores = np.asarray(r2_score(truth, prediction, multioutput="raw_values"))
    for column in np.flatnonzero(group.is_class):
        scores[column] = f1_score(truth[:, column] > 0, prediction[:, column] > 0, zero_division=0.0)
    return scores


def largest_difference(scores: FoldScores, reference: FoldScores, *, relative_above: float = math.inf) -> float:
    """Return the largest difference of fold scores, over the folds that both have.

    Parameters
    ----------
    scores, reference : FoldScores
        Same tasks; the last axis is folds and may be cut short in either.
    relative_above : float
        Where the size of the reference is above this, the difference is divided by it; by default nowhere.

    Returns
    -------
    float
        NaN if either holds one: a missing score is never agreement.

    Raises
    ------
    ValueError
        If the tasks differ.
    """
    if scores.keys() != reference.keys():
        raise ValueError(
            f"scores of tasks {sorted(scores)} cannot be compared with scores of tasks {sorted(reference)}"
        )
    worst = 0.0
    for name, ours in scores.items():
        folds = min(ours.shape[-1], reference[name].shape[-1])
        theirs = reference[name][..., :folds]
        unit = np.where(np.abs(theirs) > relative_above, np.abs(theirs), 1.0)
        worst = np.maximum(worst, (np.abs(ours[..., :folds] - theirs) / unit).max())
    return float(worst)
