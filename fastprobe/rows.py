"""One score: the row of the score table, its columns, and the plain record that every file format is written from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = [
    "FOLD_SCORES",
    "SCHEMA",
    "SINCE_MULTI_CLASS",
    "STATS",
    "FoldStats",
    "TaskScore",
    "json_ready",
    "to_record",
    "to_values",
    "undo_json",
]

Ratios = tuple[float | None, ...]
"""Of every fold; None where the ratio is undefined."""


def _ratios(numerators: Iterable[float], denominators: Iterable[float]) -> Ratios:
    """Divide fold by fold."""
    pairs = zip(numerators, denominators, strict=True)
    return tuple(a / b if b > 0 and math.isfinite(a) else None for a, b in pairs)


@dataclass(frozen=True)
class FoldStats:
    """Sufficient statistics of the held-out predictions of every fold; each a tuple of length K.

    Regression: ``n``, ``mean_y`` (held-out mean label), ``tss`` (sum of squares about that mean), ``sse``.
    Two classes: ``n`` and the confusion counts ``tp, fp, fn, tn``. M > 2 classes: ``n`` and ``confusion``, for every
    fold a tuple of M * M counts, row by row: true class x predicted class. The other fields are empty.

    Precision and recall of more than two classes are unweighted means over the classes that occur in the truth or the
    predictions of the fold, 0 where they are undefined: scikit-learn's ``average="macro"``.
    """

    n: tuple[int, ...]
    mean_y: tuple[float, ...] = ()
    tss: tuple[float, ...] = ()
    sse: tuple[float, ...] = ()
    tp: tuple[int, ...] = ()
    fp: tuple[int, ...] = ()
    fn: tuple[int, ...] = ()
    tn: tuple[int, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()

    @cached_property
    def by_class(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Right predictions, members and predictions of every class, each (K, M); for classification only."""
        if not self.confusion:
            tp, fp, fn, tn = (np.array(cell, dtype=np.int64) for cell in (self.tp, self.fp, self.fn, self.tn))
            hits, members, guesses = (tn, tp), (tn + fp, tp + fn), (tn + fn, tp + fp)
            return np.stack(hits, axis=1), np.stack(members, axis=1), np.stack(guesses, axis=1)
        classes = math.isqrt(len(self.confusion[0]))
        counts = np.array(self.confusion, dtype=np.int64).reshape(-1, classes, classes)
        return counts.diagonal(axis1=1, axis2=2), counts.sum(axis=2), counts.sum(axis=1)

    @property
    def mse(self) -> Ratios:
        """Mean squared error of every fold, ``sse / n``; empty for classification."""
        return _ratios(self.sse, self.n) if self.sse else ()

    @property
    def accuracy(self) -> Ratios:
        """Share of right predictions of every fold; empty for regression."""
        return _ratios(self.by_class[0].sum(axis=1).tolist(), self.n) if self._classified else ()

    @property
    def balanced_accuracy(self) -> Ratios:
        """Mean over the classes that are there of the share of each that is predicted right; empty for regression."""
        if not self._classified:
            return ()
        hits, members, _ = self.by_class
        return _means(hits / np.maximum(members, 1), members > 0)

    @property
    def precision(self) -> Ratios:
        """``tp / (tp + fp)`` of every fold, None where nothing was predicted positive; empty for regression."""
        if not self.confusion:
            return _ratios(self.tp, map(sum, zip(self.tp, self.fp, strict=True)))
        hits, members, guesses = self.by_class
        return _means(hits / np.maximum(guesses, 1), members + guesses > 0)

    @property
    def recall(self) -> Ratios:
        """``tp / (tp + fn)`` of every fold, None where nothing is positive; empty for regression."""
        if not self.confusion:
            return _ratios(self.tp, map(sum, zip(self.tp, self.fn, strict=True)))
        hits, members, guesses = self.by_class
        return _means(hits / np.maximum(members, 1), members + guesses > 0)

    @property
    def _classified(self) -> bool:
        return bool(self.tp or self.confusion)


