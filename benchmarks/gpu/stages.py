"""Where the time of a submission goes: the stages of the ridge probe one after another, on one stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.ledger import Finding
from benchmarks.gpu.options import ALPHA
from benchmarks.gpu.target import Target
from benchmarks.gpu.timing import readable
from fastprobe.backend.base import Array
from fastprobe.embeddings import Submission
from fastprobe.groups import SampleGroup, sample_groups
from fastprobe.metrics import fold_statistics
from fastprobe.planner import Shape, choose_route
from fastprobe.probes.ridge import RidgeProblem, Solution, solve
from fastprobe.probes.ridge.grams import GramPart, merge
from fastprobe.protocol import Protocol
from fastprobe.tasks import Benchmark, Kind
from fastprobe.units import locate

__all__ = ["STAGES", "measure_stages"]

T = TypeVar("T")

STAGES = ("standardise", "gather", "gram", "factor", "folds", "metrics")
"""``standardise``: mean and standard deviation of all values; ``gather``: the rows of each group and their means;
``gram``: Xc'Xc of each group; ``factor``: its Cholesky factorisation, with the products with the labels; ``folds``:
held-out residuals; ``metrics``: their reduction to sums, and these to the host."""


@dataclass(frozen=True, eq=False)
class _Walk:
    """One submission, group after group, and the time of each stage."""

    target: Target
    submission: Submission
    benchmark: Benchmark
    groups: tuple[SampleGroup, ...]
    route: str | None
    spent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    routes: set[str] = field(default_factory=set)

    def run(self) -> _Walk:
        backend = self.target.backend
        rows_of, x = locate(self.benchmark, self.submission), backend.asarray(self.submission.x)
        _, std = self._timed("standardise", lambda: backend.moments(x, rows_of))
        grams: list[GramPart] = []
        for group in self.groups:
            grams.append(self._score(group, x, rows_of[group.positions], ALPHA * std * std, grams))
        return self

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        found: list[T] = []
        self.spent[stage] += self.target.seconds(lambda: found.append(work()))
        return found[0]

    def _score(
        self, group: SampleGroup, x: Array, rows: NDArray[np.int64], alpha: float, grams: Sequence[GramPart]
    ) -> GramPart:
        backend = self.target.backend
        design = self._timed("gather", lambda: backend.design(x, rows))
        rest = backend.design(x, rows[group.rest]) if len(group.rest) else None

        def gram_of_parts() -> Array:
            return merge(backend, design, [grams[part] for part in group.parts], rest)

        problem = RidgeProblem(backend, design, backend.asarray(group.y), gram_of_parts if group.parts else None)
        gram = self._timed("gram", lambda: problem.gram)
        self._timed("factor", lambda: (problem.cross, problem.factor(alpha)))
        route = self._route(problem, group)
        self.routes.add(route)
        solution = self._timed("folds", lambda: solve(problem, group.folds.held_out, [alpha], route))
        for j, task in enumerate(group.tasks):
            self._timed("metrics", partial(self._reduce, problem, solution, j, task.kind))
        return GramPart(problem.n, design.mean, gram)

    def _reduce(self, problem: RidgeProblem, solution: Solution, j: int, kind: Kind) -> None:
        residuals = solution.residuals[:, :, 0, j]
        fold_statistics(self.target.backend, solution.sets, problem.labels[:, j], residuals, kind)

    def _route(self, problem: RidgeProblem, group: SampleGroup) -> str:
        backend, held_out = self.target.backend, group.folds.held_out
        shape = Shape(problem.n, problem.d, problem.t, len(held_out), max(map(len, held_out)), 1)
        return choose_route(shape, route=self.route, memory=backend.memory() / backend.lanes, rates=backend.rates).route

    def flops(self) -> dict[str, float]:
        """Least work of the stages that are matrix algebra: products by half, because they are symmetric."""
        d = self.submission.x.shape[1]
        own = sum(len(g.rest) if g.parts else len(g.ids) for g in self.groups)
        labels = sum(2.0 * len(g.ids) * d * len(g.tasks) for g in self.groups)
        return {"gram": 1.0 * own * d * (d + 1), "factor": len(self.groups) * d**3 / 3 + labels}


def measure_stages(
    target: Target,
    submission: Submission,
    benchmark: Benchmark,
    *,
    folds: int,
    route: str | None,
    repeat: int,
    product: float,
    seconds: float,
) -> Finding:
    """Time the stages.

    Parameters
    ----------
    target : Target
    submission : Submission
    benchmark : Benchmark
    folds : int
    route : str or None
        By default the planner's choice for each group.
    repeat : int
        Runs, of which the median of each stage is taken.
    product : float
        Flops a second of a square float64 product on this device, that the rates are shares of.
    seconds : float
        After which no run is begun, the second excepted.
    """
    protocol = Protocol.load("ridge").with_options(alpha=ALPHA, folds=folds)
    groups = sample_groups(benchmark, protocol.folds)
    warm_up = _Walk(target, submission, benchmark, groups, route).run()
    begun, runs = time.monotonic(), list[_Walk]()
    while len(runs) < repeat and (len(runs) < 2 or time.monotonic() - begun < seconds):
        runs.append(_Walk(target, submission, benchmark, groups, route).run())
    spent = {stage: median(run.spent[stage] for run in runs) for stage in STAGES}
    flops, routes = warm_up.flops(), warm_up.routes
    rates = {stage: flops[stage] / spent[stage] for stage in flops}
    rates["gram and factor"] = sum(flops.values()) / sum(spent[stage] for stage in flops)
    shares = {stage: rate / product for stage, rate in rates.items()}
    text = ", ".join(f"{stage} {readable(each)}" for stage, each in spent.items())
    text += "; of the rate of a square product: " + ", ".join(f"{stage} {share:.0%}" for stage, share in shares.items())
    values = {
        "seconds": spent, "total_seconds": sum(spent.values()), "flops": flops, "flops_per_second": rates,
        "share_of_product": shares, "product_flops_per_second": product, "routes": sorted(routes), "runs": len(runs),
    }  # fmt: skip
    return Finding(f"{readable(sum(spent.values()))} ({', '.join(sorted(routes))}): {text}", values)
