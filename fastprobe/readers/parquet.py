"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastprobe.readers.table import Table, undamaged

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read"]


def read(path: Path, *, lenient: bool = False) -> Table:
    """Read a Parquet file, some columns at a time, so that only the matrix is held whole.

    Raises
    ------
    InputError
        If the file is damaged, or as :func:`fastprobe.readers.columnar.table_of` says.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from fastprobe.readers.columnar import table_of

    with undamaged(path, "Parquet", (pa.ArrowException, OSError)), pq.ParquetFile(path) as file:
        schema = file.schema_arrow

        def read_columns(positions: Sequence[int], rows: int) -> Iterator[pa.RecordBatch]:
            return file.iter_batches(batch_size=rows, columns=[schema.names[j] for j in positions])

        return table_of(path, schema, read_columns, file.metadata.num_rows, lenient=lenient)
