"""Lint of a submission and its labels, before time is spent on scores.

Everything is reported in one go: what strict reading would refuse (with the first place, and the count of each repair
that lenient reading makes), ids, constant values and labels, folds that cannot be scored, and sizes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastprobe.embeddings import Submission
from fastprobe.errors import InputError
from fastprobe.folds import make_folds, read_assignment
from fastprobe.metrics import CONSTANT
from fastprobe.planner import Shape, choose_route, estimate
from fastprobe.protocol import Protocol
from fastprobe.specs import ReplaySpec
from fastprobe.tasks import Benchmark, Task

__all__ = ["Finding", "Report", "check", "check_files"]

Level = Literal["error", "warning", "info"]
Read = TypeVar("Read")

_EPS = float(np.finfo(np.float64).eps)
_RANGE = 1e4
_RANK_FLOPS = 1e11
_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """One remark.

    Attributes
    ----------
    level : {"error", "warning", "info"}
        ``error``: scoring would stop, or a task would have no Q. ``warning``: the score would mean less than it seems.
    code : str
        Short name of the kind of remark.
    where : str
        The submission, or the task.
    message : str
    fix : str or None
        What to do about it.
    """

    level: Level
    code: str
    where: str
    message: str
    fix: str | None = None


@dataclass(frozen=True)
class Report:
    """All remarks on a submission, the gravest first."""

    submission: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.level != "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"submission", "ok", "findings": [{"level", "code", "where", "message", "fix"}, ...]}``."""
        return {"submission": self.submission, "ok": self.ok, "findings": [asdict(f) for f in self.findings]}

    def to_json(self) -> str:
        """Return :meth:`to_dict` as one JSON document."""
        return json.dumps(self.to_dict(), indent=1)


def check(submission: Submission, benchmark: Benchmark, protocol: Protocol | None = None) -> Report:
    """Check a submission against a benchmark, both already read.

    Parameters
    ----------
    submission : Submission
    benchmark : Benchmark
    protocol : Protocol, optional
        Its folds are made; by default those of the protocol ``ridge``.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        If the protocol's file of groups, or of a split, cannot be read.
    """
    return _report(submission.name, _all(submission, benchmark, protocol or Protocol()))


def check_files(
    submission: str | Path,
    labels: str | Path,
    protocol: Protocol | None = None,
    *,
    tasks: Sequence[str] | None = None,
    ids: str | Path | None = None,
) -> Report:
    """Check a submission file against a folder of labels.

    What strict reading refuses and lenient reading repairs is a finding; what neither can read is raised.

    Parameters
    ----------
    submission, labels : str or Path
    protocol : Protocol, optional
    tasks : sequence of str, optional
        Only these tasks.
    ids : str or Path, optional
        Id file, for formats without ids.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        If a file cannot be read at all.
    """
    read, refused = _read(lambda lenient: Submission.read(submission, ids=ids, lenient=lenient), "submission")
    benchmark, refused_labels = _read(
        lambda lenient: Benchmark.from_folder(labels, tasks=tasks, lenient=lenient), "labels"
    )
    return _report(read.name, [*refused, *refused_labels, *_all(read, benchmark, protocol or Protocol())])


def _report(name: str, findings: Iterable[Finding]) -> Report:
    order = {"error": 0, "warning": 1, "info": 2}
    return Report(name, tuple(sorted(findings, key=lambda f: order[f.level])))


def _read(read: Callable[[bool], Read], what: str) -> tuple[Read, list[Finding]]:
    """Read strictly; if that is refused, say why and read leniently."""
    try:
        return read(False), []
    except InputError as error:
        message = f"found {error.found}; expected {error.expected}"
        return read(True), [Finding("error", f"{what}-refused", error.where, message, error.fix)]


def _all(submission: Submission, benchmark: Benchmark, protocol: Protocol) -> Iterator[Finding]:
    yield from _repairs(submission)
    yield from _values(submission)
    yield from _ids(submission, benchmark)
    yield from _memory(submission, benchmark, protocol)
    assignment = read_assignment(protocol.folds)
    for task in benchmark.tasks:
        yield from _labels(task, submission.x.shape[1])
        yield from _folds(task, protocol, assignment)


# --- the submission --------------------------------------------------------------------------------------------------


def _repairs(submission: Submission) -> Iterator[Finding]:
    for name, count in submission.repairs.items():
        what = name.replace("_", " ")
        fix = "mend the file, or score with --lenient, which records the count"
        yield Finding("error", "repairs", submission.name, f"{what}: {count}", fix)


