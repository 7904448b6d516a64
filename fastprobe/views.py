"""Files that a result is written to, made from its Arrow table."""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from fastprobe.files import atomic_path, write_text

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ArrowViews"]


class ArrowViews(ABC):
    """A result that is an Arrow table: its CSV and Parquet files."""

    @abstractmethod
    def to_arrow(self) -> pa.Table:
        """Return the table."""

    def to_csv_text(self) -> str:
        """Return the table of :meth:`to_arrow` as CSV, an empty cell for a null."""
        table, text = self.to_arrow(), io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows(row.values() for row in table.to_pylist())
        return text.getvalue()

    def to_csv(self, path: str | Path) -> None:
        """Write :meth:`to_csv_text` to a file, atomically."""
        write_text(path, self.to_csv_text())

    def to_parquet(self, path: str | Path) -> None:
        """Write the table of :meth:`to_arrow` as one Parquet file, atomically."""
        import pyarrow.parquet as pq

        with atomic_path(path) as temporary:
            pq.write_table(self.to_arrow(), temporary)
