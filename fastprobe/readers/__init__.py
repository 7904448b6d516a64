"""Readers of submissions: one module per file format, chosen by the ending of the file name.

A reader turns a file into a :class:`~fastprobe.readers.table.Table`; what a table must hold is checked in one place,
the constructor of :class:`~fastprobe.embeddings.Submission`, by :mod:`fastprobe.readers.validation`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from fastprobe.errors import InputError
from fastprobe.readers.table import Table

__all__ = ["SUFFIXES", "read_table"]

_MODULES = {
    ".csv": "csv_text",
    ".parquet": "parquet",
    ".arrow": "arrow_ipc",
    ".feather": "arrow_ipc",
    ".npz": "npz",
    ".npy": "npy",
    ".zarr": "zarr_store",
}
_FOLDERS = frozenset({".zarr"})
_WITHOUT_IDS = frozenset({".npy", ".zarr"})

SUFFIXES: tuple[str, ...] = tuple(_MODULES)
"""Endings of the file names that can be read."""


def read_table(path: Path, *, ids: Path | None = None, lenient: bool = False) -> Table:
    """Read a submission file of any known format.

    Parameters
    ----------
    path : Path
    ids : Path or None
        Id file for the formats that hold no ids (``.npy``, a Zarr array).
    lenient : bool
        Apply NeuCo-Bench's repairs to what only the reader can mend (surplus columns, cells that are not numbers).

    Returns
    -------
    Table
        Not yet validated: it may hold values that are not finite, and ids that are empty or appear twice.

    Raises
    ------
    InputError
        If the file is missing, is of no known format, or cannot be read as what its name promises.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise InputError(str(path), found="nothing there", expected="a submission file", fix="check the path")
    if suffix not in _MODULES:
        raise InputError(
            str(path),
            found="a folder" if path.is_dir() else f"the file name ending {suffix!r}",
            expected=f"a file whose name ends in one of {', '.join(SUFFIXES)}",
            fix="name a file of a known format, or save the embeddings as one",
        )
    if path.is_dir() != (suffix in _FOLDERS):
        raise InputError(
            str(path),
            found="a folder" if path.is_dir() else "a file",
            expected="a folder (a Zarr store)" if suffix in _FOLDERS else f"a {suffix} file",
            fix="name the submission itself, or rename it to the format that it has",
        )
    if ids is not None and suffix not in _WITHOUT_IDS:
        raise InputError(
            str(path),
            found=f"the id file {ids} for a {suffix} submission",
            expected="an id file only for .npy files and Zarr arrays, for other formats hold their own ids",
            fix="leave the id file out",
        )
    read = import_module(f"fastprobe.readers.{_MODULES[suffix]}").read
    table: Table = read(path, ids=ids, lenient=lenient) if suffix in _WITHOUT_IDS else read(path, lenient=lenient)
    return table
