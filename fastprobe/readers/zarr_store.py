"""Zarr stores: a group with the arrays ``id`` and ``x``, or an array with an id file beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastprobe.errors import InputError
from fastprobe.readers.id_file import read_ids
from fastprobe.readers.table import ArrayPlaces, Table, undamaged
from fastprobe.readers.validation import as_ids

if TYPE_CHECKING:
    import zarr

__all__ = ["read"]


def read(path: Path, *, ids: Path | None = None, lenient: bool = False) -> Table:
    """Read a Zarr store (format 2 or 3) in a folder; `lenient` changes nothing here.

    Chunks that are not stored are, by Zarr's rules, filled with the array's fill value.

    Raises
    ------
    InputError
        If the store is damaged, lacks an array, or keeps values as pickled Python objects.
    """
    try:
        import zarr
    except ImportError as error:
        raise InputError(
            str(path),
            found="a Zarr store, but no Zarr library",
            expected="the package zarr",
            fix="run: pip install 'zarr>=3.1'",
        ) from error

    with undamaged(path, "Zarr"):
        node = zarr.open(str(path), mode="r")
    if isinstance(node, zarr.Array):
        id_file = read_ids(path, ids)
        return Table(id_file.ids, _values(path, node), ArrayPlaces(str(path), id_file.ids, id_place=id_file.place))
    if ids is not None:
        raise InputError(
            str(path),
            found=f"the id file {ids} for a Zarr group",
            expected="an id file only for a Zarr array, for a group holds its own ids",
            fix="leave the id file out",
        )
    texts = as_ids(_values(path, _member(path, node, "id")), f"{path}, array 'id'")
    return Table(texts, _values(path, _member(path, node, "x")), ArrayPlaces(str(path), texts))


def _member(path: Path, group: zarr.Group, name: str) -> zarr.Array[Any]:
    import zarr

    with undamaged(path, "Zarr"):
        member = group.get(name)
        present = ", ".join(map(repr, sorted(group.array_keys())))
    if not isinstance(member, zarr.Array):
        raise InputError(
            f"{path}, array {name!r}",
            found=f"only the arrays {present}" if present else "no arrays",
            expected="the arrays 'id' (text, one per row) and 'x' (one row per sample)",
            fix="write both arrays to the root of the store",
        )
    return member


def _values(path: Path, array: zarr.Array[Any]) -> np.ndarray[Any, Any]:
    """Read an array whole; refuse codecs that would run code from the file."""
    if "pickle" in repr((array.filters, array.compressors)).lower():
        raise InputError(
            f"{path}, array {array.basename or '/'!r}",
            found="values stored as pickled Python objects",
            expected="numbers, or ids as text",
            fix="write the array again with a type of fixed size, or as variable-length text",
        )
    with undamaged(path, "Zarr"):
        return np.asarray(array[...])
