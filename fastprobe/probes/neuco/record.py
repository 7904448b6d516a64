"""The record of a replayed task: its row of the score table, with a note on everything that may surprise."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fastprobe import __version__
from fastprobe.probes.neuco.scoring import RAW, RESIDUAL_TINY, TOTAL_TINY, digits_lost, statistics
from fastprobe.probes.neuco.training import TaskReplay
from fastprobe.protocol import Protocol
from fastprobe.qscore import q_score
from fastprobe.results import TaskScore

__all__ = ["task_score"]

_log = logging.getLogger(__name__)

_LOST = 1e-3
"""Relative error of R2's denominator from which a note says so."""

_UNDEFINED = "the metric is NaN after every epoch"

_RULES = {
    RESIDUAL_TINY: "R2 set to 1: residual sum of squares of at most 1e-4 (torchmetrics)",
    TOTAL_TINY: "R2 set to 0: total sum of squares of at most 1e-4 (torchmetrics)",
    RAW: "F1 of raw outputs above 0.5: all lie in [0, 1] and are taken for probabilities (torchmetrics)",
}


def task_score(
    result: TaskReplay,
    *,
    protocol: Protocol,
    submission: str,
    embedding_hash: str,
    label_hash: str,
    device: str,
    notes: Sequence[str] = (),
    repairs: Mapping[str, int] | None = None,
    n_missing_labels: int = 0,
) -> TaskScore:
    """Return the row of the score table for a replayed task.

    Parameters
    ----------
    result : TaskReplay
    protocol : Protocol
        With the tasks of its stream.
    submission : str
        Name of the submission.
    embedding_hash, label_hash : str
        Where the score comes from.
    device : str
    notes : sequence of str
        Remarks on labels and embeddings, kept before those on the replay.
    repairs : mapping of str to int, optional
    n_missing_labels : int
    """
    folds, epochs = result.history.shape
    kind = result.task.kind
    failed = result.best < 0
    by_fold = tuple(None if bad else float(s) for bad, s in zip(failed, result.scores, strict=True))
    q = q_score(by_fold, eps=protocol.eps, max_failed=0.0)
    shown = np.where(failed, epochs - 1, result.best)
    rules = result.rules[np.arange(folds), shown]
    n_train = len(result.task.y) - result.held_out.shape[1]
    batch_size = protocol.replay.batch_size if protocol.replay is not None else n_train
    if failed.any():
        _log.warning("%s, %s: %d folds without a score: %s", submission, result.task.name, failed.sum(), _UNDEFINED)
    return TaskScore(
        submission=submission,
        task=result.task.name,
        kind=kind,
        metric="r2" if kind == "regression" else "f1",
        n_samples=len(result.task.y),
        n_features=result.weights.shape[1] - 1,
        n_folds=folds,
        n_failed=q.n_failed,
        mean=q.mean,
        std=q.std,
        q=q.q,
        q_reason=q.reason,
        fold_scores=by_fold,
        fold_reasons=tuple(_UNDEFINED if bad else None for bad in failed),
        fold_alphas=(),
        fold_residuals=(),
        fold_epochs=tuple(int(e) + 1 for e in result.best),
        fold_stats=statistics(result.predictions, result.task.y[result.held_out], rules, kind),
        protocol_name=protocol.name,
        protocol_hash=protocol.hash,
        embedding_hash=embedding_hash,
        label_hash=label_hash,
        version=__version__,
        device=device,
        dtype="float32",
        route="replay",
        iterations=epochs * -(-n_train // batch_size),
        residual=float("nan"),
        n_refactorised=0,
        notes=(*notes, *_notes(result, rules)),
        repairs=dict(repairs or {}),
        n_missing_labels=n_missing_labels,
    )


def _notes(result: TaskReplay, rules: np.ndarray) -> Iterator[str]:
    folds, epochs = result.history.shape
    last = result.history[:, epochs - 1]
    early = int(((result.best >= 0) & ~(result.scores <= last)).sum())
    if early:
        yield f"epoch chosen on the held-out rows: better than the last one in {early} of {folds} folds"
    for rule, meaning in _RULES.items():
        if count := int(((rules == rule) & (result.best >= 0)).sum()):
            yield f"{meaning}, in {count} of {folds} folds"
    if result.task.kind == "regression":
        lost = digits_lost(result.task.y[result.held_out])
        if count := int((lost > _LOST).sum()):
            yield (
                f"R2 of labels far from zero: its total sum of squares is off by up to {lost.max():.2g} "
                f"(relative, float32) in {count} of {folds} folds"
            )
