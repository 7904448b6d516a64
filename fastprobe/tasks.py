"""Tasks: labels of samples, and benchmarks: folders of tasks.

A folder of ``<task>__<type>.csv`` files with the columns ``id,label`` is a benchmark; ``<type>`` is ``regression`` (or
``regr``) or ``classification`` (or ``cls``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastprobe.errors import InputError
from fastprobe.readers.label_folder import KINDS, Kind, label_files
from fastprobe.readers.labels import read_assignment, read_labels
from fastprobe.readers.table import ArrayPlaces, shorten
from fastprobe.readers.validation import as_ids, checked

__all__ = ["Benchmark", "Kind", "Task", "hash_labels", "read_groups", "read_split"]

_SIDES = {"dev": "dev", "train": "dev", "eval": "eval", "test": "eval"}

_MAX_CLASSES = 1000
_LISTED_CLASSES = 10


def hash_labels(kind: Kind, ids: Iterable[str], y: NDArray[np.float64]) -> str:
    """Hash the kind of a task, its ids and their labels (32 hexadecimal digits)."""
    h = hashlib.blake2b(digest_size=16)
    h.update(kind.encode())
    h.update("\0".join(ids).encode())
    h.update(np.ascontiguousarray(y, dtype="<f8").tobytes())
    return h.hexdigest()


@dataclass(frozen=True, eq=False)
class Task:
    """Labels of one downstream task, in the order of its file.

    Attributes
    ----------
    name : str
    kind : {"regression", "classification"}
    ids : ndarray of str, shape (n,)
        Unique sample ids, without the suffixes ``.zarr.zip`` and ``.zarr``; at least two.
    y : ndarray of float64, shape (n,)
        Finite labels; for classification the numbers 0 .. M-1 of the classes.
    n_missing : int
        Rows of the file without a label, which were skipped.
    classes : tuple of float or None
        The M label values that became 0 .. M-1, ascending; 2 or more, not all of which need occur. None for regression.
        If it is not given for classification, the classes are the numbers in `y`.
    notes : tuple of str
        What was changed on the way: classes that were mapped, rows that lenient reading dropped.

    Raises
    ------
    InputError
        If anything is otherwise. :meth:`from_arrays` maps classes and skips missing labels.
    """

    name: str
    kind: Kind
    ids: NDArray[np.str_]
    y: NDArray[np.float64]
    n_missing: int = 0
    classes: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Validate."""
        where = f"task {self.name!r}"
        if self.kind not in ("regression", "classification"):
            raise _unknown_kind(where, self.kind)
        labels = _as_labels(self.y, where)
        if len(labels) < 2:
            raise _too_few(where, len(labels), self.n_missing)
        texts = as_ids(self.ids, where)
        ids, y = checked(texts, labels[:, None], ArrayPlaces(where, texts, ("label",)))
        classes = _as_classes(self.classes, y, where) if self.kind == "classification" else None
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "y", y[:, 0])
        object.__setattr__(self, "classes", classes)

    @classmethod
    def from_arrays(cls, name: str, kind: str, ids: ArrayLike, y: ArrayLike) -> Task:
        """Make a task of arrays, as it would be made of a file with these rows.

        Parameters
        ----------
        name : str
        kind : str
            ``regression`` (``regr``) or ``classification`` (``cls``).
        ids : array_like of str, shape (n,)
        y : array_like, shape (n,)
            NaN marks a missing label. The values of a classification task, in ascending order, become 0, 1, 2, ...

        Raises
        ------
        InputError
            If the kind is unknown, ids appear twice, labels are infinite, or a classification task has a single value
            other than 0 and 1, or so many that it must be a regression.
        """
        where = f"task {name!r}"
        if kind not in KINDS:
            raise _unknown_kind(where, kind)
        texts, labels = as_ids(ids, where), _as_labels(y, where)
        if len(texts) != len(labels):
            raise InputError(
                where,
                found=f"{len(texts):,} ids for {len(labels):,} labels",
                expected="one id per label",
                fix="pass ids and labels of the same samples",
            )
        present = ~np.isnan(labels)
        kept = [text for text, has in zip(texts, present.tolist(), strict=True) if has]
        n_missing = int((~present).sum())
        return _task(name, KINDS[kind], kept, labels[present], n_missing, (), where, lambda row: f"labelled row {row}")

    @property
    def metric(self) -> str:
        """Metric of a fold that Q is made of: ``r2``, ``f1``, or ``macro_f1`` of more than two classes."""
        if self.kind == "regression":
            return "r2"
        return "f1" if self.n_classes <= 2 else "macro_f1"

    @property
    def n_classes(self) -> int:
        """Number M of classes, 2 or more; 0 for regression."""
        return len(self.classes) if self.classes is not None else 0

    @cached_property
    def digest(self) -> str:
        """Hash of the kind, the ids and the labels (32 hexadecimal digits)."""
        return hash_labels(self.kind, self.ids.tolist(), self.y)