def _means(values: NDArray[np.float64], there: NDArray[np.bool_]) -> Ratios:
    """Unweighted means over some classes of every fold."""
    return _ratios(np.where(there, values, 0.0).sum(axis=1).tolist(), there.sum(axis=1).tolist())


@dataclass(frozen=True)
class TaskScore:
    """One submission on one task: the row of a score table. See :data:`SCHEMA` for the meaning of every field."""

    submission: str
    task: str
    kind: str
    metric: str
    n_samples: int
    n_features: int
    n_folds: int
    n_failed: int
    mean: float | None
    std: float | None
    q: float | None
    q_reason: str | None
    fold_scores: tuple[float | None, ...]
    fold_reasons: tuple[str | None, ...]
    fold_alphas: tuple[float, ...]
    fold_residuals: tuple[float, ...]
    fold_epochs: tuple[int, ...]
    fold_stats: FoldStats
    protocol_name: str
    protocol_hash: str
    embedding_hash: str
    label_hash: str
    version: str
    device: str
    dtype: str
    route: str
    iterations: int
    residual: float
    n_refactorised: int
    notes: tuple[str, ...] = ()
    repairs: Mapping[str, int] = field(default_factory=dict)
    n_missing_labels: int = 0
    fold_kernels: tuple[str, ...] = ()
    fold_gradient_norms: tuple[float, ...] = ()
    fold_roc_auc: tuple[float, ...] = ()
    fold_average_precision: tuple[float, ...] = ()
    fold_log_loss: tuple[float, ...] = ()


def _f(name: str, type_: pa.DataType, doc: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, type_, nullable=nullable, metadata={"doc": doc})


_floats, _ints = pa.list_(pa.float64()), pa.list_(pa.int64())

SCHEMA = pa.schema(
    [
        _f("submission", pa.string(), "name of the submission"),
        _f("task", pa.string(), "name of the task"),
        _f("kind", pa.string(), "regression or classification"),
        _f("metric", pa.string(), "r2, f1, or macro_f1 for more than two classes"),
        _f("n_samples", pa.int64(), "samples of the task"),
        _f("n_features", pa.int64(), "dimensions of the embedding"),
        _f("n_folds", pa.int64(), "retraining folds"),
        _f("n_failed", pa.int64(), "folds without a score"),
        _f("mean", pa.float64(), "mean of the fold scores", nullable=True),
        _f("std", pa.float64(), "standard deviation of the fold scores (ddof 0)", nullable=True),
        _f("q", pa.float64(), "Q-score: 100 eps mean / (std + eps)", nullable=True),
        _f("q_reason", pa.string(), "why there is no Q", nullable=True),
        _f("fold_scores", _floats, "metric of every fold, null where it failed"),
        _f("fold_reasons", pa.list_(pa.string()), "why a fold failed, null where it did not"),
        _f("fold_alphas", _floats, "strength used in every fold; empty for neuco"),
        _f("fold_kernels", pa.list_(pa.string()), "kernel and its parameters used in every fold; kernel only"),
        _f("fold_residuals", _floats, "relative float64 residual of every fold's solve; empty for neuco"),
        _f("fold_gradient_norms", _floats, "Euclidean norm of every fold's gradient where it ended; logistic only"),
        _f("fold_epochs", _ints, "epoch that gave the score of every fold, 0 if none did; neuco only"),
        _f("fold_n", _ints, "held-out samples of every fold"),
        _f("fold_mean_y", _floats, "mean held-out label (regression)"),
        _f("fold_tss", _floats, "held-out sum of squares about that mean (regression)"),
        _f("fold_sse", _floats, "held-out sum of squared errors (regression)"),
        _f("fold_tp", _ints, "true positives (two classes)"),
        _f("fold_fp", _ints, "false positives (two classes)"),
        _f("fold_fn", _ints, "false negatives (two classes)"),
        _f("fold_tn", _ints, "true negatives (two classes)"),
        _f("fold_confusion", pa.list_(_ints), "M * M counts, true class x predicted class (M > 2 classes)"),
        _f("fold_roc_auc", _floats, "area under the ROC curve; logistic and kernel classification"),
        _f("fold_average_precision", _floats, "average precision; logistic and kernel classification"),
        _f("fold_log_loss", _floats, "mean held-out log loss in nats; logistic only"),
        _f("protocol_name", pa.string(), "name of the protocol"),
        _f("protocol_hash", pa.string(), "hash of everything that decides the score"),
        _f("embedding_hash", pa.string(), "hash of ids and values of the embedding"),
        _f("label_hash", pa.string(), "hash of ids and labels of the task"),
        _f("version", pa.string(), "version of fastprobe"),
        _f("device", pa.string(), "cpu or cuda:N with the name of the device"),
        _f("dtype", pa.string(), "precision of the solve"),
        _f("route", pa.string(), "route that solved the folds"),
        _f(
            "iterations",
            pa.int64(),
            "iterations of an iterative route or optimiser steps of a fold, 0 for a direct route",
        ),
        _f("residual", pa.float64(), "largest of fold_residuals; NaN for neuco"),
        _f(
            "n_refactorised",
            pa.int64(),
            "folds solved again: by a direct factorisation; alone in float64 (logistic)",
        ),
        _f("notes", pa.list_(pa.string()), "what fell back, what was mapped, what surprised"),
        _f("repairs", pa.map_(pa.string(), pa.int64()), "what lenient reading mended, and how often"),
        _f("n_missing_labels", pa.int64(), "rows of the label file without a label"),
    ]
)
"""Columns of the score table, with a ``doc`` in each field's metadata."""

