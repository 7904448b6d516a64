"""Logistic probes and kernel ridge beside refits by torch and cuML; a chapter of the part ``peers``."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property

import numpy as np

import fastprobe
from benchmarks.binary import BinaryTask, make_binary
from benchmarks.gpu.batches import repeated
from benchmarks.gpu.beside import FEW_FOLDS, beside, chunk_bytes, few_folds, require
from benchmarks.gpu.context import Context
from benchmarks.gpu.ledger import Finding
from benchmarks.gpu.peers import cuml_logistic, torch_kernel, torch_logistic
from benchmarks.gpu.probes import (
    KERNEL_PATH,
    LANDCOVER,
    LOGISTIC_PATH,
    SHIPS,
    KernelPath,
    kernel_benchmark,
    ships_benchmark,
)
from benchmarks.gpu.rotation import Inputs
from benchmarks.measure import Contestant, Outcome
from benchmarks.problem import Problem, make_problem, restrict
from benchmarks.report import TOLERANCE
from fastprobe.engine import score_path
from fastprobe.results import Scores

__all__ = ["run"]

_ONE = 1.0  # strength, where there is one


class _Peers:
    def __init__(self, context: Context) -> None:
        self._context, self._options, self._inputs = context, context.options, Inputs(context)

    @cached_property
    def task(self) -> BinaryTask:
        return make_binary(self._problem([SHIPS]), SHIPS)

    def _problem(self, names: list[str]) -> Problem:
        return make_problem(restrict(self._context.workload, names), self._options.folds).prepared()

    def _logistic(self, score: Callable[..., list[Scores]]) -> Contestant:
        """Logistic probes by fastprobe, whatever strengths a call is for."""
        benchmark = ships_benchmark(self._context.workload)
        common = {"protocol": "logistic", "folds": self._options.folds, "device": self._context.target.backend}

        def run() -> Outcome:
            batch = repeated(self._inputs.on_device, len(self._inputs.on_device))
            start = time.perf_counter()
            by_alpha = score(batch, benchmark, **common)
            spent = (time.perf_counter() - start) / len(batch)
            firsts = [next(row for row in scores.rows if row.submission == "s0") for scores in by_alpha]
            found = np.array([row.fold_scores for row in firsts], dtype=float)
            return Outcome({SHIPS: found if len(found) > 1 else found[0]}, seconds=spent)

        return Contestant("fastprobe", run, warm_up=True)

    def torch_logistic(self) -> Finding:
        require("torch")
        task, room = self.task, chunk_bytes(self._context)

        def refits() -> Outcome:
            return Outcome(torch_logistic.fold_scores(task, LOGISTIC_PATH, self._options.device, chunk_bytes=room))

        ours = self._logistic(lambda *args, **more: score_path(*args, alphas=LOGISTIC_PATH, **more))
        return beside(self._context, ours, Contestant("torch", refits, warm_up=True), TOLERANCE)

    def torch_kernel(self) -> Finding:
        require("torch")
        problem, room = self._problem(list(LANDCOVER)), chunk_bytes(self._context)
        path = KernelPath(
            self._context.target.backend, kernel_benchmark(self._context.workload), self._options.folds
        )  # fmt: skip
        ours = Contestant("fastprobe", lambda: Outcome(path(self._inputs.on_device[0])), warm_up=True)

        def refits() -> Outcome:
            return Outcome(torch_kernel.fold_scores(problem, KERNEL_PATH, self._options.device, chunk_bytes=room))

        return beside(self._context, ours, Contestant("torch", refits, warm_up=True), TOLERANCE)

    def cuml_logistic(self) -> Finding:
        require("cuml")
        self._context.target.require_gpu()
        task = self.task
        peer = Contestant(
            "cuML",
            lambda: Outcome(cuml_logistic.fold_scores(task, 1 / _ONE, FEW_FOLDS)),
            scale=few_folds(self._context),
            warm_up=True,
        )
        ours = self._logistic(lambda *args, **more: [fastprobe.score(*args, alpha=_ONE, **more)])
        return beside(self._context, ours, peer, None)


def run(context: Context) -> None:
    """Measure the peers that are here, and say which are not."""
    peers, ledger = _Peers(context), context.ledger
    ledger.measure(f"torch Newton, logistic, {len(LOGISTIC_PATH)} strengths", peers.torch_logistic)
    ledger.measure(f"torch Cholesky, kernel ridge, {len(KERNEL_PATH)} strengths", peers.torch_kernel)
    ledger.measure("cuML, logistic", peers.cuml_logistic)
