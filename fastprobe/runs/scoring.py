"""One submission of a run, scored on the tasks that it lacks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend import Backend
from fastprobe.embeddings import Submission
from fastprobe.results import TaskScore
from fastprobe.runs.terms import Terms
from fastprobe.scoring import located, needed_ids
from fastprobe.tasks import Benchmark
from fastprobe.units import Scorer, make_scorer

__all__ = ["UnitScorer"]


@dataclass(frozen=True, eq=False)
class _Selection:
    """Some tasks, and what scores them.

    Attributes
    ----------
    benchmark : Benchmark
    needed : ndarray of bool
        Which of its labelled ids are samples of these tasks.
    scorer : Scorer
    """

    benchmark: Benchmark
    needed: NDArray[np.bool_]
    scorer: Scorer


class UnitScorer:
    """Scores submissions; folds and draws are made once. Several threads may score a submission each.

    Parameters
    ----------
    backend : Backend
    terms : Terms
    lenient : bool
        Leave out labelled samples that a submission lacks.

    Raises
    ------
    InputError
        If labels and protocol do not go together.
    """

    def __init__(self, backend: Backend, terms: Terms, *, lenient: bool = False) -> None:
        self.backend, self.terms, self._lenient = backend, terms, lenient
        self._making = threading.Lock()
        self._selections: dict[tuple[str, ...], _Selection] = {}
        self._selection(terms.tasks)  # what is wrong with the terms is no submission's fault

    def score(self, submission: Submission, tasks: Sequence[str], *, apart: bool = False) -> list[TaskScore]:
        """Score a submission.

        Parameters
        ----------
        submission : Submission
        tasks : sequence of str
            Names.
        apart : bool
            In a thread that is not alone: see :meth:`fastprobe.backend.Backend.session`.

        Returns
        -------
        list of TaskScore
            Sorted by task.

        Raises
        ------
        InputError
            If the submission lacks samples.
        DeviceError
            If the memory of the device does not suffice.
        """
        chosen = self._selection(tuple(tasks))
        there = located(chosen.benchmark, chosen.needed, submission, lenient=self._lenient)
        with self.backend.session(apart=apart):
            found = [row for records in chosen.scorer.run(there) for row in records[0]]
        return sorted(found, key=lambda row: row.task)

    def _selection(self, tasks: tuple[str, ...]) -> _Selection:
        with self._making:
            if tasks not in self._selections:
                benchmark = self.terms.benchmark
                if len(tasks) < len(benchmark.tasks):
                    benchmark = replace(benchmark, tasks=tuple(t for t in benchmark.tasks if t.name in tasks))
                scorer = make_scorer(self.backend, benchmark, [self.terms.asked], None)
                self._selections[tasks] = _Selection(benchmark, needed_ids(benchmark), scorer)
            return self._selections[tasks]
