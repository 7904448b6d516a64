"""The file names of a folder of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fastprobe.errors import InputError

__all__ = ["KINDS", "Kind", "label_files"]

Kind = Literal["regression", "classification"]

KINDS: dict[str, Kind] = {
    "regression": "regression",
    "regr": "regression",
    "classification": "classification",
    "cls": "classification",
}
"""Spellings of the kind of a task, in file names and elsewhere."""

_PATTERN = "<task>__<type>.csv with the type regression (regr) or classification (cls)"


def label_files(folder: Path) -> dict[str, tuple[Kind, Path]]:
    """Find the label files of a folder, by task name; files that are not CSV, and hidden files, are ignored.

    Raises
    ------
    InputError
        If the folder is missing or holds no label file, a CSV file is named otherwise, or two files are of one task.
    """
    if not folder.is_dir():
        raise InputError(
            str(folder),
            found="a file" if folder.exists() else "nothing there",
            expected=f"a folder of label files {_PATTERN}",
            fix="name the folder that holds the label files",
        )
    files: dict[str, tuple[Kind, Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".csv" or path.name.startswith("."):
            continue
        name, _, kind = path.stem.partition("__")
        if not name or kind not in KINDS or not path.is_file():
            raise InputError(
                str(path),
                found=f"the file name {path.name!r}" if path.is_file() else "a folder",
                expected=f"a file {_PATTERN}",
                fix="rename the file, or move it out of the folder",
            )
        if name in files:
            raise InputError(
                str(path),
                found=f"a second file for the task {name!r}, beside {files[name][1].name}",
                expected="one file per task",
                fix="remove or rename one of them",
            )
        files[name] = (KINDS[kind], path)
    if not files:
        raise InputError(
            str(folder),
            found="no label files",
            expected=f"at least one file {_PATTERN}",
            fix="name the folder that holds the label files",
        )
    return files
