"""What every reader returns: ids, a matrix, and how to name their places in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from fastprobe.errors import FastprobeError, InputError

__all__ = ["ArrayPlaces", "Places", "Table", "shorten", "undamaged"]


def shorten(text: str, limit: int = 60) -> str:
    """Quote what was found, cut to a length that a message can hold."""
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")


class Places(Protocol):
    """How messages name the places of a submission.

    Asked only when something is wrong, so an implementation may take its time (read the file again, say).
    """

    @property
    def source(self) -> str:
        """The file, or the name of the submission."""

    def row(self, row: int) -> str:
        """Name of a row (0-based among the rows of the matrix), for messages about its id."""

    def cell(self, row: int, column: int, value: object) -> tuple[str, str]:
        """Name of a cell, and what stands there (``value`` is what was read)."""


@dataclass(frozen=True)
class ArrayPlaces:
    """Places of arrays and binary files: 0-based row, id, column name.

    Attributes
    ----------
    source : str
    ids : sequence of str
    columns : sequence of str or None
        Names of the features; None means their 0-based positions.
    id_place : callable or None
        Names the place of an id where ids come from another file.
    """

    source: str
    ids: Sequence[str] = ()
    columns: Sequence[str] | None = None
    id_place: Callable[[int], str] | None = None

    def row(self, row: int) -> str:
        """Name a row by its index and id."""
        if self.id_place is not None:
            return self.id_place(row)
        return f"{self.source}, {self._row(row)}"

    def cell(self, row: int, column: int, value: object) -> tuple[str, str]:
        """Name a cell by row, id and column."""
        name = column if self.columns is None else shorten(self.columns[column])
        return f"{self.source}, {self._row(row)}, column {name}", str(value)

    def _row(self, row: int) -> str:
        return f"row {row} (id {shorten(self.ids[row])})" if row < len(self.ids) else f"row {row}"


@dataclass(frozen=True)
class Table:
    """The content of a submission file, before validation.

    Attributes
    ----------
    ids : sequence of str, length n
    x : ndarray, shape (n, d)
    places : Places
    repairs : mapping of str to int
        What the reader mended (``lenient`` only), and how often.
    """

    ids: Sequence[str]
    x: NDArray[Any]
    places: Places
    repairs: Mapping[str, int] = field(default_factory=dict)


@contextmanager
def undamaged(path: Path, kind: str, errors: tuple[type[Exception], ...] = (Exception,)) -> Iterator[None]:
    """Turn what a format's library raises about a damaged file into an InputError.

    By default that is any exception: damage takes decoders to places that their authors did not think of.
    """
    try:
        yield
    except FastprobeError:
        raise
    except errors as error:
        detail = " ".join(str(error).split())
        raise InputError(
            str(path),
            found=f"a file that cannot be read as {kind} ({type(error).__name__}: {detail[:200]})",
            expected=f"complete {kind} data",
            fix="write or copy the file again, or rename it to the format that it has",
        ) from error
