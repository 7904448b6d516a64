"""Ids and features of one submission as Zarr arrays.

They are written by the Zarr library. Uncompressed, a chunk is the bytes of whole rows with a CRC-32C behind them, and
is read here without the library, whose machinery takes longer than reading a small matrix; the tests hold both to be
the same. Compressed features are read by the library.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.errors import InputError
from fastprobe.store.entry import Entry
from fastprobe.store.objects import Objects, WritableObjects

if TYPE_CHECKING:
    import zarr.abc.store

    from fastprobe.embeddings import Submission

__all__ = ["ArrayReader", "rows_of_a_chunk", "write_arrays"]

_CHUNK = 8 << 20
_ONE_CHUNK = 16 << 20
_CHECKSUM = 4  # bytes


def rows_of_a_chunk(n: int, row_bytes: int) -> int:
    """Rows of a chunk of about 8 MB, all equal but for the last; all rows if that is up to 16 MB.

    Parameters
    ----------
    n : int
        Rows in all.
    row_bytes : int
    """
    if n * row_bytes <= _ONE_CHUNK:
        return n
    return -(-n // -(-n * row_bytes // _CHUNK))


def write_arrays(objects: WritableObjects, entry: Entry, submission: Submission) -> None:
    """Write the group of a submission.

    Parameters
    ----------
    objects : WritableObjects
    entry : Entry
        Says where and how.
    submission : Submission
        On the host.
    """
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec

    ids, x = submission.ids, submission.x
    checked: Any = Crc32cCodec()
    blosc: Any = BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=x.dtype.itemsize)
    # A chunk of nothing but the fill value is written all the same: one that is not there is one that was lost.
    common: dict[str, Any] = {"zarr_format": 3, "overwrite": True, "config": {"write_empty_chunks": True}}
    with _open(objects.zarr(read_only=False)) as store:
        attributes = {"name": entry.name, "digest": entry.digest}
        zarr.create_group(store, path=entry.key, attributes=attributes, zarr_format=3, overwrite=True)
        texts: zarr.Array[Any] = zarr.create_array(
            store, name=f"{entry.key}/id", shape=ids.shape, chunks=ids.shape, dtype="string", compressors=[checked],
            **common,
        )  # fmt: skip
        texts[:] = ids.astype(np.dtypes.StringDType())
        matrix: zarr.Array[Any] = zarr.create_array(
            store, name=f"{entry.key}/x", shape=x.shape, chunks=(entry.chunk_rows, entry.d), dtype=x.dtype,
            compressors=[blosc, checked] if entry.compressed else [checked], **common,
        )  # fmt: skip
        for start in range(0, entry.n, entry.chunk_rows):  # one by one: the library holds a copy of what it encodes
            matrix[start : start + entry.chunk_rows] = x[start : start + entry.chunk_rows]


class ArrayReader:
    """Reads submissions, and remembers the ids of the last: those of a benchmark's submissions are mostly the same."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._last_ids: tuple[bytes, NDArray[np.str_]] = (b"", np.empty(0, dtype=np.str_))

    def read(self, entry: Entry) -> tuple[NDArray[np.str_], NDArray[Any]]:
        """Read ids and features.

        Returns
        -------
        ids : ndarray of str, shape (n,)
            May be shared by submissions with the same ids.
        x : ndarray, shape (n, d)
            C-contiguous.

        Raises
        ------
        InputError
            If a part is missing or damaged.
        """
        ids = self._ids(entry)
        x = through_zarr(self._objects, f"{entry.key}/x", entry) if entry.compressed else self._features(entry)
        found, expected = (len(ids), *x.shape, x.dtype.name), (entry.n, entry.n, entry.d, entry.dtype)
        if found != expected:
            raise _damaged(self._objects, entry, f"{found} ids, rows, columns and type instead of {expected}")
        return ids, x

    def _ids(self, entry: Entry) -> NDArray[np.str_]:
        raw = self._objects.get(f"{entry.key}/id/c/0")
        last, ids = self._last_ids
        if raw is None or raw != last:
            texts = through_zarr(self._objects, f"{entry.key}/id", entry)
            ids = np.array(texts.tolist(), dtype=np.str_)
            ids.flags.writeable = False
            self._last_ids = (raw or b"", ids)
        return ids

    def _features(self, entry: Entry) -> NDArray[Any]:
        from google_crc32c import value as crc32c

        rows, dtype = entry.chunk_rows, np.dtype(entry.dtype)
        starts = [*range(0, entry.n, rows), entry.n]
        chunks = self._objects.get_many(f"{entry.key}/x/c/{i}/0" for i in range(len(starts) - 1))
        x = np.empty((entry.n, entry.d), dtype=dtype)
        size = rows * entry.d * dtype.itemsize
        for (start, stop), chunk in zip(pairwise(starts), chunks, strict=True):
            if chunk is None:
                raise _damaged(self._objects, entry, f"no chunk for the rows {start} to {stop - 1}")
            data = np.frombuffer(chunk, dtype=np.uint8)
            if len(data) != size + _CHECKSUM or crc32c(data[:size]) != int.from_bytes(chunk[size:], "little"):
                raise _damaged(self._objects, entry, f"a damaged chunk for the rows {start} to {stop - 1}")
            values = data[:size].view(dtype.newbyteorder("<")).reshape(rows, entry.d)
            x[start:stop] = values[: stop - start]
        return x


def through_zarr(objects: Objects, name: str, entry: Entry) -> NDArray[Any]:
    """Read an array by the Zarr library.

    Raises
    ------
    InputError
        If it is missing, lacks a chunk, or the library does not understand it.
    """
    import zarr

    with _open(objects.zarr(read_only=True)) as store:
        try:
            array: zarr.Array[Any] = zarr.open_array(store, path=name, mode="r", zarr_format=3)
            if array.nchunks_initialized < array.nchunks:  # or the library would fill in what was lost
                raise _damaged(objects, entry, f"{array.nchunks - array.nchunks_initialized} chunks fewer in {name!r}")
            return np.asarray(array[...])
        except Exception as error:  # damage takes decoders to places that their authors did not think of
            failed = isinstance(error, objects.errors) and not isinstance(error, FileNotFoundError)
            if failed or isinstance(error, InputError):
                raise
            raise _damaged(objects, entry, f"{type(error).__name__}: {error}") from error


@contextmanager
def _open(store: zarr.abc.store.Store) -> Iterator[zarr.abc.store.Store]:
    try:
        yield store
    finally:
        store.close()


def _damaged(objects: Objects, entry: Entry, found: str) -> InputError:
    return InputError(
        f"{objects.location}, submission {entry.name!r}",
        found=found,
        expected="the arrays 'id' and 'x' as they were written",
        fix=f"open the store again if it was written to meanwhile; else ingest {entry.source} into a new store",
    )
