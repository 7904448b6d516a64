"""CSV cells as ``pandas.read_csv`` sees them: NeuCo-Bench reads submissions with it, and it guesses types by column."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fastprobe.readers.csv_text import CsvPlaces
from fastprobe.readers.table import Table
from fastprobe.readers.text import MISSING, data_rows

__all__ = ["guessed_booleans", "guessed_ids"]

_WHOLE = re.compile(r"\s*[+-]?[0-9]+\s*")
_REAL = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
_WHOLE_RANGE = range(-(2**63), 2**64)
_MISSING = frozenset(MISSING)
_TRUE = frozenset({"True", "TRUE", "true"})
_BOOLEAN = _TRUE | {"False", "FALSE", "false"}


def guessed_ids(ids: Sequence[str]) -> tuple[list[str], int]:
    """Give ids as ``read_csv`` and ``astype(str)`` give them, and how many are others now.

    A column of whole numbers is read as such, so that ``007`` becomes ``7``; a column of numbers of which some are
    missing or not whole becomes floating point, and ``7`` becomes ``7.0``. What spells a missing value is no id (an
    empty text here).
    """
    texts = ["" if text in _MISSING else text for text in ids]
    present = [text for text in texts if text]
    if not present or not all(_REAL.fullmatch(text) for text in present):
        return texts, 0
    whole = len(present) == len(texts) and all(_WHOLE.fullmatch(text) for text in present)
    if whole and any(int(text) not in _WHOLE_RANGE for text in present):
        return texts, 0
    number: Callable[[str], float] = int if whole else float
    new = [str(number(text)) if text else "" for text in texts]
    return new, sum(a != b for a, b in zip(texts, new, strict=True))


def guessed_booleans(table: Table) -> tuple[NDArray[np.float32], int]:
    """Give the values of a table, with 1 for true in columns of booleans, and the number of cells that are booleans.

    A column that says nothing but true and false (or nothing) is one of booleans to ``read_csv``, which
    ``pandas.to_numeric`` makes 1 and 0. In any other column they are text, which becomes 0, as the reader has it.
    """
    places = table.places
    if not isinstance(places, CsvPlaces) or not table.repairs.get("non_numeric_to_zero"):
        return table.x, 0
    width = len(places.layout.names)
    columns = dict(enumerate(places.layout.features))
    for _, cells in data_rows(places.path, width):
        columns = {k: j for k, j in columns.items() if cells[j] in _BOOLEAN or cells[j] in _MISSING}
        if not columns:
            return table.x, 0
    x, count = table.x.copy(), 0
    for row, (_, cells) in enumerate(data_rows(places.path, width)):
        for k, j in columns.items():
            if cells[j] in _BOOLEAN:
                x[row, k] = cells[j] in _TRUE
                count += 1
    return x, count
