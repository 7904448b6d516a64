"""What the index of a store says about one submission."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Entry", "from_lines", "is_key", "key_of", "to_lines"]

_READABLE = 40
_KEY = re.compile(r"[a-z0-9][a-z0-9._-]*-[0-9a-f]{20}")


@dataclass(frozen=True)
class Entry:
    """One submission of a store.

    Attributes
    ----------
    name : str
        Any text.
    digest : str
        Hash of ids, dtype, shape and values; that of :attr:`Submission.digest`.
    n, d : int
        Samples and dimensions.
    dtype : str
        NumPy's name of the type of the features.
    key : str
        Name of its group in the store.
    chunk_rows : int
        Rows of the features in a chunk.
    compressed : bool
    source : str
        The file that it was read from.
    source_size, source_mtime_ns : int
        Bytes and time of the last change (nanoseconds since 1970) of that file, with its id file if it has one.
    repairs : mapping of str to int
        What lenient reading mended, and how often.
    """

    name: str
    digest: str
    n: int
    d: int
    dtype: str
    key: str
    chunk_rows: int
    compressed: bool
    source: str
    source_size: int
    source_mtime_ns: int
    repairs: Mapping[str, int] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of the features in memory."""
        return self.n * self.d * np.dtype(self.dtype).itemsize


def key_of(name: str, digest: str) -> str:
    """Name of the group of a submission: readable, safe on any file system, another one for other content.

    Names that differ only in case, or in characters that a file name cannot have, get different keys by a hash.
    """
    readable = re.sub(r"[^a-z0-9._-]", "_", name.lower()[:_READABLE]).lstrip("._-") or "x"
    text = f"{name}\0{digest}".encode("utf-8", "surrogatepass")
    return f"{readable}-{hashlib.blake2b(text, digest_size=10).hexdigest()}"


def is_key(name: str) -> bool:
    """Whether :func:`key_of` may have given a name."""
    return _KEY.fullmatch(name) is not None


def to_lines(entries: Iterable[Entry]) -> bytes:
    """Write entries, a JSON object a line."""
    return "".join(json.dumps(vars(entry)) + "\n" for entry in entries).encode()


def from_lines(data: bytes) -> Iterator[Entry]:
    """Read what :func:`to_lines` wrote.

    Raises
    ------
    ValueError, TypeError
        If it is anything else.
    """
    lines: list[dict[str, Any]] = json.loads(b"[" + b",".join(data.splitlines()) + b"]")
    return (Entry(**line) for line in lines)
