"""Child process of the read case: ``python -m benchmarks.csv_reader READER FILE`` reads a submission once.

Prints the seconds from the call to the float32 matrix (imports are not counted) and a digest of the matrix.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["READERS", "digest"]

Matrix = NDArray[np.float32]


def digest(x: Matrix) -> str:
    """Return a digest of the values of a matrix."""
    return hashlib.blake2b(np.ascontiguousarray(x).data, digest_size=16).hexdigest()


def _fastprobe() -> Callable[[str], Matrix]:
    from fastprobe import Submission

    return lambda path: Submission.read(path).x


def _pandas() -> Callable[[str], Matrix]:
    import pandas as pd

    return lambda path: pd.read_csv(path).iloc[:, 1:].to_numpy(np.float32)


def _pyarrow() -> Callable[[str], Matrix]:
    import pyarrow.csv as pa_csv

    def read(path: str) -> Matrix:
        table = pa_csv.read_csv(path)
        x = np.empty((table.num_rows, table.num_columns - 1), np.float32)
        for column in range(x.shape[1]):
            x[:, column] = table.column(column + 1).to_numpy()
        return x

    return read


READERS: dict[str, Callable[[], Callable[[str], Matrix]]] = {
    "fastprobe": _fastprobe,
    "pandas": _pandas,
    "pyarrow": _pyarrow,
}
"""Factories: the call imports, what it returns reads."""


def main(reader: str, path: str) -> None:
    """Read and print one JSON document."""
    read = READERS[reader]()
    start = time.perf_counter()
    x = read(path)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "digest": digest(x), "shape": x.shape}))


if __name__ == "__main__":
    main(*sys.argv[1:])
