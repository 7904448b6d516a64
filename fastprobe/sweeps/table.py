"""The result of a sweep: one tidy Arrow table, of which JSON, CSV and Parquet are views."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fastprobe.errors import InputError
from fastprobe.rows import json_ready
from fastprobe.views import ArrowViews

__all__ = ["SCHEMA", "Sweep"]

_PROTOCOL_KEY = b"fastprobe.protocol"

SCHEMA = pa.schema(
    [
        pa.field("submission", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("probe", pa.string(), nullable=False),
        pa.field("order", pa.string(), nullable=False),
        pa.field("seed", pa.int64()),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("n_features", pa.int64(), nullable=False),
        pa.field("alpha", pa.float64()),
        pa.field("bits", pa.int64()),
        pa.field("quantizer", pa.string(), nullable=False),
        pa.field("fraction", pa.float64(), nullable=False),
        pa.field("bytes_per_sample", pa.int64(), nullable=False),
        pa.field("n_samples", pa.int64(), nullable=False),
        pa.field("n_train", pa.int64(), nullable=False),
        pa.field("n_folds", pa.int64(), nullable=False),
        pa.field("n_failed", pa.int64(), nullable=False),
        pa.field("mean", pa.float64()),
        pa.field("std", pa.float64()),
        pa.field("q", pa.float64()),
        pa.field("fold_scores", pa.list_(pa.float64()), nullable=False),
        pa.field("fold_alphas", pa.list_(pa.float64()), nullable=False),
        pa.field("residual", pa.float64(), nullable=False),
        pa.field("device", pa.string(), nullable=False),
        pa.field("protocol_hash", pa.string(), nullable=False),
        pa.field("embedding_hash", pa.string(), nullable=False),
        pa.field("label_hash", pa.string(), nullable=False),
        pa.field("notes", pa.list_(pa.string()), nullable=False),
    ]
)
"""One row per submission, task, order, size, strength, bit width and fraction of the training rows.

`seed` is that of a random order. `size` counts leading dimensions in that order, of `n_features`. `alpha` is null where
the strength was chosen inside the training rows of every fold: then `fold_alphas` has it. `bits` are those of a stored
number (null if they differ within a row of joined submissions), `bytes_per_sample` those of the leading dimensions,
rounded up. `n_train` is the median number of training rows. `residual` is the largest relative float64 residual of the
fits (for logistic probes the estimated error of the decision values).
"""

_LISTS = ("fold_scores", "fold_alphas", "notes")


class Sweep(ArrowViews):
    """The table of a sweep, with the protocol that made it.

    Parameters
    ----------
    table : pyarrow.Table
        With the columns of :data:`SCHEMA`.
    protocol : mapping
        The protocol as :meth:`fastprobe.protocol.Protocol.to_dict` gives it; stored as table metadata.

    Attributes
    ----------
    table : pyarrow.Table
    protocol : mapping
    """

    def __init__(self, table: pa.Table, protocol: Mapping[str, Any]) -> None:
        self.protocol: Mapping[str, Any] = dict(protocol)
        schema = SCHEMA.with_metadata({_PROTOCOL_KEY: json.dumps(json_ready(self.protocol))})
        self.table = table.select(SCHEMA.names).cast(SCHEMA).replace_schema_metadata(schema.metadata)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __repr__(self) -> str:
        return f"<Sweep: {len(self)} rows, {self.protocol.get('name')}>"

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as dictionaries."""
        found: list[dict[str, Any]] = self.table.to_pylist()
        return found

    def select(self, **wanted: Any) -> Sweep:
        """Keep the rows whose columns have these values; None selects nulls.

        Raises
        ------
        KeyError
            If there is no such column.
        """
        import pyarrow.compute as pc

        kept = self.table
        for name, value in wanted.items():
            if name not in SCHEMA.names or name in _LISTS:
                raise KeyError(f"no column {name!r} to select by; known: {', '.join(SCHEMA.names)}")
            mask = pc.is_null(kept[name]) if value is None else pc.equal(kept[name], value)
            kept = kept.filter(mask)
        return Sweep(kept, self.protocol)

    def curve(self, column: str = "mean", **wanted: Any) -> tuple[np.ndarray, np.ndarray]:
        """Sizes, ascending, and the values of a column at each; NaN for null.

        Parameters
        ----------
        column : str
            A column of numbers.
        **wanted
            As in :meth:`select`; each size may be left in one row only.

        Raises
        ------
        ValueError
            If several rows have the same size.
        """
        table = self.select(**wanted).table.sort_by("size")
        sizes = table["size"].to_numpy()
        if len(np.unique(sizes)) < len(sizes):
            raise ValueError(f"several rows of one size: select by more columns than {', '.join(wanted) or 'none'}")
        return sizes, np.array([math.nan if v is None else float(v) for v in table[column].to_pylist()])

    @cached_property
    def smallest(self) -> list[Any]:
        """Smallest sizes that keep 99 % and 95 % of the score; see :func:`fastprobe.sweeps.keep.smallest_sizes`."""
        from fastprobe.sweeps.keep import smallest_sizes

        return smallest_sizes(self.table)

    def to_arrow(self) -> pa.Table:
        """Return the table, the protocol as JSON in its metadata."""
        return self.table

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"protocol": ..., "rows": [...], "smallest": [...]}`` of JSON values."""
        kept = [asdict(kept) for kept in self.smallest]
        ready: dict[str, Any] = json_ready({"protocol": self.protocol, "rows": self.rows, "smallest": kept})
        return ready

    def to_json(self) -> str:
        """Return :meth:`to_dict` as one JSON document."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def to_csv_text(self) -> str:
        """Return the table as CSV: the score of every fold under ``fold_0`` to ``fold_{K-1}``, notes joined."""
        scalars = [name for name in SCHEMA.names if name not in _LISTS]
        n_folds = max((len(row["fold_scores"]) for row in self.rows), default=0)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*scalars, "notes", *(f"fold_{k}" for k in range(n_folds))])
        for row in self.rows:
            writer.writerow([*(row[name] for name in scalars), "; ".join(row["notes"]), *row["fold_scores"]])
        return text.getvalue()

    @classmethod
    def read(cls, path: str | Path) -> Sweep:
        """Read ``sweep.parquet``, given as the file or as the folder that it is in.

        Raises
        ------
        InputError
            If there is no such file, or it is not the table of a sweep.
        """
        import pyarrow.parquet as pq

        path = Path(path)
        path = path / "sweep.parquet" if path.is_dir() else path
        try:
            table = pq.ParquetFile(path).read()
            return cls(table, json.loads((table.schema.metadata or {})[_PROTOCOL_KEY]))
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            raise InputError(
                str(path),
                found=str(error) or type(error).__name__,
                expected="the table of a sweep, as fastprobe sweep --out writes it",
                fix="give the folder of --out, or its sweep.parquet",
            ) from None

    @classmethod
    def concat(cls, tables: Iterable[pa.Table], protocol: Mapping[str, Any]) -> Sweep:
        """Put the tables of some units together."""
        known = [table.select(SCHEMA.names).cast(SCHEMA) for table in tables]
        return cls(pa.concat_tables(known) if known else SCHEMA.empty_table(), protocol)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)
