"""Whether protocol, embedding and labels are what was scored: where they are not, a refit would say nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastprobe.audit.report import Finding, Kind
from fastprobe.audit.sources import Labels, Original
from fastprobe.protocol import Protocol
from fastprobe.rows import TaskScore
from fastprobe.tasks import Task, hash_labels

__all__ = ["wrong_embedding", "wrong_labels", "wrong_protocol", "wrong_record"]


def wrong_protocol(recorded: Mapping[str, Any], protocol: Protocol) -> Iterator[Finding]:
    """Find what is wrong with the protocol of a score table.

    Parameters
    ----------
    recorded : mapping
        What the table carries.
    protocol : Protocol
        What was made of it.
    """
    digest = recorded.get("folds", {}).get("file_digest")
    if digest is not None and digest != protocol.folds.to_dict().get("file_digest"):
        message = f"{protocol.folds.file} is not the file of groups, or of the split, that was used"
    elif protocol.hash != recorded.get("hash"):
        message = f"its fields give the hash {protocol.hash}, and it carries {recorded.get('hash')}"
    else:
        return
    yield Finding("protocol", "", "", message)


def wrong_embedding(row: TaskScore, original: Original) -> Iterator[Finding]:
    """Find whether a submission is what was scored."""
    digest = original.submission.digest
    if digest != row.embedding_hash:
        message = f"{original.place} is not what was scored: it has the hash {digest}, the score {row.embedding_hash}"
        yield _finding("embedding", row, message)


def wrong_labels(row: TaskScore, original: Original, labels: Labels, key: str | None) -> Iterator[Finding]:
    """Find whether labels are what was scored.

    Parameters
    ----------
    row : TaskScore
    original : Original
    labels : Labels
    key : str or None
        What the run keeps beside the score, see :attr:`fastprobe.runs.Terms.labels`.
    """
    task = labels.tasks.get(row.task)
    if task is None:
        yield _finding("not checked", row, "there is no file of labels of the task")
        return
    present = set(original.submission.ids.tolist())
    there = [sample in present for sample in task.ids.tolist()]
    digest = _digest(task, there)
    if digest != row.label_hash:
        message = f"they are not what was scored: they have the hash {digest}, the score {row.label_hash}"
        yield _finding("labels", row, message)
    elif key not in (None, labels.keys.get(row.task)):
        yield _finding("labels", row, "labels of other tasks have changed, whose samples standardise the embedding")
    lacking, told = there.count(False), row.repairs.get("samples_without_embedding_dropped", 0)
    if lacking != told:
        message = f"{original.place} lacks {lacking} labelled samples; the record says {told}"
        yield _finding("embedding", row, message)


def wrong_record(row: TaskScore, recorded: Mapping[str, Any], protocol: Protocol) -> Iterator[Finding]:
    """Find what keeps a record from being compared with refits."""
    if row.protocol_hash != recorded.get("hash"):
        yield _finding("protocol", row, f"the score was made by another one, with the hash {row.protocol_hash}")
    if protocol.probe_for(row.kind) is None:
        yield _finding("protocol", row, f"it scores no {row.kind}")
    if len(row.fold_scores) != protocol.folds.n_folds:
        message = f"{len(row.fold_scores)} in the record, {protocol.folds.n_folds} by the protocol"
        yield _finding("fold score", row, message)


def _digest(task: Task, there: list[bool]) -> str:
    return hash_labels(task.kind, task.ids[there].tolist(), task.y[there])


def _finding(kind: Kind, row: TaskScore, message: str) -> Finding:
    return Finding(kind, row.submission, row.task, message)
