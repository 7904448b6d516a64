"""Submissions: the embeddings of one participant."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastprobe.backend.cuda.foreign import adopted, fingerprint, first_not_finite, gpu_of, to_host
from fastprobe.errors import InputError
from fastprobe.readers import read_table
from fastprobe.readers.table import ArrayPlaces, Places, Table
from fastprobe.readers.validation import as_ids, as_matrix, checked, plain_id, repaired

__all__ = ["Submission", "hash_embedding"]


@dataclass(frozen=True, eq=False)
class Submission:
    """One participant's embeddings.

    The constructor is where embeddings are validated, once, whichever way they come: a submission that exists has
    unique ids and finite values.

    Attributes
    ----------
    name : str
    ids : ndarray of str, shape (n,)
        Unique sample ids, without the suffixes ``.zarr.zip`` and ``.zarr``. Given as any sequence of str (or integers).
    x : ndarray, shape (n, d)
        C-contiguous float64, float32, float16, int8 or uint8, finite, as it was given, and not copied if it is already
        so. 16-bit integers become float32 and 32-bit integers float64, which hold them exactly. An array on a GPU (of
        CuPy, torch, Numba or anything with DLPack) is checked there and stays there, as a CuPy array.
    repairs : mapping of str to int
        What ``lenient`` reading mended, and how often (``{"nan_to_zero": 3}``); empty for strict reading.
    places : Places, optional
        How messages name rows and cells (constructor only; readers know the lines of their file).

    Raises
    ------
    InputError
        If the name is empty, ids are empty or appear twice, ids and rows differ in number, a value is not finite, or
        the array is no matrix of numbers with 1 to 65,536 columns.
    """

    name: str
    ids: NDArray[np.str_]
    x: NDArray[Any]
    repairs: Mapping[str, int] = field(default_factory=dict)
    places: InitVar[Places | None] = None

    def __post_init__(self, places: Places | None) -> None:
        """Validate."""
        if places is None:
            source = _source(self.name)
            places = ArrayPlaces(source, as_ids(self.ids, source))
        ids, x = (_checked_on_gpu if gpu_of(self.x) is not None else checked)(self.ids, self.x, places)
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "x", x)

    @classmethod
    def from_arrays(cls, name: str, ids: ArrayLike, x: ArrayLike, *, lenient: bool = False) -> Submission:
        """Make a submission of arrays.

        Parameters
        ----------
        name : str
        ids : array_like of str, shape (n,)
        x : array_like, shape (n, d)
        lenient : bool
            Repair and count, as :meth:`read` does; the arrays given stay as they are.

        Raises
        ------
        InputError
            As the constructor.
        """
        source = _source(name)
        if gpu_of(x) is not None:
            if lenient:
                raise InputError(
                    source,
                    found="an array on a GPU, to be repaired",
                    expected="lenient=False, or an array of the host",
                    fix="replace values that are not finite yourself, with torch.nan_to_num for example",
                )
            return cls(name, np.asarray(ids), x)  # type: ignore[arg-type]  # an array on a GPU is checked there
        texts = as_ids(ids, source)
        table = Table(texts, as_matrix(x, source), ArrayPlaces(source, texts))
        return cls._of_table(name, table, lenient=lenient)

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        ids: str | os.PathLike[str] | None = None,
        lenient: bool = False,
        labelled_ids: Collection[str] | NDArray[np.str_] | None = None,
    ) -> Submission:
        """Read a submission file.

        Parameters
        ----------
        path : path
            ``.csv``, ``.parquet``, ``.arrow`` or ``.feather`` with a column ``id``, and the features in digit-named
            columns (sorted as integers) or, if there are none, in all others; Parquet and Arrow also in one column of
            lists of equal length. ``.npz`` with the arrays ``id`` and ``x``; ``.npy`` with an id file; ``.zarr``, a
            group with the arrays ``id`` and ``x``, or an array with an id file.
        name : str, optional
            The file name without its suffix by default.
        ids : path, optional
            Id file for ``.npy`` and Zarr arrays: one id a line, under an optional header ``id``. ``<stem>.ids.csv`` or
            ``<stem>.ids.txt`` beside the matrix by default.
        lenient : bool
            Repair what NeuCo-Bench repairs, and count it in ``repairs``: ``nan_to_zero``, ``non_numeric_to_zero``,
            ``infinity_to_zero`` (NeuCo-Bench fails on it later), ``duplicate_ids_dropped`` (the first row is kept),
            ``empty_ids_dropped``, ``columns_ignored`` (beside digit-named ones), ``column_gaps_closed``.
        labelled_ids : collection of str, optional
            Ids that must all be there; if some are not, strict reading fails and lenient reading counts them
            (``labelled_ids_missing``). Rows of other ids are kept.

        Returns
        -------
        Submission
            CSV is read as float32 (NeuCo-Bench's precision); other formats keep the type that they have.

        Raises
        ------
        InputError
            If the file is missing, damaged, of an unknown format, or holds anything that the constructor refuses. The
            message names the line and column of text files, the 0-based row, the id and the column of binary ones.
        """
        path = Path(path)
        table = read_table(path, ids=None if ids is None else Path(ids), lenient=lenient)
        submission = cls._of_table(path.stem if name is None else name, table, lenient=lenient)
        if labelled_ids is None:
            return submission
        return submission._with_labelled(labelled_ids, path, lenient=lenient)

    @classmethod
    def _of_table(cls, name: str, table: Table, *, lenient: bool) -> Submission:
        if lenient:
            table = repaired(table)
        ids = list(table.ids)  # an array would only be made a list again
        return cls(name, ids, table.x, table.repairs, places=table.places)  # type: ignore[arg-type]

    def _with_labelled(
        self, labelled_ids: Collection[str] | NDArray[np.str_], path: Path, *, lenient: bool
    ) -> Submission:
        """Hold the submission to the ids that have labels."""
        present = set(self.ids.tolist())
        missing = [i for i in map(plain_id, as_ids(np.asarray(labelled_ids), "labelled_ids")) if i not in present]
        if not missing:
            return self
        if not lenient:
            raise InputError(
                str(path),
                found=f"no row for {len(missing):,} of {len(labelled_ids):,} labelled ids, first {missing[0]!r}",
                expected="a row for every id that has a label",
                fix="add the missing rows, or read leniently to score without them",
            )
        repairs = {**self.repairs, "labelled_ids_missing": len(missing)}
        return type(self)(self.name, self.ids, self.x, repairs)

    @property
    def gpu(self) -> int | None:
        """Number of the GPU that the features lie on; None on the host."""
        return None if isinstance(self.x, np.ndarray) else gpu_of(self.x)

    def on_host(self) -> Submission:
        """Return the same submission with its features on the host, copied there if they are not."""
        return self if self.gpu is None else type(self)(self.name, self.ids, to_host(self.x))

    @property
    def digest(self) -> str:
        """Hash of ids, dtype, shape and values (32 hexadecimal digits), computed once.

        Of features on a GPU only sixteen bytes come to the host, computed there: another hash than that of the same
        values on the host.
        """
        # Not a cached_property: before Python 3.12 that has one lock for all submissions, which are hashed in parallel.
        if "_digest" not in self.__dict__:
            self.__dict__["_digest"] = self._hashed()
        return self.__dict__["_digest"]

    def _hashed(self) -> str:
        return hash_embedding(self.ids.tolist(), self.x)


def hash_embedding(ids: Iterable[str], x: Any) -> str:
    """Hash ids, dtype, shape and values of a C-contiguous array; see :attr:`Submission.digest`."""
    h = hashlib.blake2b(digest_size=16)
    h.update("\0".join(ids).encode())
    h.update(f"{x.dtype.str}{x.shape}".encode())
    h.update(x.data if isinstance(x, np.ndarray) else _fingerprint_on_gpu(x))
    return h.hexdigest()


def _checked_on_gpu(ids: ArrayLike, x: Any, places: Places) -> tuple[NDArray[np.str_], Any]:
    """Check what :func:`checked` checks, where the values lie."""
    array = adopted(x, places.source)
    # Type and shape go through the same checks as on the host, by an array of the host with a row or two.
    shape = array.shape if array.ndim != 2 or not len(array) else (1, array.shape[1])
    kept = as_matrix(np.broadcast_to(np.zeros((), array.dtype), shape), places.source).dtype
    texts, _ = checked(ids, np.zeros((len(array), 1), dtype=np.int8), places)

    import cupy as cp

    with array.device:
        matrix = cp.ascontiguousarray(array, dtype=kept)
        bad = first_not_finite(cp, matrix)
        if bad is not None:
            where, found = places.cell(*bad, float(matrix[bad]))
            raise InputError(where, found=found, expected="a finite number", fix="repair the value")
    return texts, matrix


def _fingerprint_on_gpu(x: Any) -> bytes:
    import cupy as cp

    with x.device:
        return fingerprint(cp, x)


def _source(name: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise InputError("submission", found=f"the name {name!r}", expected="text", fix="give the submission a name")
    return f"submission {name!r}"
