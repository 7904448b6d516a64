"""Sample groups: tasks with the same samples, in the same order and with the same folds, share all work on features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from fastprobe.folds import Folds, make_folds, read_assignment
from fastprobe.protocol import FoldSpec
from fastprobe.tasks import Benchmark, Task

__all__ = ["SampleGroup", "sample_groups"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SampleGroup:
    """Tasks that share their samples and folds.

    Attributes
    ----------
    ids : ndarray of str, shape (n,)
    positions : ndarray of int64, shape (n,)
        Where those ids stand among the labelled ids of the benchmark.
    tasks : tuple of Task, length t
    y : ndarray of float64, shape (n, columns)
        A column of labels for a regression, of -1 and +1 for two classes; for more classes a column for each, +1 for
        its members and -1 for the others.
    folds : Folds
    parts : tuple of int
        Earlier groups whose samples are disjoint and all in this one: their Gram matrices are parts of its own.
    rest : ndarray of int64
        Rows that are in none of the parts.
    """

    ids: NDArray[np.str_]
    positions: Ints
    tasks: tuple[Task, ...]
    y: NDArray[np.float64]
    folds: Folds
    parts: tuple[int, ...] = ()
    rest: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @cached_property
    def columns(self) -> tuple[slice, ...]:
        """Which columns of `y` belong to each task."""
        return _columns(self.tasks)

    def labels(self, tasks: Sequence[int]) -> tuple[NDArray[np.float64], tuple[slice, ...]]:
        """Return the columns of `y` of some tasks, shape (n, columns), and which of them belong to each of these."""
        if list(tasks) == list(range(len(self.tasks))):
            return self.y, self.columns
        y = np.concatenate([self.y[:, self.columns[j]] for j in tasks], axis=1)
        return y, _columns([self.tasks[j] for j in tasks])


def sample_groups(
    benchmark: Benchmark, spec: FoldSpec, assignment: Mapping[str, str] | None = None
) -> tuple[SampleGroup, ...]:
    """Group the tasks of a benchmark, smallest group first.

    Parameters
    ----------
    benchmark : Benchmark
    spec : FoldSpec
    assignment : mapping, optional
        Groups or split of the samples, if they were read already.

    Raises
    ------
    InputError
        If the samples of a task cannot be split as `spec` says.
    """
    if assignment is None:
        assignment = read_assignment(spec)
    members: dict[tuple[bytes, bytes], list[Task]] = {}
    folds_of: dict[tuple[bytes, bytes], Folds] = {}
    plain: dict[bytes, Folds] = {}
    for task in benchmark.tasks:
        ids = "\0".join(task.ids.tolist()).encode()
        by_label = spec.scheme.startswith("stratified-") and task.kind == "classification"
        if by_label or ids not in plain:
            folds = make_folds(spec, task.ids, task.y, task.kind, assignment)
            if not by_label:
                plain[ids] = folds
        else:
            folds = plain[ids]
        key = ids, task.y.tobytes() if by_label else b""
        members.setdefault(key, []).append(task)
        folds_of[key] = folds
    position_of = {sample: i for i, sample in enumerate(benchmark.labelled_ids.tolist())}
    groups: list[SampleGroup] = []
    for key in sorted(members, key=lambda key: len(members[key][0].ids)):
        tasks = members[key]
        positions = np.array([position_of[sample] for sample in tasks[0].ids.tolist()], dtype=np.int64)
        parts, rest = _tile(positions, groups, len(position_of))
        y = np.concatenate([_label_columns(task) for task in tasks], axis=1)
        groups.append(SampleGroup(tasks[0].ids, positions, tuple(tasks), y, folds_of[key], parts, rest))
    return tuple(groups)


def _columns(tasks: Sequence[Task]) -> tuple[slice, ...]:
    widths = [task.n_classes if task.n_classes > 2 else 1 for task in tasks]
    stops = accumulate(widths)
    return tuple(slice(stop - width, stop) for stop, width in zip(stops, widths, strict=True))


def _label_columns(task: Task) -> NDArray[np.float64]:
    """Labels as least squares takes them, shape (n, columns)."""
    if task.n_classes > 2:
        return np.where(task.y[:, None] == np.arange(task.n_classes), 1.0, -1.0)
    return (2.0 * task.y - 1.0 if task.kind == "classification" else task.y)[:, None]


def _tile(positions: Ints, earlier: list[SampleGroup], count: int) -> tuple[tuple[int, ...], Ints]:
    """Find earlier groups that are disjoint and all within these samples, largest first; and the rows left over."""
    free = np.zeros(count, dtype=bool)
    free[positions] = True
    parts = []
    for j in reversed(range(len(earlier))):
        if free[earlier[j].positions].all() and not earlier[j].parts:
            free[earlier[j].positions] = False
            parts.append(j)
    return tuple(parts), np.flatnonzero(free[positions])
