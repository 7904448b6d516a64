"""The same scores from the CPU engine and from the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

import fastprobe
from benchmarks.gpu.cases import sweep_parity
from benchmarks.gpu.context import Context, turned
from benchmarks.gpu.ledger import Finding, Missed, Skipped
from benchmarks.gpu.probes import kernel_benchmark
from fastprobe.backend import Backend
from fastprobe.embeddings import Submission
from fastprobe.engine import score_path
from fastprobe.kernel_spec import KernelSpec
from fastprobe.protocol import Protocol
from fastprobe.results import Scores
from fastprobe.tasks import Benchmark

__all__ = ["ALPHAS", "NEUCO_TOLERANCE", "RIDGE_TOLERANCE", "difference", "run"]

RIDGE_TOLERANCE = 1e-9
"""Largest difference of a fold score in float64. F1 has none at all, unless a decision value is as close to zero as the
two solutions are to each other."""

NEUCO_TOLERANCE = 1e-4
"""Largest difference of a fold score of the replay, relative where its size is above 1."""

ALPHAS = (1e-2, 1.0, 1e2, 1e4, 1e6)
_ROUTES = ("direct", "downdate", "iterate", "dual")
_LOGISTIC_ALPHAS = (1e-2, 1.0, 1e2)
_KERNELS = {
    "rbf": KernelSpec(),
    "polynomial": KernelSpec(kernel="polynomial"),
    "rbf, 100 landmarks": KernelSpec(landmarks=100),
}
_REAL = {"presto": "trained", "alphaearth": "alphaearth"}
"""Data sets that are compared on if they are there, and the submission of each."""

Run = Callable[[Backend | str], Sequence[Scores]]


def difference(found: Sequence[Scores], expected: Sequence[Scores], tolerance: float, *, relative: bool) -> Finding:
    """Compare scores of the same submissions.

    Parameters
    ----------
    found, expected : sequence of Scores
        One for each protocol.
    tolerance : float
        For fold scores.
    relative : bool
        Whether a difference is divided by the size of the score where that is above 1.

    Returns
    -------
    Finding
        Largest difference of fold scores and of Q (relative to Q), and where the first is.

    Raises
    ------
    Missed
        If a fold score differs by more than the tolerance, or has a value on one side only.
    """
    worst, worst_q, where = 0.0, 0.0, ""
    for mine, theirs in zip(found, expected, strict=True):
        by_task = {(row.submission, row.task): row for row in theirs.rows}
        for row in mine.rows:
            other = by_task.pop((row.submission, row.task))
            ours, reference = (np.array(r.fold_scores, dtype=np.float64) for r in (row, other))
            gap = np.where(np.isnan(ours) & np.isnan(reference), 0.0, np.abs(ours - reference))
            if relative:
                gap /= np.maximum(1.0, np.nan_to_num(np.abs(reference)))
            largest = float(np.inf if np.isnan(gap).any() else gap.max())
            if largest > worst or not where:
                worst, where = largest, f"{row.submission}, {row.task}"
            if (row.q is None) != (other.q is None):
                worst_q = np.inf
            elif row.q is not None and other.q is not None:
                worst_q = max(worst_q, abs(row.q - other.q) / max(abs(other.q), 1e-3))
        if by_task:
            raise Missed(Finding(f"no scores for {sorted(by_task)}"))
    values = {
        "fold_difference": worst, "q_difference": worst_q, "where": where, "tolerance": tolerance,
        "devices": sorted({row.device for scores in (*found, *expected) for row in scores.rows}),
        "routes": sorted({row.route for scores in found for row in scores.rows if row.route}),
    }  # fmt: skip
    finding = Finding(f"fold scores {worst:.1e} (at most {tolerance:.0e}), Q {worst_q:.1e} relative", values)
    if not worst <= tolerance:
        raise Missed(Finding(f"{finding.text}; worst: {where}", values))
    return finding


def _runs(submissions: Sequence[Submission], benchmark: Benchmark, folds: int) -> Iterator[tuple[str, Run]]:
    def ridge(device: Backend | str, **more: object) -> Sequence[Scores]:
        options = {"protocol": "ridge", "alpha": 100.0, "folds": folds, **more}
        return [fastprobe.score(submissions, benchmark, device=device, **options)]  # type: ignore[arg-type]

    yield "ridge", ridge
    for route in _ROUTES:
        yield f"ridge, route {route}", partial(ridge, route=route)
    yield (
        f"ridge, {len(ALPHAS)} strengths",
        lambda device: score_path(submissions, benchmark, alphas=ALPHAS, protocol="ridge", folds=folds, device=device),
    )
    yield "ridge, chosen strength", partial(ridge, alpha="auto")
    classes = replace(benchmark, tasks=tuple(task for task in benchmark.tasks if task.kind == "classification"))
    if classes.tasks:
        yield (
            f"logistic, {len(_LOGISTIC_ALPHAS)} strengths",
            lambda device: score_path(
                submissions, classes, alphas=_LOGISTIC_ALPHAS, protocol="logistic", folds=folds, device=device
            ),
        )
    yield "closed-form", partial(ridge, protocol="closed-form", alpha=None)


def _replay(submissions: Sequence[Submission], benchmark: Benchmark, folds: int, device: Backend | str) -> list[Scores]:
    return [fastprobe.score(submissions, benchmark, protocol="neuco", folds=folds, device=device)]


def _compare(context: Context, title: str, submission: Submission, benchmark: Benchmark) -> None:
    ledger, backend, folds = context.ledger, context.target.backend, context.options.folds
    for name, score in _runs([submission], benchmark, folds):
        ledger.measure(
            f"{title}: {name}",
            lambda score=score: difference(score(backend), score("cpu"), RIDGE_TOLERANCE, relative=False),  # type: ignore[misc]
        )
    replay = partial(_replay, [submission], benchmark, folds)
    ledger.measure(
        f"{title}: neuco", lambda: difference(replay(backend), replay("cpu"), NEUCO_TOLERANCE, relative=True)
    )
    sweep_parity.compare(context, title, submission, benchmark)


def _kernel(context: Context, spec: KernelSpec) -> Finding:
    """Kernel ridge on two regressions, everything chosen inside the folds."""
    submission, benchmark = context.small_workload.submission, kernel_benchmark(context.small_workload)
    protocol = Protocol(probe="kernel", kernel=spec).with_options(folds=context.options.folds)

    def score(device: Backend | str) -> list[Scores]:
        return [fastprobe.score([submission], benchmark, protocol=protocol, device=device)]

    return difference(score(context.target.backend), score("cpu"), RIDGE_TOLERANCE, relative=False)


def _batch(context: Context) -> Finding:
    """Scores of a submission alone and among others, both from the device."""
    benchmark, folds, backend = context.small_workload.benchmark, context.options.folds, context.target.backend
    submissions = list(turned(context.small_workload.submission, 3))

    def score(chosen: Sequence[Submission]) -> Scores:
        return fastprobe.score(chosen, benchmark, protocol="ridge", alpha=100.0, folds=folds, device=backend)

    together = score(submissions)
    alone = [row for submission in submissions for row in score([submission]).rows]
    return difference([together], [Scores(alone, together.protocol)], RIDGE_TOLERANCE, relative=False)


def run(context: Context) -> None:
    """Compare on the synthetic workload, and on real data where they are."""
    workload = context.small_workload
    _compare(context, f"synthetic, scale {workload.scale:g}", workload.submission, workload.benchmark)
    context.ledger.measure("synthetic: alone and in a batch", lambda: _batch(context))
    for name, spec in _KERNELS.items():
        context.ledger.measure(f"synthetic: kernel {name}", lambda spec=spec: _kernel(context, spec))  # type: ignore[misc]
    for name, submission in _REAL.items():
        _compare_real(context, name, submission)


def _compare_real(context: Context, name: str, submission: str) -> None:
    def read() -> Finding:
        if context.options.data is None:
            raise Skipped("no folder of real data was given (--data)")
        folder = Path(context.options.data) / name
        found = folder / "submissions" / f"{submission}.npz"
        if not found.is_file():
            raise Skipped(f"there is no {name}/submissions/{submission}.npz")
        loaded.append((Submission.read(found), Benchmark.from_folder(folder / "labels")))
        n, d = loaded[0][0].x.shape
        return Finding(f"{n} x {d}, {len(loaded[0][1].tasks)} tasks")

    loaded: list[tuple[Submission, Benchmark]] = []
    if context.ledger.measure(f"{name}: reading", read) is not None:
        _compare(context, name, *loaded[0])
