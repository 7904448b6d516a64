"""The audit: draw scores, find what they were made of, refit, compare."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np

from fastprobe.audit.inputs import wrong_embedding, wrong_labels, wrong_protocol, wrong_record
from fastprobe.audit.judge import judged
from fastprobe.audit.report import Audit, Checked, Finding
from fastprobe.audit.sources import Labels, Original, Originals, protocol_of, read_labels
from fastprobe.audit.task import Embedding, check_folds
from fastprobe.errors import InputError
from fastprobe.protocol import Protocol
from fastprobe.results import Scores
from fastprobe.rows import TaskScore
from fastprobe.runs import RunFolder

__all__ = ["Progress", "verify"]

Progress = Callable[[str, int, int], None]
"""Called with (what is checked, folds done, folds in all)."""


def verify(
    run: str | Path,
    *,
    sample: int | Literal["all"] = 10,
    seed: int | None = None,
    folds: int | None = None,
    labels: str | Path | None = None,
    submissions: Sequence[str | Path] = (),
    fold_file: str | Path | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Compute scores of a run again from the original files, by naive refits in float64, and compare.

    Parameters
    ----------
    run : path
        Folder of a run.
    sample : int or "all"
        How many of its scores (submission x task) to check, drawn at random; all if there are no more.
    seed : int, optional
        Of the draw; another one each time by default.
    folds : int, optional
        Refit only so many folds of each score, drawn at random; all by default. Q is compared where all are refitted.
    labels : path, optional
        Folder of the labels; by default where the run found them.
    submissions : sequence of path
        Where the submissions are, as :func:`fastprobe.runs.find_items` takes it; by default where the run found them.
        Of a store, the files that it was made of are read where they are still there.
    fold_file : path, optional
        The file of groups, or of the split; by default where the run found it.
    progress : callable, optional
        See :data:`Progress`.

    Returns
    -------
    Audit

    Raises
    ------
    InputError
        If an option is wrong, there is no run, or its labels are nowhere. What is wrong with a submission, or with the
        labels of a task, is a finding.
    """
    for name, value, least in (("sample", sample, 1), ("folds", folds, 1), ("seed", seed, 0)):
        if isinstance(value, int) and value < least:
            raise InputError(name, found=f"{value}", expected=f"a number from {least} on", fix=f"correct {name}")
    folder, scores = RunFolder(Path(run)), Scores.read(run)
    seed = secrets.randbits(32) if seed is None else seed
    protocol = protocol_of(scores.protocol, None if fold_file is None else str(fold_file))
    work = _Work(
        scores=scores,
        protocol=protocol,
        labels=read_labels(folder, protocol, labels),
        originals=Originals(folder, submissions),
        keys={(key.submission, key.task): key.labels for key in folder.scores},
        drawn=_drawn(scores, sample, folds, seed),
        progress=progress or (lambda what, done, total: None),
    )
    work.go()
    return Audit(
        run=str(run),
        seed=seed,
        n_scores=len(scores),
        rows=tuple(work.rows),
        findings=tuple(work.findings),
        remarks=tuple(dict.fromkeys(work.remarks)),
        protocol=dict(scores.protocol),
    )


@dataclass(frozen=True)
class _Drawn:
    """A score that is to be checked, and which folds of it."""

    submission: str
    task: str
    folds: tuple[int, ...]


def _drawn(scores: Scores, sample: int | Literal["all"], folds: int | None, seed: int) -> list[_Drawn]:
    """Draw scores, sorted by submission and task, and folds of each."""
    pool = scores.pool()
    pairs = sorted(zip(pool["submission"].to_pylist(), pool["task"].to_pylist(), strict=True))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pairs))
    picked = order if sample == "all" else order[:sample]
    drawn = []
    for i in sorted(picked.tolist()):
        submission, task = pairs[i]
        row = scores.get(submission, task)
        assert row is not None
        of_row = rng.permutation(len(row.fold_scores))[:folds]
        drawn.append(_Drawn(submission, task, tuple(sorted(of_row.tolist()))))
    return drawn


@dataclass(eq=False)
class _Work:
    """An audit under way."""

    scores: Scores
    protocol: Protocol
    labels: Labels
    originals: Originals
    keys: Mapping[tuple[str, str], str]
    drawn: Sequence[_Drawn]
    progress: Progress
    rows: list[Checked] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    _before: int = 0  # folds of the scores that are done

    def go(self) -> None:
        """Check everything that was drawn."""
        self.findings.extend(wrong_protocol(self.scores.protocol, self.protocol))
        known = not self.findings
        for name, group in groupby(self.drawn, key=lambda drawn: drawn.submission):
            drawn = [*group]
            rows = [self._row(one) for one in drawn]
            checked = self._checked(name, rows, drawn) if known else map(_unchecked, rows)
            for one, row in zip(drawn, checked, strict=True):
                self.rows.append(row)
                self._before += len(one.folds)

    def _row(self, drawn: _Drawn) -> TaskScore:
        row = self.scores.get(drawn.submission, drawn.task)
        assert row is not None
        return row

    def _checked(self, name: str, rows: Sequence[TaskScore], drawn: Sequence[_Drawn]) -> Iterator[Checked]:
        """Check the scores of one submission."""
        try:
            original = self.originals.read(name)
        except InputError as error:
            for row in rows:
                self._found(Finding("not checked", row.submission, row.task, str(error)))
                yield _unchecked(row)
            return
        self.remarks.extend(original.remarks)
        embedding: Embedding | None = None
        for row, one in zip(rows, drawn, strict=True):
            if self._found(*self._wrong(row, original)):
                yield replace(_unchecked(row), read=original.place)
                continue
            if embedding is None:
                embedding = Embedding.of(original.submission, self.labels.labelled, self.protocol)
            tell = partial(self._tell, f"{row.submission}, {row.task}")
            folds = check_folds(row, embedding, self.labels, self.protocol, one.folds, tell)
            checked, findings = judged(row, folds, self.protocol, original.place)
            self._found(*findings)
            yield checked

    def _wrong(self, row: TaskScore, original: Original) -> Iterator[Finding]:
        """What would make a refit pointless."""
        yield from wrong_record(row, self.scores.protocol, self.protocol)
        yield from wrong_embedding(row, original)
        yield from wrong_labels(row, original, self.labels, self.keys.get((row.submission, row.task)))

    def _found(self, *findings: Finding) -> bool:
        self.findings.extend(findings)
        return bool(findings)

    def _tell(self, what: str, done: int) -> None:
        self.progress(what, self._before + done, sum(len(one.folds) for one in self.drawn))


def _unchecked(row: TaskScore) -> Checked:
    return Checked(row.submission, row.task, "", "", len(row.fold_scores), q=row.q)
