"""One submission on its way through a benchmark: by sample groups, with a module per probe, or by tasks for neuco."""

from __future__ import annotations

from collections.abc import Sequence

from fastprobe.backend import Backend
from fastprobe.protocol import Protocol
from fastprobe.tasks import Benchmark
from fastprobe.units.base import Located, Scorer, locate, scored_tasks

__all__ = ["Located", "Scorer", "locate", "make_scorer", "scored_tasks"]


def make_scorer(backend: Backend, benchmark: Benchmark, protocols: Sequence[Protocol], route: str | None) -> Scorer:
    """Return what scores submissions under some protocols.

    Parameters
    ----------
    backend : Backend
    benchmark : Benchmark
    protocols : sequence of Protocol
        They differ in a fixed strength only, and are solved together.
    route : str or None
        Force a route of ridge.

    Raises
    ------
    InputError
        If the protocols can score no task of the benchmark.
    """
    if protocols[0].probe == "neuco":
        from fastprobe.units.neuco import NeucoScorer

        (protocol,) = protocols
        return NeucoScorer(backend, benchmark, protocol)
    from fastprobe.units.groups import GroupScorer

    return GroupScorer(backend, benchmark, protocols, route)
