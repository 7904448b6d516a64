"""Lint of a submission and its labels, before time is spent on scores.

Everything is reported in one go: what strict reading would refuse (with the first place, and the count of each repair
that lenient reading makes), ids, constant values and labels, folds that cannot be scored, and sizes.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastprobe.embeddings import Submission
from fastprobe.errors import InputError
from fastprobe.folds import Folds, make_folds, read_assignment
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
_COARSE = 5
_MORE_OF_EACH = "use stratified folds, or a larger --test-size"


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
        Its folds are made; by default those of the protocol ``closed-form``.

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
    scored = tuple(task for task in benchmark.tasks if protocol.probe_for(task.kind) is not None)
    yield from _left_out([task.name for task in benchmark.tasks if task not in scored], bool(scored), protocol)
    if not scored:
        return
    benchmark = replace(benchmark, tasks=scored)
    yield from _ids(submission, benchmark)
    yield from _memory(submission, benchmark, protocol)
    assignment = read_assignment(protocol.folds)
    for task in scored:
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


def _left_out(names: Sequence[str], others: bool, protocol: Protocol) -> Iterator[Finding]:
    """Say which tasks the protocol does not score."""
    if names:
        message = f"the protocol {protocol.name} does not score regression: {_some(names)}"
        level: Level = "info" if others else "error"
        yield Finding(
            level, "left-out", "benchmark", message, None if others else "use --protocol closed-form or ridge"
        )


def _memory(submission: Submission, benchmark: Benchmark, protocol: Protocol) -> Iterator[Finding]:
    """Estimate what the most demanding task needs: the values as they are, and what its probe works on."""
    if protocol.replay is not None:
        yield from _replay_memory(submission, benchmark, protocol, protocol.replay)
        return
    needed, what = max(_working_bytes(task, submission.x.shape[1], protocol) for task in benchmark.tasks)
    message = f"about {(submission.x.nbytes + needed) / 2**20:.0f} MiB to score the largest task ({what})"
    yield Finding("info", "memory", submission.name, message)


def _working_bytes(task: Task, d: int, protocol: Protocol) -> tuple[int, str]:
    """What the probe of a task keeps beside the values as they are, and what that is."""
    n, spec = len(task.y), protocol.folds
    if protocol.kernel is not None:
        from fastprobe.probes.kernel.memory import exact_bytes, nystroem_bytes

        landmarks = protocol.kernel.landmarks
        if landmarks is None:
            return exact_bytes(n, d), f"{n} samples, kernel matrix"
        return nystroem_bytes(n, d, landmarks), f"{n} samples, {landmarks} landmarks"
    columns = task.n_classes if task.n_classes > 2 else 1
    if protocol.probe_for(task.kind) == "logistic":  # the rest of its work goes in batches of what memory there is
        return 8 * d * (n + columns * d), f"{n} samples, logistic"
    share = 1 / spec.n_folds if spec.scheme.endswith("kfold") else spec.test_size
    m = math.ceil(share * n)
    shape = Shape(n=n, d=d, t=columns, sets=spec.n_folds, m=m, alphas=len(protocol.strengths))
    route = choose_route(shape).route
    return 8 * n * d + int(estimate(shape, route).bytes), f"{n} samples, route {route}"


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
        yield Finding("info", "classes", where, _class_sizes(np.bincount(task.y.astype(np.int64), minlength=2)))
    if task.y.min() == task.y.max():
        message = f"all {n} labels are {task.y[0]:g}"
        yield Finding(
            "error", "constant-labels", where, message, "leave the task out with --tasks, or correct its labels"
        )


def _class_sizes(sizes: NDArray[np.int64]) -> str:
    if len(sizes) == 2:
        return f"{sizes[1]} positive and {sizes[0]} negative samples"
    return f"{len(sizes)} classes of {sizes.min()} to {sizes.max()} samples"


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
    failing = _failing(task, folds)
    if protocol.probe == "neuco":
        yield from _by_convention(task, failing[CONSTANT[task.kind]], len(folds))
    elif count := failing.total():
        message = f"{count} of {len(folds)} folds have no score: {_counted(failing)}"
        no_q = count > protocol.max_failed * len(folds)
        message += f"; more than {protocol.max_failed:.0%}, so the task has no Q" if no_q else ""
        fix = _MORE_OF_EACH if task.kind == "classification" else "use fewer, larger folds"
        yield Finding("error" if no_q else "warning", "constant-folds", where, message, fix)
    if task.kind == "classification":
        yield from _rare_classes(task, folds)


def _failing(task: Task, folds: Folds) -> Counter[str]:
    """Count the folds whose labels allow no score, by the reason."""
    if task.kind == "regression":
        constant = [bool(task.y[rows].min() == task.y[rows].max()) for rows in folds.held_out]
        return Counter({CONSTANT[task.kind]: sum(constant)})
    held_out, trained = ((counts > 0).sum(axis=1) < 2 for counts in _class_counts(task, folds))
    reasons = {CONSTANT[task.kind]: held_out, "training labels are of one class": trained & ~held_out}
    return Counter({reason: int(of_folds.sum()) for reason, of_folds in reasons.items()})


def _counted(reasons: Counter[str]) -> str:
    there = {reason: count for reason, count in reasons.items() if count}
    return ", ".join(there) if len(there) == 1 else ", ".join(f"{reason} ({n})" for reason, n in there.items())


def _class_counts(task: Task, folds: Folds) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Members of every class among the held-out and the training rows of every fold, each (folds, classes)."""
    codes = task.y.astype(np.int64)
    sizes = np.bincount(codes, minlength=task.n_classes)
    held_out = np.stack([np.bincount(codes[rows], minlength=task.n_classes) for rows in folds.held_out])
    return held_out, sizes - held_out


