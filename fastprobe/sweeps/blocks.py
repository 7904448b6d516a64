"""Scores of one unit of a sweep as arrays, and the rows of the table that they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fastprobe.protocol import Protocol
from fastprobe.qscore import q_scores
from fastprobe.sweeps.matrices import Matrix
from fastprobe.sweeps.spec import Order
from fastprobe.sweeps.table import SCHEMA
from fastprobe.tasks import Task

__all__ = ["Block", "table_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Block:
    """Fold scores of one task at S sizes, one strength and one fraction of the training rows.

    Attributes
    ----------
    task : Task
    fraction : float
    n_train : int
        Median training rows of a fold.
    alpha : float or None
        None where it was chosen.
    scores : ndarray, shape (S, K)
        NaN where a fold has none.
    chosen : ndarray, shape (S, K), or None
        Strengths of the folds, where they were chosen.
    residual : float
    notes : tuple of str
    """

    task: Task
    fraction: float
    n_train: int
    alpha: float | None
    scores: Floats
    chosen: Floats | None
    residual: float
    notes: tuple[str, ...]


def table_of(
    blocks: Sequence[Block],
    *,
    matrix: Matrix,
    order: Order,
    sizes: Ints,
    bytes_per_sample: Ints,
    probe: str,
    device: str,
    protocol: Protocol,
) -> pa.Table:
    """Make the rows of some blocks that have the same sizes; columns as :data:`fastprobe.sweeps.table.SCHEMA`."""
    return pa.concat_tables(
        _rows(block, matrix, order, sizes, bytes_per_sample, probe, device, protocol) for block in blocks
    )


def _rows(
    block: Block, matrix: Matrix, order: Order, sizes: Ints, stored: Ints, probe: str, device: str, protocol: Protocol
) -> pa.Table:  # fmt: skip
    task, count, folds = block.task, len(sizes), block.scores.shape[1]
    q = q_scores(block.scores, eps=protocol.eps, max_failed=protocol.max_failed)
    same = {
        "submission": matrix.name,
        "task": task.name,
        "kind": task.kind,
        "metric": task.metric,
        "probe": probe,
        "order": order.name,
        "seed": order.seed,
        "n_features": matrix.d,
        "alpha": block.alpha,
        "bits": matrix.bits,
        "quantizer": matrix.quantizer,
        "fraction": block.fraction,
        "n_samples": len(task.ids),
        "n_train": block.n_train,
        "n_folds": folds,
        "residual": block.residual,
        "device": device,
        "protocol_hash": protocol.with_options(alpha=block.alpha).hash,
        "embedding_hash": matrix.digest,
        "label_hash": task.digest,
    }
    columns = {name: pa.repeat(pa.scalar(value, SCHEMA.field(name).type), count) for name, value in same.items()}
    columns |= {
        "size": pa.array(sizes),
        "bytes_per_sample": pa.array(stored),
        "n_failed": pa.array(q.n_failed),
        "mean": _with_nulls(q.mean),
        "std": _with_nulls(q.std),
        "q": _with_nulls(q.q),
        "fold_scores": _lists(_with_nulls(block.scores.ravel()), count, folds),
        "fold_alphas": _lists(pa.array([], pa.float64()), count, 0)
        if block.chosen is None
        else _lists(pa.array(block.chosen.ravel()), count, folds),
        "notes": pa.array([list(block.notes)] * count, pa.list_(pa.string())),
    }
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _with_nulls(values: Floats) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def _lists(flat: pa.Array, count: int, length: int) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * length), flat)
