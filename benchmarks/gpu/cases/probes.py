"""Logistic probes, kernel ridge, the default protocol and the replay of NeuCo-Bench: time per submission."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fastprobe
from benchmarks.gpu.batches import Score
from benchmarks.gpu.cases import neuco
from benchmarks.gpu.context import Context
from benchmarks.gpu.ledger import Finding
from benchmarks.gpu.probes import LOGISTIC_PATH, KernelPath, kernel_benchmark, ships_benchmark
from benchmarks.gpu.rotation import Inputs, paced, versus
from benchmarks.gpu.timing import measure, readable
from fastprobe.embeddings import Submission
from fastprobe.engine import score_path
from fastprobe.kernel_spec import KernelSpec
from fastprobe.protocol import Protocol
from fastprobe.tasks import Benchmark

__all__ = ["run"]

_LOGISTIC_AT_MOST, _KERNEL_AT_MOST = 100e-3, 200e-3
_LANDMARKS = 1000


class _Probes:
    def __init__(self, context: Context) -> None:
        self._context, self._options, self._backend = context, context.options, context.target.backend
        self.inputs = Inputs(context)
        self.ships, self.landcover = ships_benchmark(context.workload), kernel_benchmark(context.workload)
        self.everything = context.workload.benchmark

    def scored(self, benchmark: Benchmark, protocol: str | Protocol, **more: Any) -> Score:
        def score(submissions: Sequence[Submission], progress: Any) -> None:
            common = {"folds": self._options.folds, "device": self._backend, "progress": progress}
            fastprobe.score(submissions, benchmark, protocol=protocol, **common, **more)

        return score

    def logistic_path(self, submissions: Sequence[Submission], progress: Any) -> None:
        common = {"folds": self._options.folds, "device": self._backend, "progress": progress}
        score_path(submissions, self.ships, alphas=LOGISTIC_PATH, protocol="logistic", **common)

    def kernel_path(self) -> Finding:
        path = KernelPath(self._backend, self.landcover, self._options.folds)
        goal = _KERNEL_AT_MOST if self._context.is_full else None
        return self._alone(lambda i: path(self.inputs.on_device[i]), len(self.inputs.on_device), goal)

    def kernel(self, landmarks: int | None = None) -> Finding:
        score = self.scored(self.landcover, Protocol(probe="kernel", kernel=KernelSpec(landmarks=landmarks)))
        return self._alone(lambda i: score(self.inputs.on_device[:1], None), 1)

    def _alone(self, work: Any, inputs: int, goal: float | None = None) -> Finding:
        """Time a call for each submission."""
        seconds = min(10.0, self._context.ledger.left / 4)
        found = measure(self._context.target, work, inputs=inputs, repeat=self._options.repeat, seconds=seconds)
        text = f"{readable(found.median_seconds)} per submission; the first call {readable(found.cold_seconds)}"
        if goal is not None:
            text += f" {versus(found.median_seconds, goal)}"
        return Finding(text, found.values())


def run(context: Context) -> None:
    """Measure logistic probes on the classification, kernel ridge on two regressions, the default, and the replay."""
    probes, ledger = _Probes(context), context.ledger
    device, goals = probes.inputs.on_device, (_LOGISTIC_AT_MOST,)
    ledger.measure(
        f"logistic, ships, {len(LOGISTIC_PATH)} strengths",
        lambda: paced(context, probes.logistic_path, device, goals=goals),
    )
    for alpha in (1.0, "auto"):
        score = probes.scored(probes.ships, "logistic", alpha=alpha)
        name = "chosen strength" if alpha == "auto" else "one strength"
        ledger.measure(f"logistic, ships, {name}", lambda score=score: paced(context, score, device))  # type: ignore[misc]
    ledger.measure("kernel ridge, landcover, 10 strengths", probes.kernel_path)
    ledger.measure("kernel ridge, landcover, gamma and strength chosen", probes.kernel)
    marks = max(10, round(_LANDMARKS * context.options.scale))
    ledger.measure(f"the same, {marks} landmarks", lambda: probes.kernel(marks))
    default = probes.scored(probes.everything, "closed-form")
    ledger.measure("closed-form, all tasks, from the device", lambda: paced(context, default, device))
    ledger.measure("closed-form, all tasks, from the host", lambda: paced(context, default, probes.inputs.on_host))
    neuco.run(context)
