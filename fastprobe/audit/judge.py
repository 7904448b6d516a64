"""What is said of a score and its refits: whether fold scores, strengths and Q agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fastprobe.audit.metrics import q_of, q_shift
from fastprobe.audit.refit import Fold
from fastprobe.audit.report import Checked, Finding, Kind
from fastprobe.protocol import Protocol
from fastprobe.rows import TaskScore

__all__ = ["judged"]

_FOLLOWS = 1e-9  # mean, std and Q of the same fold scores (relative where they are above 1)


def judged(row: TaskScore, folds: Sequence[Fold], protocol: Protocol, place: str) -> tuple[Checked, list[Finding]]:
    """Say how a score and its refits agree.

    Parameters
    ----------
    row : TaskScore
    folds : sequence of Fold
    protocol : Protocol
    place : str
        Where the embedding was read.
    """
    findings = [*_of_folds(row, folds), *_of_choices(row, folds), *_of_summary(row, protocol)]
    compared = [fold for fold in folds if fold.difference is not None]
    worst = max(compared, key=lambda fold: fold.difference or 0.0, default=None)
    q = None
    if len(folds) == len(row.fold_scores):
        q = q_of([fold.score for fold in folds], eps=protocol.eps, max_failed=_max_failed(protocol))
        findings += _of_q(row, q, folds, protocol)
    checked = Checked(
        submission=row.submission,
        task=row.task,
        probe=protocol.probe_for(row.kind) or "",
        read=place,
        n_folds=len(row.fold_scores),
        n_refitted=len(folds),
        fold=None if worst is None else worst.number,
        recorded=None if worst is None else worst.recorded,
        refitted=None if worst is None else worst.score,
        difference=None if worst is None else worst.difference,
        tolerance=None if worst is None else worst.tolerance,
        q=row.q,
        q_refitted=q,
        q_difference=None if q is None or row.q is None else abs(q - row.q),
        n_undecided=sum(fold.undecided for fold in folds),
        n_tied=sum(fold.tied for fold in folds),
        agrees=not findings,
    )
    return checked, findings


def _of_folds(row: TaskScore, folds: Sequence[Fold]) -> Iterator[Finding]:
    wrong = [fold for fold in folds if not fold.agrees]
    if not wrong:
        return
    worst = max(wrong, key=lambda fold: float("inf") if fold.difference is None else fold.difference)
    reason = row.fold_reasons[worst.number] if worst.number < len(row.fold_reasons) else None
    recorded = _text(worst.recorded) + (f" ({reason})" if worst.recorded is None and reason else "")
    message = (
        f"{len(wrong)} of {len(folds)} refitted folds differ; fold {worst.number}: recorded {recorded}, "
        f"refitted {_text(worst.score)}, tolerance {worst.tolerance:.1e}"
    )
    yield _finding("fold score", row, message)


def _of_choices(row: TaskScore, folds: Sequence[Fold]) -> Iterator[Finding]:
    wrong = [fold for fold in folds if not fold.chosen_alike]
    if wrong:
        first = wrong[0]
        message = (
            f"{len(wrong)} of {len(folds)} refitted folds differ; fold {first.number}: recorded "
            f"{first.recorded_choice or 'none'}, refitted {first.choice}"
        )
        yield _finding("strength", row, message)


def _of_summary(row: TaskScore, protocol: Protocol) -> Iterator[Finding]:
    """Whether mean, standard deviation and Q are those of the fold scores in the record."""
    there = [score for score in row.fold_scores if score is not None]
    mean = float(np.mean(there)) if there else None
    std = float(np.std(there)) if there else None
    q = q_of(row.fold_scores, eps=protocol.eps, max_failed=_max_failed(protocol))
    for name, recorded, found in (("mean", row.mean, mean), ("std", row.std, std), ("Q", row.q, q)):
        if not _close(recorded, found, _FOLLOWS):
            yield _finding(
                "Q", row, f"the {name} of the fold scores in the record is {_text(found)}, not {_text(recorded)}"
            )


def _of_q(row: TaskScore, q: float | None, folds: Sequence[Fold], protocol: Protocol) -> Iterator[Finding]:
    if q is None or row.q is None:
        if q is not row.q:
            yield _finding("Q", row, f"recorded {_text(row.q)}, refitted {_text(q)}")
        return
    error = max(fold.tolerance for fold in folds)
    allowed = q_shift([fold.score for fold in folds], error, eps=protocol.eps) + _FOLLOWS * max(1.0, abs(q))
    if not abs(q - row.q) <= allowed:
        yield _finding("Q", row, f"recorded {_text(row.q)}, refitted {_text(q)}, tolerance {allowed:.1e}")


def _max_failed(protocol: Protocol) -> float:
    return 0.0 if protocol.replay is not None else protocol.max_failed


def _close(a: float | None, b: float | None, tolerance: float) -> bool:
    if a is None or b is None:
        return a is b
    return abs(a - b) <= tolerance * max(1.0, abs(b))


def _text(value: float | None) -> str:
    return "none" if value is None else f"{value:.10g}"


def _finding(kind: Kind, row: TaskScore, message: str) -> Finding:
    return Finding(kind, row.submission, row.task, message)
