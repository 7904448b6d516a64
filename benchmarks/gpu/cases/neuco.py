"""The replay of NeuCo-Bench: time per submission; a chapter of the part ``probes``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import fastprobe
from benchmarks.cases.neuco import work_of
from benchmarks.gpu.batches import pace, throughput
from benchmarks.gpu.context import Context
from benchmarks.gpu.ledger import Finding
from benchmarks.gpu.rotation import Inputs, versus
from benchmarks.gpu.timing import readable
from fastprobe.embeddings import Submission

__all__ = ["run"]

_AT_MOST, _AIM = 60e-3, 25e-3


def run(context: Context) -> None:
    """Measure submissions in one call, which share their draws, and several callers at the same time."""
    options, target, ledger, benchmark = context.options, context.target, context.ledger, context.workload.benchmark
    inputs = Inputs(context).on_host

    def score(submissions: Sequence[Submission], progress: Any) -> None:
        common = {"folds": options.folds, "device": target.backend, "progress": progress}
        fastprobe.score(submissions, benchmark, protocol="neuco", **common)

    def in_turn() -> Finding:
        found = pace(score, inputs, seconds=min(15.0, ledger.left / 3), most=2 * options.repeat)
        work = work_of(context.workload, options.folds)
        rate = (work.training_bytes + work.held_out_bytes) / found.mean_seconds
        text = (
            f"{readable(found.mean_seconds)} per submission where draws are shared, the first of a call, draws "
            f"included, {readable(found.first_seconds)}; rows read at {rate / 1e9:.4g} GB/s"
        )
        if context.is_full:
            text += f" {versus(found.mean_seconds, _AT_MOST, _AIM)}"
        return Finding(text, {**found.values(), "work": asdict(work), "bytes_per_second": rate})

    def in_flight(callers: int) -> Finding:
        throughput(score, inputs, callers=callers, each=1)
        rate = throughput(score, inputs, callers=callers, each=4)
        return Finding(f"{rate:.4g} submissions a second", {"callers": callers, "each": 4, "per_second": rate})

    ledger.measure("replay of NeuCo-Bench, submissions in turn, from the host", in_turn)
    for callers in (2, 4):
        ledger.measure(f"replay, {callers} callers at the same time", lambda callers=callers: in_flight(callers))  # type: ignore[misc]
