"""NumPy ``.npy`` matrices with an id file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastprobe.readers.id_file import read_ids
from fastprobe.readers.table import ArrayPlaces, Table, undamaged

__all__ = ["read"]


def read(path: Path, *, ids: Path | None = None, lenient: bool = False) -> Table:
    """Read a ``.npy`` file and its ids; `lenient` changes nothing here.

    Raises
    ------
    InputError
        If either file is missing or damaged, or the array holds Python objects.
    """
    with undamaged(path, ".npy"), path.open("rb") as file:
        x = np.load(file, allow_pickle=False)
        if not isinstance(x, np.ndarray):
            raise ValueError("an archive of arrays (.npz)")
    id_file = read_ids(path, ids)
    return Table(id_file.ids, x, ArrayPlaces(str(path), id_file.ids, id_place=id_file.place))
