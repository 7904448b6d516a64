"""NeuCo-Bench's probe on a submission: a unit is a task."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import numpy as np

from fastprobe.backend import Backend
from fastprobe.backend.lanes import as_finished
from fastprobe.errors import InputError
from fastprobe.probes.neuco import Draws, ReplayTask, make_draws, normalized, replay, standardized, task_score
from fastprobe.protocol import Protocol
from fastprobe.results import TaskScore
from fastprobe.tasks import Benchmark, Task
from fastprobe.units.base import Located, Records

__all__ = ["NeucoScorer", "require_two_classes"]

_log = logging.getLogger(__name__)


class NeucoScorer:
    """Scores submissions by replaying NeuCo-Bench; see :class:`fastprobe.units.base.Scorer`.

    The draws depend on the tasks and on the size of the embedding, and are kept from submission to submission while
    that does not change. Submissions that are scored at the same time share them, and none draws what another is
    drawing.

    Parameters
    ----------
    backend : Backend
    benchmark : Benchmark
    protocol : Protocol
        Of the probe ``neuco``.

    Raises
    ------
    InputError
        If a task has more than two classes.
    """

    def __init__(self, backend: Backend, benchmark: Benchmark, protocol: Protocol) -> None:
        for task in benchmark.tasks:
            require_two_classes(task)
        self._backend = backend
        self._layout = _layout(benchmark)
        self._asked = protocol
        self.protocols = [protocol.bound_to(self._layout)]
        self.units = len(benchmark.tasks)
        self._draws: Draws | None = None
        self._drawing = threading.Lock()
        self._ordering = {task.name: threading.Lock() for task in benchmark.tasks}

    def run(self, located: Located) -> Iterator[Records]:
        """Score a submission; give the record of each task when it is finished."""
        assert self._asked.replay is not None
        submission, embedding_dim = located.submission, self._asked.replay.embedding_dim
        if embedding_dim is not None and embedding_dim < submission.x.shape[1]:
            raise InputError(
                f"submission {submission.name!r}",
                found=f"{submission.x.shape[1]} dimensions",
                expected=f"at most {embedding_dim}, the embedding_dim of the protocol",
                fix="raise replay.embedding_dim, or leave it out",
            )
        rows = located.labelled_rows()
        x, _ = standardized(
            submission.x if len(rows) == len(submission.x) else submission.x[rows],
            embedding_dim=embedding_dim,
            standardize=self._asked.standardize,
        )
        draws = self._drawn(located.benchmark, x.shape[1])
        position = np.full(len(submission.x), -1, dtype=np.int64)
        position[rows] = np.arange(len(rows))
        where = dict(zip(located.benchmark.labelled_ids.tolist(), located.rows_of.tolist(), strict=True))
        device_x = self._backend.asarray(x)

        def work(task: Task) -> TaskScore:
            samples = position[[where[sample] for sample in task.ids.tolist()]]
            prepared = ReplayTask(task.name, task.kind, samples, self._labels(task))
            self._order(draws, task)
            (result,) = replay(self._backend, device_x, [prepared], self._asked, draws=draws)
            return task_score(
                result,
                protocol=self.protocols[0],
                submission=submission.name,
                embedding_hash=located.embedding_hash,
                label_hash=task.digest,
                device=self._backend.device,
                notes=(*task.notes, *self._notes(located)),
                repairs=located.repairs(task),
                n_missing_labels=task.n_missing,
            )

        with self._backend.lane_pool() as lanes:
            largest_first = sorted(located.benchmark.tasks, key=lambda task: -len(task.y))
            for score in as_finished(lanes, work, largest_first):
                yield [[score]]

    def _labels(self, task: Task) -> np.ndarray:
        assert self._asked.replay is not None
        if not self._asked.replay.normalize_labels:
            return task.y.astype(np.float32)
        return normalized(task.y)

    def _drawn(self, benchmark: Benchmark, d: int) -> Draws:
        layout = _layout(benchmark)
        if layout != self._layout:  # a submission that lacks samples draws for itself alone
            return make_draws(layout, self._asked, d)
        with self._drawing:
            if self._draws is None or self._draws.d != d:
                self._draws = make_draws(layout, self._asked, d)
            return self._draws

    def _order(self, draws: Draws, task: Task) -> None:
        """Have the training orders of a task drawn, if they are kept. Whoever draws them waits for nobody."""
        drawn = draws[task.name]
        if drawn.keep:
            with self._ordering[task.name]:
                for folds in drawn.chunks():
                    drawn.order(folds)

    def _notes(self, located: Located) -> Iterator[str]:
        assert self._asked.replay is not None
        if self._asked.replay.stream != "shared" or self._asked.replay.tasks is not None:
            return
        if located.benchmark.left_out:
            left_out = ", ".join(located.benchmark.left_out)
            yield f"tasks left out draw nothing, which changes the scores of those after them: {left_out}"
        if located.dropped:
            yield "samples without an embedding were left out, which changes all draws: not comparable with the others"


def require_two_classes(task: Task) -> None:
    """Raise InputError if a task has more classes than NeuCo-Bench's probe can tell apart."""
    if task.n_classes > 2:
        raise InputError(
            f"task {task.name!r}",
            found=f"{task.n_classes} classes",
            expected="two: the probe of NeuCo-Bench knows no more",
            fix="score it with --protocol closed-form or ridge, or leave it out with --tasks",
        )


def _layout(benchmark: Benchmark) -> list[tuple[str, int]]:
    return [(task.name, len(task.y)) for task in benchmark.tasks]
