"""Tables of sweeps made by hand, for tests of what comes after the scoring."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from fastprobe.qscore import q_score
from fastprobe.sweeps.table import SCHEMA


def sweep_row(fold_scores: Sequence[float | None], **changes: object) -> dict[str, object]:
    """A row of four dimensions in eight, 32 bits; its summary and its bytes follow from the rest."""
    q = q_score(fold_scores)
    row: dict[str, object] = {
        "submission": "team",
        "task": "height",
        "kind": "regression",
        "metric": "r2",
        "probe": "ridge",
        "order": "given",
        "seed": None,
        "size": 4,
        "n_features": 8,
        "alpha": None,
        "bits": 32,
        "quantizer": "none",
        "fraction": 1.0,
        "n_samples": 30,
        "n_train": 27,
        "n_folds": len(fold_scores),
        "n_failed": q.n_failed,
        "mean": q.mean,
        "std": q.std,
        "q": q.q,
        "fold_scores": list(fold_scores),
        "fold_alphas": [],
        "residual": 1e-14,
        "device": "cpu",
        "protocol_hash": "protocol",
        "embedding_hash": "embedding",
        "label_hash": "labels",
        "notes": [],
    } | changes
    return {"bytes_per_sample": math.ceil(row["size"] * row["bits"] / 8)} | row


def sweep_table(rows: Sequence[dict[str, object]]) -> pa.Table:
    """The table of some rows."""
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def rising(sizes: Sequence[int], top: float = 0.8, n_folds: int = 4, **changes: object) -> list[dict[str, object]]:
    """Rows of a curve that rises with the size towards `top`, with some noise over folds."""
    rng = np.random.default_rng(0)
    folds = rng.normal(0, 0.05, n_folds)
    return [
        sweep_row((top * (1 - 0.5**s) + folds + rng.normal(0, 0.01, n_folds)).tolist(), size=s, **changes)
        for s in sizes
    ]
