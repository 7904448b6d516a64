"""Sweeps: time per submission of every embedding size, what else is swept beside it, and where the time goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import fastprobe
from benchmarks.cases.sweep import ALPHAS, BITS, FRACTIONS
from benchmarks.gpu.batches import Score
from benchmarks.gpu.context import Context
from benchmarks.gpu.ledger import Finding
from benchmarks.gpu.options import ALPHA
from benchmarks.gpu.probes import biomass_benchmark
from benchmarks.gpu.rotation import Inputs, paced
from benchmarks.gpu.stopwatch import Stopwatch
from benchmarks.gpu.timing import measure, readable
from fastprobe.embeddings import Submission
from fastprobe.tasks import Benchmark

__all__ = ["run"]

_AT_MOST = 100e-3
_SHOWN = 8  # operations of which the summary tells the time
_SWEEPS: Mapping[str, dict[str, Any]] = {
    f"{len(ALPHAS)} strengths": {"alphas": ALPHAS},
    f"{len(FRACTIONS)} fractions": {"fractions": FRACTIONS, "alpha": ALPHA},
    f"{len(BITS)} bit widths": {"bits": BITS, "alpha": ALPHA},
    "chosen strength": {"alpha": "auto"},
    "principal components": {"orders": ("pca",), "alpha": ALPHA},
}
"""Beside all sizes, on the two biomass regressions."""


class _Sweeps:
    def __init__(self, context: Context) -> None:
        self._context, self._options, self._target = context, context.options, context.target
        self.inputs = Inputs(context)
        self.everything, self.biomass = context.workload.benchmark, biomass_benchmark(context.workload)

    def sweep(self, benchmark: Benchmark, **more: Any) -> Score:
        def score(submissions: Sequence[Submission], progress: Any) -> None:
            common = {"folds": self._options.folds, "device": self._target.backend, "progress": progress}
            fastprobe.sweep(submissions, benchmark, sizes="all", protocol="ridge", **(common | more))

        return score

    def one_score(self, submissions: Sequence[Submission], progress: Any) -> None:
        common = {"folds": self._options.folds, "device": self._target.backend, "progress": progress}
        fastprobe.score(submissions, self.everything, protocol="ridge", alpha=ALPHA, route="direct", **common)

    def alone(self, more: Mapping[str, Any]) -> Finding:
        """Time a call for each submission."""
        score, inputs = self.sweep(self.biomass, **more), self.inputs.on_host[:2]
        found = measure(
            self._target, lambda i: score(inputs[i : i + 1], None), inputs=len(inputs),
            repeat=min(3, self._options.repeat), seconds=min(8.0, self._context.ledger.left / 4),
        )  # fmt: skip
        text = f"{readable(found.median_seconds)} per submission; the first call {readable(found.cold_seconds)}"
        return Finding(text, found.values())

    def stages(self) -> Finding:
        """Where the time of one submission goes, if every operation is waited for."""
        batch, runs = self.inputs.on_host[:1], list[dict[str, float]]()
        for _ in range(3):
            watch = Stopwatch(self._target)
            self.sweep(self.everything, alpha=ALPHA, device=watch)(batch, None)
            runs.append(watch.stop())
        spent = {name: median(run[name] for run in runs) for name in runs[-1]}
        shown = ", ".join(f"{name} {readable(each)}" for name, each in list(spent.items())[:_SHOWN])
        total = sum(spent.values())
        return Finding(f"{readable(total)}: {shown}", {"seconds": spent, "total_seconds": total, "runs": len(runs)})


def _over(sizes: Finding, score: Finding) -> Finding:
    ratio = sizes.values["mean_seconds"] / score.values["mean_seconds"]
    return Finding(f"{ratio:.3g}", {"ratio": ratio})


def run(context: Context) -> None:
    """Measure all sizes of all tasks, their operations, and what can be swept beside the sizes."""
    sweeps, ledger = _Sweeps(context), context.ledger
    inputs, every = sweeps.inputs, sweeps.sweep(sweeps.everything, alpha=ALPHA)
    sizes = ledger.measure(
        "all sizes, all tasks, from the host", lambda: paced(context, every, inputs.on_host, goals=(_AT_MOST,))
    )
    ledger.measure("all sizes, all tasks, from pinned memory", lambda: paced(context, every, inputs.pinned))
    ledger.measure("operations, each waited for", sweeps.stages)
    score = ledger.measure(
        "one score of all dimensions, route direct, from the host",
        lambda: paced(context, sweeps.one_score, inputs.on_host),
    )
    if sizes is not None and score is not None:
        ledger.measure("all sizes over one score", lambda: _over(sizes, score))
    ledger.measure("all sizes, biomass", lambda: sweeps.alone({"alpha": ALPHA}))
    for name, more in _SWEEPS.items():
        ledger.measure(f"all sizes, biomass, {name}", lambda more=more: sweeps.alone(more))  # type: ignore[misc]