@dataclass(frozen=True, eq=False)
class Benchmark:
    """The tasks that a submission is scored on.

    Attributes
    ----------
    tasks : tuple of Task
        Sorted by name.
    labelled_ids : ndarray of str
        Ids that have a label in *any* task, before tasks were selected: the rows whose mean and standard deviation
        standardise an embedding.
    left_out : tuple of str
        Names of the tasks that :meth:`select` left out, sorted.
    source : str or None
        Absolute path of the folder that it was read from, if it was.

    Raises
    ------
    InputError
        If there are no tasks, two have the same name, or a task has ids that are not among ``labelled_ids``.
    """

    tasks: tuple[Task, ...]
    labelled_ids: NDArray[np.str_] = field(repr=False)
    left_out: tuple[str, ...] = ()
    source: str | None = None

    def __post_init__(self) -> None:
        """Validate, and sort the tasks."""
        tasks = tuple(sorted(self.tasks, key=lambda task: task.name))
        names = [task.name for task in tasks]
        if not tasks or len(set(names)) < len(names):
            raise InputError(
                "benchmark",
                found=f"two tasks named {next(n for n in names if names.count(n) > 1)!r}" if tasks else "no tasks",
                expected="at least one task, and every name once",
                fix="rename or remove tasks" if tasks else "pass a task",
            )
        labelled = np.asarray(self.labelled_ids, dtype=np.str_)
        known = set(labelled.tolist())
        for task in tasks:
            if strangers := set(task.ids.tolist()) - known:
                raise InputError(
                    f"benchmark, task {task.name!r}",
                    found=f"the id {min(strangers)!r}, which is not among labelled_ids",
                    expected="labelled_ids to hold the ids of all tasks",
                    fix="make the benchmark with Benchmark.from_tasks",
                )
        object.__setattr__(self, "tasks", tasks)
        object.__setattr__(self, "labelled_ids", labelled)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tasks, sorted."""
        return tuple(task.name for task in self.tasks)

    @classmethod
    def from_tasks(cls, tasks: Iterable[Task]) -> Benchmark:
        """Make a benchmark of tasks; ``labelled_ids`` are all ids of all tasks, sorted."""
        tasks = tuple(tasks)
        labelled = sorted({i for task in tasks for i in task.ids.tolist()})
        return cls(tasks, np.array(labelled, dtype=np.str_))

    @classmethod
    def from_folder(
        cls, folder: str | os.PathLike[str], *, tasks: Iterable[str] | None = None, lenient: bool = False
    ) -> Benchmark:
        """Read a folder of label files.

        Parameters
        ----------
        folder : path
            Files ``<task>__<type>.csv`` with the columns ``id,label`` (others are not looked at). Rows without a label
            (an empty cell, or NaN in any usual spelling) are skipped and counted. Files that are not CSV, and hidden
            files, are ignored.
        tasks : iterable of str, optional
            Names of the tasks to keep; all by default.
        lenient : bool
            Of several labels of one id keep the first, and note how many were dropped, instead of failing.

        Raises
        ------
        InputError
            If the folder is missing or holds no label file, a CSV file is named otherwise, two files are of one task, a
            label file is wrong (see :func:`fastprobe.readers.labels.read_labels`), a task has fewer than two labels or
            a classification task a single class other than 0 and 1, or so many that it must be a regression, or a
            selected task is not there.
        """
        files = label_files(Path(folder))
        tasks_read = [_read_task(name, kind, path, lenient) for name, (kind, path) in sorted(files.items())]
        bench = replace(cls.from_tasks(tasks_read), source=os.path.abspath(folder))  # noqa: PTH100 - resolve() follows links
        return bench if tasks is None else bench.select(tasks)

    def select(self, names: Iterable[str]) -> Benchmark:
        """Keep the named tasks; ``labelled_ids`` stay those of all tasks.

        Raises
        ------
        InputError
            If a name is unknown, or there are none.
        """
        wanted = {names} if isinstance(names, str) else set(names)
        unknown = sorted(wanted - set(self.names))
        if unknown or not wanted:
            raise InputError(
                "tasks",
                found=f"no task named {', '.join(map(shorten, unknown))}" if unknown else "no names",
                expected=f"some of {', '.join(self.names)}",
                fix="correct the names of the tasks",
            )
        kept = tuple(task for task in self.tasks if task.name in wanted)
        left_out = tuple(sorted({*self.left_out, *self.names} - wanted))
        return replace(self, tasks=kept, left_out=left_out)


def read_groups(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the group (site, region, ...) of every sample, for grouped folds.

    Parameters
    ----------
    path : path
        CSV with the column ``id`` and the groups in the column ``group`` or, if there is none, in the second.

    Returns
    -------
    dict
        Id (without ``.zarr.zip`` and ``.zarr``) to group.

    Raises
    ------
    InputError
        If a column is missing, an id appears twice, or an id or group is empty.
    """
    return read_assignment(Path(path), "group")