def _values(submission: Submission) -> Iterator[Finding]:
    x, name = submission.x, submission.name
    n, d = x.shape
    yield Finding("info", "size", name, f"{n} samples x {d} dimensions, {x.dtype}, {x.nbytes / 2**20:.1f} MiB")
    if x.dtype.itemsize < 4:
        yield Finding("info", "dtype", name, f"{x.dtype} values are used as they are, widened without loss")
    low, high = x.min(axis=0), x.max(axis=0)
    if low.min() == high.max():
        yield Finding("warning", "constant-embedding", name, f"every value is {low[0]}", "look at how it was written")
        return
    constant = np.flatnonzero(low == high)
    if len(constant):
        message = f"{len(constant)} of {d} columns are constant: {_some(constant)}"
        yield Finding(
            "warning", "constant-columns", name, message, "they add nothing; leave them out if they are not meant"
        )
    copies = _copies(x.T)
    if len(copies):
        message = f"{len(copies)} of {d} columns repeat an earlier one: {_some(copies)}"
        yield Finding("warning", "duplicate-columns", name, message, "look whether the columns were meant to differ")
    copies = _copies(x)
    if len(copies):
        ids = submission.ids[copies]
        message = f"{len(copies)} of {n} rows repeat the values of an earlier one: {_some(ids)}"
        yield Finding("info", "duplicate-rows", name, message)
    spread = x.std(axis=0, dtype=np.float64)
    spread = spread[spread > 0]
    if len(spread) and spread.max() > _RANGE * spread.min():
        message = f"the standard deviations of the columns range from {spread.min():.1e} to {spread.max():.1e}"
        fix = "scale the columns if the small ones matter: one common scale is used for all"
        yield Finding("warning", "dynamic-range", name, message, fix)
    if n * d * min(n, d) <= _RANK_FLOPS:
        rank = _rank(x)
        if rank < min(n - 1, d):
            message = f"only about {rank} of {min(n - 1, d)} directions vary by more than rounding (no obstacle)"
            yield Finding("info", "rank", name, message)


