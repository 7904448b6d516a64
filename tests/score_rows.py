"""Rows of score tables made by hand, for tests of what comes after the engine."""

from __future__ import annotations

import math
from dataclasses import replace

from fastprobe.protocol import Protocol
from fastprobe.results import FoldStats, Scores, TaskScore

PROTOCOL = Protocol().with_options(folds=3)


def regression_row(
    submission: str = "team", task: str = "height", q: float | None = 12.5, **changes: object
) -> TaskScore:
    """A regression task with three folds, none of which failed."""
    row = TaskScore(
        submission=submission,
        task=task,
        kind="regression",
        metric="r2",
        n_samples=30,
        n_features=4,
        n_folds=3,
        n_failed=0,
        mean=0.5,
        std=0.06,
        q=q,
        q_reason=None if q is not None else "2 of 3 folds failed, more than 30%",
        fold_scores=(0.4375, 0.5, 0.5625),
        fold_reasons=(None, None, None),
        fold_alphas=(100.0, 100.0, 100.0),
        fold_residuals=(1e-14, 2e-14, 3e-14),
        fold_epochs=(),
        fold_stats=FoldStats(n=(10, 10, 10), mean_y=(0.1, 0.2, 0.3), tss=(16.0, 8.0, 16.0), sse=(9.0, 4.0, 7.0)),
        protocol_name=PROTOCOL.name,
        protocol_hash=PROTOCOL.hash,
        embedding_hash=f"embedding of {submission}",
        label_hash=f"labels of {task}",
        version="0.1.0",
        device="cpu",
        dtype="float64",
        route="direct",
        iterations=0,
        residual=3e-14,
        n_refactorised=0,
    )
    return replace(row, **changes)


def classification_row(submission: str = "team", task: str = "ships", q: float | None = 30.0) -> TaskScore:
    """A classification task: the second fold failed, the third predicted nothing positive."""
    return regression_row(
        submission,
        task,
        q,
        kind="classification",
        metric="f1",
        n_failed=1,
        fold_scores=(0.8, None, 0.0),
        fold_reasons=(None, "held-out labels are of one class", None),
        fold_residuals=(1e-14, math.nan, 1e-14),
        fold_epochs=(),
        fold_stats=FoldStats(n=(10, 10, 10), tp=(4, 0, 0), fp=(1, 0, 0), fn=(1, 0, 2), tn=(4, 10, 8)),
        residual=math.nan,
        notes=("labels 1 and 2 became 0 and 1", "another note"),
        repairs={"nan_to_zero": 3, "duplicate_ids_dropped": 1},
        n_missing_labels=7,
    )


def multi_class_row(submission: str = "team", task: str = "crops", q: float | None = 40.0) -> TaskScore:
    """A task of three classes by logistic regression; in the second fold a class is missing."""
    return regression_row(
        submission,
        task,
        q,
        kind="classification",
        metric="macro_f1",
        fold_gradient_norms=(1e-9, 2e-9, 3e-9),
        fold_roc_auc=(0.75, math.nan, 0.5),
        fold_average_precision=(0.7, math.nan, 0.4),
        fold_log_loss=(0.9, 1.1, math.inf),
        fold_kernels=("rbf gamma=0.5", "rbf gamma=0.5", "rbf gamma=2"),
        fold_stats=FoldStats(
            n=(10, 10, 10),
            confusion=((3, 1, 0, 0, 3, 0, 1, 0, 2), (4, 1, 0, 1, 4, 0, 0, 0, 0), (1, 1, 1, 1, 1, 1, 1, 1, 2)),
        ),
    )


def table(*rows: TaskScore) -> Scores:
    """A score table of the protocol of these rows."""
    return Scores(rows, PROTOCOL.to_dict())
