"""NumPy ``.npz`` archives with the arrays ``id`` and ``x``, which may hold packed codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastprobe.errors import InputError
from fastprobe.readers.packed import is_packed, read_packed
from fastprobe.readers.table import ArrayPlaces, Table, undamaged
from fastprobe.readers.validation import as_ids

__all__ = ["read"]


def read(path: Path, *, lenient: bool = False) -> Table:
    """Read a ``.npz`` file; `lenient` changes nothing here.

    Arrays other than ``id`` and ``x`` are not looked at, unless ``x`` holds integers and ``bits`` or ``d`` stands
    beside it: then it holds packed codes (:func:`fastprobe.readers.packed.read_packed`).

    Raises
    ------
    InputError
        If the archive is damaged, lacks one of the arrays, one of them holds Python objects, or packed codes are wrong.
    """
    # The file is opened here because numpy.load, given a path, leaves damaged archives open.
    with undamaged(path, ".npz"), path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("a single array (.npy)")
        for name in ("id", "x"):
            if name not in archive.files:
                raise InputError(
                    f"{path}, array '{name}'",
                    found=f"only the arrays {', '.join(map(repr, archive.files))}" if archive.files else "no arrays",
                    expected="the arrays 'id' (text, one per row) and 'x' (one row per sample)",
                    fix="save with numpy.savez(path, id=ids, x=values)",
                )
        ids, x = archive["id"], archive["x"]
        if is_packed(archive.files, x):
            x = read_packed(archive, x, path)
    texts = as_ids(ids, f"{path}, array 'id'")
    return Table(texts, x, ArrayPlaces(str(path), texts))
