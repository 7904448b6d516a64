"""Tasks of a run: labels joined to embeddings as NeuCo-Bench joins them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastprobe.compat.neuco.config import NeucoConfig
from fastprobe.compat.neuco.labels import LabelFile
from fastprobe.errors import InputError
from fastprobe.probes.neuco import ReplayTask, normalized
from fastprobe.tasks import hash_labels

__all__ = ["JoinedTask", "join"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class JoinedTask:
    """A task with embeddings for its labels.

    Attributes
    ----------
    replay : ReplayTask
    labels : ndarray of float64, shape (n,)
        As they stand in the file.
    digest : str
        Hash of kind, ids and labels.
    n_missing : int
        Rows of the file without a label.
    notes : tuple of str
        What is remarkable about the labels.
    repairs : mapping of str to int
        Labels that were left out.
    """

    replay: ReplayTask
    labels: NDArray[np.float64]
    digest: str
    n_missing: int
    notes: tuple[str, ...]
    repairs: Mapping[str, int]


def join(
    files: Sequence[LabelFile], spans: Mapping[str, range], config: NeucoConfig, *, left_out: Sequence[str] = ()
) -> list[JoinedTask]:
    """Join labels to the rows of an embedding, in the order of the label file.

    A row of labels meets every embedding of its id, and is left out if there is none. A task without any embedding is
    left out altogether, as in NeuCo-Bench.

    Parameters
    ----------
    files : sequence of LabelFile
        Sorted by name.
    spans : mapping of str to range
        Rows of every id.
    config : NeucoConfig
    left_out : sequence of str
        Names of tasks that would have been run without ``task_filter``.

    Raises
    ------
    InputError
        If no task has any embedding, or NeuCo-Bench would fail on a task: too few samples, or classes that are not 0
        and 1 in the end.
    """
    joined: list[JoinedTask] = []
    for file in files:
        pairs = [(i, row) for i, sample in enumerate(file.ids) for row in spans.get(sample, ())]
        if not pairs:
            _log.warning("%s: left out, for none of its %d labels has an embedding", file.path, len(file.ids))
            continue
        samples, rows = np.array(pairs, dtype=np.int64).T
        shifts = _shifts(file.name, [task.replay.name for task in joined], left_out, config)
        joined.append(_Join(file, samples, np.ascontiguousarray(rows), config).task(shifts))
    if not joined:
        raise InputError(
            ", ".join(str(file.path) for file in files[:3]) + (", ..." if len(files) > 3 else ""),
            found="no labelled id that has an embedding",
            expected="embeddings for some of the samples of some task",
            fix="use the same ids in both, or choose other tasks with task_filter",
        )
    return joined


@dataclass(frozen=True, eq=False)
class _Join:
    """Labels of a file, by position, and the rows of the embedding that they meet."""

    file: LabelFile
    samples: NDArray[np.int64]
    rows: NDArray[np.int64]
    config: NeucoConfig

    def task(self, shifts: Iterable[str]) -> JoinedTask:
        file, normalize = self.file, self.config.normalize_labels
        labels = np.array(file.values)[self.samples]
        if file.kind == "classification":
            self._require_two_classes(labels)
        try:
            y = normalized(labels) if normalize else labels.astype(np.float32)
            task = ReplayTask(file.name, file.kind, self.rows, y)
        except InputError as error:
            where = f"{file.path}, {error.where}"
            raise InputError(where, found=error.found, expected=error.expected, fix=error.fix) from None
        notes = (*self._remarks(labels), *shifts)
        dropped = self._dropped()
        digest = hash_labels(file.kind, (file.ids[i] for i in self.samples.tolist()), labels)
        return JoinedTask(task, labels, digest, file.n_missing, notes, dropped)

    def _require_two_classes(self, labels: NDArray[np.float64]) -> None:
        """Refuse labels that do not end up as 0 and 1, on which NeuCo-Bench's F1 fails."""
        values, firsts = np.unique(labels, return_index=True)
        normalize = self.config.normalize_labels
        if normalize and len(values) == 1:
            odd, found = 0, f"the label {labels[0]:g} everywhere, which normalize_labels turns into 0/0"
            expected, fix = "two classes", "leave the task out with task_filter, or set normalize_labels: false"
        elif normalize and len(values) > 2:
            odd = int(np.sort(firsts)[2])
            found = f"{labels[odd]:g}, a third class (there are {len(values)})"
            expected = "exactly two classes, such as 0 and 1"
            fix = (
                "leave the task out with task_filter, or score it by `fastprobe score --protocol closed-form` or ridge"
            )
        elif not normalize and not np.isin(values, (0, 1)).all():
            odd = int(np.flatnonzero(~np.isin(labels, (0, 1)))[0])
            found, expected = f"{labels[odd]:g}", "0 or 1, for normalize_labels is false"
            fix = "write the classes as 0 and 1, or set normalize_labels: true"
        else:
            return
        line = self.file.lines[self.samples[odd]]
        raise InputError(f"{self.file.path}, line {line}, column 'label'", found=found, expected=expected, fix=fix)

    def _remarks(self, labels: NDArray[np.float64]) -> Iterator[str]:
        file, low, high = self.file, labels.min(), labels.max()
        if again := len(file.ids) - len(set(file.ids)):
            yield f"{again} labels of ids that have one before, all kept"
        if more := len(self.samples) - len(np.unique(self.samples)):
            yield f"{more} samples more than labels, for ids that stand in the submission more than once"
        if not self.config.normalize_labels:
            return
        if low == high:
            yield f"all labels are {low:g}: NeuCo-Bench divides 0 by 0, and every fold scores -Infinity"
        elif file.kind == "classification" and (low, high) != (0, 1):
            yield f"the labels {low:g} and {high:g} became 0 and 1"

    def _dropped(self) -> dict[str, int]:
        """Count the labels that were left out."""
        n_dropped = len(self.file.ids) - len(np.unique(self.samples))
        if not n_dropped:
            return {}
        _log.warning("%s: %d labels without an embedding left out", self.file.path, n_dropped)
        return {"samples_without_embedding_dropped": n_dropped}


def _shifts(name: str, earlier: Sequence[str], left_out: Sequence[str], config: NeucoConfig) -> Iterator[str]:
    """Say why the task draws other random numbers than in a run of all tasks that stores nothing."""
    skipped = [other for other in left_out if other < name]
    if skipped:
        yield f"task_filter leaves out {_some(skipped)}, so this task gets other draws than in a full run"
    if config.store_probes and earlier:
        yield f"store_probes draws again for {_some(earlier)}, so this task gets other draws than without"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"
