"""What a submission must hold, and the repairs of lenient reading.

:func:`checked` runs in the constructor of :class:`~fastprobe.embeddings.Submission`, so every submission has passed it,
however it was made, and the floors above never validate again. :func:`repaired` runs before it where repairs were asked
for.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastprobe.errors import InputError
from fastprobe.readers.table import Places, Table, shorten

__all__ = ["MAX_FEATURES", "MAX_ID_LENGTH", "as_ids", "as_matrix", "check_width", "checked", "plain_id", "repaired"]

MAX_FEATURES = 65_536
"""Most dimensions of an embedding."""

MAX_ID_LENGTH = 1_024
"""Most characters of an id; NumPy stores every id in the width of the longest."""

_KEPT = ("float64", "float32", "float16", "int8", "uint8")
_WIDENED = {"int16": "float32", "uint16": "float32", "int32": "float64", "uint32": "float64"}


def plain_id(text: str) -> str:
    """Remove ``.zarr.zip`` and ``.zarr`` from an id, wherever they stand in it, as NeuCo-Bench does."""
    return text.replace(".zarr.zip", "").replace(".zarr", "") if ".zarr" in text else text


def as_ids(ids: ArrayLike, where: str) -> list[str]:
    """Turn ids of any array type that can hold them into a list of text.

    Parameters
    ----------
    ids : array_like of str, bytes (UTF-8) or int, shape (n,)
    where : str
        Named in messages.

    Raises
    ------
    InputError
        If the ids are not one-dimensional, or not text.
    """
    if isinstance(ids, list) and set(map(type, ids)) == {str}:
        return ids
    array = np.asarray(ids)
    if array.ndim != 1:
        raise InputError(
            f"{where}, ids",
            found=f"{array.ndim} dimensions (shape {array.shape})",
            expected="one dimension: one id per sample",
            fix="pass the ids as a flat list",
        )
    if array.size == 0:  # the type of an empty list says nothing
        return []
    try:
        values: list[Any] = array.tolist()
        if array.dtype.kind == "S":
            return [value.decode("utf-8") for value in values]
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}, ids", found="bytes that are not UTF-8", expected="ids as text", fix="store the ids as text"
        ) from error
    if array.dtype.kind in "iu":
        return [str(value) for value in values]
    if array.dtype.kind not in "UTO":
        raise InputError(
            f"{where}, ids",
            found=f"{array.dtype} values",
            expected="ids as text (or integers)",
            fix="convert the ids to text",
        )
    for row, value in enumerate(values if array.dtype.kind == "O" else ()):
        if not isinstance(value, str):
            raise InputError(
                f"{where}, ids, row {row}",
                found=f"{shorten(str(value))} of type {type(value).__name__}",
                expected="ids as text",
                fix="convert the ids to text",
            )
    return values


def check_width(n_features: int, where: str) -> None:
    """Hold the number of features to at least 1 and at most :data:`MAX_FEATURES`."""
    if n_features == 0:
        raise InputError(
            where, found="no feature columns", expected="at least one", fix="add the embedding values beside the ids"
        )
    if n_features > MAX_FEATURES:
        raise InputError(
            where,
            found=f"{n_features:,} features",
            expected=f"at most {MAX_FEATURES:,}",
            fix="reduce the dimensions of the embedding (or transpose the matrix, if its rows are not the samples)",
        )


def as_matrix(x: ArrayLike, where: str) -> NDArray[Any]:
    """Give a C-contiguous matrix of a type that the engine computes with.

    Parameters
    ----------
    x : array_like, shape (n, d)
        float64, float32, float16, int8 and uint8 stay as they are; 16-bit integers become float32 and 32-bit integers
        float64, which hold them exactly.
    where : str
        Named in messages.

    Raises
    ------
    InputError
        If the array has another type (64-bit integers, which float64 cannot hold, among them), is not two-dimensional,
        has no rows or columns, or too many columns.
    """
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise InputError(
            where, found="rows of different lengths", expected="a matrix", fix="pass rows of one length"
        ) from error
    name = array.dtype.name
    if name not in _KEPT and name not in _WIDENED:
        raise InputError(
            where,
            found=f"values of type {name}",
            expected=f"{', '.join(_KEPT)}, or integers of 16 or 32 bits",
            fix="convert the values, with x.astype('float32') for example",
        )
    if array.ndim != 2:
        raise InputError(
            where,
            found=f"an array of {array.ndim} dimensions (shape {array.shape})",
            expected="a matrix: one row per sample, one column per feature",
            fix="reshape it to two dimensions",
        )
    if len(array) == 0:
        raise InputError(where, found="no rows", expected="one row per sample", fix="write the embeddings again")
    check_width(array.shape[1], where)
    return np.ascontiguousarray(array, dtype=_WIDENED.get(name, name))


def checked(ids: ArrayLike, x: ArrayLike, places: Places) -> tuple[NDArray[np.str_], NDArray[Any]]:
    """Check ids and values, and give them in the form that the engine computes with.

    Returns
    -------
    ids : ndarray of str, shape (n,)
        Without ``.zarr.zip`` and ``.zarr``; each once, none empty, none with control characters.
    x : ndarray, shape (n, d)
        As :func:`as_matrix` gives it; all finite.

    Raises
    ------
    InputError
        If anything is otherwise; the message names the first place.
    """
    texts = _checked_texts(ids, places)
    matrix = as_matrix(x, places.source)
    _check_lengths(texts, matrix, places)
    distinct = set(texts)
    seen: dict[str, int] = {}
    for row, text in enumerate(texts if "" in distinct or len(distinct) < len(texts) else ()):
        if not text:
            raise InputError(
                places.row(row), found="an empty id", expected="the id of the sample", fix="give the row an id"
            )
        if (first := seen.setdefault(text, row)) != row:
            raise InputError(
                places.row(row),
                found=f"the id {shorten(text)} again; it is already that of {places.row(first)}",
                expected="every id once ('.zarr' and '.zarr.zip' do not count)",
                fix="remove one of the rows, or read leniently to keep the first",
            )
    bad = _first_not_finite(matrix)
    if bad is not None:
        where, found = places.cell(*bad, matrix[bad])
        raise InputError(
            where,
            found=found,
            expected="a finite number",
            fix="repair the value, or read leniently to set such values to 0",
        )
    return _as_array(texts), matrix


def repaired(table: Table) -> Table:
    """Apply NeuCo-Bench's repairs and count them; nothing of the caller's arrays is changed.

    Rows with an empty id are dropped, of rows with the same id the first is kept, NaN and infinity become 0.
    (NeuCo-Bench keeps infinity and fails later.) ``places`` of the result is that of the table as it was.
    """
    texts = _checked_texts(table.ids, table.places)
    x = as_matrix(table.x, table.places.source)
    _check_lengths(texts, x, table.places)
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        if text:
            first.setdefault(text, row)
    n_empty = texts.count("")
    counts = {"empty_ids_dropped": n_empty, "duplicate_ids_dropped": len(texts) - n_empty - len(first)}
    if len(first) < len(texts):
        x = x[list(first.values())]
    if _first_not_finite(x) is not None:
        counts["nan_to_zero"] = int(np.isnan(x).sum())
        counts["infinity_to_zero"] = int(np.isinf(x).sum())
        x = np.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
    repairs = dict(table.repairs)
    for name, count in counts.items():
        if count:
            repairs[name] = repairs.get(name, 0) + count
    return Table(list(first), x, table.places, repairs)


def _checked_texts(ids: ArrayLike, places: Places) -> list[str]:
    """Give ids without suffixes, and refuse text that cannot be an id."""
    texts = as_ids(ids, places.source)
    together = "".join(texts)  # one look at all ids; only suspicious ones are looked at one by one
    plain = together.isascii() and together.isprintable() and " " not in together and "." not in together
    if plain and max(map(len, texts), default=0) <= MAX_ID_LENGTH:
        return texts
    texts = [plain_id(text) for text in texts]
    if not "".join(texts).isprintable() or max(map(len, texts), default=0) > MAX_ID_LENGTH:
        for row, text in enumerate(texts):
            control = next((c for c in text if unicodedata.category(c) == "Cc"), None)
            if control is not None or len(text) > MAX_ID_LENGTH:
                raise InputError(
                    places.row(row),
                    found=f"an id of {len(text):,} characters"
                    if control is None
                    else f"the control character {control!r} in the id {shorten(text)}",
                    expected=f"ids of one line, without control characters, up to {MAX_ID_LENGTH:,} characters",
                    fix="correct the id",
                )
    return [text.strip() and text for text in texts]


def _as_array(texts: list[str]) -> NDArray[np.str_]:
    """``np.array(texts, dtype=np.str_)``; at once, where all are equally long, as ids mostly are."""
    lengths = set(map(len, texts))
    if len(lengths) != 1 or not (width := lengths.pop()):
        return np.array(texts, dtype=np.str_)
    code_points = "".join(texts).encode(f"utf-32-{sys.byteorder[0]}e", "surrogatepass")
    return np.frombuffer(bytearray(code_points), dtype=f"U{width}")


def _check_lengths(ids: Sequence[str], x: NDArray[Any], places: Places) -> None:
    if len(ids) != len(x):
        raise InputError(
            places.source,
            found=f"{len(ids):,} ids for {len(x):,} rows",
            expected="one id per row",
            fix="write ids and values from the same table",
        )


def _first_not_finite(x: NDArray[Any], rows: int = 1024) -> tuple[int, int] | None:
    """Find the first NaN or infinity; in blocks, so that the mask stays small."""
    if x.dtype.kind != "f":
        return None
    for start in range(0, len(x), rows):
        mask = np.isfinite(x[start : start + rows])
        if not mask.all():
            row, column = divmod(int(mask.argmin()), x.shape[1])
            return start + row, column
    return None