SINCE_MULTI_CLASS = (
    "fold_kernels",
    "fold_gradient_norms",
    "fold_confusion",
    "fold_roc_auc",
    "fold_average_precision",
    "fold_log_loss",
)
"""Columns of lists that scores written by fastprobe 0.1 lack: they are empty there."""

FOLD_SCORES = SCHEMA.get_field_index("fold_scores")
"""Where this column is."""

STATS = tuple(f"fold_{f.name}" for f in fields(FoldStats))
"""Columns that are the fields of :class:`FoldStats`, in their order."""

_taken = attrgetter(*(f"fold_stats.{n.removeprefix('fold_')}" if n in STATS else n for n in SCHEMA.names))
_WITH_NULLS = [i for i, column in enumerate(SCHEMA) if column.nullable]


def to_values(row: TaskScore) -> list[Any]:
    """Return the values of a row in the order of SCHEMA; NaN in a column with nulls, or of a fold score, is None."""
    values = [*_taken(row)]
    for i in _WITH_NULLS:
        if isinstance(values[i], float) and math.isnan(values[i]):
            values[i] = None
    values[FOLD_SCORES] = [None if s is None or math.isnan(s) else s for s in row.fold_scores]
    return values


def to_record(row: TaskScore) -> dict[str, Any]:
    """Return :func:`to_values` by the columns of SCHEMA."""
    return dict(zip(SCHEMA.names, to_values(row), strict=True))


def undo_json(record: dict[str, Any]) -> dict[str, Any]:
    """Undo in a record what JSON cannot say: NaN, and maps as Arrow reads them. Columns of later versions are empty."""
    values = {name: record.get(name, []) if name in SINCE_MULTI_CLASS else record[name] for name in SCHEMA.names}
    for column in SCHEMA:
        value = values[column.name]
        if column.type == pa.float64() and not column.nullable and value is None:
            values[column.name] = math.nan
        elif column.type == _floats and column.name != "fold_scores" and isinstance(value, list):
            values[column.name] = [math.nan if v is None else v for v in value]
    values["repairs"] = list(values["repairs"].items())
    return values


def json_ready(value: Any) -> Any:
    """Return a copy of plain dicts, lists and JSON scalars; a float that JSON cannot say becomes None."""
    if isinstance(value, Mapping):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
