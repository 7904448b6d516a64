"""Label files as NeuCo-Bench reads them: ids as they stand there, and every row kept, repeated ids too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastprobe.compat.neuco.config import NeucoConfig
from fastprobe.errors import InputError
from fastprobe.readers.label_folder import KINDS, Kind
from fastprobe.readers.table import shorten
from fastprobe.readers.text import csv_rows, read_header

__all__ = ["LabelFile", "read_label_folder", "select"]

_PATTERN = "<task>__<type>.csv with the type regression (regr) or classification (cls)"


@dataclass(frozen=True, eq=False)
class LabelFile:
    """The content of a label file.

    Attributes
    ----------
    name : str
        Of the task.
    path : Path
    ids : list of str
        Suffixes such as ``.zarr.zip`` are part of them.
    values : list of float
        Finite.
    lines : list of int
        Line of every label; the header is line 1.
    n_missing : int
        Rows without a label, which were skipped.
    """

    name: str
    path: Path
    ids: list[str]
    values: list[float]
    lines: list[int]
    n_missing: int

    @property
    def kind(self) -> Kind:
        """Kind of the task, from the file name.

        Raises
        ------
        InputError
            If there is no such kind. Only who scores the task asks: NeuCo-Bench lets tasks that ``task_filter`` leaves
            out be of any.
        """
        kind = self.path.stem.partition("__")[2]
        if kind.lower() not in KINDS:
            raise InputError(
                str(self.path),
                found=f"the type {shorten(kind)}",
                expected="regression (regr) or classification (cls)",
                fix="rename the file, or leave its task out with task_filter",
            )
        return KINDS[kind.lower()]


def read_label_folder(folder: Path) -> list[LabelFile]:
    """Read all ``*.csv`` of a folder; sorted by the name of the task, the order in which NeuCo-Bench scores.

    Raises
    ------
    InputError
        If the folder is missing or holds no label file, a CSV file is named otherwise, two files are of one task, or a
        file is wrong (see :func:`_read`).
    """
    if not folder.is_dir():
        raise InputError(
            str(folder),
            found="a file" if folder.exists() else "nothing there",
            expected=f"a folder of label files {_PATTERN}",
            fix="name the folder that holds the label files, with --annotation_path",
        )
    paths: dict[str, Path] = {}
    for path in sorted(folder.glob("*.csv")):
        name, mark, _ = path.stem.partition("__")
        if not (name and mark and path.is_file()) or name.startswith("."):
            raise InputError(
                str(path),
                found=f"the file name {shorten(path.name)}" if path.is_file() else "a folder",
                expected=f"a file {_PATTERN}",
                fix="rename it, or move it out of the folder",
            )
        if name in paths:
            raise InputError(
                str(path),
                found=f"a second file for the task {name!r}, beside {paths[name].name}",
                expected="one file per task: NeuCo-Bench throws them together",
                fix="remove or rename one of them",
            )
        paths[name] = path
    if not paths:
        raise InputError(
            str(folder),
            found="no label files",
            expected=f"at least one file {_PATTERN}",
            fix="name the folder that holds the label files, with --annotation_path",
        )
    files = [_read(name, path) for name, path in sorted(paths.items())]
    if not any(file.ids for file in files):
        raise InputError(str(folder), found="no label in any file", expected="labels", fix="write the files again")
    return files


def select(files: Sequence[LabelFile], config: NeucoConfig) -> list[LabelFile]:
    """Keep the tasks that ``task_filter`` names.

    Raises
    ------
    InputError
        If it names a task that is not there. (NeuCo-Bench passes over such names, and scores nothing.)
    """
    if config.task_filter is None:
        return list(files)
    names = [file.name for file in files]
    unknown = sorted(set(config.task_filter) - set(names))
    if unknown:
        raise InputError(
            config.source.place("task_filter"),
            found=f"no task named {', '.join(map(shorten, unknown))}",
            expected=f"some of {', '.join(names)}",
            fix="correct the names of the tasks, or set task_filter: null",
        )
    return [file for file in files if file.name in config.task_filter]


def _read(name: str, path: Path) -> LabelFile:
    """Read one file: the columns ``id`` and ``label``; others are not looked at.

    Raises
    ------
    InputError
        If a column is missing, the file is not CSV in UTF-8, a labelled row has no id, or a label is no finite number.
    """
    names = read_header(path)
    id_column, label_column = _position(path, names, "id"), _position(path, names, "label")
    labels = LabelFile(name, path, [], [], [], 0)
    n_missing = 0
    rows = csv_rows(path)
    next(rows)
    for line, cells in rows:
        if not cells:
            continue
        if len(cells) <= label_column or cells[label_column] == "":
            n_missing += 1
            continue
        if len(cells) <= id_column:
            raise InputError(
                f"{path}, line {line}",
                found=f"{len(cells)} cells",
                expected=f"{len(names)} cells, as in the header",
                fix="complete the row",
            )
        labels.ids.append(cells[id_column])
        labels.values.append(_number(path, line, cells[label_column]))
        labels.lines.append(line)
    return LabelFile(name, path, labels.ids, labels.values, labels.lines, n_missing)


def _position(path: Path, names: list[str], name: str) -> int:
    if names.count(name) != 1:
        listed = ", ".join(shorten(n, 24) for n in names[:6]) + (", ..." if len(names) > 6 else "")
        raise InputError(
            f"{path}, line 1",
            found=f"{names.count(name) or 'no'} column{'s' * (names.count(name) > 1)} named {name!r} "
            f"(columns: {listed})",
            expected="one column 'id' and one column 'label'",
            fix=f"name the column {name!r} in the header, and separate columns by commas",
        )
    return names.index(name)


def _number(path: Path, line: int, cell: str) -> float:
    """Parse a label as NeuCo-Bench does, with Python's float; NaN and infinity, which it takes, poison the task."""
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"{path}, line {line}, column 'label'",
            found=shorten(cell),
            expected="a finite number, or nothing at all for a missing label",
            fix="write the label as a number, or leave the cell empty",
        )
    return value
