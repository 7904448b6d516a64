"""Sample groups: tasks with the same samples, in the same order and with the same folds, share all work on features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
    y : ndarray of float64, shape (n, t)
        Labels; -1 and +1 for classification.
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
        labels = [2.0 * task.y - 1.0 if task.kind == "classification" else task.y for task in tasks]
        parts, rest = _tile(positions, groups, len(position_of))
        y = np.stack(labels, axis=1)
        groups.append(SampleGroup(tasks[0].ids, positions, tuple(tasks), y, folds_of[key], parts, rest))
    return tuple(groups)


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