def _rare_classes(task: Task, folds: Folds) -> Iterator[Finding]:
    """Say where a class has so few samples that the score tells little about it."""
    where = f"task {task.name}"
    held_out, trained = _class_counts(task, folds)
    few = held_out[held_out > 0].min()
    if few < _COARSE:
        message = f"some fold holds out {few} samples of its rarest class: its F1 is coarse"
        yield Finding("info", "rare-class", where, message)
    if task.classes is None or len(task.classes) == 2:  # a class that is missing takes the score away, then
        return
    for code, counts, lacking in (
        ("missing-class", held_out, "hold out no sample of {}: their score cannot tell how well it is found"),
        ("untrained-class", trained, "train on no sample of {}: they cannot find it"),
    ):
        absent = (counts == 0) & (held_out + trained > 0)
        if absent.any():
            labels = [f"class {task.classes[c]:g}" for c in np.flatnonzero(absent.any(axis=0))]
            message = f"{absent.any(axis=1).sum()} of {len(folds)} folds " + lacking.format(_some(labels))
            yield Finding("warning", code, where, message, _MORE_OF_EACH)


def _by_convention(task: Task, constant: int, n_folds: int) -> Iterator[Finding]:
    """Say what NeuCo-Bench refuses, or scores by a convention."""
    from fastprobe.probes.neuco import ReplayTask, normalized
    from fastprobe.units.neuco import require_two_classes

    where = f"task {task.name}"
    try:
        require_two_classes(task)
        ReplayTask(task.name, task.kind, np.arange(len(task.y)), normalized(task.y))
    except InputError as error:
        yield Finding("error", "labels", where, f"found {error.found}; expected {error.expected}", error.fix)
    if constant:
        what = "R2 is 0 or 1" if task.kind == "regression" else "F1 tells little"
        message = f"{constant} of {n_folds} folds hold out labels that are all the same: {what} there"
        yield Finding("warning", "constant-folds", where, message, "use a task with more varied labels")
