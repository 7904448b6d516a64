"""Ridge: time per submission from device and from host memory, and where the time goes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

import fastprobe
from benchmarks.gpu.batches import Score, throughput
from benchmarks.gpu.cases.ceilings import measure_ceilings
from benchmarks.gpu.context import Context
from benchmarks.gpu.ledger import Finding
from benchmarks.gpu.options import ALPHA
from benchmarks.gpu.rotation import Inputs, paced
from benchmarks.gpu.stages import measure_stages
from fastprobe.embeddings import Submission
from fastprobe.engine import score_path

__all__ = ["run"]

_CALLERS = (2, 4)
_PATH = tuple(np.logspace(-2, 6, 20).tolist())
_GOALS = 10e-3, 3e-3  # at most, and to aim at
_HOST_AT_MOST = 1.3  # times the time from device memory


class _Ridge:
    def __init__(self, context: Context) -> None:
        self._context, self.inputs = context, Inputs(context)
        self._benchmark, self._options = context.workload.benchmark, context.options

    @cached_property
    def product(self) -> float:
        return measure_ceilings(self._context.target, self._options.scale).float64

    def score(self, **more: Any) -> Score:
        return partial(self._score, {"alpha": ALPHA} | more)

    def _score(self, options: dict[str, Any], submissions: Sequence[Submission], progress: Any) -> None:
        common = {"folds": self._options.folds, "device": self._context.target.backend, "progress": progress}
        fastprobe.score(submissions, self._benchmark, protocol="ridge", **common, **options)

    def path(self, submissions: Sequence[Submission], progress: Any) -> None:
        common = {"folds": self._options.folds, "device": self._context.target.backend, "progress": progress}
        score_path(submissions, self._benchmark, alphas=_PATH, protocol="ridge", **common)

    def in_flight(self, callers: int) -> Finding:
        score, each = self.score(), max(4, self._options.repeat)
        throughput(score, self.inputs.on_device, callers=callers, each=1)
        rate = throughput(score, self.inputs.on_device, callers=callers, each=each)
        return Finding(f"{rate:.4g} submissions a second", {"callers": callers, "each": each, "per_second": rate})

    def stages(self, route: str | None) -> Finding:
        return measure_stages(
            self._context.target, self.inputs.on_device[0], self._benchmark, folds=self._options.folds, route=route,
            repeat=self._options.repeat, product=self.product, seconds=min(8.0, self._context.ledger.left / 4),
        )  # fmt: skip


def _host_ratio(device: Finding, host: Finding) -> Finding:
    ratio = host.values["mean_seconds"] / device.values["mean_seconds"]
    verdict = "missed" if ratio > _HOST_AT_MOST else "kept"
    return Finding(f"{ratio:.3g} (at most {_HOST_AT_MOST}: {verdict})", {"ratio": ratio, "at_most": _HOST_AT_MOST})


def run(context: Context) -> None:
    """Measure one strength from device and host memory, its stages, a path and the chosen strength."""
    ridge, ledger = _Ridge(context), context.ledger
    inputs, one = ridge.inputs, ridge.score()
    device = ledger.measure(
        "one strength, from the device", lambda: paced(context, one, inputs.on_device, goals=_GOALS)
    )
    host = ledger.measure("one strength, from the host", lambda: paced(context, one, inputs.on_host))
    ledger.measure("one strength, from pinned memory", lambda: paced(context, one, inputs.pinned))
    if device is not None and host is not None:
        ledger.measure("host over device", lambda: _host_ratio(device, host))
    ledger.measure("stages, as planned", lambda: ridge.stages(None))
    for callers in _CALLERS:
        ledger.measure(f"{callers} callers at the same time", lambda callers=callers: ridge.in_flight(callers))  # type: ignore[misc]
    ledger.measure(f"{len(_PATH)} strengths", lambda: paced(context, ridge.path, inputs.on_device))
    ledger.measure("chosen strength", lambda: paced(context, ridge.score(alpha="auto"), inputs.on_device))
    for route in ("direct", "iterate", "downdate"):
        ledger.measure(f"stages, route {route}", lambda route=route: ridge.stages(route))  # type: ignore[misc]
