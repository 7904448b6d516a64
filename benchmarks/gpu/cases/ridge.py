"""Ridge: time per submission from device and from host memory, and where the time goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np

import fastprobe
from benchmarks.gpu.batches import Score, pace, throughput
from benchmarks.gpu.cases.ceilings import measure_ceilings
from benchmarks.gpu.context import Context, turned
from benchmarks.gpu.ledger import Finding
from benchmarks.gpu.options import ALPHA
from benchmarks.gpu.stages import measure_stages
from benchmarks.gpu.timing import readable
from fastprobe.embeddings import Submission
from fastprobe.engine import score_path

__all__ = ["run", "versus"]

_INPUTS = 4  # submissions in rotation: 217 MB at full size, several times the cache
_CALLERS = (2, 4)
_PATH = tuple(np.logspace(-2, 6, 20).tolist())
_AT_MOST, _AIM = 10e-3, 3e-3
_HOST_AT_MOST = 1.3  # times the time from device memory


def versus(seconds: float, at_most: float, aim: float) -> str:
    """How a time stands to its goals, in words."""
    verdict = "missed" if seconds > at_most else "kept" if seconds > aim else "kept, aim reached"
    return f"(at most {readable(at_most)}, aim {readable(aim)}: {verdict})"


class _Ridge:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._benchmark, self._options = context.workload.benchmark, context.options

    @cached_property
    def on_host(self) -> list[Submission]:
        return list(turned(self._context.workload.submission, _INPUTS))

    @cached_property
    def on_device(self) -> list[Submission]:
        asarray = self._context.target.backend.asarray
        return [replace(submission, x=asarray(submission.x)) for submission in self.on_host]

    @cached_property
    def pinned(self) -> list[Submission]:
        self._context.target.require_gpu()
        import cupyx

        found = []
        for submission in self.on_host:
            x = cupyx.empty_like_pinned(submission.x)
            x[:] = submission.x
            found.append(replace(submission, x=x))
        return found

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

    def pace(self, score: Score, inputs: Sequence[Submission], *, goal: bool = False) -> Finding:
        seconds = min(10.0, self._context.ledger.left / 4)
        found = pace(score, inputs, seconds=seconds, most=3 * self._options.repeat)
        text = (
            f"{readable(found.mean_seconds)} per submission, {1 / found.mean_seconds:.4g} a second; "
            f"the first of a call {readable(found.first_seconds)}"
        )
        if goal:
            text += f" {versus(found.mean_seconds, _AT_MOST, _AIM)}"
        return Finding(text, found.values())

    def in_flight(self, callers: int) -> Finding:
        score, each = self.score(), max(4, self._options.repeat)
        throughput(score, self.on_device, callers=callers, each=1)
        rate = throughput(score, self.on_device, callers=callers, each=each)
        return Finding(f"{rate:.4g} submissions a second", {"callers": callers, "each": each, "per_second": rate})

    def stages(self, route: str | None) -> Finding:
        return measure_stages(
            self._context.target, self.on_device[0], self._benchmark, folds=self._options.folds, route=route,
            repeat=self._options.repeat, product=self.product, seconds=min(8.0, self._context.ledger.left / 4),
        )  # fmt: skip


def _host_ratio(device: Finding, host: Finding) -> Finding:
    ratio = host.values["mean_seconds"] / device.values["mean_seconds"]
    verdict = "missed" if ratio > _HOST_AT_MOST else "kept"
    return Finding(f"{ratio:.3g} (at most {_HOST_AT_MOST}: {verdict})", {"ratio": ratio, "at_most": _HOST_AT_MOST})


def run(context: Context) -> None:
    """Measure one strength from device and host memory, its stages, a path and the chosen strength."""
    ridge, ledger = _Ridge(context), context.ledger
    goal = context.options.scale == 1 and context.target.is_gpu  # it was set for the full size
    device = ledger.measure(
        "one strength, from the device", lambda: ridge.pace(ridge.score(), ridge.on_device, goal=goal)
    )
    host = ledger.measure("one strength, from the host", lambda: ridge.pace(ridge.score(), ridge.on_host))
    ledger.measure("one strength, from pinned memory", lambda: ridge.pace(ridge.score(), ridge.pinned))
    if device is not None and host is not None:
        ledger.measure("host over device", lambda: _host_ratio(device, host))
    ledger.measure("stages, as planned", lambda: ridge.stages(None))
    for callers in _CALLERS:
        ledger.measure(f"{callers} callers at the same time", lambda callers=callers: ridge.in_flight(callers))  # type: ignore[misc]
    ledger.measure(f"{len(_PATH)} strengths", lambda: ridge.pace(ridge.path, ridge.on_device))
    ledger.measure("chosen strength", lambda: ridge.pace(ridge.score(alpha="auto"), ridge.on_device))
    for route in ("direct", "iterate", "downdate"):
        ledger.measure(f"stages, route {route}", lambda route=route: ridge.stages(route))  # type: ignore[misc]
