"""Probes that work on sample groups: a unit is a group, and every task in it goes to the probe of its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from fastprobe.backend import Backend
from fastprobe.backend.lanes import as_finished
from fastprobe.folds import read_assignment
from fastprobe.groups import SampleGroup, sample_groups
from fastprobe.probes.ridge.grams import GramPart
from fastprobe.protocol import Protocol
from fastprobe.tasks import Benchmark
from fastprobe.units.base import Located, Records, scored_tasks
from fastprobe.units.work import GroupWork

__all__ = ["GroupScorer"]

Probe = Callable[[GroupWork, Sequence[int]], Records]
"""``score_tasks(work, tasks)`` of a module of this package: the records of these tasks of the group."""


class GroupScorer:
    """Scores submissions group by group; see :class:`fastprobe.units.base.Scorer`.

    Parameters
    ----------
    backend : Backend
    benchmark : Benchmark
    protocols : sequence of Protocol
        They differ in their fixed strength only.
    route : str or None
        Force a route of ridge.

    Raises
    ------
    InputError
        If the protocols can score no task of the benchmark.
    """

    def __init__(
        self, backend: Backend, benchmark: Benchmark, protocols: Sequence[Protocol], route: str | None
    ) -> None:
        self.protocols = list(protocols)
        self._backend, self._route = backend, route
        self._benchmark = benchmark
        self._assignment = read_assignment(protocols[0].folds)
        self._groups = self._grouped(benchmark)
        self._probes = {name: _probe(name) for group in self._groups for name in self._split(group)}
        self.units = len(self._groups)

    def run(self, located: Located) -> Iterator[Records]:
        """Score a submission; give the records of each sample group when it is finished.

        Groups go through as many lanes as the device likes, so that what one of them does in a single thread does not
        leave the others idle. Groups that are made up of others come last, when the Gram matrices of those are known.
        """
        backend, groups = self._backend, self._groups
        if located.benchmark is not self._benchmark:
            groups = self._grouped(located.benchmark)
        x = backend.asarray(located.submission.x)
        mean, variance = self._standardising(x, located)
        needed = {part for group in groups for part in group.parts}
        grams: dict[int, GramPart] = {}

        def work(i: int) -> Records:
            group, rows = groups[i], located.rows_of[groups[i].positions]
            known = all(part in grams for part in group.parts)
            parts = tuple(grams[part] for part in group.parts) if known else ()
            unit = GroupWork(backend, located, self.protocols, self._route, group, x, rows, variance, mean, parts)
            records = self._records(unit)
            if i in needed and (part := unit.gram_part()) is not None:
                grams[i] = part
            return records

        waves = [
            [i for i in reversed(range(len(groups))) if not groups[i].parts],
            [i for i in range(len(groups)) if groups[i].parts],
        ]
        with backend.lane_pool() as lanes:
            lanes.submit(lambda: located.embedding_hash)  # cached for the records
            for wave in waves:
                yield from as_finished(lanes, work, wave)

    def _grouped(self, benchmark: Benchmark) -> tuple[SampleGroup, ...]:
        scored = scored_tasks(benchmark, self.protocols[:1])
        return sample_groups(scored, self.protocols[0].folds, self._assignment)

    def _records(self, work: GroupWork) -> Records:
        found: Records = [[] for _ in self.protocols]
        for name, tasks in self._split(work.group).items():
            for of_protocol, records in zip(found, self._probes[name](work, tasks), strict=True):
                of_protocol.extend(records)
        return found

    def _split(self, group: SampleGroup) -> Mapping[str, Sequence[int]]:
        """Numbers of the tasks by the probe that scores them."""
        by_probe: dict[str, list[int]] = {}
        for j, task in enumerate(group.tasks):
            probe = self.protocols[0].probe_for(task.kind)
            assert probe is not None  # scored_tasks left those out
            by_probe.setdefault(probe, []).append(j)
        return by_probe

    def _standardising(self, x: Any, located: Located) -> tuple[float, float]:
        """Mean and square of the scale that standardise."""
        if not self.protocols[0].standardize:
            return 0.0, 1.0
        mean, std = self._backend.moments(x, located.labelled_rows())
        return mean, std * std if std > 0 else 1.0


def _probe(name: str) -> Probe:
    probe: Probe = import_module(f"fastprobe.units.{name}").score_tasks
    return probe
