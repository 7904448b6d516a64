"""What every probe does with a submission, as the engine sees it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from fastprobe.embeddings import Submission
from fastprobe.errors import InputError
from fastprobe.protocol import Protocol
from fastprobe.results import TaskScore
from fastprobe.tasks import Benchmark, Task

__all__ = ["Located", "Records", "Scorer", "locate", "scored_tasks"]

Records = list[list[TaskScore]]
"""For every protocol, the scores of the tasks of one unit."""


@dataclass(frozen=True, eq=False)
class Located:
    """A submission, and where the samples of the benchmark stand in it.

    Attributes
    ----------
    submission : Submission
    benchmark : Benchmark
        The tasks to score, of the samples that the submission has.
    rows_of : ndarray of int64
        What :func:`locate` returned.
    dropped : mapping of str to int
        Samples per task that were left out because the submission lacks them.
    hashed_beside : bool
        Whether the submission is hashed while it is scored, and the records get the hash afterwards: a device scores a
        submission sooner than the host hashes it, and no lane should wait for that.
    """

    submission: Submission
    benchmark: Benchmark
    rows_of: NDArray[np.int64]
    dropped: Mapping[str, int]
    hashed_beside: bool = False
    _hashing: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)

    @property
    def embedding_hash(self) -> str:
        """For the records: the digest of the submission, or empty where it comes afterwards."""
        if self.hashed_beside:
            return ""
        with self._hashing:  # one lane computes it, and the others wait rather than do the same
            return self.submission.digest

    def labelled_rows(self) -> NDArray[np.int64]:
        """Rows of the submission with a label in any task, ascending: they standardise the embedding."""
        return np.sort(self.rows_of[self.rows_of >= 0])

    def repairs(self, task: Task) -> dict[str, int]:
        """What was mended in embedding and labels of a task."""
        dropped = {"samples_without_embedding_dropped": self.dropped[task.name]} if task.name in self.dropped else {}
        return {**self.submission.repairs, **dropped}


class Scorer(Interface):
    """Scores submissions on one benchmark, under protocols that are solved together.

    Several threads may score a submission each, at the same time.
    """

    protocols: list[Protocol]
    """As the scores carry them."""

    units: int
    """Pieces of work in a submission, each of which is reported when it is done."""

    def run(self, located: Located) -> Iterator[Records]:
        """Score a submission; give the records of each unit when it is finished."""


def locate(benchmark: Benchmark, submission: Submission) -> NDArray[np.int64]:
    """Row of the submission for every labelled id of the benchmark, -1 where it has none; shape (labelled ids,)."""
    row_of = {sample: row for row, sample in enumerate(submission.ids.tolist())}
    return np.array([row_of.get(sample, -1) for sample in benchmark.labelled_ids.tolist()], dtype=np.int64)


def scored_tasks(benchmark: Benchmark, protocols: Iterable[Protocol]) -> Benchmark:
    """Return the benchmark with the tasks that at least one of the protocols scores.

    Raises
    ------
    InputError
        If one of them scores none.
    """
    scored: set[Task] = set()
    for protocol in protocols:
        of_protocol = [task for task in benchmark.tasks if protocol.probe_for(task.kind) is not None]
        if not of_protocol:
            raise InputError(
                "--protocol",
                found=f"{protocol.name}, and no classification among the {len(benchmark.tasks)} tasks",
                expected="a classification task, which is all that this protocol scores",
                fix="use --protocol closed-form or ridge, or add labels named <task>__classification.csv",
            )
        scored.update(of_protocol)
    if len(scored) == len(benchmark.tasks):
        return benchmark
    return replace(benchmark, tasks=tuple(task for task in benchmark.tasks if task in scored))