def _copies(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Return the indices of rows that are equal to an earlier one, bit for bit."""
    rows = np.ascontiguousarray(rows)
    seen: set[bytes] = set()
    copies = []
    for i, row in enumerate(rows):
        key = row.tobytes()
        if key in seen:
            copies.append(i)
        seen.add(key)
    return np.array(copies, dtype=np.int64)


def _rank(x: NDArray[Any]) -> int:
    """Return how many directions vary by more than rounding, from the smaller Gram matrix of the centred rows."""
    centred = x.astype(np.float64)
    centred -= centred.mean(axis=0)
    gram = centred.T @ centred if x.shape[1] <= len(x) else centred @ centred.T
    variances = np.linalg.eigvalsh(gram)
    return int((variances > len(gram) * _EPS * variances[-1]).sum())


def _some(items: Iterable[Any]) -> str:
    names = [str(item) for item in items]
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


# --- ids, labels, folds ----------------------------------------------------------------------------------------------


def _ids(submission: Submission, benchmark: Benchmark) -> Iterator[Finding]:
    there, labelled = set(submission.ids.tolist()), set(benchmark.labelled_ids.tolist())
    extra = [i for i in submission.ids.tolist() if i not in labelled]
    if extra:
        message = f"{len(extra)} of {len(there)} samples have no label in any task: {_some(extra)}"
        yield Finding("info", "unlabelled", submission.name, message)
    for task in benchmark.tasks:
        missing = [i for i in task.ids.tolist() if i not in there]
        if missing:
            message = f"{len(missing)} of {len(task.ids)} samples have no embedding: {_some(missing)}"
            if len(missing) == len(task.ids):
                message += f"; ids of the submission look like {_some(submission.ids.tolist())}"
            yield Finding("error", "missing-ids", f"task {task.name}", message, "embed these samples, under these ids")


def _memory(submission: Submission, benchmark: Benchmark, protocol: Protocol) -> Iterator[Finding]:
    """Estimate what the largest task needs: the values as they are and in float64, and what the solver works on."""
    if protocol.replay is not None:
        yield from _replay_memory(submission, benchmark, protocol, protocol.replay)
        return
    n, d = max(len(task.y) for task in benchmark.tasks), submission.x.shape[1]
    spec = protocol.folds
    share = 1 / spec.n_folds if spec.scheme.endswith("kfold") else spec.test_size
    shape = Shape(n=n, d=d, t=1, sets=spec.n_folds, m=math.ceil(share * n))
    route = choose_route(shape).route
    needed = submission.x.nbytes + 8 * n * d + estimate(shape, route).bytes
    message = f"about {needed / 2**20:.0f} MiB to score the largest task ({n} samples, route {route})"
    yield Finding("info", "memory", submission.name, message)


def _replay_memory(
    submission: Submission, benchmark: Benchmark, protocol: Protocol, spec: ReplaySpec
) -> Iterator[Finding]:
    n, d = submission.x.shape
    if spec.embedding_dim is not None and spec.embedding_dim < d:
        message = f"{d} dimensions, and the protocol pads to {spec.embedding_dim}"
        yield Finding("error", "embedding-dim", submission.name, message, "raise embedding_dim, or leave it out")
    drawn = sum(len(task.y) for task in benchmark.tasks) * protocol.folds.n_folds * spec.epochs
    needed = submission.x.nbytes + 3 * 4 * n * (spec.embedding_dim or d) + 4 * drawn
    message = f"about {needed / 2**20:.0f} MiB: the embedding, standardised copies, and the order of {drawn:,} samples"
    yield Finding("info", "memory", submission.name, message)


def _labels(task: Task, d: int) -> Iterator[Finding]:
    where, n = f"task {task.name}", len(task.y)
    if task.n_missing:
        yield Finding("info", "missing-labels", where, f"{task.n_missing} rows have no label and are left out")
    for note in task.notes:
        yield Finding("info", "labels", where, note)
    if n <= d:
        yield Finding("info", "few-samples", where, f"{n} samples for {d} dimensions: the penalty decides much")
    if task.kind == "classification":
        positive = int(task.y.sum())
        yield Finding("info", "classes", where, f"{positive} positive and {n - positive} negative samples")
    if task.y.min() == task.y.max():
        message = f"all {n} labels are {task.y[0]:g}"
        yield Finding(
            "error", "constant-labels", where, message, "leave the task out with --tasks, or correct its labels"
        )


def _folds(task: Task, protocol: Protocol, assignment: Any) -> Iterator[Finding]:
    where = f"task {task.name}"
    try:
        folds = make_folds(protocol.folds, task.ids, task.y, task.kind, assignment)
    except InputError as error:
        message = f"{error.where}: found {error.found}; expected {error.expected}"
        yield Finding("error", "folds", where, message, error.fix)
        return
    if task.y.min() == task.y.max():
        return
    held_out = [task.y[rows] for rows in folds.held_out]
    failing = sum(bool(y.min() == y.max()) for y in held_out)
    if protocol.probe == "neuco":
        yield from _by_convention(task, failing, len(folds))
    elif failing:
        message = f"{failing} of {len(folds)} folds have no score: {CONSTANT[task.kind]}"
        no_q = failing > protocol.max_failed * len(folds)
        message += f"; more than {protocol.max_failed:.0%}, so the task has no Q" if no_q else ""
        fix = (
            "use stratified folds, or a larger --test-size"
            if task.kind == "classification"
            else "use fewer, larger folds"
        )
        yield Finding("error" if no_q else "warning", "constant-folds", where, message, fix)
    if task.kind == "classification":
        few = min(int(min(y.sum(), len(y) - y.sum())) for y in held_out)
        if 0 < few < 5:
            message = f"some fold holds out {few} samples of its rarer class: its F1 is coarse"
            yield Finding("info", "rare-class", where, message)


def _by_convention(task: Task, constant: int, n_folds: int) -> Iterator[Finding]:
    """Say what NeuCo-Bench refuses, or scores by a convention."""
    from fastprobe.probes.neuco import ReplayTask, normalized

    where = f"task {task.name}"
    try:
        ReplayTask(task.name, task.kind, np.arange(len(task.y)), normalized(task.y))
    except InputError as error:
        yield Finding("error", "labels", where, f"found {error.found}; expected {error.expected}", error.fix)
    if constant:
        what = "R2 is 0 or 1" if task.kind == "regression" else "F1 tells little"
        message = f"{constant} of {n_folds} folds hold out labels that are all the same: {what} there"
        yield Finding("warning", "constant-folds", where, message, "use a task with more varied labels")
