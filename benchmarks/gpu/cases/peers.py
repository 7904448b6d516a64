"""fastprobe beside its peers, in turn, on the same device and the same problem."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

import fastprobe
from benchmarks.gpu.batches import pace, repeated
from benchmarks.gpu.beside import FEW_FOLDS, beside, chunk_bytes, few_folds, require
from benchmarks.gpu.cases import probe_peers
from benchmarks.gpu.context import Context
from benchmarks.gpu.ledger import Finding, Skipped
from benchmarks.gpu.options import ALPHA
from benchmarks.gpu.peers import cuml_ridge, himalaya_torch
from benchmarks.gpu.peers.neuco_bench import run_neuco_bench
from benchmarks.gpu.peers.torch_refits import Refits
from benchmarks.gpu.rotation import Inputs
from benchmarks.gpu.timing import readable
from benchmarks.measure import Contestant, Outcome
from benchmarks.problem import FoldScores, Problem, largest_difference, make_problem
from benchmarks.report import TOLERANCE
from fastprobe.embeddings import Submission

__all__ = ["run"]


class _Peers:
    def __init__(self, context: Context) -> None:
        self._context, self._options, self._inputs = context, context.options, Inputs(context)

    @cached_property
    def problem(self) -> Problem:
        return make_problem(self._context.workload, self._options.folds)

    def ours(self) -> Contestant:
        def run() -> Outcome:
            batch = repeated(self._inputs.on_device, len(self._inputs.on_device))
            start = time.perf_counter()
            scores = fastprobe.score(
                batch, self._context.workload.benchmark, protocol="ridge", alpha=ALPHA, folds=self._options.folds,
                device=self._context.target.backend,
            )  # fmt: skip
            spent = (time.perf_counter() - start) / len(batch)
            first = {row.task: np.array(row.fold_scores, dtype=float) for row in scores.rows if row.submission == "s0"}
            return Outcome(first, seconds=spent)

        return Contestant("fastprobe", run, warm_up=True)

    def torch_refits(self) -> Finding:
        require("torch")
        refits = Refits(self.problem, ALPHA, self._options.device, chunk_bytes=chunk_bytes(self._context))
        inputs = [refits.tensor(submission.x) for submission in self._inputs.on_host]
        turn = iter(range(1_000_000))

        def run() -> Outcome:
            return Outcome(refits.fold_scores(inputs[next(turn) % len(inputs)]))

        return beside(self._context, self.ours(), Contestant("torch", run, warm_up=True), TOLERANCE)

    def himalaya(self) -> Finding:
        require("himalaya")
        require("torch")
        prepared, device = self.problem.prepared(), self._options.device
        return self._on_few_folds(
            "himalaya", lambda: himalaya_torch.fold_scores(prepared, ALPHA, device, FEW_FOLDS), TOLERANCE
        )

    def cuml(self) -> Finding:
        require("cuml")
        self._context.target.require_gpu()
        prepared = self.problem.prepared()
        return self._on_few_folds("cuML", lambda: cuml_ridge.fold_scores(prepared, ALPHA, FEW_FOLDS), None)

    def neuco(self) -> Finding:
        checkout, python = self._options.neuco, self._options.neuco_python
        if checkout is None or python is None:
            raise Skipped("missing: no checkout of NeuCo-Bench was given (--neuco)")
        context, folds = self._context, self._options.folds
        found = run_neuco_bench(context.workload, checkout, python, self._options.device)
        backend, benchmark = context.target.backend, context.workload.benchmark

        def replay(submissions: Sequence[Submission], progress: fastprobe.engine.Progress | None) -> None:
            fastprobe.score(
                submissions, benchmark, protocol="neuco", folds=folds, device=backend, progress=progress
            )  # fmt: skip

        mine = pace(replay, self._inputs.on_host, seconds=5.0, most=10)
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

    def _on_few_folds(self, name: str, scores: Callable[[], FoldScores], tolerance: float | None) -> Finding:
        peer = Contestant(name, lambda: Outcome(scores()), scale=few_folds(self._context), warm_up=True)
        return beside(self._context, self.ours(), peer, tolerance)


def run(context: Context) -> None:
    """Measure the peers that are here, and say which are not."""
    peers, ledger = _Peers(context), context.ledger
    ledger.measure("torch linalg, refits batched over folds", peers.torch_refits)
    probe_peers.run(context)
    ledger.measure("NeuCo-Bench, linear probe", peers.neuco)
    ledger.measure("himalaya", peers.himalaya)
    ledger.measure("cuML", peers.cuml)
