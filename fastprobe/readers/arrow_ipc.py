"""Arrow IPC files and streams, and Feather files (version 2, which is the same)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastprobe.readers.table import Table, undamaged

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read"]


def read(path: Path, *, lenient: bool = False) -> Table:
    """Read an Arrow or Feather file. The file is mapped into memory, not copied.

    Raises
    ------
    InputError
        If the file is damaged, or as :func:`fastprobe.readers.columnar.table_of` says.
    """
    import pyarrow as pa

    from fastprobe.readers.columnar import table_of

    with (
        undamaged(path, "Arrow IPC (Feather version 2)", (pa.ArrowException, OSError)),
        pa.memory_map(str(path)) as source,
    ):
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        with pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source) as reader:
            table = reader.read_all()
        # Buffers of a damaged file may point anywhere: Arrow asks to validate data from elsewhere before use.
        table.validate(full=True)

        def read_columns(positions: Sequence[int], rows: int) -> list[pa.RecordBatch]:
            return table.select(list(positions)).to_batches(max_chunksize=rows)

        return table_of(path, table.schema, read_columns, table.num_rows, lenient=lenient)
