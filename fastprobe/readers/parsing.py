"""Text as numbers, by Arrow's parser: the same for a single cell as for a whole column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fastprobe.readers.text import is_missing

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["parse_numbers"]


def parse_numbers(texts: Sequence[str | None], type_: pa.DataType) -> tuple[NDArray[Any], list[int]]:
    """Parse cells.

    Parameters
    ----------
    texts : sequence of str or None, length n
    type_ : pyarrow.DataType
        A floating-point type; every text is rounded to it once.

    Returns
    -------
    values : ndarray, shape (n,)
        NaN for missing values, 0 for text that is no number; infinity for numbers beyond the type.
    not_numbers : list of int
        Positions of the texts that are neither numbers nor missing.
    """
    import pyarrow as pa

    cells: list[str | None] = [None if text is None or is_missing(text) else text.strip() for text in texts]
    not_numbers: list[int] = []
    try:
        values = pa.array(cells, pa.string()).cast(type_)
    except pa.ArrowInvalid:
        for position, cell in enumerate(cells):
            if not _is_number(cell, type_):
                not_numbers.append(position)
                cells[position] = "0"
        values = pa.array(cells, pa.string()).cast(type_)
    return values.to_numpy(zero_copy_only=False).astype(type_.to_pandas_dtype(), copy=False), not_numbers


def _is_number(cell: str | None, type_: pa.DataType) -> bool:
    import pyarrow as pa

    try:
        pa.array([cell], pa.string()).cast(type_)
    except pa.ArrowInvalid:
        return False
    return True