def read_split(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read on which side of a fixed split every sample lies.

    Parameters
    ----------
    path : path
        CSV with the column ``id`` and the sides in the column ``split`` or, if there is none, in the second:
        ``dev`` (or ``train``) and ``eval`` (or ``test``).

    Returns
    -------
    dict
        Id (without ``.zarr.zip`` and ``.zarr``) to ``"dev"`` or ``"eval"``.

    Raises
    ------
    InputError
        If a column is missing, an id appears twice, a side is called otherwise, or one of the sides has no samples.
    """
    split = {id_: _SIDES[side] for id_, side in read_assignment(Path(path), "split", values=tuple(_SIDES)).items()}
    empty = sorted({"dev", "eval"} - set(split.values()))
    if empty:
        raise InputError(
            f"{path}, column 'split'",
            found=f"no samples in {empty[0]!r}",
            expected="samples on both sides: dev (or train) and eval (or test)",
            fix="assign some samples to the other side",
        )
    return split


def _read_task(name: str, kind: Kind, path: Path, lenient: bool) -> Task:
    labels = read_labels(path, lenient=lenient)
    dropped = (f"{labels.n_duplicates} rows with an id that has a label already were dropped",)
    notes = dropped if labels.n_duplicates else ()
    y = np.array(labels.values, dtype=np.float64)
    return _task(name, kind, labels.ids, y, labels.n_missing, notes, str(path), lambda row: f"line {labels.lines[row]}")


def _task(
    name: str,
    kind: Kind,
    ids: list[str],
    y: NDArray[np.float64],
    n_missing: int,
    notes: tuple[str, ...],
    where: str,
    place: Callable[[int], str],
) -> Task:
    """Make a task of labels that are there, with classes mapped to their numbers."""
    if len(y) < 2:
        raise _too_few(where, len(y), n_missing)
    if kind == "regression":
        return Task(name, kind, np.asarray(ids), y, n_missing, None, notes)
    values, firsts, codes = np.unique(y, return_index=True, return_inverse=True)
    most = max(2, min(_MAX_CLASSES, len(y) // 2))
    if len(values) > most:
        row = int(np.sort(firsts)[most])
        raise InputError(
            f"{where}, {place(row)}, column 'label'",
            found=f"{y[row]:g}, a class too many: {len(values):,} classes among {len(y):,} samples",
            expected=f"at most {most:,} classes ({_MAX_CLASSES:,}, and no more than half of the samples)",
            fix="declare the task a regression, or put classes together",
        )
    if len(values) == 1 and values[0] not in (0.0, 1.0):
        raise InputError(
            f"{where}, column 'label'",
            found=f"the label {values[0]:g} everywhere",
            expected="two classes or more, such as 0 and 1",
            fix="declare the task a regression, or take it out",
        )
    if len(values) == 1:
        values, codes = np.array([0.0, 1.0]), y.astype(np.int64)
    classes = tuple(values.tolist())
    if classes != tuple(range(len(classes))):
        notes = (*notes, _mapping(classes))
    return Task(name, kind, np.asarray(ids), codes.astype(np.float64), n_missing, classes, notes)


def _mapping(classes: tuple[float, ...]) -> str:
    """Say which labels became which class numbers."""
    *first, last = [f"{label:g}" for label in classes]
    if len(classes) <= _LISTED_CLASSES:
        numbers = "0 and 1" if len(classes) == 2 else f"0 to {len(classes) - 1}"
        return f"the labels {', '.join(first)} and {last} became {numbers}"
    return f"the {len(classes)} labels from {first[0]} to {last} became 0 to {len(classes) - 1}"


def _as_classes(classes: tuple[float, ...] | None, y: NDArray[np.float64], where: str) -> tuple[float, ...]:
    """Return the classes of labels that are class numbers already, or raise."""
    if classes is None:
        classes = tuple(map(float, range(max(2, len(np.unique(y))))))
        fix = "make the task with Task.from_arrays, which maps labels to class numbers"
    else:
        classes = tuple(map(float, classes))
        fix = "name all classes of the task"
        if len(classes) < 2 or not np.isfinite(classes).all() or (np.diff(classes) <= 0).any():
            raise InputError(
                where,
                found=f"the classes {shorten(str(classes))}",
                expected="two finite numbers or more, ascending",
                fix="make the task with Task.from_arrays, which finds the classes",
            )
    known = np.isin(y, np.arange(len(classes)))
    if not known.all():
        numbers = "0 and 1" if len(classes) == 2 else f"the class numbers 0 to {len(classes) - 1}"
        raise InputError(where, found=f"the label {y[~known][0]:g}", expected=f"{numbers} for classification", fix=fix)
    return classes


def _unknown_kind(where: str, kind: str) -> InputError:
    return InputError(
        where, found=f"the kind {kind!r}", expected=f"one of {', '.join(KINDS)}", fix="name the kind of the task"
    )


def _as_labels(y: ArrayLike, where: str) -> NDArray[np.float64]:
    array = np.asarray(y)
    if array.ndim != 1 or array.dtype.kind not in "fiub":
        raise InputError(
            where,
            found=f"labels of type {array.dtype} and shape {array.shape}",
            expected="one number per sample",
            fix="pass the labels as a flat list of numbers",
        )
    return array.astype(np.float64)


def _too_few(where: str, n: int, n_missing: int) -> InputError:
    return InputError(
        where,
        found=f"{n} labelled sample{'s' * (n != 1)}" + (f" and {n_missing} without a label" if n_missing else ""),
        expected="at least 2",
        fix="add labels, or take the task out",
    )
