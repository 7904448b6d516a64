"""The refits of a task: features and labels as its probe takes them, and folds as its protocol makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastprobe.audit import neuco
from fastprobe.audit.kernel import Kernel
from fastprobe.audit.logistic import Logistic
from fastprobe.audit.refit import Candidate, Fold, Probe, Refits
from fastprobe.audit.ridge import Ridge
from fastprobe.audit.sources import Labels
from fastprobe.audit.splits import Splits
from fastprobe.embeddings import Submission
from fastprobe.protocol import Protocol
from fastprobe.rows import TaskScore
from fastprobe.tasks import Task

__all__ = ["Embedding", "check_folds"]


@dataclass(frozen=True, eq=False)
class Embedding:
    """A submission, ready for the tasks of a benchmark.

    Attributes
    ----------
    x : ndarray, shape (n, d)
        Standardised by the rows with a label in any task: float64, or NeuCo-Bench's float32.
    row_of : mapping of str to int
    """

    x: NDArray[np.floating]
    row_of: Mapping[str, int]

    @classmethod
    def of(cls, submission: Submission, labelled: frozenset[str], protocol: Protocol) -> Embedding:
        """Standardise a submission by one mean and one standard deviation, if the protocol says so."""
        ids = submission.ids.tolist()
        kept = [row for row, sample in enumerate(ids) if sample in labelled]
        row_of = {ids[row]: i for i, row in enumerate(kept)}
        if protocol.replay is not None:
            width = protocol.replay.embedding_dim
            return cls(neuco.scaled(submission.x[kept], width=width, standardize=protocol.standardize), row_of)
        x = submission.x[kept].astype(np.float64)
        if protocol.standardize:
            same = x.min() == x.max()
            x = (x - x.mean()) / (1.0 if same else x.std())
        return cls(x, row_of)

    def has(self, samples: Sequence[str]) -> list[bool]:
        """Say of every sample whether it is there."""
        return [sample in self.row_of for sample in samples]

    def rows(self, samples: Sequence[str]) -> NDArray[np.floating]:
        """Features of samples."""
        return self.x[[self.row_of[sample] for sample in samples]]


def _recorded_choices(row: TaskScore) -> Sequence[Candidate | None]:
    """Strength, and kernel, of every fold in a record; None where it has none."""
    kernels = row.fold_kernels or ("",) * len(row.fold_alphas)
    if not len(row.fold_alphas) == len(kernels) == len(row.fold_scores):
        return [None] * len(row.fold_scores)
    return [Candidate(alpha, kernel) for alpha, kernel in zip(row.fold_alphas, kernels, strict=True)]


def check_folds(
    row: TaskScore,
    embedding: Embedding,
    labels: Labels,
    protocol: Protocol,
    folds: Sequence[int],
    tell: Callable[[int], None],
) -> list[Fold]:
    """Refit some folds of a score.

    Parameters
    ----------
    row : TaskScore
        The record.
    embedding : Embedding
    labels : Labels
    protocol : Protocol
    folds : sequence of int
    tell : callable
        Called with the number of folds that are done.

    Raises
    ------
    InputError
        If the samples cannot be split as the protocol says.
    """
    task = labels.tasks[row.task]
    there = np.array(embedding.has(task.ids.tolist()))
    samples, y = task.ids[there].tolist(), task.y[there]
    x = embedding.rows(samples)
    refits: Refits | neuco.Replayed
    if protocol.replay is not None:
        refits = _replayed(x, y, task, embedding, labels, protocol)
    else:
        codes = y.astype(np.int64) if task.kind == "classification" else None
        splits = Splits(protocol.folds, samples, codes, labels.assignment, protocol.inner_folds)
        refits = Refits(_probe(x.astype(np.float64), y, task, protocol), splits, y, task.n_classes)
    choices, done = _recorded_choices(row), []
    for k in folds:
        done.append(refits.fold(k, row.fold_scores[k], choices[k]))
        tell(len(done))
    return done


def _probe(x: NDArray[np.float64], y: NDArray[np.float64], task: Task, protocol: Protocol) -> Probe:
    """The probe of a task; least squares takes -1 and +1 for two classes, and a column of them for each of more."""
    name, candidates = protocol.probe_for(task.kind), [Candidate(alpha) for alpha in protocol.strengths]
    if name == "logistic":
        return Logistic(x, y.astype(np.int64), task.n_classes, candidates)
    columns = y[:, None]
    if task.n_classes == 2:
        columns = 2.0 * columns - 1.0
    elif task.n_classes:
        columns = np.where(columns == np.arange(task.n_classes), 1.0, -1.0)
    if name == "ridge":
        return Ridge(x, columns, candidates)
    assert protocol.kernel is not None
    return Kernel(protocol.kernel, x, columns, protocol.strengths)


def _replayed(
    x: NDArray[np.floating],
    y: NDArray[np.float64],
    task: Task,
    embedding: Embedding,
    labels: Labels,
    protocol: Protocol,
) -> neuco.Replayed:
    spec = protocol.replay
    assert spec is not None
    before: list[int] = []
    for name, size in spec.tasks or ():
        if name == task.name:
            break
        # A submission that lacks samples draws for those that it has.
        ids = labels.tasks[name].ids.tolist() if name in labels.tasks else []
        before.append(size - embedding.has(ids).count(False))
    prepared = neuco.unit_labels(y) if spec.normalize_labels else y.astype(np.float32)
    logistic = task.kind == "classification"
    return neuco.Replayed(x.astype(np.float32), prepared, logistic, spec, protocol.folds.n_folds, before)
