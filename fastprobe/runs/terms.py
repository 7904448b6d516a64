"""What decides the scores of a run, beside the submissions: labels, protocol, and the version of the numerics."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fastprobe.protocol import Protocol
from fastprobe.runs.score_files import Key
from fastprobe.tasks import Benchmark
from fastprobe.units import scored_tasks

__all__ = ["Terms"]

_NUMERICS = "1"
"""Major version of the numerics: raised when the same input would give other scores."""


@dataclass(frozen=True, eq=False)
class Terms:
    """What decides the scores of a run, beside the submissions.

    Attributes
    ----------
    benchmark : Benchmark
        The tasks that the protocol scores.
    asked : Protocol
        As the user gave it.
    protocol : Protocol
        As the scores carry it: bound to the tasks, where they share a stream of random numbers.
    """

    benchmark: Benchmark
    asked: Protocol
    protocol: Protocol

    @classmethod
    def of(cls, benchmark: Benchmark, protocol: Protocol) -> Terms:
        """Put labels and protocol together.

        Raises
        ------
        InputError
            If the protocol scores none of the tasks.
        """
        scored = scored_tasks(benchmark, [protocol])
        return cls(scored, protocol, protocol.bound_to((task.name, len(task.ids)) for task in scored.tasks))

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, sorted."""
        return self.benchmark.names

    @cached_property
    def labels(self) -> dict[str, str]:
        """Of every task a hash of its labels, the ids that standardise, and the version of the numerics."""
        standardising = _hash(self.benchmark.labelled_ids.tolist())
        return {task.name: _hash([standardising, task.digest, _NUMERICS]) for task in self.benchmark.tasks}

    @cached_property
    def digest(self) -> str:
        """Hash of all of it."""
        return _hash([self.protocol.hash, self.labels])

    def key(self, submission: str, digest: str, task: str) -> Key:
        """Key of the score of a submission, by its name and the hash of the embedding."""
        return Key(submission, task, self.protocol.hash, digest, self.labels[task])

    def admits(self, key: Key) -> bool:
        """Whether a score is up to date, as far as that does not depend on the submission.

        A task that was left out of the benchmark by name is, for its labels are not looked at; one that is not in the
        folder of labels any more is not.
        """
        if key.protocol != self.protocol.hash:
            return False
        return self.labels.get(key.task) == key.labels or key.task in self.benchmark.left_out

    def together(self, missing: Sequence[str]) -> tuple[str, ...]:
        """Tasks to be scored if some are missing: all, where they share a stream of random numbers."""
        shared = self.protocol.replay is not None and self.protocol.replay.stream == "shared"
        return self.tasks if missing and shared else tuple(missing)


def _hash(values: Any) -> str:
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=16).hexdigest()
