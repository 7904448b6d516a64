"""fastprobe beside its peers, in turn, on the same device and the same problem."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec

import numpy as np

import fastprobe
from benchmarks.gpu.batches import pace, repeated
from benchmarks.gpu.context import Context, turned
from benchmarks.gpu.ledger import Finding, Missed, Skipped
from benchmarks.gpu.options import ALPHA
from benchmarks.gpu.peers import cuml_ridge, himalaya_torch
from benchmarks.gpu.peers.neuco_bench import run_neuco_bench
from benchmarks.gpu.peers.torch_refits import Refits
from benchmarks.gpu.timing import readable
from benchmarks.measure import Contestant, Outcome, Timing, race
from benchmarks.problem import FoldScores, Problem, largest_difference, make_problem
from benchmarks.report import TOLERANCE
from fastprobe.embeddings import Submission

__all__ = ["run"]

_INPUTS = 4
_FEW_FOLDS = 2
_OURS = "fastprobe"


class _Peers:
    def __init__(self, context: Context) -> None:
        self._context, self._options = context, context.options

    @cached_property
    def problem(self) -> Problem:
        return make_problem(self._context.workload, self._options.folds)

    @cached_property
    def inputs(self) -> list[Submission]:
        return list(turned(self._context.workload.submission, _INPUTS))

    @cached_property
    def on_device(self) -> list[Submission]:
        asarray = self._context.target.backend.asarray
        return [replace(submission, x=asarray(submission.x)) for submission in self.inputs]

    def ours(self) -> Contestant:
        def run() -> Outcome:
            batch = repeated(self.on_device, _INPUTS)
            start = time.perf_counter()
            scores = fastprobe.score(
                batch, self._context.workload.benchmark, protocol="ridge", alpha=ALPHA, folds=self._options.folds,
                device=self._context.target.backend,
            )  # fmt: skip
            spent = (time.perf_counter() - start) / len(batch)
            first = {row.task: np.array(row.fold_scores, dtype=float) for row in scores.rows if row.submission == "s0"}
            return Outcome(first, seconds=spent)

        return Contestant(_OURS, run, warm_up=True)

    def torch_refits(self) -> Finding:
        _require("torch")
        device = self._torch_device()
        refits = Refits(self.problem, ALPHA, device, chunk_bytes=self._chunk_bytes())
        inputs = [refits.tensor(submission.x) for submission in self.inputs]
        turn = iter(range(1_000_000))

        def run() -> Outcome:
            return Outcome(refits.fold_scores(inputs[next(turn) % len(inputs)]))

        return self._beside(Contestant("torch", run, warm_up=True), TOLERANCE)

    def himalaya(self) -> Finding:
        _require("himalaya")
        _require("torch")
        prepared, device = self.problem.prepared(), self._torch_device()
        return self._on_few_folds(
            "himalaya", lambda: himalaya_torch.fold_scores(prepared, ALPHA, device, _FEW_FOLDS), TOLERANCE
        )

    def cuml(self) -> Finding:
        _require("cuml")
        self._context.target.require_gpu()
        prepared = self.problem.prepared()
        return self._on_few_folds("cuML", lambda: cuml_ridge.fold_scores(prepared, ALPHA, _FEW_FOLDS), None)

    def neuco(self) -> Finding:
        checkout, python = self._options.neuco, self._options.neuco_python
        if checkout is None or python is None:
            raise Skipped("missing: no checkout of NeuCo-Bench was given (--neuco)")
        context, folds = self._context, self._options.folds
        found = run_neuco_bench(context.workload, checkout, python, self._torch_device())
        backend, benchmark = context.target.backend, context.workload.benchmark

        def replay(submissions: Sequence[Submission], progress: fastprobe.engine.Progress | None) -> None:
            fastprobe.score(
                submissions, benchmark, protocol="neuco", folds=folds, device=backend, progress=progress
            )  # fmt: skip

        mine = pace(replay, self.inputs, seconds=5.0, most=10)
        theirs = found.training_seconds(folds)
        same = fastprobe.score(
            [context.workload.submission], benchmark, protocol="neuco", folds=found.more, device=backend
        )
        scores = {row.task: np.array(row.fold_scores, dtype=float) for row in same.rows}
        difference = largest_difference(scores, found.scores, relative_above=1.0)
        text = (
            f"{readable(theirs)} for {folds} folds (from {found.few} and {found.more}, reading and starting left out), "
            f"{theirs / mine.mean_seconds:.4g} times fastprobe's {readable(mine.mean_seconds)}; fold scores differ "
            f"by {difference:.1e}"
        )
        values = {
            "few_seconds": found.few_seconds, "more_seconds": found.more_seconds, "few": found.few, "more": found.more,
            "training_seconds": theirs, "fastprobe": mine.values(), "ratio": theirs / mine.mean_seconds,
            "difference": difference,
        }  # fmt: skip
        return Finding(text, values)

    def _torch_device(self) -> str:
        return self._options.device

    def _chunk_bytes(self) -> int:
        target = self._context.target
        free = target.xp.cuda.Device().mem_info[0] if target.is_gpu else 4 << 30
        return min(8 << 30, free // 4)

    def _on_few_folds(self, name: str, scores: Callable[[], FoldScores], tolerance: float | None) -> Finding:
        scale = self._options.folds / _FEW_FOLDS
        return self._beside(Contestant(name, lambda: Outcome(scores()), scale=scale, warm_up=True), tolerance)

    def _beside(self, peer: Contestant, tolerance: float | None) -> Finding:
        """Let fastprobe and a peer take turns; raise Missed if their answers differ."""
        budget = max(1.0, self._context.ledger.left / 4)
        timings = race([self.ours(), peer], repeat=self._options.repeat, budget=budget, log=lambda _: None)
        mine, theirs = timings[_OURS], timings[peer.name]
        ratio = theirs.median_seconds / mine.median_seconds
        assert mine.scores is not None
        assert theirs.scores is not None
        difference = largest_difference(mine.scores, theirs.scores)
        part = "" if peer.scale == 1 else f" (on {_FEW_FOLDS} of {self._options.folds} folds, scaled up)"
        text = (
            f"{readable(theirs.median_seconds)} per submission{part}, {ratio:.4g} times fastprobe's "
            f"{readable(mine.median_seconds)}; fold scores differ by {difference:.1e}"
        )
        values = {"peer": _values(theirs), "fastprobe": _values(mine), "ratio": ratio, "difference": difference}
        if tolerance is not None and not difference <= tolerance:
            raise Missed(Finding(f"{text}, more than {tolerance:.0e}", values))
        return Finding(text, values)


def _values(timing: Timing) -> dict[str, object]:
    return {
        "median_seconds": timing.median_seconds, "least_seconds": min(timing.seconds),
        "most_seconds": max(timing.seconds), "runs": len(timing.seconds), "cold_seconds": timing.cold_seconds,
    }  # fmt: skip


def _require(module: str) -> None:
    if find_spec(module) is None:
        raise Skipped(f"missing: {module} is not installed")


def run(context: Context) -> None:
    """Measure the peers that are here, and say which are not."""
    peers, ledger = _Peers(context), context.ledger
    ledger.measure("torch linalg, refits batched over folds", peers.torch_refits)
    ledger.measure("NeuCo-Bench, linear probe", peers.neuco)
    ledger.measure("himalaya", peers.himalaya)
    ledger.measure("cuML", peers.cuml)
